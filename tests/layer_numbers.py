"""Test arrays for the layer kernels, and the variants that have these kernels.

Arrays of small whole numbers make every product and sum exact, so most comparisons are equalities.
"""

import numpy as np
from hypothesis import strategies as st

from kernel_variants import NAMES, USABLE

DTYPES = [np.float32, np.float64]
dtypes = st.sampled_from(DTYPES)
ELEMENTWISE = ("numba", "cupy", "cupy-emulated")  # variants without layer kernels
LAYER_NAMES = [name for name in NAMES if name not in ELEMENTWISE]
LAYER_USABLE = [name for name in USABLE if name not in ELEMENTWISE]


def whole(seed, shape, dtype=np.float32):
    """Whole numbers from -4 to 4 in a read-only array."""
    x = np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)
    x.flags.writeable = False
    return x


def normal(seed, shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_exact(got, expected, dtype):
    assert got.dtype == dtype and got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected)
