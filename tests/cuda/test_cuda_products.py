"""Matrix products and convolutions, executed as CUDA blocks and warps, on whole numbers: exact."""

import math

import cuda_machine
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import conv_oracles
from kernel_versions import versions_by_kernel
from strategies import LAYOUTS, seeds

DTYPES = {1: [np.float32, np.float64], 5: [np.float32]}
VERSIONS = versions_by_kernel().get("matmul", [])
CONVOLUTIONS = versions_by_kernel().get("conv2d", [])
LIBRARY, BEST = -1, 0
# Tiles of 16, 64 and 128 with and without a rest, sums cut into pieces, nothing at all.
SIZES = [
    (1, 1, 1), (3, 5, 7), (16, 16, 16), (17, 33, 15), (64, 64, 64), (65, 130, 20), (4, 8, 600),
    (130, 4, 300), (0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 70, 260),
]  # fmt: skip
extents = st.integers(0, 70)


@pytest.fixture(params=cuda_machine.NAMES, scope="module")
def gpu(request):
    return cuda_machine.machine(request.param)


def whole_numbers(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def room(gpu, need):
    return gpu.out((need,), np.float64) if need else None


def run_matmul(gpu, a, b, bias, rectify, version, shift=0):
    (M, K), N = a.shape, b.shape[1]
    out, scratch = gpu.out((M, N), a.dtype), room(gpu, gpu.module.matmul_scratch(M, N, K))
    lay = cuda_machine.strided
    results = gpu.run("matmul", lay(a), lay(b), bias, rectify, out, scratch, version, shift=shift)
    return results[0] if scratch else results


def check_matmul(
    gpu, M, N, K, version, dtype, layouts=("contiguous", "contiguous"), shift=0, seed=0
):
    a, b = whole_numbers(seed, M, K, dtype=dtype), whole_numbers(seed + 1, K, N, dtype=dtype)
    bias = whole_numbers(seed + 2, N, dtype=dtype)
    want = conv_oracles.matmul(a, b)
    a, b = (LAYOUTS[name](x) for name, x in zip(layouts, (a, b), strict=True))
    got = run_matmul(gpu, a, b, None, False, version, shift)
    np.testing.assert_array_equal(got, want)
    got = run_matmul(gpu, a, b, bias, True, version, shift)
    np.testing.assert_array_equal(got, (want + bias).clip(0))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", SIZES)
def test_product_of_every_kind_of_size(gpu, version, size):
    if version == 5 and size[2] > 64 and gpu.emulated:
        pytest.skip("the CPU takes a second for 16 of its k; other sizes have both cases")
    for dtype in DTYPES.get(version, DTYPES[1]):
        check_matmul(gpu, *size, version, dtype)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("a", ["contiguous", "transposed"])
@pytest.mark.parametrize("b", ["contiguous", "transposed"])
def test_product_of_transposed_matrices(gpu, version, a, b):
    for size in ((20, 36, 24), (19, 34, 21)):
        check_matmul(gpu, *size, version, np.float32, (a, b))


@given(
    size=st.tuples(extents, extents, extents),
    version=st.sampled_from([1, 2, 3, 4]),
    layouts=st.tuples(*[st.sampled_from(sorted(set(LAYOUTS) - {"read-only"}))] * 2),
    shift=st.integers(0, 3),
    seed=seeds,
)
def test_product_of_any_strides(gpu, size, version, layouts, shift, seed):
    for dtype in DTYPES[1]:
        check_matmul(gpu, *size, version, dtype, layouts, shift, seed)
    assert gpu.module.cublaslt()["refused"] == 0


def test_large_tiles(gpu):
    """Large products use 128 x 128 tiles; on the CPU only the last tile is run."""
    M, N, K = 1400, 1400, 9
    a, b = whole_numbers(0, M, K), whole_numbers(1, K, N)
    if gpu.emulated:
        gpu.module.emulator.only_blocks(-1, 1)
    try:
        got = run_matmul(gpu, a, b, None, False, 4)
    finally:
        if gpu.emulated:
            gpu.module.emulator.all_blocks()
    np.testing.assert_array_equal(got[1280:, 1280:], conv_oracles.matmul(a[1280:], b[:, 1280:]))
    if gpu.emulated:
        assert np.isnan(got[:1280]).all()


def rounded_to_tf32(x):
    """Rounded to 10 bits of mantissa, halves away from zero; computed in double precision."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = mantissa * 2.0**11
    return np.ldexp(np.trunc(scaled + np.copysign(0.5, scaled)), exponent - 11)


def test_tensor_cores_multiply_rounded_numbers(gpu):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 24)).astype("f4"), rng.normal(size=(24, 30)).astype("f4")
    a[0, 0] = 1 + 2.0**-11  # half way between two numbers
    got = run_matmul(gpu, a, b, None, False, 5)
    np.testing.assert_allclose(got, rounded_to_tf32(a) @ rounded_to_tf32(b), rtol=1e-4, atol=1e-5)
    exact = a.astype(float) @ b
    error = np.linalg.norm(got - exact) / np.linalg.norm(exact)
    assert 1e-5 < error < 1e-3, "neither float32's digits nor fewer than TF32's"


def test_product_keeps_nan_in_its_row(gpu):
    for version in VERSIONS:
        a, b = whole_numbers(0, 20, 8), whole_numbers(1, 8, 20)
        a[3, 2] = np.nan
        got = run_matmul(gpu, a, b, None, True, version)
        assert np.isnan(got).any(axis=1).nonzero()[0].tolist() == [3]
        assert np.isnan(got[3]).all()


# The library


@given(
    size=st.tuples(extents, extents, extents),
    layouts=st.tuples(*[st.sampled_from(["contiguous", "transposed", "inside"])] * 2),
    shift=st.integers(0, 3),
    seed=seeds,
)
def test_library_sees_every_layout(gpu, size, layouts, shift, seed):
    if not gpu.module.cublaslt()["found"]:
        pytest.skip(gpu.module.cublaslt()["reason"])
    version = LIBRARY if min(size) > 0 else BEST
    for dtype in DTYPES[1]:
        check_matmul(gpu, *size, version, dtype, layouts, shift, seed)


@pytest.mark.parametrize("layout", ["strided", "reversed"])
def test_what_the_library_cannot_see_is_multiplied_all_the_same(gpu, layout):
    check_matmul(gpu, 9, 8, 7, BEST, np.float32, (layout, "contiguous"))
    with pytest.raises(ValueError, match="cuBLASLt does not do this product"):
        check_matmul(gpu, 9, 8, 7, LIBRARY, np.float32, (layout, "contiguous"))


@pytest.mark.parametrize("version", [LIBRARY, 4])
def test_products_can_be_captured(version):
    """Products are not computed while a stream captures, but when the graph runs."""
    gpu = cuda_machine.machine("emulated")
    emulator = gpu.module.emulator
    a, b, out = whole_numbers(0, 6, 300), whole_numbers(1, 300, 5), np.full((6, 5), np.nan, "f4")
    scratch = np.zeros(gpu.module.matmul_scratch(6, 5, 300))
    passed = [cuda_machine.Interface(dict(x.__array_interface__), x) for x in (a, b, out, scratch)]
    stream = emulator.create_stream()
    emulator.begin_capture(stream)
    gpu.module.matmul(*passed[:2], None, False, *passed[2:], version, stream)
    graph = emulator.end_capture(stream)
    assert np.isnan(out).all()
    for _ in range(2):
        graph.launch(stream)
        np.testing.assert_array_equal(out, conv_oracles.matmul(a, b))
        a += 1
    emulator.destroy_stream(stream)


def test_tf32_is_off_until_asked_for(gpu):
    assert gpu.module.cublaslt()["tf32"] is False
    gpu.module.set_tf32(True)
    try:
        assert gpu.module.cublaslt()["tf32"] is True
    finally:
        gpu.module.set_tf32(False)


def test_bad_products_are_named(gpu):
    a, b = np.zeros((2, 3), np.float32), np.zeros((4, 5), np.float32)
    with pytest.raises(
        ValueError, match=r"a \(M, K\) and b \(K, N\), got a \(2, 3\) and b \(4, 5\)"
    ):
        run_matmul(gpu, a, b, None, False, 4)
    with pytest.raises(TypeError, match="b: expected float32"):
        run_matmul(gpu, a, np.zeros((3, 5)), None, False, 4)
    with pytest.raises(ValueError, match=r"version: expected -1\.\.5, got 6"):
        run_matmul(gpu, a, b[:3], None, False, 6)
    with pytest.raises(ValueError, match=r"version: expected -1\.\.4, got 5"):
        run_matmul(gpu, np.zeros((2, 3)), np.zeros((3, 4)), None, False, 5)
    with pytest.raises(ValueError, match=r"bias: expected shape \(5,\)"):
        run_matmul(gpu, a, b[:3], np.zeros(2, np.float32), False, 4)


# convolutions


axes = st.fixed_dictionaries(
    {
        "size": st.integers(1, 9),
        "kernel": st.integers(1, 4),
        "stride": st.sampled_from([1, 1, 2, 2, 3, 5]),
        "padding": st.integers(0, 3),
        "dilation": st.integers(1, 3),
    }
).filter(lambda a: a["size"] + 2 * a["padding"] > a["dilation"] * (a["kernel"] - 1))


def axis_of(size, kernel, stride=1, padding=0, dilation=1):
    return dict(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def check_convolutions(gpu, N, C, O, h, w, dtype, cut=(0, 0), shift=0, seed=0, version=BEST):
    """The three maps; ``cut`` rows and columns of dy are left out, as a transposed layer may do."""
    size, kernel, stride, padding, dilation = (
        (h[key], w[key]) for key in ("size", "kernel", "stride", "padding", "dilation")
    )
    geometry = (stride, padding, dilation)
    out = tuple(
        conv_oracles.output_size(*at)
        for at in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    x, weights = (
        whole_numbers(seed, N, C, *size, dtype=dtype),
        whole_numbers(1, O, C, *kernel, dtype=dtype),
    )
    b, c = whole_numbers(2, O, dtype=dtype), whole_numbers(3, C, dtype=dtype)

    to = gpu.out((N, O, *out), dtype)
    y = gpu.run("conv2d", x, weights, b, *geometry, False, to, version, shift=shift)
    want = conv_oracles.conv2d(x, weights, out, *geometry)
    np.testing.assert_array_equal(y, want + b[:, None, None])
    y = gpu.run("conv2d", x, weights, None, *geometry, True, to, version, shift=shift)
    np.testing.assert_array_equal(y, want.clip(0))

    out = tuple(max(1, n - k) for n, k in zip(out, cut, strict=True))
    dy = whole_numbers(seed + 4, N, O, *out, dtype=dtype)
    to = gpu.out(x.shape, dtype)
    dx = gpu.run(
        "conv2d_grad_input", dy, weights, c, size, *geometry, False, to, version, shift=shift
    )
    want = conv_oracles.conv2d_grad_input(dy, weights, size, *geometry)
    np.testing.assert_array_equal(dx, want + c[:, None, None])
    dx = gpu.run(
        "conv2d_grad_input", dy, weights, None, size, *geometry, True, to, version, shift=shift
    )
    np.testing.assert_array_equal(dx, want.clip(0))

    sums = O, C * math.prod(kernel), N * math.prod(out)
    scratch = room(gpu, gpu.module.conv2d_grad_weight_scratch(*sums))
    to = gpu.out(weights.shape, dtype)
    dw = gpu.run("conv2d_grad_weight", x, dy, kernel, *geometry, to, scratch, shift=shift)
    dw = dw[0] if scratch else dw
    np.testing.assert_array_equal(dw, conv_oracles.conv2d_grad_weight(x, dy, kernel, *geometry))


LAYERS = {  # channels small: what matters is the geometry of the models' layers, and every tile
    "conv 28 to 14": (2, 1, 20, axis_of(28, 3, 2, 1)),
    "conv 14 to 7": (2, 5, 40, axis_of(14, 3, 2, 1)),
    "conv 7 x 7": (3, 3, 70, axis_of(7, 3, 1, 1)),
    "conv 12 to 6": (1, 10, 12, axis_of(12, 3, 2, 1)),
    "gradient in pieces": (2, 1, 2, axis_of(34, 3, 1, 1)),
    "no padding": (1, 2, 17, axis_of(31, 3, 2, 0)),
    "pointwise": (2, 33, 34, axis_of(3, 1)),
    "depths of two tables": (1, 33, 30, axis_of(17, 3, 1, 1)),
    "stride past the kernel": (1, 2, 3, axis_of(11, 2, 4)),
    "dilated and strided": (1, 2, 3, axis_of(13, 3, 2, 2, 2)),
    "stride past the image": (1, 2, 3, axis_of(3, 2, 9, 1)),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES[1])
def test_convolutions_of_every_kind_of_layer(gpu, layer, dtype):
    N, C, O, axis = LAYERS[layer]
    check_convolutions(gpu, N, C, O, axis, axis, dtype)


@pytest.mark.parametrize("version", CONVOLUTIONS)
@pytest.mark.parametrize("channels", [(9, 12), (33, 34)])
def test_convolutions_of_every_version(gpu, version, channels):
    """Tiles of 16, 32 and 64 rows; taps that fill one table, and more than three slabs."""
    for dtype in DTYPES[1] if version < 5 else DTYPES[5]:
        check_convolutions(gpu, 1, *channels, axis_of(6, 1), axis_of(5, 1), dtype, version=version)
        if version < 5 or not gpu.emulated:  # the CPU takes seconds for more of their taps
            axis = axis_of(7, 3, 2, 1)
            check_convolutions(gpu, 2, *channels, axis, axis, dtype, version=version)


@pytest.mark.parametrize(("version", "digits"), [(4, 1e-6), (5, 1e-3), (6, 1e-6)])
@pytest.mark.parametrize("depth", [16, 576])
def test_digits_of_convolutions_on_tensor_cores(gpu, version, digits, depth):
    """Tensor cores truncate sums, so they add few terms; the error must not grow with depth."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, depth, 5, 8)), rng.normal(size=(12, depth, 1, 1))
    x, w = x.astype("f4"), w.astype("f4")
    to, geometry = gpu.out((1, 12, 5, 8), np.float32), [(1, 1), (0, 0), (1, 1)]
    got = gpu.run("conv2d", x, w, None, *geometry, False, to, version)
    exact = np.einsum("oc,nchw->nohw", w[:, :, 0, 0].astype(float), x.astype(float))
    error = np.linalg.norm(got - exact) / np.linalg.norm(exact)
    assert digits / 1000 < error < digits


@given(
    sizes=st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5)),
    h=axes,
    w=axes,
    cut=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    shift=st.integers(0, 3),
    seed=seeds,
    version=st.sampled_from([1, 2, 3]),
)
def test_convolutions_of_any_geometry(gpu, sizes, h, w, cut, shift, seed, version):
    check_convolutions(gpu, *sizes, h, w, np.float32, cut, shift, seed, version)


