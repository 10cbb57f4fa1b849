"""Readers raise DataError, as documented, also when memory runs out."""

import gzip
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from minivae.data.idx import idx_header
from picture_files import encoded, noise

ROOM = 48 << 20  # of address space, beyond what the process has when it begins to read

READ = f"""
import resource, sys
import numpy as np
from PIL import Image
from minivae import DataError
from minivae.data import attributes, digit_files, idx, image_file, image_folder, image_npz
Image.init()
path = sys.argv[2]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {ROOM},) * 2)
try:
    {{}}
except DataError as error:
    assert str(error).startswith(path) or path == "picture", error
    assert "needs more memory than there is" in str(error), error
    print("refused")
"""


def sparse(path, head, size):
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + size)


def plain_idx(folder):
    sparse(folder / "a", idx_header((200 << 20,)), 200 << 20)


def packed_idx(folder):
    with gzip.open(folder / "a", "wb", compresslevel=1) as file:
        file.write(idx_header((100 << 20,)))
        for _ in range(100):
            file.write(bytes(1 << 20))


def grey_npz(folder):
    with zipfile.ZipFile(folder / "a", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w") as file:
            np.save(file, np.zeros((400, 256, 256), np.uint8))


def keras_npz(folder):
    np.savez_compressed(folder / "a", x_train=np.zeros((100_000, 28, 28), np.uint8))
    (folder / "a.npz").rename(folder / "a")


def many_pictures(folder):
    (folder / "a").mkdir()
    for i in range(8):
        (folder / "a" / f"{i}.png").write_bytes(encoded_small())


def encoded_small():
    from PIL import Image

    return encoded(Image.fromarray(noise(8, 8)))


def large_picture(folder):
    from PIL import Image

    (folder / "a").mkdir()
    (folder / "a" / "1.png").write_bytes(encoded(Image.new("L", (8000, 8000))))


def long_table(folder):
    line = b"%d.jpg 1\n"
    rows = b"".join(line % i for i in range(400_000))
    (folder / "a").write_bytes(b"400000\nSmile\n" + rows)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and needs RLIMIT_AS")
@pytest.mark.parametrize(
    ("make", "read"),
    [
        (plain_idx, "idx.read_idx(path)"),
        (packed_idx, "idx.read_idx(path)"),
        (grey_npz, "image_npz.read_npz(path)"),
        (grey_npz, "image_npz.read_npz(path, 100)"),
        (keras_npz, "digit_files.read_digits(path)"),
        (many_pictures, "image_folder.read_folder(path, 2048, cache_dir=sys.argv[1] + '/cache')"),
        (large_picture, "image_folder.read_folder(path, 64, cache_dir=sys.argv[1] + '/cache')"),
        (long_table, "attributes.read_attributes(path)"),
    ],
)
def test_memory_runs_out(tmp_path, make, read):
    make(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ.format(read), tmp_path, tmp_path / "a"],
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused\n", "the case needs too little memory to test anything"
    assert not (tmp_path / "cache").exists(), "a picture must not be remembered as unreadable"
