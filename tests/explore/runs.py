"""Small runs to explore: a folder of drawn digits or faces, and checkpoints on them."""

import numpy as np

import digit_sets
import minivae as mv
from minivae.data.synthetic import digits as synthetic_digits
from minivae.training.metrics import COLUMNS

METRICS = ",".join(COLUMNS) + "\n1,3,0.5,200.5,190.25,10.25,199,189.5,9.5,2\n"


def digits(folder, train=120, test=40):
    """A folder of drawn digits in MNIST's format: to the loader a user's set, "idx"."""
    return digit_sets.write(folder, synthetic_digits.load(train, test))


def faces(folder, size=16, count=60):
    """An .npz of noise with attributes: to the loader a user's set."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = {name: rng.random(count) < 0.5 for name in ("male", "glasses", "smile")}
    np.savez(folder / "friends.npz", images=images, **labels)
    return folder / "friends.npz"


def saved(folder, model, metrics=METRICS, **config):
    """A run's folder with an untrained model."""
    folder.mkdir(exist_ok=True)
    architecture = {"name": type(model).__name__, **model.config()}
    mv.save(
        folder / "checkpoint.safetensors", model, config={"architecture": architecture, **config}
    )
    if metrics:
        (folder / "metrics.csv").write_text(metrics)
    return folder
