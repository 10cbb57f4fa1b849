"""Sources of MNIST in their order (folder, environment, cache, download, drawn digits); a
fall-back is always announced."""

import gzip
import hashlib
import os
import shutil

import numpy as np
import pytest
from test_idx import encode

from minivae import DataError, data
from minivae.data import mnist

STEMS = tuple(mnist.FILES)


def small_set(train=7, test=3, seed=0):
    """The four arrays of a tiny set, by file stem."""
    rng = np.random.default_rng(seed)
    arrays = []
    for count in (train, test):
        arrays.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        arrays.append(rng.integers(0, 10, count, np.uint8))
    return dict(zip(STEMS, arrays, strict=True))


def write(folder, arrays, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in arrays.items():
        body = encode(array)
        if zipped:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(body, 1))
        else:
            (folder / stem).write_bytes(body)
    return folder


def same(dataset, arrays):
    read = (
        dataset.train.images,
        dataset.train.labels["digit"],
        dataset.test.images,
        dataset.test.labels["digit"],
    )
    return all(np.array_equal(a, b) for a, b in zip(read, arrays.values(), strict=True))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An empty user cache, no $MINIVAE_DATA, and a small synthetic set."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    draw = mnist.synthetic_digits.load
    monkeypatch.setattr(mnist.synthetic_digits, "load", lambda: draw(30, 20))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror that is a folder; the expected hashes are patched to those of its files."""
    arrays = small_set(seed=9)
    folder = write(tmp_path / "mirror", arrays)
    for stem, array in arrays.items():
        monkeypatch.setitem(mnist.FILES, stem, hashlib.md5(encode(array)).hexdigest())
    asked = []

    class Response:
        def __init__(self, path):
            self.file, self.headers = open(path, "rb"), {}
            self.read1 = self.file.read1

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

    class Opener:
        def open(self, request, timeout):
            asked.append(request.full_url)
            return Response(folder / request.full_url.rsplit("/", 1)[1])

    def load(**options):
        asked.clear()
        options = {"mirrors": ["https://one/", "https://two/"], "opener": Opener()} | options
        return mnist.load(**options)

    load.folder, load.arrays, load.asked = folder, arrays, asked
    return load


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["mnist", "."])
def test_folder(tmp_path, capsys, zipped, place):
    arrays = small_set()
    write(tmp_path / place, arrays, zipped)
    dataset = data.mnist.load(tmp_path)
    assert same(dataset, arrays)
    assert dataset.name == "idx"  # the right form is not the right bytes
    assert capsys.readouterr() == ("", "")


def test_images_and_labels_are_read_only(tmp_path):
    dataset = mnist.load(write(tmp_path, small_set()))
    for array in (dataset.train.images, dataset.test.labels["digit"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_folder_goes_before_environment_before_cache(tmp_path, monkeypatch):
    sets = [small_set(seed=i) for i in range(3)]
    write(tmp_path / "cache" / "minivae" / "mnist", sets[2])
    assert same(mnist.load(), sets[2])
    monkeypatch.setenv("MINIVAE_DATA", str(write(tmp_path / "named" / "mnist", sets[1]).parent))
    assert same(mnist.load(), sets[1])
    assert same(mnist.load(write(tmp_path / "given", sets[0])), sets[0])
    monkeypatch.setenv("MINIVAE_DATA", "")
    assert same(mnist.load(), sets[2])


@pytest.mark.parametrize("named_by", ["argument", "environment"])
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no MNIST here"),
        (lambda folder: (folder / f"{STEMS[3]}.gz").unlink(), f"incomplete: missing {STEMS[3]}"),
        (lambda folder: os.truncate(folder / f"{STEMS[0]}.gz", 40), f"{STEMS[0]}.*truncated"),
        (lambda folder: (folder / f"{STEMS[2]}.gz").write_bytes(b"<html>"), "web page"),
        (
            lambda folder: write(folder, {STEMS[1]: np.zeros(8, np.uint8)}),
            rf"{STEMS[1]}.*expected 7 labels.*got \(8,\)",
        ),
        (
            lambda folder: write(folder, {STEMS[3]: np.zeros((3, 1), np.uint8)}),
            rf"{STEMS[3]}.*expected 3 labels.*got \(3, 1\)",
        ),
        (
            lambda folder: write(folder, {STEMS[0]: np.zeros((7, 28, 27), np.uint8)}),
            r"expected images \(N, 28, 28\), got \(7, 28, 27\)",
        ),
        (
            lambda folder: write(folder, small_set(test=0)),
            r"expected images \(N, 28, 28\), got \(0, 28, 28\)",
        ),
    ],
)
def test_named_folder_is_never_passed_over(tmp_path, monkeypatch, mirror, named_by, spoil, match):
    write(tmp_path / "cache" / "minivae" / "mnist", small_set())
    folder = write(tmp_path / "named", small_set())
    spoil(folder)
    options = {"folder": folder}
    if named_by == "environment":
        monkeypatch.setenv("MINIVAE_DATA", str(folder))
        options = {}
    with pytest.raises(DataError, match=match):
        mirror(**options)
    assert mirror.asked == []


def test_download_fills_the_cache_once(mirror, tmp_path, capsys):
    dataset = mirror()
    assert dataset.name == "mnist"
    assert same(dataset, mirror.arrays)
    assert mirror.asked == [f"https://one/{stem}.gz" for stem in STEMS]
    cache = tmp_path / "cache" / "minivae" / "mnist"
    assert sorted(p.name for p in cache.iterdir()) == sorted(f"{stem}.gz" for stem in STEMS)
    assert mirror().name == "mnist"
    assert mirror.asked == []
    assert capsys.readouterr().err == ""


def test_download_replaces_only_what_is_damaged(mirror, tmp_path):
    cache = tmp_path / "cache" / "minivae" / "mnist"
    mirror()
    os.truncate(cache / f"{STEMS[2]}.gz", 99)
    (cache / f"{STEMS[1]}.gz").unlink()
    assert same(mirror(), mirror.arrays)
    assert mirror.asked == [f"https://one/{stem}.gz" for stem in STEMS[1:3]]


def test_wrong_download_is_refused(mirror, tmp_path, capsys):
    write(mirror.folder, {STEMS[1]: np.zeros(7, np.uint8)})
    assert mirror().name == "synthetic-digits"
    assert "wrong content: expected extracted md5" in capsys.readouterr().err
    assert not (tmp_path / "cache" / "minivae" / "mnist" / f"{STEMS[1]}.gz").exists()


def cache_is_a_file(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"a file where the folder should be")


def cache_is_full(cache, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


def no_home(cache, monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.parametrize("trouble", [cache_is_a_file, cache_is_full, no_home])
def test_what_cannot_be_kept_is_used_all_the_same(mirror, tmp_path, capsys, monkeypatch, trouble):
    trouble(tmp_path / "cache" / "minivae", monkeypatch)
    monkeypatch.chdir(tmp_path)
    dataset = mirror()
    assert dataset.name == "mnist" and same(dataset, mirror.arrays)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all("is not kept for the next run: " in line for line in lines)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".gz"]
    assert not (tmp_path / "~").exists()


def test_a_good_file_is_never_replaced_by_a_bad_one(mirror, tmp_path):
    mirror()
    cache = tmp_path / "cache" / "minivae" / "mnist"
    good = {path.name: path.read_bytes() for path in cache.iterdir()}
    (cache / f"{STEMS[0]}.gz").unlink()
    write(mirror.folder, small_set(seed=1))
    assert mirror().name == "synthetic-digits"
    del good[f"{STEMS[0]}.gz"]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == good


def test_a_link_in_the_cache_is_not_written_through(mirror, tmp_path):
    cache = tmp_path / "cache" / "minivae" / "mnist"
    cache.mkdir(parents=True)
    (tmp_path / "precious").write_bytes(b"precious")
    (cache / f"{STEMS[0]}.gz").symlink_to(tmp_path / "precious")
    assert mirror().name == "mnist"
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_synthetic_set_is_announced(mirror, capsys):
    shutil.rmtree(mirror.folder)
    dataset = mirror()
    assert dataset.name == "synthetic-digits"
    assert dataset.train.images.shape == (30, 28, 28)
    assert dataset.test.images.shape == (20, 28, 28)
    out, err = capsys.readouterr()
    assert out == ""
    *failures, announcement = err.splitlines()
    assert len(failures) == 2 == len(mirror.asked)  # the first file's failure is enough
    assert "using the built-in synthetic digits" in announcement
    assert "MINIVAE_DATA" in announcement


def test_no_download(mirror, capsys):
    assert mirror(download=False).name == "synthetic-digits"
    assert mirror.asked == []
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_cache_folder(monkeypatch, tmp_path):
    assert mnist.cache_folder() == tmp_path / "cache" / "minivae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mnist.cache_folder() == tmp_path / ".cache" / "minivae"


REAL = os.environ.get("MINIVAE_DATA")


@pytest.mark.skipif(not REAL, reason="MINIVAE_DATA names no folder with the real MNIST")
def test_real_mnist():
    dataset = mnist.load(REAL)
    assert dataset.name == "mnist"
    assert dataset.train.images.shape == (60_000, 28, 28)
    assert dataset.test.images.shape == (10_000, 28, 28)
    assert dataset.train.labels["digit"][:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(dataset.test.labels["digit"]).tolist() == [
        *(980, 1135, 1032, 1010, 982),
        *(892, 958, 1028, 974, 1009),
    ]
    assert abs(dataset.train.images.mean() / 255 - 0.1307) < 1e-4


@pytest.mark.parametrize("white", [1, 255])
def test_digits_of_0_and_1_are_told(tmp_path, capsys, white):
    arrays = {
        stem: white * (a > 127).astype(np.uint8) if "images" in stem else a
        for stem, a in small_set().items()
    }
    mnist.read_folder(write(tmp_path / "set", arrays))
    assert ("no pixel is above 1 of 255" in capsys.readouterr().err) == (white == 1)
