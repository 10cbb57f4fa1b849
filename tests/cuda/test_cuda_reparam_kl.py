"""Every version of reparam_kl and the noise it draws, executed as CUDA blocks and warps.

Oracles are loops over Python floats (kernel_oracles) and the noise stream's definition in NumPy.
"""

import mmap

import cuda_build
import cuda_machine
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernel_oracles as oracles
from kernel_versions import versions_by_kernel
from minivae.kernels import philox
from minivae.kernels.philox import NoiseKey
from strategies import seeds

DTYPES = [np.float32, np.float64]
VERSIONS = versions_by_kernel().get("reparam_kl", [])
NOISE = NoiseKey(0x0123_4567_89AB_CDEF, 2**40 + 3)
# (N, D): nothing, single elements, rows inside, beside and across quads, warps and blocks.
SHAPES = [
    (0, 0), (0, 3), (3, 0), (1, 1), (70, 1), (9, 2), (11, 3), (7, 4), (6, 5), (5, 20),
    (4, 31), (3, 33), (3, 64), (2, 127), (2, 130), (3, 257), (1, 700), (2, 1028),
]  # fmt: skip


@pytest.fixture(params=cuda_machine.NAMES, scope="module")
def gpu(request):
    return cuda_machine.machine(request.param)


def close(got, want, dtype):
    rtol, atol = (3e-6, 2e-6) if dtype == np.float32 else (1e-13, 1e-13)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def draw(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    mu, logvar, eps, dz = (rng.normal(0, 1.5, shape).astype(dtype) for _ in range(4))
    return mu, logvar, eps, dz, rng.normal(size=shape[0]).astype(dtype)


def run(gpu, version, mu, logvar, noise, dz, dkl, shift=0):
    """z, kl, dmu, dlogvar."""
    out = [gpu.out(s, mu.dtype) for s in (mu.shape, mu.shape[:1], mu.shape, mu.shape)]
    results = gpu.run("reparam_kl_forward", mu, logvar, noise, *out[:2], version, shift=shift)
    backward = (mu, logvar, noise, dz, dkl, *out[2:], version)
    return results + gpu.run("reparam_kl_backward", *backward, shift=shift)


def check(gpu, version, shape, dtype, shift=0, seed=0):
    """Compare a version with the oracles, given a noise array or, if it draws noise, a key."""
    mu, logvar, eps, dz, dkl = draw(seed, shape, dtype)
    noise = eps
    if version >= gpu.module.DRAWS_NOISE:
        noise, eps = NOISE, philox.normal(NOISE, shape, np.float64)
    got = run(gpu, version, mu, logvar, noise, dz, dkl, shift)
    want = oracles.reparam_kl_forward(mu, logvar, eps)
    want += oracles.reparam_kl_backward(mu, logvar, eps, dz, dkl)
    for a, b in zip(got, want, strict=True):
        close(a, b, dtype)
    return got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_kind_of_row(gpu, version, shape, dtype):
    check(gpu, version, shape, dtype)


@pytest.mark.parametrize("version", VERSIONS)
@given(
    shape=st.tuples(st.integers(0, 12), st.integers(0, 70)),
    dtype=st.sampled_from(DTYPES),
    shift=st.integers(0, 3),
    seed=seeds,
)
def test_any_shape_and_alignment(gpu, version, shape, dtype, shift, seed):
    """Arrays that begin at any element give the results of aligned ones."""
    shifted = check(gpu, version, shape, dtype, shift, seed)
    for a, b in zip(shifted, check(gpu, version, shape, dtype, 0, seed), strict=True):
        gpu.assert_same(a, b)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_order_of_threads_changes_no_byte(version):
    """The order of threads changes no bit; shared memory starts as NaN, so no early read passes."""
    gpu = cuda_machine.machine("emulated")
    results = set()
    try:
        for order, seed in (("forward", 0), ("backward", 0), ("shuffled", 1), ("shuffled", 2)):
            gpu.module.emulator.set_order(order, seed)
            got = check(gpu, version, (5, 300), np.float32)
            results.add(b"".join(a.tobytes() for a in got))
    finally:
        gpu.module.emulator.set_order("forward")
    assert len(results) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (6, 20), (2, 130)])
