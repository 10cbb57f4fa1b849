"""Fuzz targets: every reader of a file that somebody else may have written.

A target turns bytes into a call and checks what comes of it; it raises only for a defect. Seeds are
small good inputs. ``mutated`` makes new inputs without any tool; fuzz_worker.py has atheris do it.
"""

import contextlib
import errno
import gzip
import io
import json
import os
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import report  # noqa: F401  puts tests/ on the path
import safetensors.numpy
from PIL import Image

from minivae import models, nn, optim
from minivae.cli import options
from minivae.data import attributes, image_file, image_folder, image_npz, read_idx
from minivae.errors import CheckpointError, DataError, MinivaeError
from minivae.training import checkpoint, loaded_run, metrics
from minivae.training.output_folder import OutputFolder
from minivae.training.run_files import BACKUP, DAMAGED
from minivae.training.trainer import Trainer

SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


class Target:
    """``target(data)`` is True when the input was accepted, False when refused by ``refusal``."""

    refusal = DataError

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(dir=SCRATCH))
        self.path = self.folder / "input"

    def seeds(self):
        """Good inputs, as bytes."""
        raise NotImplementedError

    def use(self, data):
        """Read the input; whatever is raised but ``refusal`` is a defect."""
        raise NotImplementedError

    def __call__(self, data):
        try:
            self.use(data)
        except self.refusal as error:
            assert str(error).strip(), "a refusal without a reason"
            return False
        return True

    def write(self, data):
        self.path.write_bytes(data)
        return self.path

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Idx(Target):
    """The IDX reader, through gzip and not."""

    def seeds(self):
        plain = [
            struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
            + bytes(range(int(np.prod(shape))))
            for shape in ((5,), (2, 3), (2, 3, 4), (1, 2, 2, 2), (0, 3))
        ]
        plain.append(struct.pack(">BBBBI2i", 0, 0, 0x0C, 1, 2, 7, -1))
        return plain + [gzip.compress(body, mtime=0) for body in plain]

    def use(self, data):
        read = read_idx(self.write(data))
        assert read.dtype.kind in "iuf" and read.dtype.isnative
        assert 1 <= read.ndim <= 4 and not read.flags.writeable


class Tiny(models.VAE):
    """A VAE of eight numbers: its checkpoint is small enough to be explored."""

    latent_dim = 1

    def __init__(self):
        self.mu, self.logvar, self.out = (nn.Linear(1, 1, rng=None) for _ in range(3))

    def config(self):
        return {}


class OneImage:
    """Batches for a ``Trainer`` that only resumes."""

    count, epoch = 1, None

    def __len__(self):
        return 1


class Checkpoint(Target):
    """The checkpoint loader behind its checksum, which is taken as right."""

    refusal = CheckpointError

    def __init__(self):
        super().__init__()
        checkpoint._digest = lambda text, tensors: ""
        self.model, self.adam = _tiny()
        self.model.number = 0

    def seeds(self):
        checkpoint.save(self.path, self.model, self.adam, epoch=1, codes=np.zeros(2, np.float32))
        whole = self.path.read_bytes()
        checkpoint.save(self.path, self.model)
        return [whole, self.path.read_bytes(), safetensors.numpy.save({"a": np.zeros(1)})]

    def use(self, data):
        before = self._bytes()
        try:
            checkpoint.load(self.write(data), self.model, self.adam)
        except CheckpointError:
            assert self._bytes() == before, "a refused file changed the model"
            raise
        assert all(np.isfinite(a).all() for a in self.model.state_dict().values())

    def _bytes(self):
        arrays = (*self.model.state_dict().values(), *self.adam.state_dict().values())
        return b"".join(a.tobytes() for a in arrays)


class Signed(Checkpoint):
    """The checkpoint loader as it is, checksum included."""

    def __init__(self):
        digest = checkpoint._digest
        super().__init__()
        checkpoint._digest = digest


class Resume(Target):
    """A run's configuration and counters, read back from a checkpoint that is otherwise good."""

    refusal = CheckpointError

    def __init__(self):
        super().__init__()
        self.out = OutputFolder(self.folder).__enter__()
        self.path = self.folder / "checkpoint.safetensors"

    def close(self):
        self.out.__exit__()
        super().close()

    def trainer(self):
        model, adam = _tiny()
        return Trainer(model, adam, OneImage(), OneImage(), self.out, epochs=3, config={"lr": 0.1})

    def seeds(self):
        trainer = self.trainer()
        states = []
        for epoch in range(3):
            row = dict.fromkeys(metrics.COLUMNS, 1.5) | {"epoch": epoch, "step": epoch}
            trainer.state.rows += [row] * (epoch > 0)
            trainer.state.epoch = trainer.state.step = trainer.state.noise.offset = epoch
            trainer.save()
            states.append(json.dumps(checkpoint.load(self.path)).encode())
        return states

    def use(self, data):
        for left in (BACKUP, DAMAGED):
            self.out.remove(left)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:  # the file could not be written
            raise CheckpointError("not text") from error
        trainer = self.trainer()
        tensors = {f"model.{n}": a for n, a in trainer.model.state_dict().items()}
        tensors |= {f"optimizer.{n}": a for n, a in trainer.optimizer.state_dict().items()}
        header = json.dumps({"sha256": checkpoint._digest(text, tensors), "state": text})
        self.write(safetensors.numpy.save(tensors, {checkpoint.FORMAT: header}))
        trainer.resume()


