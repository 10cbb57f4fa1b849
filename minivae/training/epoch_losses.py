"""EpochLosses: running sums of an epoch's training losses, read from a GPU every few steps."""

import math

from ..backend import array_module, is_device_array, to_numpy
from ..errors import NonFiniteError
from ..models.vae import ELBO

READ_EVERY = 50  # steps between two reads from a GPU, each of which waits for it


class EpochLosses:
    """Sums of rec and kl over the images of an epoch so far.

    Attributes:
        rec, kl: sums in nats, without the steps that are not yet read from the GPU.
        images: the number of images in these sums.
    """

    def __init__(self, rec: float = 0.0, kl: float = 0.0, images: int = 0):
        self.rec, self.kl, self.images = float(rec), float(kl), int(images)
        self._unread: list[tuple[ELBO, int]] = []

    def add(self, terms: ELBO, images: int) -> None:
        """Add the mean terms of a step on ``images`` images; those on a GPU are read later.

        Raises:
            NonFiniteError: as ``read``.
        """
        self._unread.append((terms, images))
        if not is_device_array(terms.rec.data) or len(self._unread) == READ_EVERY:
            self.read()

    def read(self) -> None:
        """Read the terms of all steps since the last read; waits for a GPU.

        Raises:
            NonFiniteError: a term is NaN or infinite, which on a GPU is only detected here.
        """
        for (rec, kl), (_, images) in zip(self._numbers(), self._unread, strict=True):
            if not math.isfinite(rec + kl):
                raise NonFiniteError("the reconstruction loss or KL of one of the last steps")
            self.rec += images * rec
            self.kl += images * kl
            self.images += images
        self._unread = []

    def _numbers(self) -> list[tuple[float, float]]:
        """(rec, kl) of the steps not yet read, by one copy from a GPU."""
        pairs = [(terms.rec.data, terms.kl.data) for terms, _ in self._unread]
        if not pairs or not is_device_array(pairs[0][0]):
            return [(rec.item(), kl.item()) for rec, kl in pairs]
        flat = array_module(pairs[0][0]).stack([number for pair in pairs for number in pair])
        return [(rec, kl) for rec, kl in to_numpy(flat).reshape(-1, 2).tolist()]

    def mean(self, beta: float) -> ELBO | None:
        """Means over the images so far, or None: there are none, or some steps are not read."""
        if self._unread or not self.images:
            return None
        rec, kl = self.rec / self.images, self.kl / self.images
        return ELBO(rec + beta * kl, rec, kl)

    def sums(self) -> dict[str, float]:
        """The arguments of an ``EpochLosses`` that continues from here."""
        return {"rec": self.rec, "kl": self.kl, "images": self.images}
