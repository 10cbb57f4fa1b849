"""The progress bar: its lock survives a killed fork, it starts no thread, and when it is drawn."""

import os
import signal
import threading

import pytest
from tqdm import tqdm

from minivae.progress_bar import ProgressBar


def killed_with(lock):
    """Whether ``lock`` is free after a forked process was killed that held it."""
    pid = os.fork()
    if pid == 0:
        lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    free = lock.acquire(blocking=False)
    if free:
        lock.release()
    return free


def test_a_forked_process_that_is_killed_leaves_the_bar_free():
    ProgressBar(total=1).close()
    assert killed_with(ProgressBar.get_lock())


def test_the_bar_starts_no_thread(capsys):
    before = threading.enumerate()
    for show in (True, False, None):
        with ProgressBar(total=2, show=show) as bar:
            bar.update()
            assert threading.enumerate() == before


@pytest.mark.parametrize("show", [True, False, None])
def test_it_is_drawn_where_it_is_asked_for_or_seen(show, capsys):
    with ProgressBar(total=2, desc="work", show=show) as bar:
        bar.update()
    assert ("work" in capsys.readouterr().err) == bool(show)  # pytest's stderr is no terminal


def test_the_users_own_bars_keep_tqdms_settings():
    assert tqdm.monitor_interval > 0
    assert tqdm.get_lock() is not ProgressBar.get_lock()
