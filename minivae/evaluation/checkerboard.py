"""Measure checkerboard artefacts of transposed convolutions: energy at a period of two pixels."""

import numpy as np
from numpy.typing import ArrayLike


def checkerboard_energy(images: ArrayLike) -> float:
    """Share of the pictures' spectral energy at a period of two pixels, that of a stride of 2.

    With P the power spectrum of a picture minus its mean, under a Hann window (without one,
    opposite edges that differ would add energy at every frequency),

        sum of P where f_x or f_y is 1/2 cycle per pixel  /  sum of P

    over all pictures and channels together; the sum includes one bin on each side, to which the
    window spreads a frequency. Energy there above that of the training images is an artefact of
    the decoder: compare with the same measure of them.

    Args:
        images: NumPy array (N, C, S, S), S even and at least 8.

    Raises:
        ValueError: another shape.

    A checkerboard has all its energy at this period, a slope almost none:

    >>> board = np.indices((16, 16)).sum(axis=0) % 2
    >>> round(checkerboard_energy(board[None, None]), 3)
    1.0
    >>> slope = np.indices((16, 16)).sum(axis=0)
    >>> checkerboard_energy(slope[None, None]) < 1e-3
    True
    """
    x = np.asarray(images, np.float64)
    side = x.shape[-1]
    if x.ndim != 4 or x.shape[-2] != side or side % 2 or side < 8:
        raise ValueError(f"images: expected (N, C, S, S), S even and >= 8, got {x.shape}")
    window = np.hanning(side + 1)[:-1]  # one period of the window, without the second zero
    x = x - x.mean(axis=(2, 3), keepdims=True)
    power = abs(np.fft.fft2(x * window * window[:, None])) ** 2
    nyquist = np.zeros((side, side), bool)
    near = slice(side // 2 - 1, side // 2 + 2)
    nyquist[near] = nyquist[:, near] = True
    total = power.sum()
    return float(power[..., nyquist].sum() / total) if total != 0 else 0.0  # NaN stays