def test_drawing_inside_is_the_drawn_array(gpu, shape, dtype):
    mu, logvar, _, dz, dkl = draw(3, shape, dtype)
    eps = gpu.run("normal", gpu.out(shape, dtype), NOISE)
    drawn = run(gpu, 5, mu, logvar, NOISE, dz, dkl)
    for version, noise in ((4, eps), (5, eps), (6, eps), (6, NOISE)):
        given = run(gpu, version, mu, logvar, noise, dz, dkl)
        for a, b in zip(drawn, given, strict=True):
            gpu.assert_same(a, b)


@pytest.mark.parametrize("first", [1, 6, 8, 2**40 + 20])
@pytest.mark.parametrize("shape", [(3, 20), (6, 10)])
def test_a_draw_may_begin_at_any_element_of_the_stream(gpu, first, shape):
    """The first element may lie inside a Philox block of four, or at its beginning."""
    mu, logvar, _, dz, dkl = draw(4, shape, np.float32)
    eps = stream(NOISE, first, mu.size).reshape(shape).astype(np.float32)
    given = run(gpu, 4, mu, logvar, eps, dz, dkl)
    for version in (5, 6):
        drawn = run(gpu, version, mu, logvar, (*NOISE[:2], first), dz, dkl)
        for a, b in zip(drawn, given, strict=True):
            close(a, b, np.float32)


def test_kl_of_a_standard_normal_is_nothing_and_of_others_positive(gpu):
    zero = np.zeros((3, 37), np.float32)
    small = np.random.default_rng(0).normal(0, 1e-3, (300, 20)).astype(np.float32)
    for version in VERSIONS:
        for values, holds in ((zero, np.equal), (small, np.greater)):
            out = gpu.out(values.shape, np.float32), gpu.out(values.shape[:1], np.float32)
            noise = np.ones_like(values)
            kl = gpu.run("reparam_kl_forward", values, values, noise, *out, version)[1]
            assert holds(kl, 0).all()


def test_nan_stays_in_its_row(gpu):
    mu, logvar, eps, _, _ = draw(1, (4, 6), np.float32)
    mu[2, 3] = np.nan
    for version in VERSIONS:
        out = gpu.out((4, 6), np.float32), gpu.out((4,), np.float32)
        z, kl = gpu.run("reparam_kl_forward", mu, logvar, eps, *out, version)
        assert np.isnan(z).sum() == 1 and np.isnan(z[2, 3])
        assert np.isnan(kl).tolist() == [False, False, True, False]


# ---- noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@given(count=st.integers(0, 1100), shift=st.integers(0, 3), seed=seeds, offset=seeds)
def test_noise_is_the_stream(gpu, dtype, count, shift, seed, offset):
    noise = NoiseKey(seed, offset)
    uniform = gpu.run("uniform", gpu.out((count,), dtype), noise, shift=shift)
    np.testing.assert_array_equal(uniform, philox.uniform(noise, (count,), dtype))
    normal = gpu.run("normal", gpu.out((count,), dtype), noise, shift=shift)
    close(normal, philox.normal(noise, (count,), np.float64), dtype)


