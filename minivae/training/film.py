"""Film: codes, decoded pictures and losses at some steps of a training run.

A frame is taken before the first step, after steps 1, 2, 4, 8 ... of the first quarter of an epoch,
and at the end of every quarter. Taking it changes nothing in the run, it depends on the weights
alone, and the film is written before each checkpoint, so a run killed anywhere and resumed leaves
the same film. ``viz.film`` draws it.
"""

import numpy as np

from .. import evaluation
from ..backend import Array, device_of, to_device
from ..data.batches import Batches
from ..errors import CheckpointError
from ..models import VAE
from ..noise import EVALUATION, NoiseStream
from . import checkpoint
from .output_folder import OutputFolder
from .progress import Tell, say

FILM = "film.safetensors"


class Film:
    """Takes frames for a ``Trainer``, and keeps them in ``film.safetensors``.

    Args:
        model: the model that is trained, a VAE with a Gaussian posterior.
        images: batches of the images that every frame encodes.
        codes: the codes that every frame decodes, (M, D).
        out: the ``OutputFolder``, entered.
        batches: number of batches in an epoch of training.
        tell: called with a line of text for the user.

    Attributes:
        frames: list of dicts: ``step``, ``beta``, ``rec`` and ``kl`` (D,) in nats per image, ``mu``
            (N, D) float32, and ``pixels`` (M, P) uint8.
    """

    def __init__(
        self, model: VAE, images: Batches, codes: Array, out: OutputFolder, batches: int,
        tell: Tell = say,
    ):  # fmt: skip
        self.model, self.images, self.out, self.batches = model, images, out, batches
        self.codes = to_device(codes, device_of(model.parameters()[0].data))
        self.tell = tell
        self.frames: list[dict[str, np.ndarray]] = []

    def take(self, step: int, beta: float) -> None:
        """Take a frame if one is due after this step; ``beta`` is recorded with it.

        Frames of this and later steps, which a killed run may have left, are dropped.
        """
        self.frames = [frame for frame in self.frames if frame["step"] < step]
        if is_due(step, self.batches):
            self.frames.append(self._frame(step, beta))

    def _frame(self, step: int, beta: float) -> dict[str, np.ndarray]:
        noise = NoiseStream(0, EVALUATION)  # the same in every frame
        rec = evaluation.elbo(self.model, self.images.epoch(0), noise).terms.rec
        mu, logvar = evaluation.posteriors(self.model, self.images.epoch(0))
        pixels = self.model.pixels(self.codes).numpy().reshape(len(self.codes), -1)
        found = {
            "step": step, "beta": beta, "rec": rec, "kl": evaluation.kl_per_latent(mu, logvar),
            "mu": mu.astype(np.float32), "pixels": np.rint(255 * pixels).astype(np.uint8),
        }  # fmt: skip
        return {name: np.asarray(value) for name, value in found.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """The frames, one array (F, ...) for each key."""
        return {name: np.stack([f[name] for f in self.frames]) for name in self.frames[0]}

    def write(self) -> None:
        """Write the frames; OutputError when that fails."""
        if self.frames:
            path = self.out / FILM
            self.out.write(FILM, checkpoint.to_bytes(path, None, None, **self.arrays()))

    def resume(self) -> None:
        """Continue the film in the folder; if there is none of this run, ``tell`` says so."""
        path, like = self.out / FILM, self._frame(0, 0.0)
        try:
            found = checkpoint.load(path)
            for name, value in like.items():
                was = found.get(name, value)
                if was.dtype != value.dtype or was.shape[1:] != value.shape:
                    raise CheckpointError(f"{path}: its frames are not of this run")
        except CheckpointError as error:
            self.tell(f"{error}; the film begins here")
            return
        self.frames = [{name: found[name][i] for name in like} for i in range(len(found["step"]))]


def is_due(step: int, batches: int) -> bool:
    """Whether a frame is taken after ``step`` steps, with ``batches`` steps per epoch.

    >>> [step for step in range(1001) if is_due(step, 400)]
    [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
    """
    quarter, before = 4 * step // batches, 4 * (step - 1) // batches
    return quarter > before or (quarter == 0 and step & (step - 1) == 0)
