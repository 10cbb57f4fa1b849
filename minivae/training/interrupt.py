"""Ctrl-C that lets a step finish."""

import contextlib
import os
import signal
import threading


@contextlib.contextmanager
def interruptible():
    """An event that the first Ctrl-C inside the block sets; the second interrupts at once.

    In a thread other than the main one it is never set: signals belong to the main thread.
    """
    signalled = threading.Event()

    def on_first(*_):
        signalled.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A signal can come in the middle of a print, where another print is not allowed.
        with contextlib.suppress(OSError):  # nobody may be there to read it
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield signalled
        return
    before = signal.signal(signal.SIGINT, on_first)
    try:
        yield signalled
    finally:
        signal.signal(signal.SIGINT, before)