@pytest.mark.parametrize("offset, counter", [(3, 4), (0, 2**63), (2**64 - 1, 5)])
def test_a_counter_on_the_device_moves_the_offset(gpu, offset, counter):
    """The counter is added to the offset modulo 2^64."""
    array = np.array([counter], np.uint64)
    moved = (9, (offset + counter) % 2**64, 6)
    got = gpu.run("normal", gpu.out((30,), np.float64), (9, offset, 6, array))
    np.testing.assert_array_equal(got, gpu.run("normal", gpu.out((30,), np.float64), moved))
    mu, logvar, _, dz, dkl = draw(1, (5, 7), np.float64)
    got = run(gpu, 5, mu, logvar, (9, offset, 6, array), dz, dkl)
    for a, b in zip(got, run(gpu, 5, mu, logvar, moved, dz, dkl), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_replayed_graph_draws_new_noise():
    """A graph's arguments are fixed, but the counter that it reads from memory changes."""
    gpu = cuda_machine.machine("emulated")
    counter, out = gpu.upload(np.zeros(1, np.uint64)), gpu.upload(np.zeros(10, np.float32))
    emulator = gpu.module.emulator
    stream = emulator.create_stream()
    emulator.begin_capture(stream)
    gpu.module.normal(out, (9, 5, 0, counter), stream)
    graph = emulator.end_capture(stream)
    emulator.destroy_stream(stream)
    assert graph.nodes == 1 and not out.host.any()
    for step in range(3):
        counter.host[0] = step
        graph.launch(0)
        close(out.host, philox.normal(NoiseKey(9, 5 + step), (10,), np.float64), np.float32)


# ---- arrays beyond 2^31 elements -----------------------------------------------------------------


class Huge:
    """Zeros that take memory only where they are written."""

    def __init__(self, shape, dtype=np.float32):
        count = int(np.prod(shape))
        reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
        self.memory = mmap.mmap(
            -1, count * np.dtype(dtype).itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve
        )
        self.host = np.frombuffer(self.memory, dtype).reshape(shape)

    @property
    def __cuda_array_interface__(self):
        interface = self.host.__array_interface__
        return {name: interface[name] for name in ("shape", "typestr", "data")} | {"version": 3}


@pytest.fixture
def far_end():
    """The stand-in, running only the last two blocks of every grid."""
    gpu = cuda_machine.machine("emulated")
    gpu.module.emulator.only_blocks(-2, 2)
    yield gpu.module
    gpu.module.emulator.all_blocks()


def end_of(array, count):
    """The last ``count`` elements, and those at the last ones' indices modulo 2^32."""
    flat = array.host.ravel()
    wrapped = (flat.size - count) % 2**32
    return flat[-count:], flat[wrapped : wrapped + count]


def stream(noise, first, count, name="normal"):
    """Elements first .. first + count - 1 of the noise stream, drawn in blocks of four."""
    words = philox._words(*noise[:2], first // 4, count // 4 + 2)
    numbers = (philox._normal if name == "normal" else philox._uniform)(words).ravel()
    return numbers[first % 4 : first % 4 + count]


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_noise_beyond_2_31_elements(far_end, name):
    count = 2**32 + 2**21 + 5
    out = Huge(count)
    getattr(far_end, name)(out, (1, 2, 0), 0)
    end, wrapped = end_of(out, 9)
    close(end, stream((1, 2), count - 9, 9, name), np.float32)
    assert not wrapped.any()


@pytest.mark.parametrize("version", VERSIONS)
def test_reparam_kl_beyond_2_31_elements(far_end, version):
    """The last rows of 4.8e9 elements are right, and nothing is written at their indices modulo
    2^32."""
    N, D = 2**29 + 2**20 + 3, 9
    *inputs, dkl = draw(0, (2, D), np.float32)
    huge = [Huge((N, D)) for _ in range(7)]
    for array, values in zip(huge, inputs, strict=False):
        array.host[-2:] = values
    mu, logvar, eps, dz, z, dmu, dlogvar = huge
    kl, row_gradient = Huge(N), Huge(N)
    row_gradient.host[-2:] = dkl
    noise = eps
    if version >= far_end.DRAWS_NOISE:
        noise = NOISE
        inputs[2] = stream(NOISE, (N - 2) * D, 2 * D).reshape(2, D)
    far_end.reparam_kl_forward(mu, logvar, noise, z, kl, version, 0)
    far_end.reparam_kl_backward(mu, logvar, noise, dz, row_gradient, dmu, dlogvar, version, 0)
    m, l, e, g = inputs
    want = oracles.reparam_kl_forward(m, l, e) + oracles.reparam_kl_backward(m, l, e, g, dkl)
    for array, exact in zip((z, kl, dmu, dlogvar), want, strict=True):
        end, wrapped = end_of(array, exact.size)
        close(end.reshape(exact.shape), exact, np.float32)
        if array is not kl:
            assert not wrapped.any()


# ---- arguments -----------------------------------------------------------------------------------


def test_bad_arguments_are_named(gpu):
    """Each kind of check once; the checks are shared by all kernels (bind/cuda)."""
    a, row = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
    good = {"mu": a, "logvar": a, "noise": a, "z": gpu.out((3, 4), "f4"), "kl": gpu.out((3,), "f4")}

    def refuses(error, message, version=3, shift=0, **changed):
        with pytest.raises(error, match=message):
            gpu.run("reparam_kl_forward", *(good | changed).values(), version, shift=shift)

    refuses(TypeError, "mu: expected float32 or float64 .*, got <i8", mu=np.zeros((3, 4), np.int64))
    refuses(TypeError, "logvar: expected float32 .*, got <f8", logvar=a.astype(np.float64))
    refuses(TypeError, "mu: expected float32 or float64 .*, got >f4", mu=a.astype(">f4"))
    refuses(TypeError, "mu: expected an array on a GPU, got float", mu=1.0)
    refuses(ValueError, r"mu: expected 2 dimensions, got shape \(3,\)", mu=row)
    refuses(ValueError, r"noise: expected shape \(3, 4\), got \(4, 3\)", noise=a.reshape(4, 3))
    refuses(ValueError, r"kl: expected shape \(3,\), got \(4,\)", kl=gpu.out((4,), "f4"))
    refuses(ValueError, r"version: expected 1\.\.6, got 7", version=7)
    refuses(
        ValueError,
        "noise: expected an array for a version below 5, got tuple for version 4",
        4,
        noise=(1, 2, 0),
    )
    refuses(
        TypeError, "noise: expected an array .*, got tuple of length 5", 5, noise=(1, 2, 3, 4, 5)
    )
    for wrong in (("a", 1, 2), (-1, 0, 0), (0, 1.5, 0), (0, 0, 2**64)):
        refuses(TypeError, r"noise: expected .* in \[0, 2\^64\), got \(", 5, noise=wrong)
    transposed = cuda_machine.strided(np.zeros((4, 3), np.float32).T)
    refuses(
        ValueError,
        r"logvar: expected a C-contiguous array, got strides \(4, 12\)",
        logvar=transposed,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_which_versions_draw_noise_is_known_from_the_extension(gpu, version):
    """Versions from DRAWS_NOISE on take a noise key and draw from it; earlier ones refuse it."""
    arrays = [*draw(1, (2, 3), np.float32)[:2], NOISE]
    arrays += [gpu.out((2, 3), np.float32), gpu.out((2,), np.float32)]
    if version >= gpu.module.DRAWS_NOISE:
        z, kl = gpu.run("reparam_kl_forward", *arrays, version)
        assert np.isfinite(z).all() and np.isfinite(kl).all()
    else:
        with pytest.raises(ValueError, match="noise: expected an array"):
            gpu.run("reparam_kl_forward", *arrays, version)
    assert max(VERSIONS) == gpu.module.VERSIONS["reparam_kl_forward"]


def test_overlap_read_only_outputs_and_odd_addresses_are_refused():
    gpu = cuda_machine.machine("emulated")
    mu, kl = gpu.upload(np.zeros((3, 4), np.float32)), gpu.upload(np.zeros(3, np.float32))
    with pytest.raises(
        ValueError, match="z: expected memory of its own, got memory that overlaps mu"
    ):
        gpu.module.reparam_kl_forward(mu, mu, mu, mu, kl, 3, 0)
    interface = mu.__cuda_array_interface__
    address = interface["data"][0]
    for data, message in (
        ((address + 16, False), "z: expected memory of its own, got memory that overlaps mu"),
        ((address, True), "z: expected a writable array, got a read-only one"),
        ((address + 2, False), "z: expected memory aligned to 4 bytes, got address 0x"),
    ):
        z = cuda_machine.Interface({**interface, "data": data}, mu)
        with pytest.raises(ValueError, match=message):
            gpu.module.reparam_kl_forward(mu, mu, mu, z, kl, 3, 0)


def test_the_device_answers():
    gpu = cuda_machine.machine("emulated")
    assert "CPU" in gpu.module.device()["name"]
    assert gpu.module.VERSIONS["reparam_kl_forward"] == max(VERSIONS)
    assert cuda_build.missing() is None
