"""The bar that long work draws on a terminal."""

import threading
from typing import Any

from tqdm import tqdm


class ProgressBar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """tqdm of one process: it starts no thread and shares no lock with processes forked from this.

    tqdm's own lock lies in memory that forked processes share: one that is killed while it holds
    the lock stops every bar of the others for ever.

    Args:
        args, options: tqdm's, but for `disable`.
        show: whether it is drawn; None draws it where stderr is a terminal.
    """

    _lock = threading.RLock()
    monitor_interval = 0

    def __init__(self, *args: Any, show: bool | None = None, **options: Any) -> None:
        # miniters: without tqdm's thread nobody notices that steps have become slow.
        disable = None if show is None else not show
        super().__init__(*args, disable=disable, miniters=1, **options)
