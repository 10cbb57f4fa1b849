"""Every variant has the reference's signatures; a wrong argument is refused with its name."""

import inspect

import numpy as np
import pytest

from kernel_variants import NAMES, USABLE, variant
from minivae.kernels import reference
from minivae.kernels.philox import NoiseKey


@pytest.fixture(params=NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


def parameters(function):
    """{name: (kind, default)} of each parameter; annotations may differ."""
    found = inspect.signature(function).parameters
    return {name: (p.kind, p.default) for name, p in found.items()}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reference"])
def test_variants_keep_the_reference_signatures(name):
    with variant(name) as module:
        module = getattr(module, "module", module)  # the module that an OnDevice wraps
        shared = [kernel for kernel in reference.__all__ if hasattr(module, kernel)]
        assert len(shared) >= 7
        for kernel in shared:
            own = parameters(getattr(module, kernel))
            version = own.pop("version", None)
            assert (version is not None) == (kernel in getattr(module, "VERSIONS", ())), kernel
            expected = parameters(getattr(reference, kernel))
            assert list(own.items()) == list(expected.items()), kernel


F4 = np.float32
OK = {
    "reparam_kl_forward": lambda: [np.zeros((3, 4), F4) for _ in range(3)],
    "reparam_kl_backward": lambda: [np.zeros((3, 4), F4) for _ in range(4)] + [np.zeros(3, F4)],
    "bce_with_logits": lambda: [np.zeros((3, 4), F4), np.zeros((3, 4), F4), True],
    "squared_error_with_logits": lambda: [np.zeros((3, 4), F4), np.zeros((3, 4), F4), True],
    "adam": lambda: [*(np.zeros(12, F4) for _ in range(4)), 1, 1e-3, 0.9, 0.999, 1e-8, 0.0],
    "gather_pixels": lambda: [np.zeros((3, 4), np.uint8), np.zeros(2, np.int64), F4],
}
PARAMETERS = {name: list(inspect.signature(getattr(reference, name)).parameters) for name in OK}
PARAMETERS["adam"][:4] = ["param", "grad", "m", "v"]  # of each array in its lists
ARRAYS = [
    (kernel, position)
    for kernel, make in OK.items()
    for position, value in enumerate(make())
    if isinstance(value, np.ndarray)
]


def call(module, kernel, args):
    """Call a kernel; Adam takes lists, so each of its arrays becomes a list of one."""
    if kernel == "adam":
        args = [*([a] for a in args[:4]), *args[4:]]
    return getattr(module, kernel)(*args)


def misaligned(a):
    space = np.zeros(a.nbytes + 1, np.uint8)[1:]
    return np.frombuffer(space.data, a.dtype, a.size).reshape(a.shape)


def read_only(a):
    a.flags.writeable = False
    return a


# What is done to one argument, the error, and a piece of its text.
ABUSES = {
    "a list": (lambda a: a.tolist(), TypeError, "array, got list"),
    "None": (lambda a: None, TypeError, "array, got NoneType"),
    "integers": (lambda a: a.astype(np.int32), TypeError, "got <i4"),
    "half precision": (lambda a: a.astype(np.float16), TypeError, "got <f2"),
    "objects": (lambda a: a.astype(object), TypeError, r"got \|O"),
    "foreign byte order": (lambda a: a.astype(a.dtype.newbyteorder()), TypeError, "byte order"),
    "a dimension more": (lambda a: a[None], ValueError, "shape|dimensions"),
    "a longer first axis": (lambda a: np.concatenate([a, a]), ValueError, "shape"),
    "no dimension": (lambda a: a.reshape(-1)[:1].reshape(()), ValueError, "shape|dimensions"),
    "a stride": (lambda a: a.repeat(2, axis=-1)[..., ::2], ValueError, "C-contiguous"),
    "reversed": (lambda a: a[::-1], ValueError, "C-contiguous"),
    "misaligned": (misaligned, ValueError, "aligned"),
}


# Changes that leave a right argument: bytes have no order and no alignment, and the number of
# images, of their axes and of indices is free.
RIGHT = {
    (np.dtype(np.uint8), "foreign byte order"),
    (np.dtype(np.uint8), "misaligned"),
    (np.dtype(np.uint8), "a dimension more"),
    (np.dtype(np.uint8), "a longer first axis"),
    (np.dtype(np.int64), "a longer first axis"),
}


@pytest.fixture(scope="module")
def cpu():
    name = next((name for name in USABLE if name.startswith("cpu")), "cpu")
    with variant(name) as module:
        yield module


@pytest.mark.parametrize("kernel", OK)
def test_the_arguments_to_be_abused_are_right_at_first(cpu, kernel):
    call(cpu, kernel, OK[kernel]())


@pytest.mark.parametrize(
    "kernel, position, abuse",
    [
        (kernel, position, abuse)
        for kernel, position in ARRAYS
        for abuse in ABUSES
        if (OK[kernel]()[position].dtype, abuse) not in RIGHT
    ],
)
def test_bad_arrays_are_refused_by_name(cpu, kernel, position, abuse):
    spoil, error, text = ABUSES[abuse]
    args = OK[kernel]()
    args[position] = spoil(args[position])
    name = PARAMETERS[kernel][position]
    others = {PARAMETERS[k][i] for k, i in ARRAYS if k == kernel}
    with pytest.raises(error, match=text) as caught:
        call(cpu, kernel, args)
    # The first argument sets the shape, so another may be the first that does not fit it.
    named = str(caught.value).split()[0].rstrip(":")
    assert named == name or (position == 0 and error is ValueError and named in others)


@pytest.mark.parametrize("position, name", [(0, "param"), (2, "m"), (3, "v")])
def test_adam_refuses_read_only_memory(cpu, position, name):
    args = OK["adam"]()
    args[position] = read_only(args[position])
    with pytest.raises(ValueError, match=f"{name}: expected a writable array, got a read-only"):
        call(cpu, "adam", args)


@pytest.mark.parametrize("a, b", [(0, 1), (0, 2), (0, 3), (2, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("shift", [0, 1, 11])
def test_adam_refuses_overlap(cpu, a, b, shift):
    args, space = OK["adam"](), np.zeros(12 + 12, F4)
    args[a], args[b] = space[:12], space[shift : shift + 12]
    with pytest.raises(ValueError, match=": expected memory of its own, got memory that overlaps"):
        call(cpu, "adam", args)
    args[b] = space[12:]
    call(cpu, "adam", args)


@pytest.mark.parametrize(
    "pair, error", [((1, -1), ValueError), ((2**64, 0), ValueError), ((1.5, 0), TypeError)]
)
def test_bad_noise_keys(pair, error):
    with pytest.raises(error, match=r"seed|offset"):
        NoiseKey(*pair)


@pytest.mark.parametrize("noise", [(1, 2, 3), [1.0, 2.0, 3.0], None, 7])
def test_noise_is_told_by_its_type(kernels, noise):
    """A tuple that is no NoiseKey is not taken for one, nor broadcast as if it were an array."""
    zero = np.zeros((2, 2), F4)
    with pytest.raises(TypeError, match=r"noise"):
        kernels.reparam_kl_forward(zero, zero, noise)


@pytest.mark.parametrize(
    "noise",
    [(1, 2), (1, 2, 3, 4), (1, 0, -1), (2**64, 0, 0), (1.5, 0, 0), ("1", "2", "3"), 7],
)
def test_the_bindings_refuse_bad_noise_keys_themselves(noise):
    _cpu = pytest.importorskip("minivae._cpu")
    with pytest.raises(TypeError, match=r"noise: expected .*, got"):
        _cpu.reparam_kl_forward(np.zeros((2, 2), F4), np.zeros((2, 2), F4), noise)
    with pytest.raises(TypeError, match="noise: expected a NumPy array or three integers"):
        _cpu.gather_pixels(np.zeros((1, 1), np.uint8), np.zeros(1, np.int64), F4, noise)


def test_an_unknown_instruction_set_is_refused():
    _cpu = pytest.importorskip("minivae._cpu")
    before = _cpu.isa()
    with pytest.raises(ValueError, match=r"one that this machine can run \(plain.*, got 'mmx'"):
        _cpu.use_isa("mmx")
    assert _cpu.isa() == before
