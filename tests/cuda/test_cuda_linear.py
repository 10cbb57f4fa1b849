"""One launch for each product of a layer, executed as CUDA blocks, against products in float64."""

import cuda_machine
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import seeds

DTYPES = [np.float32, np.float64]
# (rows, inputs, outputs of the maps): one tile or several, whole or not, sums in pieces or not.
SIZES = [
    (1, 1, (1,)), (5, 3, (2, 4)), (64, 64, (64,)), (65, 63, (66,)), (3, 700, (5, 7)),
    (130, 20, (70,)), (7, 130, (65, 70)), (300, 5, (3,)),
]  # fmt: skip


@pytest.fixture(params=cuda_machine.NAMES, scope="module")
def gpu(request):
    return cuda_machine.machine(request.param)


class Case:
    """A layer with random arrays, and the expected result of each product in float64."""

    def __init__(self, N, I, outputs, dtype, seed=0):
        rng = np.random.default_rng(seed)

        def draw(*shape):
            return rng.normal(size=shape).astype(dtype)

        self.dtype, self.x = dtype, draw(N, I)
        self.w, self.b = [draw(o, I) for o in outputs], [draw(o) for o in outputs]
        self.dy, self.y = [draw(N, o) for o in outputs], draw(N, outputs[0])
        self.depth = max(N, I, sum(outputs))

    def masked(self, rectified):
        """The upstream gradients in float64, set to 0 where the ReLU's output is 0."""
        dys = [dy.astype(np.float64) for dy in self.dy]
        return [np.where(self.y <= 0, 0.0, dys[0])] if rectified else dys

    def close(self, found, expected):
        """Assert equality to the rounding of sums of ``depth`` products of numbers around 1."""
        tolerance = 8 * self.depth**0.5 * np.finfo(self.dtype).eps
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=4 * tolerance)


def run(gpu, name, case, needs, *arguments, shift=0):
    """The outputs of a call; its tickets (counters of finished blocks) must be zero after it."""
    need = gpu.module.linear_scratch(*needs)
    scratch = gpu.out((need,), np.float64) if need else None
    tickets = cuda_machine.Out(np.zeros(gpu.module.TICKETS, np.uint64))
    results = gpu.run(name, *arguments, scratch, tickets, shift=shift)
    assert not results[-1].any()
    results = results[:-2] if need else results[:-1]
    return [np.array(a) for a in results]


def check(gpu, N, I, outputs, dtype, *, rectify=False, bias=True, seed=0, shift=0):
    case, O, out = Case(N, I, outputs, dtype, seed), sum(outputs), gpu.out
    x = case.x.astype(np.float64)
    ys = run(
        gpu, "linear", case, (N, O, I), case.x, case.w, case.b if bias else [None] * len(outputs),
        rectify, [out((N, o), dtype) for o in outputs], shift=shift,
    )  # fmt: skip
    for y, w, b in zip(ys, case.w, case.b, strict=True):
        expected = x @ w.astype(np.float64).T + (b if bias else 0)
        case.close(y, np.maximum(expected, 0) if rectify else expected)
    rectified = rectify and len(outputs) == 1
    given = case.x, case.w, case.dy, case.y if rectified else None
    dys = case.masked(rectified)
    (dx,) = run(gpu, "linear_grad_input", case, (N, I, O), *given, out((N, I), dtype), shift=shift)
    case.close(dx, sum(dy @ w for dy, w in zip(dys, case.w, strict=True)))
    found = run(
        gpu, "linear_grad_weight", case, (O, I + 1, N), *given,
        [out((o, I), dtype) for o in outputs],
        [out((o,), dtype) if bias else None for o in outputs], shift=shift,
    )  # fmt: skip
    for k, dy in enumerate(dys):
        case.close(found[k], dy.T @ x)
        if bias:
            case.close(found[len(outputs) + k], dy.sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("rectify", [False, True])
def test_every_kind_of_layer(gpu, size, rectify, dtype):
    check(gpu, *size, dtype, rectify=rectify)


@given(
    N=st.integers(1, 70),
    I=st.integers(1, 200),
    outputs=st.lists(st.integers(1, 70), min_size=1, max_size=2),
    rectify=st.booleans(),
    bias=st.booleans(),
    shift=st.integers(0, 3),
    seed=seeds,
)
def test_any_layer(gpu, N, I, outputs, rectify, bias, shift, seed):
    size = N, I, tuple(outputs)
    check(gpu, *size, np.float32, rectify=rectify, bias=bias, seed=seed, shift=shift)


def test_nan_passes_relu_both_ways(gpu):
    case = Case(2, 3, (4,), np.float32)
    case.x[1, 2] = np.nan
    out = gpu.out
    (y,) = run(
        gpu, "linear", case, (2, 4, 3), case.x, case.w, case.b, True, [out((2, 4), np.float32)]
    )
    assert np.isnan(y[1]).all() and np.isfinite(y[0]).all()
    given = case.x, case.w, case.dy, y
    (dx,) = run(gpu, "linear_grad_input", case, (2, 3, 4), *given, out((2, 3), np.float32))
    np.testing.assert_allclose(dx[1], case.dy[0][1] @ case.w[0], rtol=1e-5, atol=1e-6)


def test_sums_in_pieces_are_added_in_one_order(gpu):
    """The bits do not depend on the order of blocks, nor on which block finishes last."""
    case = Case(9, 800, (30,), np.float32)
    need = gpu.module.linear_scratch(9, 30, 800)
    assert need
    results = [
        run(gpu, "linear", case, (9, 30, 800), case.x, case.w, case.b, False,
            [gpu.out((9, 30), np.float32)])[0]
        for _ in range(2)
    ]  # fmt: skip
    assert results[0].tobytes() == results[1].tobytes()


def test_bad_arguments_are_named(gpu):
    case, out = Case(2, 3, (4,), np.float32), gpu.out
    tickets = cuda_machine.Out(np.zeros(gpu.module.TICKETS, np.uint64))
    y = out((2, 4), np.float32)
    for arguments, error in (
        (
            (case.x, case.w * 3, case.b * 3, False, [y, y, y]),
            "weights: expected one or two arrays, got 3",
        ),
        ((case.x, case.w, [], False, [y]), "biases: expected as many as weights, 1, got 0"),
        ((case.x, case.w, case.b, False, [out((2, 5), np.float32)]), r"y: expected shape \(2, 4\)"),
        ((case.x[:, :2].copy(), case.w, case.b, False, [y]), r"w: expected shape \(4, 2\)"),
        (
            (case.x[:0], case.w, case.b, False, [y]),
            r"x and w with at least one element, got x \(0, ",
        ),
    ):
        with pytest.raises(ValueError, match=error):
            gpu.run("linear", *arguments, None, tickets)
    with pytest.raises(ValueError, match="y: expected None for two maps, got "):
        gpu.run("linear_grad_input", case.x, case.w * 2, case.dy * 2, case.y,
                out((2, 3), np.float32), None, tickets)  # fmt: skip
