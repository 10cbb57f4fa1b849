"""Bit equality of kernel variants: a test for each cell of the table in docs/reliability.md.

A row is a family of kernels, a column another way to run it; both are compared with the compiled
kernels of this machine's best instruction set on one thread. A cell says "same bits", "rounding",
or "none" where the variant leaves the kernels to another.
"""

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from kernel_variants import EMULATED, OnDevice, variant
from minivae import functional as F
from minivae import kernels as registry
from minivae import models, optim
from minivae.backend import to_device, to_numpy
from minivae.kernels.philox import NoiseKey

_cpu = pytest.importorskip("minivae._cpu", reason="the compiled kernels are not built")

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
DTYPES = [np.float32, np.float64]
NOISE = NoiseKey(0x0123_4567_89AB_CDEF, 2**40 + 3)


def normal(seed, shape, dtype):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def integers(kernels, dtype):
    images = np.random.default_rng(0).integers(0, 256, (50, 784), dtype=np.uint8)
    index = np.arange(150) % 50
    drawn = [kernels.gather_pixels(images, index, dtype, noise) for noise in (None, NOISE)]
    return [*drawn, kernels.uniform(NOISE, 123_457, dtype)]


def noise(kernels, dtype):
    return [kernels.normal(NOISE, 123_457, dtype)]


def elementwise(kernels, dtype):
    mu, logvar, eps, dz = (normal(k, (3001, 37), dtype) for k in range(4))
    dkl = normal(5, 3001, dtype)
    return [
        *kernels.reparam_kl_forward(mu, logvar, eps),
        *kernels.reparam_kl_backward(mu, logvar, eps, dz, dkl),
        *kernels.bce_with_logits(mu, eps, True),
        *kernels.squared_error_with_logits(mu, eps, True),
    ]


def adam(kernels, dtype):
    arrays = [normal(k, 111_037, dtype) for k in range(4)]
    np.square(arrays[3], out=arrays[3])
    kernels.adam(*([a] for a in arrays), 3, 1e-3, 0.9, 0.999, 1e-8, 0.01)
    return arrays


def relu(kernels, dtype):
    x, dy = normal(1, (17, 6, 930), dtype), normal(2, (17, 6, 930), dtype)
    y = kernels.relu(x)
    return [y, kernels.relu_backward(y, dy)]


def channels(kernels, dtype):
    x, dy = normal(1, (17, 6, 930), dtype), normal(2, (17, 6, 930), dtype)
    w, b = normal(3, 6, dtype), normal(4, 6, dtype)
    y, mean, var = kernels.batch_norm_forward(x, w, b, None, None, 1e-5)
    return [
        *(y, mean, var, kernels.channel_sum(x)),
        *kernels.batch_norm_backward(x, w, mean, var, 1e-5, dy, True),
        *kernels.bias_relu_backward(x, dy),
        *kernels.bias_relu_backward(x[:, :, :1], dy[:, :, :1]),
    ]


def products(kernels, dtype):
    rest = (2, 2), (1, 1), (1, 1)
    x, w = normal(1, (17, 6, 30, 31), dtype), normal(2, (9, 6, 3, 3), dtype)
    dy = normal(3, (17, 9, 15, 16), dtype)
    return [
        kernels.matmul(normal(4, (130, 300), dtype), normal(5, (300, 170), dtype)),
        kernels.matmul(normal(4, (10, 700), dtype), normal(5, (200, 700), dtype).T),
        kernels.matmul(normal(4, (10, 300), dtype), normal(5, (300, 170), dtype)),
        kernels.matmul(normal(4, (3, 9000), dtype), normal(5, (9000, 5), dtype)),
        kernels.conv2d(x, w, None, *rest),
        kernels.conv2d_grad_input(dy, w, None, (30, 31), *rest),
        kernels.conv2d_grad_weight(x, dy, (3, 3), *rest),
    ]


def multiply(kernels, dtype):
    """mv.matmul, forward and backward, with the variant of ``kernels``."""
    device, forced = place(kernels)
    a, b = (
        mv.Tensor(to_device(normal(k, (250, 250), dtype), device), requires_grad=True)
        for k in (1, 2)
    )
    with registry.use(forced):
        y = F.matmul(a, b)
        F.sum(y * y).backward()
    return [to_numpy(x) for x in (y.data, a.grad, b.grad)]


