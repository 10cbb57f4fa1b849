"""Ctrl-C that lets a step finish."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible(alone: bool = True) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C inside the block sets; the second interrupts at once.

    In a thread other than the main one it is never set: signals belong to the main thread. One of
    several processes is stopped by SIGTERM too, which launchers send, and goes on at a second
    signal: to stop at once is the launcher's affair.
    """
    signalled = threading.Event()

    def on_first(*_: object) -> None:
        signalled.set()
        if not alone:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A signal can come in the middle of a print, where another print is not allowed.
        with contextlib.suppress(OSError):  # nobody may be there to read it
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
