"""RunState: the counters, noise stream, losses and options that a checkpoint holds as well."""

import json
from pathlib import Path
from typing import Any

from .. import models
from ..data import dataset
from ..errors import CheckpointError
from ..noise import TRAINING, NoiseStream
from .checkpoint import python_number
from .epoch_losses import EpochLosses
from .metrics import COLUMNS, Row


class RunState:
    """A run's state beside weights and moments, and the options that a resumed run must share.

    A checkpoint holds nothing that depends on time, so ``seconds`` is not part of ``to_dict``.

    Args:
        seed: of the noise.
        config: JSON-able options that a resumed run must share.

    Attributes:
        epoch, step: numbers of finished epochs and steps.
        batch: number of finished batches in the current epoch.
        noise: the ``NoiseStream`` from which the next step draws.
        losses: ``EpochLosses`` of the current epoch.
        rows: one dict per epoch with the keys ``metrics.COLUMNS``, without ``seconds``.
        seconds: dict from epoch to its duration in seconds, where that is known.
    """

    def __init__(self, seed: int, config: dict[str, Any]):
        text = json.dumps(config, allow_nan=False, default=python_number)
        self.seed, self.config = seed, json.loads(text)
        self.epoch = self.step = self.batch = 0
        self.noise, self.losses = NoiseStream(seed, TRAINING), EpochLosses()
        self.rows: list[Row] = []
        self.seconds: dict[int, float] = {}

    def next_epoch(self, row: Row, seconds: float | None) -> None:
        """End the current epoch with its results ``row`` and duration, None if unknown; begin the
        next.
        """
        self.epoch += 1
        self.rows.append({"epoch": self.epoch, "step": self.step, **row})
        if seconds is not None:
            self.seconds[self.epoch] = seconds
        self.batch, self.losses = 0, EpochLosses()

    def to_dict(self) -> dict[str, Any]:
        """The state as a dict for JSON, as checkpoints hold it."""
        return {
            "config": self.config,
            "epoch": self.epoch,
            "step": self.step,
            "noise": {"seed": self.noise.seed, "offset": self.noise.offset},
            "shuffle": {"seed": self.seed, "epoch": self.epoch, "batch": self.batch},
            "sums": self.losses.sums(),
            "metrics": self.rows,
        }

    def restored(self, path: Path, saved: dict[str, Any], batches: int) -> "RunState":
        """The state that a checkpoint of this run holds.

        Args:
            path: of the checkpoint, for messages.
            saved: the state read from the file; not trusted to be a result of ``to_dict``.
            batches: number of batches in an epoch.

        Raises:
            CheckpointError: ``saved`` is of a run with other options, the first of which the
                message names, or of other images, or its counters contradict one another.
        """
        try:
            if "epoch" not in saved:
                raise ValueError("it holds a model only, as `minivae export` and `fetch` write it")
            self._require_same(path, saved["config"])
            found = RunState(self.seed, self.config)
            found.epoch, found.step = saved["epoch"], saved["step"]
            found.batch = saved["shuffle"]["batch"]
            found.noise = NoiseStream(saved["noise"]["seed"], saved["noise"]["offset"])
            sums = {name: saved["sums"][name] for name in found.losses.sums()}
            found.losses = EpochLosses(**sums)
            names = [name for name in COLUMNS if name != "seconds"]
            found.rows = [{name: row[name] for name in names} for row in saved["metrics"]]
            if not found._is_whole(batches):
                raise ValueError(
                    f"its counters contradict one another, or epochs of {batches} batches"
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not the state of a training run: {error}") from error
        return found

    def _is_whole(self, batches: int) -> bool:
        """Whether the counters, the noise and the rows agree with one another."""
        position = self.epoch, self.step, self.batch
        numbers = [value for row in self.rows for value in row.values()]
        return (
            all(isinstance(n, int) and n >= 0 for n in position)
            and all(isinstance(n, (int, float)) for n in numbers)
            and self.batch <= batches
            and (self.losses.images > 0) == (self.batch > 0)
            and self.step == self.epoch * batches + self.batch == self.noise.offset - TRAINING
            and [row["epoch"] for row in self.rows] == list(range(1, self.epoch + 1))
            and self.noise.seed == self.seed
        )

    def _require_same(self, path: Path, recorded: dict[str, Any]) -> None:
        if isinstance(recorded.get("architecture"), dict):
            architecture = json.loads(json.dumps(models.completed(recorded["architecture"])))
            recorded = {**recorded, "architecture": architecture}
        for name in self.config | recorded:  # options first: the architecture follows from them
            was, now = recorded.get(name), self.config.get(name)
            if was != now and name not in dataset.RECORDED:
                if isinstance(was, dict) and isinstance(now, dict):  # the architecture
                    keys = [key for key in now | was if was.get(key) != now.get(key)]
                    was, now = ({key: part.get(key) for key in keys} for part in (was, now))
                raise CheckpointError(
                    f"{path}: made with {name} {was}, this run has {name} {now}; a resumed run "
                    "must share it. Resume with the old value, or start anew without --resume."
                )
        if reason := dataset.difference(recorded, self.config):
            raise CheckpointError(
                f"{path}: {reason}. A resumed run needs the very images of the run before; name "
                "them with --data, or start anew without --resume."
            )
