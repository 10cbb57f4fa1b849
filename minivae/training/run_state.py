"""The state of a training run: what its checkpoint holds beside weights and moments."""

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
    """Everything that a step or an epoch changes, and the options that a resumed run must share.

    A checkpoint holds nothing that depends on time, so ``seconds`` is not part of ``to_dict``.

    Args:
        seed: of the noise.
        config: JSON-able options that a resumed run must share.

    Attributes:
        epoch, step: how many are done.
        batch: how many batches of the epoch that is under way are done.
        noise: the stream whose next draw is the next step's.
        losses: ``EpochLosses`` of the epoch that is under way.
        rows: one dict per epoch with the keys ``metrics.COLUMNS``, without ``seconds``.
        seconds: dict from epoch to the time it took, where that is known.
    """

    def __init__(self, seed: int, config: dict[str, Any]):
        text = json.dumps(config, allow_nan=False, default=python_number)
        self.seed, self.config = seed, json.loads(text)
        self.epoch = self.step = self.batch = 0
        self.noise, self.losses = NoiseStream(seed, TRAINING), EpochLosses()
        self.rows: list[Row] = []
        self.seconds: dict[int, float] = {}

    def next_epoch(self, row: Row, seconds: float | None) -> None:
        """Record the epoch that is under way and begin the next; ``seconds`` is None where the time
        it took is not known.
        """
        self.epoch += 1
        self.rows.append({"epoch": self.epoch, "step": self.step, **row})
        if seconds is not None:
            self.seconds[self.epoch] = seconds
        self.batch, self.losses = 0, EpochLosses()

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: a dict for JSON."""
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
        """The state that a checkpoint of this very run has.

        Args:
            path: of the checkpoint, for errors.
            saved: what ``to_dict`` may have given, or anything else.
            batches: in an epoch.

        Raises:
            CheckpointError: it is of a run with other options, the first of which is named, or
                contradicts itself.
        """
        try:
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
        for name in self.config | recorded:  # options before the architecture they lead to
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
