"""The losses of an epoch's steps, summed over images; from a GPU read only now and then."""

import math

from ..backend import array_module, is_device_array, to_numpy
from ..errors import NonFiniteError
from ..models.vae import ELBO

READ_EVERY = 50  # steps of a GPU between two waits for its losses


class EpochLosses:
    """Sums of rec and kl over the images of an epoch so far.

    Attributes:
        rec, kl: sums in nats, without the steps that are still unread.
        images: in how many images.
    """

    def __init__(self, rec: float = 0.0, kl: float = 0.0, images: int = 0):
        self.rec, self.kl, self.images = float(rec), float(kl), int(images)
        self._unread: list[tuple[ELBO, int]] = []

    def add(self, terms: ELBO, images: int) -> None:
        """Take in the mean terms of a step; of those on a GPU, several are read together.

        Raises:
            NonFiniteError: as ``read``.
        """
        self._unread.append((terms, images))
        if not is_device_array(terms.rec.data) or len(self._unread) == READ_EVERY:
            self.read()

    def read(self) -> None:
        """Wait for the steps that are still unread.

        Raises:
            NonFiniteError: a term is NaN or infinite. A GPU gives no earlier notice.
        """
        for (rec, kl), (_, images) in zip(self._numbers(), self._unread, strict=True):
            if not math.isfinite(rec + kl):
                raise NonFiniteError("the reconstruction loss or KL of one of the last steps")
            self.rec += images * rec
            self.kl += images * kl
            self.images += images
        self._unread = []

    def _numbers(self) -> list[tuple[float, float]]:
        """(rec, kl) of the unread steps, in one copy from a GPU."""
        pairs = [(terms.rec.data, terms.kl.data) for terms, _ in self._unread]
        if not pairs or not is_device_array(pairs[0][0]):
            return [(rec.item(), kl.item()) for rec, kl in pairs]
        flat = array_module(pairs[0][0]).stack([number for pair in pairs for number in pair])
        return [(rec, kl) for rec, kl in to_numpy(flat).reshape(-1, 2).tolist()]

    def mean(self, beta: float) -> ELBO | None:
        """The terms' means over the images; None while some steps are unread or there are none."""
        if self._unread or not self.images:
            return None
        rec, kl = self.rec / self.images, self.kl / self.images
        return ELBO(rec + beta * kl, rec, kl)

    def sums(self) -> dict[str, float]:
        """The arguments of an ``EpochLosses`` that continues from here."""
        return {"rec": self.rec, "kl": self.kl, "images": self.images}