class Evaluated(Target):
    """What a checkpoint says of its architecture, and a model built by it."""

    refusal = CheckpointError

    def seeds(self):
        rest = {"seed": 3, "binarize": "static"}
        made = [
            models.MLPVAE(1, 1), models.ConditionalVAE(1, hidden=1),
            models.DeepVAE(1, hidden=[1, 2]), models.MLPVAE(1, 2, likelihood="gaussian"),
        ]  # fmt: skip
        return [
            json.dumps(
                {"config": rest | {"architecture": {"name": type(m).__name__, **m.config()}}}
            ).encode()
            for m in made
        ]

    def use(self, data):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:  # the file could not be written
            raise CheckpointError("not text") from error
        tensors = {f"model.{n}": a for n, a in models.MLPVAE(1, 1).state_dict().items()}
        header = json.dumps({"sha256": checkpoint._digest(text, tensors), "state": text})
        self.write(safetensors.numpy.save(tensors, {checkpoint.FORMAT: header}))
        model, config = loaded_run.load_model(self.path)
        assert isinstance(model, models.VAE) and config["binarize"] in (None, *loaded_run.BINARIZE)


class ImageFile(Target):
    """The image decoder: Pillow's JPEG, PNG and PNM, and what is made of their modes."""

    def seeds(self):
        rng = np.random.default_rng(0)
        found = []
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"):
            image = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
            image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
            for format in ("PNG", "JPEG"):
                body = io.BytesIO()
                exif = Image.Exif()
                exif[274] = 6
                with contextlib.suppress(OSError):  # a mode that the format has not
                    image.save(body, format, exif=exif)
                    found.append(body.getvalue())
        grey = rng.integers(0, 256, (9, 7), dtype=np.uint8)
        text = b" ".join(b"%d" % value for value in grey.ravel())
        found.append(b"P5\n7 9\n255\n" + grey.tobytes())
        found.append(b"P5 7 9 65535\n" + grey.astype(">u2").tobytes())
        found.append(b"P2\n# text\n7 9\n255\n" + text)
        return found

    def use(self, data):
        pixels = image_file.decode_image(data, 8)
        assert pixels.dtype == np.uint8 and pixels.shape == (3, 8, 8)


class Folder(Target):
    """The image-folder reader: odd names, links, pipes, empty and unreadable files.

    The input is a list of entries: a byte for the kind, one for the length of the name, the name,
    two for the length of the content, the content.
    """

    KINDS = ("file", "file", "file", "link", "pipe", "folder", "secret", "loop")

    def seeds(self):
        good = ImageFile().seeds()[4]

        def entry(kind, name, content=good):
            head = bytes([self.KINDS.index(kind), len(name)]) + name
            return head + struct.pack("<H", len(content)) + content

        return [
            entry("file", b"a.png") + entry("file", b"b/c.jpg") + entry("file", b"d.png", b""),
            entry("file", b"a.png") + entry("link", b"l.png", b"a.png") + entry("pipe", b"p.png"),
            entry("folder", b"x.png") + entry("secret", b"s.png") + entry("loop", b"o.png"),
            entry("file", b"a.png")
            + entry("file", b"attributes.csv", b"image,smile\na.png,1\n")
            + entry("link", b"up", b"../.."),
        ]

    def use(self, data):
        root = self.folder / "faces"
        shutil.rmtree(self.folder)
        root.mkdir(parents=True)
        (self.folder / "outside.png").write_bytes(b"secret")
        stream = io.BytesIO(data)
        while head := stream.read(2):
            with contextlib.suppress(OSError, ValueError):  # the system has no such name
                name = os.fsdecode(stream.read(head[-1] % 64))
                size = int.from_bytes(stream.read(2), "little")
                self._make(root, self.KINDS[head[0] % len(self.KINDS)], name, stream.read(size))
        images, columns, made = image_folder.read_folder(
            root, 8, cache_dir=self.folder / "cache", progress=False
        )
        assert images.shape == (len(made.names), 3, 8, 8)
        assert all(column.shape == (len(images),) for column in columns.values())

    def _make(self, root, kind, name, content):
        path = Path(os.path.normpath(root / name.lstrip("/")))
        if not path.is_relative_to(root) or path == root:
            raise OSError(errno.EINVAL, "outside")
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(os.fsdecode(content[:200]))
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.write_bytes(content)
            path.chmod(0o000 if kind == "secret" else 0o600)


