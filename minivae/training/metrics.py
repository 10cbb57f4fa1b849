"""metrics.csv: one row per epoch, always whole rows.

Losses are in nats per image. The table is written anew after every epoch from the rows that the
checkpoint holds too; only the times are in the table alone, because a checkpoint may not depend
on time.
"""

import csv
import io
import math

METRICS = "metrics.csv"
COLUMNS = (
    "epoch", "step", "seconds", "train_loss", "train_rec", "train_kl",
    "test_loss", "test_rec", "test_kl", "active_units",
)  # fmt: skip


def write(out, rows, seconds):
    """Write the table into an ``OutputFolder``.

    Args:
        rows: a dict for each epoch with every column but ``seconds``.
        seconds: dict from epoch to time; "nan" is written where it is not known.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "seconds": f"{seconds.get(row['epoch'], math.nan):.3f}"})
    out.write(METRICS, table.getvalue())


def read_seconds(out, rows):
    """The times that a table on disk has for these very rows: dict from epoch to seconds."""
    found = {}
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
        pass  # no table, or not one of ours: the times are lost, nothing else
    return found
