"""Convert nats per image to bits per dimension."""

import math

LEVELS = 256  # grey values of a pixel


def bits_per_dimension(nats: float, dimensions: int, *, dequantised: bool = False) -> float:
    """Bits per pixel and channel of an NLL in nats per image: nats / (dimensions ln 2).

    For the probability of binary pixels this is all. A density of dequantised pixels (p + u) / 256
    is first converted to one of p + u, which the change of variables makes 256 times smaller in
    each dimension, so that 8 bits are added. The result is an upper bound on the bits of the grey
    values 0 to 255: Theis, van den Oord & Bethge 2016 (arXiv:1511.01844), section 3.1.

    Args:
        nats: NLL of an image.
        dimensions: pixels times channels.
        dequantised: whether ``nats`` is of a density of the pixels of ``data.DequantisedBatches``.

    The uniform density on [0, 1] has an NLL of 0 nats, which is 8 bits per grey pixel:

    >>> bits_per_dimension(0.0, 784, dequantised=True)
    8.0
    """
    if dequantised:
        nats = nats + dimensions * math.log(LEVELS)
    return nats / (dimensions * math.log(2))
