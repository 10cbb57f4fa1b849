"""Atomic writes: a file is the old or the new one, also with other writers, errors and kills."""

import errno
import fcntl
import importlib.util
import os
import stat
import subprocess
import sys
import threading
import types

import pytest

from minivae.atomic_write import open_no_link, remove_leftovers, replacing, write_atomically


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a [1].txt"
    for body in (b"one", b"two"):
        write_atomically(path, body)
        assert path.read_bytes() == body
    assert os.listdir(tmp_path) == [path.name]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_symbolic_link_stays_one_or_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "a")
    write_atomically(link, b"body")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"body"
    write_atomically(link, b"other", follow_link=False)
    assert not link.is_symlink() and link.read_bytes() == b"other"
    assert (tmp_path / "real" / "a").read_bytes() == b"body"


@pytest.mark.parametrize("links", [True, False])
def test_what_a_file_held_is_kept_under_another_name(tmp_path, monkeypatch, links):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path, kept = tmp_path / "a", tmp_path / "before"
    write_atomically(path, b"1", keep="before")
    assert os.listdir(tmp_path) == ["a"]
    for body, old in ((b"2", b"1"), (b"3", b"2")):
        write_atomically(path, body, keep="before")
        assert (path.read_bytes(), kept.read_bytes()) == (body, old)
    if links:
        kept.unlink()
        os.link(path, kept)  # as a process leaves them that is killed between the two renames
        write_atomically(path, b"4", keep="before")
        assert (path.read_bytes(), kept.read_bytes()) == (b"4", b"3")
    assert sorted(os.listdir(tmp_path)) == ["a", "before"]


def test_an_error_in_the_block_leaves_the_file(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"new")
        raise KeyError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    dead, other = tmp_path / ".a.0123.part", tmp_path / ".b.0123.part"
    dead.write_bytes(b"x")
    other.write_bytes(b"x")
    write_atomically(tmp_path / "a", b"body")
    assert sorted(os.listdir(tmp_path)) == [other.name, "a"]
    with open(other) as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        remove_leftovers(tmp_path)
        assert other.exists()
    remove_leftovers(tmp_path)
    assert not other.exists()


def test_a_link_in_place_of_a_leftover_is_neither_followed_nor_waited_for(tmp_path):
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / ".a.01.part").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / ".a.02.part")
    (tmp_path / ".a.03.part").mkdir()
    write_atomically(tmp_path / "a", b"body")
    assert (tmp_path / "target").read_bytes() == b"x" and (tmp_path / "a").read_bytes() == b"body"


def test_a_clean_up_between_creation_and_lock_costs_nothing(tmp_path, monkeypatch):
    """Another process removes the new temporary file before it is locked, three times."""
    lock, removed = fcntl.flock, []

    def late(file, operation):
        if operation == fcntl.LOCK_EX and len(removed) < 3:
            (part,) = tmp_path.glob(".a.*.part")
            part.unlink()
            removed.append(part.name)
        return lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(tmp_path / "a", b"body")
    assert len(set(removed)) == 3 and os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"body"


WRITE = """
import sys
from minivae.atomic_write import write_atomically
print("ready", flush=True)
sys.stdin.readline()
for i in range(100):
    write_atomically(sys.argv[1], sys.argv[2].encode() * 1000)
"""


@pytest.mark.slow
def test_processes_may_write_the_same_file_at_once(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, tmp_path / "a", c], text=True, **pipes)
        for c in "xyz"
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    ends = [(writer.communicate()[1], writer.returncode) for writer in writers]
    assert ends == [("", 0)] * 3
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() in [c * 1000 for c in (b"x", b"y", b"z")]


def test_threads_may_write_the_same_file_at_once(tmp_path):
    failures, seen = [], set()

    def write(body):
        try:
            for _ in range(50):
                write_atomically(tmp_path / "a", body)
                seen.add((tmp_path / "a").read_bytes())
        except BaseException as error:
            failures.append(error)

    bodies = [bytes([n]) * 1000 for n in range(4)]
    threads = [threading.Thread(target=write, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and seen <= set(bodies) and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"])
def test_without_locks_files_are_written_and_nobody_is_taken_for_dead(tmp_path, monkeypatch, error):
    def flock(file, operation):
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    monkeypatch.setattr(fcntl, "flock", flock)
    with replacing(tmp_path / "a") as file:
        write_atomically(tmp_path / "a", b"in between")
        file.write(b"body")
    assert (tmp_path / "a").read_bytes() == b"body" and os.listdir(tmp_path) == ["a"]


def test_what_is_no_file_of_its_own_is_not_opened(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("link", "a symbolic link"), ("pipe", "not a regular file")):
        with pytest.raises(OSError, match=words):
            open_no_link(tmp_path / name, create=True)
    assert not (tmp_path / "target").exists()


class WindowsLocks(types.ModuleType):
    """A stand-in for msvcrt on top of flock; it notes the position of each locked byte."""

    LK_LOCK, LK_NBLCK = 1, 2

    def locking(self, descriptor, mode, count):
        self.places.append((mode, os.lseek(descriptor, 0, os.SEEK_CUR), count))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


def test_locks_of_windows_lie_behind_the_end_and_leave_the_position(tmp_path, monkeypatch):
    """The Windows branch, run with a stand-in for msvcrt; it has not been run on Windows."""
    msvcrt = WindowsLocks("msvcrt")
    msvcrt.places = []
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    spec = importlib.util.find_spec("minivae.atomic_write")
    windows = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "win32")
        spec.loader.exec_module(windows)
        windows.write_atomically(tmp_path / "a", b"body")
    with open(tmp_path / "a", "r+b", buffering=0) as one, open(tmp_path / "a", "r+b") as other:
        one.seek(3)
        assert windows.try_lock(one) and not windows.try_lock(other)
        assert one.read() == b"y"
    assert msvcrt.places == [(msvcrt.LK_LOCK, 2**40, 1), *[(msvcrt.LK_NBLCK, 2**40, 1)] * 2]
    assert os.listdir(tmp_path) == ["a"]
