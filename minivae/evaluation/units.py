"""Nats per image as bits per dimension."""

import math

LEVELS = 256  # grey values of a pixel


def bits_per_dimension(nats: float, dimensions: int, *, dequantised: bool = False) -> float:
    """nats / (dimensions ln 2): bits for each pixel and channel, of an NLL in nats per image.

    A probability of binary pixels needs no more. A density of dequantised pixels (p + u) / 256 is
    first turned into one of p + u, 256 times smaller in each dimension by the change of variables:
    8 bits more. It then bounds the bits of the grey values 0 to 255 from above: Theis, van den
    Oord & Bethge 2016 (arXiv:1511.01844), section 3.1.

    Args:
        nats: of the whole image.
        dimensions: pixels times channels.
        dequantised: the density is of ``data.DequantisedBatches``.

    The uniform density on [0, 1] is worth no nats, and the 8 bits of a pixel:

    >>> bits_per_dimension(0.0, 784, dequantised=True)
    8.0
    """
    if dequantised:
        nats = nats + dimensions * math.log(LEVELS)
    return nats / (dimensions * math.log(2))