def weights(kernels, dtype):
    """The weights of a network after three steps. Adam's large eps keeps it from amplifying
    gradients that are 0 but for rounding."""
    device, forced = place(kernels)
    model = models.ConvVAE(latent_dim=2, seed=1).to(device, dtype)
    optimizer, stream = optim.Adam(model.parameters(), eps=1e-3), mv.NoiseStream(7)
    x = to_device(np.random.default_rng(3).random((8, 1, 28, 28)).astype(dtype), device)
    with registry.use(forced):
        for _ in range(3):
            optimizer.zero_grad()
            model.elbo(x, stream.draw()).loss.backward()
            optimizer.step()
    return [to_numpy(p.data) for p in model.parameters()]


def place(kernels):
    """(device of its arrays, name for ``kernels.use``) of a variant."""
    if isinstance(kernels, OnDevice):
        return "cuda", "cuda"
    return "cpu", {"numba_cpu": "numba"}.get(name := kernels.__name__.rpartition(".")[2], name)


FAMILIES = {
    "uniform noise, pixels": integers,
    "normal noise": noise,
    "KL and losses": elementwise,
    "Adam": adam,
    "relu": relu,
    "batch norm, sums of channels": channels,
    "products, convolutions": products,
    "`mv.matmul` of two matrices": multiply,
    "weights after training": weights,
}


# Columns: what is compared with one thread of the best instruction set


@contextlib.contextmanager
def compiled(isa, threads):
    before = registry.threads()
    registry.set_threads(threads)
    try:
        with variant(f"cpu-{isa}") as kernels:
            yield kernels
    finally:
        registry.set_threads(before)


BEST = _cpu.isas()[-1]


@contextlib.contextmanager
def other(name):
    """Another variant; kernels that it lacks run on one thread of the best instruction set."""
    with compiled(BEST, 1), variant(name) as kernels:
        yield kernels


CUDA = "cuda" if "cuda" in registry.available() or not EMULATED else "cuda-emulated"
COLUMNS = {
    "threads": [functools.partial(compiled, BEST, threads) for threads in (2, 3, 7)],
    "instruction sets": [functools.partial(compiled, isa, 1) for isa in _cpu.isas()[:-1]],
    "numba": [functools.partial(other, "numba")],
    "NumPy": [functools.partial(other, "reference")],
    "CUDA": [functools.partial(other, CUDA)],
}
# In units of the dtype's epsilon times the largest number: about three times what was measured.
ROUNDING = {
    "normal noise": 8,
    "KL and losses": 8,
    "Adam": 4,
    "batch norm, sums of channels": 40,  # sums of 15,810 terms
    "products, convolutions": 80,  # sums of 9,000 terms
    "`mv.matmul` of two matrices": 20,
    "weights after training": 40,
}


def table():
    """(row, column) -> cell, as the page has it."""
    if not PAGE.exists():
        return {}
    lines = PAGE.read_text().partition("### What is equal to the bit")[2].splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[: next((i for i, x in enumerate(lines) if x.startswith("## ")), None)]
        if line.startswith("|")
    ]
    header, _, *body = rows
    return {
        (row, c): cell for row, *cells in body for c, cell in zip(header[1:], cells, strict=True)
    }


CELLS = table()


@pytest.mark.skipif(not CELLS, reason="the pages are not beside the tests")
def test_the_table_has_every_cell():
    assert set(CELLS) == {(row, column) for row in FAMILIES for column in COLUMNS}
    assert set(CELLS.values()) == {"same bits", "rounding", "none"}


@functools.cache
def alone(row, dtype):
    """Results of one thread of the best instruction set, which every cell is compared with."""
    with compiled(BEST, 1) as kernels:
        return FAMILIES[row](kernels, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row, column", CELLS)
def test_cell(row, column, dtype):
    promise = CELLS[row, column]
    if not COLUMNS[column]:
        pytest.skip("this processor has one instruction set")
    for way in COLUMNS[column]:
        with way() as kernels:
            if promise == "none":
                with pytest.raises(AttributeError, match=r"^module .* has no attribute"):
                    FAMILIES[row](kernels, dtype)
                return
            results = FAMILIES[row](kernels, dtype)
        for got, want in zip(results, alone(row, dtype), strict=True):
            assert got.dtype == want.dtype == dtype
            if promise == "same bits":
                assert got.tobytes() == want.tobytes()
            else:
                bound = ROUNDING[row] * np.finfo(dtype).eps * np.abs(want).max()
                np.testing.assert_allclose(got, want, rtol=0, atol=bound)
