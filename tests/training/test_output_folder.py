"""Atomic writes and the lock on an output folder."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from minivae.atomic_write import OutputFolder, remove_leftovers, replacing, write_atomically
from minivae.errors import OutputError

HOLD = """
import sys, time
from minivae.atomic_write import OutputFolder
with OutputFolder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


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


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "a")
    write_atomically(link, b"body")
    assert link.is_symlink()
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


def test_files_are_renamed_and_removed_or_the_reason_told(tmp_path):
    with OutputFolder(tmp_path) as out:
        for act in (lambda name: out.rename(name, "b"), out.remove):
            out.write("a", b"body")
            act("a")
            assert not (tmp_path / "a").exists()
            act("missing")
            (tmp_path / "folder").mkdir(exist_ok=True)
            (tmp_path / "folder" / "file").touch()
        (tmp_path / "b").unlink()
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "file").touch()
        with pytest.raises(OutputError, match="b: cannot be written"):
            out.rename("folder", "b")
        with pytest.raises(OutputError, match="folder: cannot be written"):
            out.remove("folder")


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    dead, other = tmp_path / ".a.0123.part", tmp_path / ".b.0123.part"
    dead.write_bytes(b"x")
    other.write_bytes(b"x")
    write_atomically(tmp_path / "a", b"body")
    assert sorted(os.listdir(tmp_path)) == [other.name, "a"]
    import fcntl

    with open(other) as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        remove_leftovers(tmp_path)
        assert other.exists()
    remove_leftovers(tmp_path)
    assert not other.exists()


def test_a_second_holder_is_refused_until_the_first_is_gone(tmp_path):
    folder = tmp_path / "new" / "runs"
    with OutputFolder(folder) as out:
        out.write("a.txt", "text")
        with pytest.raises(OutputError, match=rf"in use by another process \(pid {os.getpid()}\)"):
            OutputFolder(folder).__enter__()
    with OutputFolder(folder) as out:
        assert (out / "a.txt").read_text() == "text"


def test_the_lock_dies_with_its_process(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(OutputError, match=f"pid {holder.pid}"):
                OutputFolder(tmp_path).__enter__()
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    with OutputFolder(tmp_path):
        pass


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file: cannot be written"):
        OutputFolder(tmp_path / "file").__enter__()
    with pytest.raises(OutputError, match="not held"):
        OutputFolder(tmp_path).write("a", b"")
