"""The output folder: locked, written to atomically, and nothing outside it is touched."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

import tiny_run
from minivae.errors import MinivaeError, OutputError
from minivae.training.output_folder import OutputFolder

HOLD = """
import sys, time
from minivae.training.output_folder import OutputFolder
with OutputFolder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


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


# ---------------------------------------------------------------- planted links
NAMES = [".lock", "metrics.csv", "checkpoint.safetensors", "backup.safetensors",
         "previous.safetensors", "best.safetensors", "damaged.safetensors"]  # fmt: skip


@pytest.mark.parametrize("plant", ["symlink", "dangling", "hard link", "pipe", "folder"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_writes_nothing_outside_its_folder(tmp_path, name, plant):
    """A link, pipe or folder under a name that a run writes is replaced, or the run refuses."""
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    precious = outside / "precious"
    if plant != "dangling":
        precious.write_bytes(b"precious")
    if plant in ("symlink", "dangling"):
        (out / name).symlink_to(precious)
    elif plant == "hard link":
        os.link(precious, out / name)
    elif plant == "pipe":
        os.mkfifo(out / name)
    else:
        (out / name).mkdir()
    before = sorted(os.listdir(outside)), [p.read_bytes() for p in outside.iterdir()]
    try:
        for _ in range(2):
            tiny_run.run(out, epochs=1, keep_best=True)
    except MinivaeError as error:
        assert str(out) in str(error)
    assert (sorted(os.listdir(outside)), [p.read_bytes() for p in outside.iterdir()]) == before


@pytest.mark.parametrize("plant", ["symlink", "hard link", "pipe"])
def test_a_lock_that_is_no_file_of_its_own_is_refused(tmp_path, plant):
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    lock = tmp_path / "out" / ".lock"
    if plant == "symlink":
        lock.symlink_to(tmp_path / "target")
    elif plant == "hard link":
        os.link(tmp_path / "target", lock)
    else:
        os.mkfifo(lock)
    with pytest.raises(OutputError, match=r"\.lock: .*expected a file"):
        OutputFolder(tmp_path / "out").__enter__()
    assert (tmp_path / "target").read_bytes() == b"precious"


# ---------------------------------------------------------------- no locks
@pytest.mark.parametrize("error", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, capsys, error):
    def flock(file, operation):
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    with_locks = tiny_run.run(tmp_path / "a")
    capsys.readouterr()
    monkeypatch.setattr(fcntl, "flock", flock)
    assert tiny_run.run(tmp_path / "b") == with_locks
    (line,) = capsys.readouterr().err.splitlines()
    assert "b: this file system has no locks" in line
    assert sorted(os.listdir(tmp_path / "b")) == tiny_run.LEFT
