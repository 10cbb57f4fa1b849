"""The cache of decoded image folders: it saves time and never changes what is read."""

import errno
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from minivae.data import image_cache, image_folder
from minivae.data.image_file import decode_image
from minivae.data.image_folder import read_folder
from picture_files import PNG, smooth


@pytest.fixture
def folder(tmp_path):
    """Four pictures; returns (folder, options for read_folder)."""
    root = tmp_path / "faces"
    for name, shift in (("b/1.jpg", 0), ("a/2.png", 20), ("a/deep/3.jpeg", 40), ("0.png", 60)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(shift=shift)).save(path)
    return root, {"cache_dir": tmp_path / "cache", "progress": False}


NOT_KEPT = "the decoded pictures are not kept for the next run: "


@pytest.fixture
def decodes(monkeypatch):
    """Counts the files that are decoded."""
    count = []

    def counted(*arguments):
        count.append(1)
        return decode_image(*arguments)

    monkeypatch.setattr(image_folder, "decode_image", counted)
    return count


def test_a_second_call_decodes_nothing(folder, decodes):
    root, options = folder
    first = read_folder(root, 8, **options)
    assert len(decodes) == 4
    second = read_folder(root, 8, **options)
    assert len(decodes) == 4
    np.testing.assert_array_equal(first[0], second[0])
    assert first[2] == second[2]


def test_the_cache_is_a_plain_npy_file(folder, tmp_path):
    root, options = folder
    (root / "zz.png").write_bytes(b"")  # one fewer row than files
    images, _, _ = read_folder(root, 8, **options)
    files = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert files == [".json", ".npy"]
    (path,) = (tmp_path / "cache").glob("*.npy")
    stored = np.load(path)
    assert stored.shape == (4, 3, 8, 8)
    np.testing.assert_array_equal(stored, images)


@pytest.mark.parametrize("change", ["bytes", "name", "new", "gone", "size", "limit"])
def test_what_changes_the_cache(folder, decodes, change):
    root, options = folder
    read_folder(root, 8, **options)
    before, size = len(decodes), 8
    if change == "bytes":
        # Same name, length and time: only the content tells.
        data = (root / "0.png").read_bytes()
        times = os.stat(root / "0.png")
        (root / "0.png").write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
        os.utime(root / "0.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "name":
        (root / "0.png").rename(root / "9.png")
    elif change == "new":
        (root / "9.png").write_bytes(PNG)
    elif change == "gone":
        (root / "0.png").unlink()
    elif change == "size":
        size = 9
    else:
        options["max_pixels"] = 5000
    read_folder(root, size, **options)
    assert len(decodes) > before


def test_a_moved_folder_of_the_same_name_keeps_its_cache(folder, decodes, tmp_path):
    root, options = folder
    read_folder(root, 8, **options)
    (tmp_path / "there").mkdir()
    root.rename(tmp_path / "there" / "faces")
    read_folder(tmp_path / "there" / "faces", 8, **options)
    assert len(decodes) == 4


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize(
    "damage", ["gone", "empty", "cut", "longer", "flipped", "rubbish", "folder"]
)
def test_a_damaged_cache_is_made_anew(folder, tmp_path, suffix, damage):
    root, options = folder
    good = np.array(read_folder(root, 8, **options)[0])
    (path,) = (tmp_path / "cache").glob(f"*{suffix}")
    data = path.read_bytes()
    if damage in ("gone", "folder"):
        path.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 8]) + data[middle + 1 :]
        path.write_bytes(
            {"empty": b"", "cut": data[:-1], "longer": data + b"x" * 192, "flipped": flipped}.get(
                damage, b"\x93NUMPY rubbish"
            )
        )
    if damage == "folder":
        path.mkdir()
    images, _, report = read_folder(root, 8, **options)
    np.testing.assert_array_equal(images, good)
    assert report.names == ("0.png", "a/2.png", "a/deep/3.jpeg", "b/1.jpg")


def assert_read_all_the_same(root, options, reason, capsys):
    """Assert that the pictures are read, and that one line says why they were not cached."""
    images, _, report = read_folder(root, 8, **options)
    for row, name in enumerate(report.names):
        np.testing.assert_array_equal(images[row], decode_image((root / name).read_bytes(), 8))
    assert len(images) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert NOT_KEPT in line and reason in line


@pytest.mark.parametrize("error", ["ENOSPC", "EROFS", "EACCES", "EDQUOT", "EIO"])
@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync", "replace"])
def test_a_cache_that_cannot_be_written(folder, tmp_path, monkeypatch, capsys, error, call):
    root, options = folder
    failure = OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    def fail(*_, **__):
        raise failure

    if call == "write":
        monkeypatch.setattr(np.lib.format, "write_array_header_1_0", fail)
    else:
        monkeypatch.setattr(os, call, fail)
    assert_read_all_the_same(root, options, failure.strerror, capsys)
    left = list((tmp_path / "cache").iterdir()) if (tmp_path / "cache").exists() else []
    assert left == []


def test_a_file_where_the_cache_should_be(folder, tmp_path, capsys):
    root, options = folder
    (tmp_path / "file").write_text("in the way")
    assert_read_all_the_same(root, options | {"cache_dir": tmp_path / "file"}, "file", capsys)


