"""Call every function of minivae._cpu with arguments spoiled at random; each works or raises.

python fuzz_bindings.py SEED FIRST LAST calls numbers FIRST to LAST - 1 of a seed's stream and
prints their outcomes as JSON. Call i depends on (SEED, i) alone, so a crash is repeated by
`fuzz_bindings.py SEED i i+1`; the number is printed before a crash kills the process only with
--trace FILE, which names the call about to be made.
"""

import argparse
import collections
import faulthandler
import json
import mmap
import random
import resource
import sys
import warnings

import numpy as np

from minivae import _cpu

F4, F8 = np.float32, np.float64
# What a call may raise. A MemoryError is right where the result asked for does not fit in memory.
ALLOWED = (TypeError, ValueError, IndexError, MemoryError)
MEMORY = 6 << 30  # bytes of address space: a larger result is refused, not swapped
SECONDS = 120  # for a hundred calls; past it the process ends and says where it hung


def shape(draw, rank):
    """Small extents, zero among them."""
    return tuple(draw.choice((0, 1, 1, 2, 3, 5, 8, 17)) for _ in range(rank))


def array(draw, *extents, dtype=None):
    """Numbers between -2 and 2."""
    size = int(np.prod(extents))
    values = np.array([draw.uniform(-2, 2) for _ in range(min(size, 8))] or [0.0])
    return np.resize(values, extents).astype(dtype or F4)


