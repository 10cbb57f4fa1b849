"""Progress bar for long work on a terminal: tqdm without a thread and without a shared lock."""

import threading
from typing import Any

from tqdm import tqdm


class ProgressBar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """tqdm of one process: it starts no thread and shares no lock with processes forked from this.

    tqdm's own lock lies in memory that forked processes share: one that is killed while it holds
    the lock stops every bar of the others for ever.

    Args:
        args, options: tqdm's, except ``disable``.
        show: whether it is drawn; None draws it where stderr is a terminal.
    """

    _lock = threading.RLock()
    monitor_interval = 0

    def __init__(self, *args: Any, show: bool | None = None, **options: Any) -> None:
        # miniters=1: tqdm's thread, which is off, would lower a larger one when steps get slower.
        disable = None if show is None else not show
        super().__init__(*args, disable=disable, miniters=1, **options)
