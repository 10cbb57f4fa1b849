"""A tiny training run, and a program that kills it at each critical moment and resumes it."""

import builtins
import csv
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from minivae import atomic_write, models, optim
from minivae.data import PixelBatches
from minivae.training import checkpoint
from minivae.training.output_folder import OutputFolder
from minivae.training.trainer import Trainer

LEFT = [".lock", "backup.safetensors", "checkpoint.safetensors", "metrics.csv"]
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)


def trainer(out, *, seed=0, epochs=2, lr=1e-3, images=IMAGES, save_every=0, step=None, **options):
    """A ``Trainer`` of a tiny model: three steps an epoch, the last of two images."""
    model = models.MLPVAE(latent_dim=2, hidden=4, seed=seed)
    adam = optim.Adam(model.parameters(), lr=lr)
    train = PixelBatches(images, 24, seed=seed, binarize="dynamic")
    test = PixelBatches(IMAGES[:30], 24, train=False)
    made = Trainer(
        model, adam, train, test, out, epochs=epochs, seed=seed, save_every=save_every,
        config={"lr": lr}, **options,
    )  # fmt: skip
    if step is not None:
        made.step_function = step(made)
    return made


def run(folder, resume=False, **options):
    """Train in a folder; returns the checkpoint's bytes."""
    with OutputFolder(folder) as out:
        made = trainer(out, **options)
        if resume:
            made.resume()
        made.run()
    return (Path(folder) / "checkpoint.safetensors").read_bytes()


def table(folder):
    """The rows of its ``metrics.csv``, as text."""
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


class Killer:
    """Counts the moments at which a kill could do harm, and kills this process at one of them:
    before and after each weight update, flush, link and rename of a file, and within each write.
    """

    def __init__(self, at):
        self.at, self.count = at, 0

    def moment(self):
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function):
        def wrapped(*args, **kwargs):
            self.moment()
            result = function(*args, **kwargs)
            self.moment()
            return result

        return wrapped

    def install(self):
        optim.Adam.step = self.around(optim.Adam.step)
        for name in ("fsync", "link", "replace"):
            setattr(os, name, self.around(getattr(os, name)))
        atomic_write.open = lambda *args: HalfWriter(builtins.open(*args), self.moment)


class HalfWriter:
    """A file whose writes can be cut in the middle."""

    def __init__(self, file, moment):
        self.file, self.moment = file, moment

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.file.close()

    def write(self, body):
        half = len(body) // 2
        self.file.write(body[:half])
        self.file.flush()
        self.moment()
        self.file.write(body[half:])


def in_child(function):
    """Run a function in a forked process; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def kill_everywhere(folder):
    """Kill a run at each of its moments, resume it, and report the outcome as a dict."""
    folder = Path(folder)
    options = {"save_every": 2}
    report = {"moments": 0, "killed": 0, "unreadable": [], "not resumed": [], "different": []}

    def counted():
        killer = Killer(at=None)
        killer.install()
        run(folder / "whole", **options)
        (folder / "moments").write_text(str(killer.count))

    def killed():
        Killer(at).install()
        run(folder / "cut", **options)

    path = folder / "cut" / "checkpoint.safetensors"
    run(folder / "before")  # what is imported by the first run need not be by each child
    assert in_child(counted) == 0
    expected = (folder / "whole" / "checkpoint.safetensors").read_bytes()
    report["moments"] = int((folder / "moments").read_text())
    for at in range(1, report["moments"] + 1):
        shutil.rmtree(folder / "cut", ignore_errors=True)
        report["killed"] += os.WTERMSIG(in_child(killed)) == signal.SIGKILL
        if path.exists() and in_child(lambda: checkpoint.load(path)):
            report["unreadable"].append(at)
        if in_child(lambda: run(folder / "cut", resume=True, **options)):
            report["not resumed"].append(at)
        left = sorted(os.listdir(folder / "cut"))
        rows = (folder / "cut" / "metrics.csv").read_text().splitlines()
        whole = (folder / "whole" / "metrics.csv").read_text().splitlines()
        if (
            path.read_bytes() != expected
            or left != LEFT
            or [without_seconds(row) for row in rows] != [without_seconds(row) for row in whole]
        ):
            report["different"].append(at)
    return report


def without_seconds(line):
    """A line of metrics.csv without its third field, the seconds."""
    fields = line.split(",")
    return fields[:2] + fields[3:]


if __name__ == "__main__":
    print(json.dumps(kill_everywhere(sys.argv[1])))