def conv_geometry(draw):
    """Sizes that fit: (input, kernel, output, stride, padding, dilation), a pair each."""
    axes = []
    for _ in range(2):
        k, s, p, d = (draw.randint(1, 3) for _ in range(4))
        n = d * (k - 1) + 1 + draw.randint(0, 6)
        axes.append((n, k, (n + 2 * p - d * (k - 1) - 1) // s + 1, s, p, d))
    return tuple(zip(*axes, strict=True))


def matmul(draw, t):
    m, k, n = shape(draw, 3)
    bias, rectify = draw.choice((None, array(draw, n, dtype=t))), draw.choice((True, False))
    return [array(draw, m, k, dtype=t), array(draw, k, n, dtype=t), bias, rectify]


def conv2d(draw, t):
    N, C, O = shape(draw, 3)
    n, k, _, *rest = conv_geometry(draw)
    bias, rectify = draw.choice((None, array(draw, O, dtype=t))), draw.choice((True, False))
    return [array(draw, N, C, *n, dtype=t), array(draw, O, C, *k, dtype=t), bias, *rest, rectify]


def conv2d_grad_input(draw, t):
    N, C, O = shape(draw, 3)
    n, k, out, *rest = conv_geometry(draw)
    bias, rectify = draw.choice((None, array(draw, C, dtype=t))), draw.choice((True, False))
    x, w = array(draw, N, O, *out, dtype=t), array(draw, O, C, *k, dtype=t)
    return [x, w, bias, n, *rest, rectify]


def conv2d_grad_weight(draw, t):
    N, C, O = shape(draw, 3)
    n, k, out, *rest = conv_geometry(draw)
    return [array(draw, N, C, *n, dtype=t), array(draw, N, O, *out, dtype=t), k, *rest]


def batch_norm_forward(draw, t):
    n, c, length = shape(draw, 3)
    w, b, mean, var = (array(draw, c, dtype=t) for _ in range(4))
    measured = draw.choice(([None, None], [mean, var]))
    return [array(draw, n, c, length, dtype=t), w, b, *measured, 1e-5]


def batch_norm_backward(draw, t):
    n, c, length = shape(draw, 3)
    x, dy = (array(draw, n, c, length, dtype=t) for _ in range(2))
    w, mean, var = (array(draw, c, dtype=t) for _ in range(3))
    return [x, w, mean, var, 1e-5, dy, draw.choice((True, False))]


def same(count, rank=None):
    """A recipe of `count` arrays of one shape."""

    def recipe(draw, t):
        extents = shape(draw, draw.randint(0, 4) if rank is None else rank)
        return [array(draw, *extents, dtype=t) for _ in range(count)]

    return recipe


def noise(draw, like):
    eps = array(draw, *like.shape, dtype=like.dtype)
    return draw.choice((eps, (1, 2, 3), (2**64 - 1, 2**40, 5)))


def reparam_kl_forward(draw, t):
    mu, logvar = same(2, 2)(draw, t)
    return [mu, logvar, noise(draw, mu)]


def reparam_kl_backward(draw, t):
    mu, logvar, dz = same(3, 2)(draw, t)
    return [mu, logvar, noise(draw, mu), dz, array(draw, len(mu), dtype=t)]


def row_loss(draw, t):
    return [*same(2, 2)(draw, t), draw.choice((True, False)), draw.choice((1.0, 1 / 7))]


def adam(draw, t):
    step = draw.randint(1, 9), draw.choice((1e-3, np.full(1, 1e-3)))
    counter = draw.choice((None, np.zeros(1, np.uint64)))
    return [*same(4)(draw, t), *step, 0.9, 0.999, 1e-8, 0.0, counter]


def scale_rows(draw, t):
    x = array(draw, *shape(draw, 2), dtype=t)
    return [x, array(draw, len(x), dtype=t)]


def negative_elbo(draw, t):
    return [array(draw, *shape(draw, 1), dtype=t) for _ in range(2)] + [array(draw, dtype=t)]


def update_running(draw, t):
    mean, var, running_mean, running_var = same(4, 1)(draw, t)
    return [mean, var, draw.randint(2, 9), 0.1, running_mean, running_var]


def gather_pixels(draw, t):
    images = array(draw, *shape(draw, draw.randint(1, 4)), dtype=np.uint8)
    count = draw.randint(0, 5) if len(images) else 0
    index = np.array([draw.randrange(len(images)) for _ in range(count)], np.int64)
    return [images, index, t, draw.choice((None, (3, 4, 5)))]


def box_muller(draw, t):
    words = np.array([draw.getrandbits(32) for _ in range(2 * draw.randint(0, 9))], np.uint32)
    return [words.reshape(-1, 2), np.empty((len(words) // 2, 2), t)]


RECIPES = {
    "matmul": matmul,
    "conv2d": conv2d,
    "conv2d_grad_input": conv2d_grad_input,
    "conv2d_grad_weight": conv2d_grad_weight,
    "channel_sum": same(1, 3),
    "batch_norm_forward": batch_norm_forward,
    "batch_norm_backward": batch_norm_backward,
    "relu": same(1),
    "relu_backward": same(2),
    "bias_relu_backward": same(2, 3),
    "uniform": lambda draw, t: [*same(1)(draw, t), (1, 2, 3)],
    "normal": lambda draw, t: [*same(1)(draw, t), (1, 2, 3)],
    "reparam_kl_forward": reparam_kl_forward,
    "reparam_kl_backward": reparam_kl_backward,
    "bce_with_logits": row_loss,
    "squared_error_with_logits": row_loss,
    "adam": adam,
    "add": same(2),
    "scale_rows": scale_rows,
    "negative_elbo": negative_elbo,
    "update_running": update_running,
    "gather_pixels": gather_pixels,
    "elementary.exp": same(1),
    "elementary.expm1": same(1),
    "elementary.log": same(1),
    "elementary.log1p": same(1),
    "elementary.exp_of_negative": same(1),
    "elementary.exp_half": same(1),
    "elementary.expm1_by_half": same(1),
    "elementary.fast_exp_half": same(1),
    "elementary.fast_expm1_by_half": same(1),
    "elementary.log1p_of_fraction": same(1),
    "elementary.box_muller": box_muller,
    "elementary.fast_box_muller": box_muller,
    "elementary.noise_block": lambda draw, t: [1, 2, 3],
    "set_threads": lambda draw, t: [draw.randint(1, 3)],
    "use_isa": lambda draw, t: [draw.choice(_cpu.isas())],
    "threads": lambda draw, t: [],
    "isa": lambda draw, t: [],
    "isas": lambda draw, t: [],
}
# Visits as many elements as it is told to, for the tests of the thread pool; it takes no array. A
# tape takes none either: it records the others.
LEFT_OUT = {"parallel_visits", "Tape"}


def functions():
    """Every function of the extension by its dotted name."""
    found = {name: f for name, f in vars(_cpu).items() if callable(f)}
    found |= {f"elementary.{n}": f for n, f in vars(_cpu.elementary).items() if callable(f)}
    found["adam"] = lambda p, g, m, v, *rest: _cpu.adam([p], [g], [m], [v], *rest)
    return {name: f for name, f in found.items() if name not in LEFT_OUT}


# What becomes of an array

DTYPES = ["f2", "f4", "f8", "g", "i1", "i4", "i8", "u1", "u4", "u8", "?", "c8", "c16", "O",
          "S3", "U2", "M8[s]", "m8[s]", ">f4", ">f8", ">i8", "V5",
          [("p", "f4"), ("q", "i2")]]  # fmt: skip


SPECIAL = (np.nan, np.inf, -np.inf, 1e38, 1e-45)


def misaligned(a, by=1):
    """The same numbers, `by` bytes off their alignment."""
    space = np.zeros(a.nbytes + by, np.uint8)[by:]
    out = np.frombuffer(space.data, a.dtype, a.size) if a.size else np.empty(0, a.dtype)
    return out.reshape(a.shape)


def byte_strides(a):
    """Elements that begin at every third byte past their size: strides of no whole element."""
    if a.ndim == 0 or not a.size:
        return a
    step = a.itemsize + 3
    space = np.zeros(step * a.size, np.uint8)
    return np.ndarray(
        a.shape, a.dtype, space, strides=[step * (s // a.itemsize) for s in a.strides]
    )


def inside_a_page_end(a):
    """The numbers at the end of a mapping, so that a read past them faults."""
    if not a.size:
        return a
    pages = -(-a.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    space = np.frombuffer(mmap.mmap(-1, pages), np.uint8)[pages - a.nbytes :]
    out = space.view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def cast(draw, a):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return a.astype(draw.choice(DTYPES))
        except (TypeError, ValueError):
            return np.zeros(a.shape, draw.choice(DTYPES[:10]))


def another_shape(draw, a):
    return np.resize(a, shape(draw, draw.randint(0, 5))) if a.size else a.reshape(0)


def huge_and_empty(draw, a):
    """No elements, but extents whose product with anything leaves 32 or 64 bits."""
    rank = max(a.ndim, 1)
    extents = [draw.choice((1, 3, 2**31 - 1, 2**31, 2**33, 2**40)) for _ in range(rank)]
    extents[draw.randrange(rank)] = 0
    try:
        return np.empty(extents, a.dtype)
    except (ValueError, MemoryError):
        return np.empty((0, 2**40), a.dtype)


def huge_by_stride(draw, a):
    """More than 2^31 elements in one place."""
    rank = max(a.ndim, 1)
    extents = [1] * rank
    extents[draw.randrange(rank)] = draw.choice((2**31, 2**32 + 1, 2**45))
    return np.broadcast_to(a.dtype.type(1), extents)


SPOILS = {
    "dtype": cast,
    "shape": another_shape,
    "axis more": lambda draw, a: a[None],
    "axis less": lambda draw, a: a[0] if a.ndim and len(a) else a.reshape(-1),
    "longer": lambda draw, a: np.concatenate([a, a]) if a.ndim else a,
    "shorter": lambda draw, a: a[..., :-1] if a.ndim else a,
    "transposed": lambda draw, a: a.T,
    "Fortran order": lambda draw, a: np.asfortranarray(a),
    "reversed": lambda draw, a: a[::-1] if a.ndim else a,
    "every other": lambda draw, a: a.repeat(2, axis=-1)[..., ::2] if a.ndim else a,
    "zero strides": lambda draw, a: np.broadcast_to(a.reshape(-1)[:1].reshape(()), a.shape)
    if a.size else a,
    "byte strides": lambda draw, a: byte_strides(a),
    "misaligned": lambda draw, a: misaligned(a, draw.randint(1, 3)),
    "page end": lambda draw, a: inside_a_page_end(a),
    "byte order": lambda draw, a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda draw, a: read_only(a),
    "no elements": lambda draw, a: a[:0] if a.ndim else a,
    "huge and empty": huge_and_empty,
    "huge by stride": huge_by_stride,
    "subclass": lambda draw, a: draw.choice((np.ma.masked_array, np.asmatrix))(a)
    if a.ndim == 2 else np.ma.masked_array(a),
    "not finite": lambda draw, a: np.full_like(a, draw.choice(SPECIAL))
    if a.dtype.kind == "f" else a,
    "out of range": lambda draw, a: np.full_like(a, draw.choice((-1, 2**62, -(2**63))))
    if a.dtype == np.int64 else a,
}  # fmt: skip

OTHERS = [
    None, 1, -1, 0, True, 1.5, float("nan"), "float32", b"x", (), (1,), (1, 2), (1, 2, 3), [1.0],
    [[1.0]], {}, object(), np.float32(1), np.int64(3), (-1, 0), (2**64, 1), ("seed", "offset"),
    range(3), memoryview(b"1234"), np.dtype("f4"), int, F4, F8,
]  # fmt: skip
INTEGERS = (0, 1, -1, 2, 7, 100, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64)
NUMBERS = (0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"))


def spoil(draw, args):
    """Change one argument in place; returns what was done."""
    k = draw.randrange(len(args))
    a = args[k]
    if draw.random() < 0.12:
        args[k] = draw.choice(OTHERS)
        return f"{k}: {args[k]!r:.40}"
    if isinstance(a, np.ndarray) and a.size > 1 << 20:
        return f"{k}: huge already"
    if isinstance(a, np.ndarray):
        arrays = [i for i, b in enumerate(args) if isinstance(b, np.ndarray) and i != k]
        if arrays and draw.random() < 0.15:  # memory shared with another argument
            other = args[draw.choice(arrays)]
            space = other.reshape(-1) if other.flags.c_contiguous else other
            if other.size > 1 << 20:
                return f"{k}: left alone"
            args[k] = space[draw.randint(0, 2) :] if space.ndim else space
            if args[k].size == a.size:
                args[k] = args[k].reshape(a.shape)
            return f"{k}: shared"
        name = draw.choice(list(SPOILS))
        try:
            args[k] = SPOILS[name](draw, a)
        except (TypeError, ValueError, IndexError, MemoryError):  # spoiled before in a way that
            return f"{k}: not {name}"  # cannot be spoiled further
        return f"{k}: {name}"
    if isinstance(a, tuple) and a:
        changed = list(a)
        changed[draw.randrange(len(a))] = draw.choice(INTEGERS)
        args[k] = tuple(changed)
    elif isinstance(a, float):
        args[k] = draw.choice(NUMBERS)
    elif isinstance(a, int):
        args[k] = draw.choice(INTEGERS)
    else:
        args[k] = draw.choice(OTHERS)
    return f"{k}: {args[k]!r:.40}"


def call(seed, number):
    """Make one call of the stream; (function, what was done, the function's outcome)."""
    draw = random.Random(f"{seed}/{number}")
    name = draw.choice(list(RECIPES))
    args = RECIPES[name](draw, draw.choice((F4, F8)))
    done = [spoil(draw, args) for _ in range(draw.choice((0, 1, 1, 1, 2, 3)) if args else 0)]
    return name, done, args


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--trace", help="file that names each call before it is made")
    parser.add_argument("--no-limit", action="store_true", help="a sanitizer bounds the memory")
    options = parser.parse_args()
    faulthandler.enable()
    if not options.no_limit:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    known, outcomes, worked, faults = functions(), collections.Counter(), set(), []
    for name in known.keys() ^ RECIPES.keys():
        faults.append(f"{name}: in only one of the extension and the fuzz's recipes")
    trace = open(options.trace, "w") if options.trace else None
    np.seterr(all="ignore")
    for number in range(options.first, options.last):
        if number % 100 == 0:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
        name, done, args = call(options.seed, number)
        if trace:
            trace.seek(0)
            trace.write(f"{options.seed} {number} {name} {done}".ljust(400) + "\n")
            trace.flush()
        try:
            known[name](*args) if name in known else None
            outcomes["worked"] += 1
            worked.add(name)
        except ALLOWED as error:
            outcomes[type(error).__name__] += 1
        except Exception as error:
            outcomes[type(error).__name__] += 1
            faults.append(f"call {number}: {name} {done}: {type(error).__name__}: {error}"[:300])
    faulthandler.cancel_dump_traceback_later()
    json.dump({"outcomes": outcomes, "faults": faults, "worked": sorted(worked)}, sys.stdout)


if __name__ == "__main__":
    main()
