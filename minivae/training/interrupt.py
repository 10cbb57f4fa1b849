"""Handle Ctrl-C (SIGINT) so that the current training step finishes first."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible(alone: bool = True) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C inside the block sets; the second one interrupts at once.

    Args:
        alone: whether this process trains by itself. If not, SIGTERM sets the event too, because
            launchers send it, and a second signal has no effect: ending all processes at once is
            left to the launcher.

    In a thread other than the main one the event is never set, as Python handles signals in the
    main thread only.
    """
    signalled = threading.Event()

    def on_first(*_: object) -> None:
        signalled.set()
        if not alone:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # os.write, because a signal can arrive inside a print, where another print is an error.
        with contextlib.suppress(OSError):  # stderr may be closed
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield signalled
        return
    numbers = [signal.SIGINT] if alone else [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, on_first) for number in numbers]
    try:
        yield signalled
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
