"""The checkpoints of a run in its output folder: the newest, the one before it, and the best."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from . import checkpoint
from .checkpoint import Stateful
from .output_folder import OutputFolder
from .progress import Tell

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"
BACKUP, DAMAGED = "backup.safetensors", "damaged.safetensors"
BEST = "best.safetensors"


class RunFiles:
    """A run's checkpoints; while one is written the one before it stays on disk, whole.

    Args:
        out: the folder, held.
        replaces: names of files in it that an earlier run may have left and that no longer belong
            there when this run's first checkpoint comes.
        beside: texts of files to write with that checkpoint, or when it is read, by name.
        tell: called with a line of text for the user.

    Attributes:
        ours: whether ``checkpoint.safetensors`` is of this run, read or written.
    """

    def __init__(
        self, out: OutputFolder, replaces: Iterable[str] = (),
        beside: Mapping[str, str] | None = None, tell: Tell = print,
    ) -> None:  # fmt: skip
        self.out, self.replaces, self.tell = out, tuple(replaces), tell
        self.beside = dict(beside or {})
        self.ours = False

    @property
    def path(self) -> Path:
        """Of the newest checkpoint."""
        return self.out / CHECKPOINT

    def tell_of_earlier_run(self) -> None:
        """Say what will become of a checkpoint that is not of this run."""
        if not self.ours and self.path.exists():
            self.tell(
                f"{self.path} is of an earlier run; it is renamed {PREVIOUS} when this run's "
                "first checkpoint is written"
            )

    def save(self, model: Stateful, optimizer: Stateful, state: dict[str, Any]) -> None:
        """Write the checkpoint and keep the one before it as ``backup.safetensors``.

        The first one of a new run moves an earlier run's file aside.

        Raises:
            CheckpointError: a weight or moment is not finite. OutputError: it cannot be written.
        """
        if not self.ours:
            self.out.remove(BACKUP)
            self.out.rename(CHECKPOINT, PREVIOUS)
            for name in self.replaces:
                self.out.remove(name)
        body = checkpoint.to_bytes(self.path, model, optimizer, **state)
        self.out.write(CHECKPOINT, body, keep=BACKUP)
        self._take_over()

    def save_best(self, model: Stateful, state: dict[str, Any]) -> None:
        """Write the weights alone to ``best.safetensors``; errors as ``save``."""
        self.out.write(BEST, checkpoint.to_bytes(self.out / BEST, model, **state))

    def newest_good(self) -> tuple[Path, dict[str, Any]] | None:
        """The path and the state of the newest checkpoint that is whole; None if there is none.

        Raises:
            CheckpointError: there are some, but none is whole.
        """
        backup = self.out / BACKUP
        if not (self.path.exists() or backup.exists()):
            return None
        try:
            return self.path, checkpoint.load(self.path)
        except CheckpointError as error:
            if not backup.exists():
                raise
            state = checkpoint.load(backup)
            self.tell(f"{error}; continuing from the checkpoint before it, {backup}")
            return backup, state

    def adopt(self, path: Path) -> None:
        """Go on from this checkpoint. A damaged newer one is renamed ``damaged.safetensors``."""
        if path != self.path:
            self.out.rename(CHECKPOINT, DAMAGED)
            self.out.rename(BACKUP, CHECKPOINT)
        self._take_over()

    def _take_over(self) -> None:
        """From now on the folder is this run's."""
        if not self.ours:
            self.ours = True
            for name, text in self.beside.items():
                self.out.write(name, text)