def test_bad_convolutions_are_named(gpu):
    x, w = np.zeros((2, 3, 5, 5), np.float32), np.zeros((4, 3, 3, 3), np.float32)
    y, one, none = gpu.out((2, 4, 3, 3), np.float32), (1, 1), (0, 0)
    with pytest.raises(ValueError, match=r"y: expected shape \(2, 4, 3, 3\), got \(2, 4, 3, 2\)"):
        gpu.run("conv2d", x, w, None, one, none, one, False, gpu.out((2, 4, 3, 2), np.float32), 0)
    with pytest.raises(ValueError, match=r"w: expected shape \(4, 3, 3, 3\), got \(4, 2, 3, 3\)"):
        gpu.run("conv2d", x, w[:, :2].copy(), None, one, none, one, False, y, 0)
    with pytest.raises(ValueError, match="stride and dilation of at least 1"):
        gpu.run("conv2d", x, w, None, (0, 1), none, one, False, y, 0)
    with pytest.raises(
        ValueError, match="convolution: expected input and padding together of at most"
    ):
        gpu.run("conv2d", x, w, None, one, (2**30, 0), one, False, y, 0)
    with pytest.raises(ValueError, match="x: expected 4 dimensions"):
        gpu.run("conv2d", x[0], w, None, one, none, one, False, y, 0)
    with pytest.raises(ValueError, match=r"version: expected 1\.\.6, got 7"):
        gpu.run("conv2d", x, w, None, one, none, one, False, y, 7)
    x, w, y = x.astype(float), w.astype(float), gpu.out((2, 4, 3, 3), float)
    with pytest.raises(ValueError, match=r"version: expected 1\.\.4, got 5"):
        gpu.run("conv2d", x, w, None, one, none, one, False, y, 5)