def test_a_cache_that_cannot_be_read(folder, monkeypatch, capsys):
    root, options = folder
    read_folder(root, 8, **options)
    monkeypatch.setattr(image_cache, "require_regular", lambda path: (_ for _ in ()).throw(
        PermissionError(13, "Permission denied")))  # fmt: skip
    assert len(read_folder(root, 8, **options)[0]) == 4
    assert capsys.readouterr().err == ""  # it was written anew


def test_a_pipe_in_the_cache_is_not_waited_for(folder, tmp_path):
    root, options = folder
    read_folder(root, 8, **options)
    for path in list((tmp_path / "cache").iterdir()):
        path.unlink()
        os.mkfifo(path)
        assert len(read_folder(root, 8, **options)[0]) == 4


def test_a_user_without_a_home(folder, tmp_path, monkeypatch, capsys):
    root, _ = folder
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert_read_all_the_same(root, {"progress": False}, "set XDG_CACHE_HOME", capsys)
    assert sorted(os.listdir(tmp_path)) == ["faces"]


def test_a_name_too_long_for_a_file(tmp_path, capsys):
    root = tmp_path / ("\N{GRINNING FACE}" * 62)
    root.mkdir()
    (root / "a.png").write_bytes(PNG)
    read_folder(root, 8, cache_dir=tmp_path / "cache", progress=False)
    assert len(list((tmp_path / "cache").iterdir())) == 2 and capsys.readouterr().err == ""


def test_images_outlive_their_cache(folder, tmp_path):
    """Truncating the cache does not change images already read; with a mapped file it would kill
    the process."""
    root, options = folder
    read_folder(root, 8, **options)
    images, _, _ = read_folder(root, 8, **options)
    before = np.array(images)
    for path in (tmp_path / "cache").iterdir():
        os.truncate(path, 0)
    np.testing.assert_array_equal(images, before)


# ---------------------------------------------------------------- its size
def test_sets_not_used_for_longest_are_removed(folder, tmp_path, monkeypatch, decodes):
    root, options = folder
    cache = image_cache.ImageCache(tmp_path / "cache")
    for age, size in enumerate((8, 9, 10)):
        read_folder(root, size, **options)
        for path in (tmp_path / "cache").glob(f"*-{size}-*"):
            os.utime(path, (1000 + age, 1000 + age))
    (tmp_path / "cache" / "mine.npy").write_bytes(bytes(10**6))  # no set of ours
    read_folder(root, 8, **options)  # used now, so 9 is the oldest
    sizes = {stem.split("-")[1]: size for stem, (_, size) in cache.sets().items()}
    monkeypatch.setattr(image_cache, "MAX_BYTES", sizes["8"] + sizes["10"] + sizes["9"] + 500)
    read_folder(root, 7, **options)
    kept = {stem.split("-")[1] for stem in cache.sets()}
    assert kept == {"7", "8", "10"} and (tmp_path / "cache" / "mine.npy").exists()
    del decodes[:]
    read_folder(root, 8, **options)
    assert decodes == []


def test_a_set_larger_than_the_limit_is_not_kept(folder, tmp_path, monkeypatch, capsys):
    root, options = folder
    read_folder(root, 8, **options)
    before = sorted(os.listdir(tmp_path / "cache"))
    monkeypatch.setattr(image_cache, "MAX_BYTES", 4 * 3 * 81 - 1)
    assert len(read_folder(root, 9, **options)[0]) == 4
    assert f"{NOT_KEPT}larger than 971 bytes" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / "cache")) == before


def test_the_default_cache_is_the_users(folder, tmp_path, monkeypatch):
    root, _ = folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    read_folder(root, 8)
    assert len(list((tmp_path / "user" / "minivae" / "images").glob("faces-8-*.npy"))) == 1


def test_what_a_killed_process_left_in_the_cache_is_removed(folder, tmp_path):
    root, options = folder
    (tmp_path / "cache").mkdir()
    left = tmp_path / "cache" / ".other-8-0123.npy.0123456789abcdef.part"
    left.write_bytes(b"half an array")
    read_folder(root, 8, **options)
    assert not left.exists()


# ---------------------------------------------------------------- several at once
FIRST_USE = """
import sys
from minivae.data.image_folder import read_folder
print("ready", flush=True)
sys.stdin.readline()
for size in range(8, 20):
    assert read_folder(sys.argv[1], size, cache_dir=sys.argv[2], progress=False)[0].shape[0] == 4
"""


@pytest.mark.slow
def test_processes_that_use_a_cache_for_the_first_time_together(folder, tmp_path):
    root, options = folder
    command = [sys.executable, "-c", FIRST_USE, root, options["cache_dir"]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, out, err) == (0, "", "")
    assert len(os.listdir(tmp_path / "cache")) == 24


def test_threads_that_use_a_cache_for_the_first_time_together(folder, capsys):
    root, options = folder
    barrier, failures = threading.Barrier(4), []

    def read():
        try:
            for size in range(8, 20):
                barrier.wait()
                assert len(read_folder(root, size, **options)[0]) == 4
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and capsys.readouterr().err == ""
