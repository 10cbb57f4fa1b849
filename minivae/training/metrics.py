"""metrics.csv: write and read the table of losses, one row per epoch.

Losses are in nats per image. The whole table is rewritten atomically after every epoch, from the
rows that the checkpoint holds too. Only the durations are in the table alone, because a checkpoint
must not depend on time.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ..arguments import AnyPath
from ..errors import DataError
from .output_folder import OutputFolder

Row: TypeAlias = dict[str, Any]  # an epoch's values by column
METRICS = "metrics.csv"
COLUMNS = (
    "epoch", "step", "seconds", "train_loss", "train_rec", "train_kl",
    "test_loss", "test_rec", "test_kl", "active_units",
)  # fmt: skip


def write(out: OutputFolder, rows: Iterable[Row], seconds: Mapping[int, float]) -> None:
    """Write the table into an ``OutputFolder``.

    Args:
        rows: a dict for each epoch with every column but ``seconds``.
        seconds: dict from epoch to its duration in seconds; "nan" is written for a missing one.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "seconds": f"{seconds.get(row['epoch'], math.nan):.3f}"})
    out.write(METRICS, table.getvalue())


def read_seconds(out: OutputFolder, rows: Iterable[Row]) -> dict[int, float]:
    """Durations from the table on disk, for those of ``rows`` that it has: epoch to seconds."""
    found: dict[int, float] = {}
    try:
        with open(out / METRICS, newline="") as file:
            written = {line.get("epoch"): line for line in csv.DictReader(file)}
        for row in rows:
            line = written.get(str(row["epoch"]), {})
            if all(line.get(name) == str(value) for name, value in row.items()):
                seconds = float(line["seconds"])
                if math.isfinite(seconds):
                    found[row["epoch"]] = seconds
    except (OSError, TypeError, ValueError, csv.Error):
        pass  # without a readable table only the durations are lost
    return found


def read(folder: AnyPath) -> list[Row]:
    """The rows of a run's ``metrics.csv``, without ``seconds``, which differ from run to run.

    Raises:
        DataError: the file is missing, unreadable or not the metrics of a run.
    """
    path = Path(folder) / METRICS
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [{name: _number(row[name]) for name in COLUMNS if name != "seconds"} for row in rows]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not the metrics of a run: {error}") from error


def _number(text: str) -> int | float:
    """The text as an int, or else as a float; ValueError unless it is a finite number."""
    value = int(text) if text.isdigit() else float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a number, got {text!r}")
    return value
