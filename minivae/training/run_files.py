"""RunFiles: the checkpoints in a run's output folder (newest, backup and best)."""

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
    """A run's checkpoints; while one is written, the previous one stays on disk.

    Args:
        out: the ``OutputFolder``, entered.
        replaces: names of files in it that an earlier run may have left; they are removed when
            this run's first checkpoint is written.
        beside: files to write when this run first reads or writes a checkpoint: a dict from name
            to text.
        tell: called with a line of text for the user.

    Attributes:
        ours: whether ``checkpoint.safetensors`` was read or written by this run.
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
        """The path of the newest checkpoint."""
        return self.out / CHECKPOINT

    def tell_of_earlier_run(self) -> None:
        """Announce, if the folder has a checkpoint of another run, that ``save`` will rename it."""
        if not self.ours and self.path.exists():
            self.tell(
                f"{self.path} is of an earlier run; it is renamed {PREVIOUS} when this run's "
                "first checkpoint is written"
            )

    def save(self, model: Stateful, optimizer: Stateful, state: dict[str, Any]) -> None:
        """Write the checkpoint and keep the previous one as ``backup.safetensors``.

        The first call of a new run renames an earlier run's checkpoint ``previous.safetensors``.

        Raises:
            CheckpointError: a weight or moment is not finite. OutputError: a file cannot be
                written or renamed.
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
        """(path, state) of the newest undamaged checkpoint; None if the folder has none.

        Raises:
            CheckpointError: there are checkpoints, but all are damaged.
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
        """Continue from the checkpoint ``path``; a damaged newer one is renamed
        ``damaged.safetensors``.
        """
        if path != self.path:
            self.out.rename(CHECKPOINT, DAMAGED)
            self.out.rename(BACKUP, CHECKPOINT)
        self._take_over()

    def _take_over(self) -> None:
        """Mark the checkpoint as this run's, and write the files of ``beside`` the first time."""
        if not self.ours:
            self.ours = True
            for name, text in self.beside.items():
                self.out.write(name, text)