class Attributes(Target):
    """Attribute tables, in CelebA's format and CSV, and their match with images."""

    def seeds(self):
        return [
            b"2\nSmiling Male\n1.jpg -1 1\n2.jpg 1 -1\n",
            b"image,smile,male\n1.jpg,1,0\n2.jpg,true,-1\n",
            b'\xef\xbb\xbfimage,"odd, name"\r\n"1.jpg",1\r\n2.jpg,0\r\n',
        ]

    def use(self, data):
        table = attributes.read_attributes(self.write(data))
        columns = table.rows_for(["1.jpg", "a/2.jpg"])
        assert all(c.dtype == bool and c.shape == (2,) for c in columns.values())


class Npz(Target):
    """Image sets in .npz files."""

    def seeds(self):
        images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
        extra = {"smile": np.array([True, False]), "identity": np.array([3, 4])}
        table = {"attributes": np.ones((2, 1), bool), "attribute_names": np.array(["a"])}
        found = []
        for arrays, save in (
            ({"images": images}, np.savez),
            ({"images": images[..., 0], **extra}, np.savez_compressed),
            ({"images": np.asfortranarray(images), **table}, np.savez),
            ({"images": images, "smile": np.array([1, -1], np.int8)}, np.savez),
        ):
            body = io.BytesIO()
            save(body, **arrays)
            found.append(body.getvalue())
        return found

    def use(self, data):
        images, columns, groups = image_npz.read_npz(self.write(data), 4)
        assert images.dtype == np.uint8 and images.shape[1:] == (3, 4, 4)
        assert all(len(values) == len(images) for values in (*columns.values(), *groups.values()))


class Table(Target):
    """metrics.csv, from which only times are read: no content may raise an error."""

    refusal = ()

    def seeds(self):
        line = ",".join(metrics.COLUMNS)
        return [f"{line}\n1,3,0.25,1,2,3,4,5,6,7\n".encode(), b"", b'a,"b\n']

    def use(self, data):
        (self.folder / metrics.METRICS).write_bytes(data)
        row = dict.fromkeys(metrics.COLUMNS, 1)
        del row["seconds"]
        found = metrics.read_seconds(self.folder, [row])
        assert found.keys() <= {1} and all(np.isfinite(s) for s in found.values())


class CommandLine(Target):
    """The command line of the examples: options or exit code 2 and one line."""

    refusal = SystemExit

    def __init__(self):
        super().__init__()
        self.parser = options.Parser(prog="fuzz")
        options.add_training_options(
            self.parser, out="out", data_help="", epochs=1, batch_size=1, lr=1.0
        )

    def seeds(self):
        return [b"--epochs\n3\n--lr=0.1", b"--seed\n18446744073709551615", b"--limit\n1\n--resume",
                b"--device\ncpu\n--beta\n1e308\n--warmup\n0.5", b"--batch-size\n-1"]  # fmt: skip

    def use(self, data):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            try:
                args = options.parse(self.parser, os.fsdecode(data).split("\n"))
            except SystemExit as end:
                assert end.code == 0 or (end.code == 2 and errors.getvalue().endswith("options)\n"))
                raise
        assert args.epochs >= 1 and args.lr > 0 and args.beta >= 0 and 0 <= args.seed < 2**64


TARGETS = {
    "IDX files": Idx,
    "checkpoints behind their checksum": Checkpoint,
    "checkpoints": Signed,
    "a run's state and configuration": Resume,
    "an evaluated model's architecture": Evaluated,
    "image files": ImageFile,
    "image folders": Folder,
    "attribute tables": Attributes,
    ".npz sets": Npz,
    "metrics.csv": Table,
    "command lines": CommandLine,
}


def _tiny():
    model = Tiny()
    return model, optim.Adam(model.parameters())


INTERESTING = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]


def mutated(seeds, rng):
    """An input made from good ones by a few random changes."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(len(data) + 1))
        end = min(len(data), at + int(rng.integers(1, 32)))
        kind = rng.integers(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = data[at:end]
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 8)))
        elif kind == 4:
            width = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice(INTERESTING)) % 256**width
            data[at : at + width] = value.to_bytes(width, str(rng.choice(["big", "little"])))
        elif kind == 5:
            other = seeds[rng.integers(len(seeds))]
            data[at:] = other[int(rng.integers(len(other) + 1)) :]
        else:
            del data[at:]
    return bytes(data)


assert issubclass(DataError, MinivaeError) and issubclass(CheckpointError, MinivaeError)
