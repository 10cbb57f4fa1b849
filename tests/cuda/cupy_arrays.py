"""Emulated device arrays in host memory, which refuse implicit conversion to NumPy arrays.

Every operation goes through ``run``, which executes it, or records it while a stream captures.
"""

import operator

import numpy as np
from cupy_streams import capturing, keep, require_no_capture, submit


class DeviceArray:
    """An emulated device array: NumPy's memory with the interface of CuPy's arrays."""

    __slots__ = ("_host",)
    __array_ufunc__ = None  # a NumPy array or scalar on the left leaves the operation to us

    def __init__(self, host):
        self._host = host
        if capturing():
            keep(host)

    @property
    def __cuda_array_interface__(self):
        a = self._host
        return {
            "shape": a.shape,
            "typestr": a.dtype.str,
            "descr": a.dtype.descr,
            "data": (a.__array_interface__["data"][0] if a.size else 0, False),
            "strides": None if a.flags.c_contiguous else a.strides,
            "version": 3,
            "stream": None,
        }

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use .get()")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self._host, name)
        if callable(value):
            return recorded(getattr(np.ndarray, name)).__get__(self)
        return wrapped(value)

    def get(self, out=None):
        require_no_capture("a copy to the host")
        if out is None:
            return self._host.copy()
        out[...] = self._host
        return out

    def set(self, host):
        require_no_capture("a copy from the host")
        self._host[...] = host

    def item(self, *index):
        require_no_capture("waiting for a value")
        return self._host.item(*index)

    def __bool__(self):
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __index__(self):
        return operator.index(self.item())

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"DeviceArray({self._host!r})"

    def __getitem__(self, key):
        return run(_element, (self, key))

    def __setitem__(self, key, value):
        require_device(value)
        key, value = unwrapped(key), unwrapped(value)
        submit(lambda: operator.setitem(self._host, key, value))


def _element(host, key):
    """host[key], with a single element as a view of shape (), where NumPy would copy it."""
    keys = key if isinstance(key, tuple) else (key,)
    plain = all(isinstance(k, int | np.integer | slice) for k in keys)
    return host[(*keys, ...)] if plain else host[key]


def unwrapped(x):
    """Arguments of a NumPy function: the memory behind device arrays, however deep they lie."""
    if isinstance(x, DeviceArray):
        return x._host
    if isinstance(x, tuple | list) and not hasattr(x, "_fields"):
        return type(x)(map(unwrapped, x))
    return x


def wrapped(x):
    if isinstance(x, np.ndarray | np.generic):
        return DeviceArray(np.asarray(x))
    if isinstance(x, tuple | list):
        return type(x)(map(wrapped, x)) if any(isinstance(i, np.ndarray) for i in x) else x
    return x


def require_device(*arguments):
    for x in arguments:
        if isinstance(x, np.ndarray) and x.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if isinstance(x, tuple | list):
            require_device(*x)


def run(function, arguments, keywords=None):
    """Run an array function, or record it; in both cases results get their memory at once."""
    keywords = keywords or {}
    require_device(*arguments, *keywords.values())
    arguments = unwrapped(tuple(arguments))
    keywords = {name: unwrapped(value) for name, value in keywords.items()}
    out = keywords.pop("out", None)
    if out is not None:
        submit(lambda: np.copyto(out, function(*arguments, **keywords)))
        return wrapped(out)
    with np.errstate(all="ignore" if capturing() else None):
        result = function(*arguments, **keywords)
    result = [np.asarray(r) for r in result] if isinstance(result, list) else result
    if capturing() and isinstance(result, np.ndarray | np.generic):
        result = np.asarray(result)
        known = [a for a in arguments if isinstance(a, np.ndarray)]
        if not any(np.may_share_memory(result, a) for a in known):
            count = 2 if function.__name__ == "mean" else 1  # CuPy's is a sum and a quotient
            submit(lambda: np.copyto(result, function(*arguments, **keywords)), count)
    return wrapped(result)


def recorded(function):
    def called(*arguments, **keywords):
        return run(function, arguments, keywords)

    return called


def _binary(name):
    function = getattr(operator, name)
    return (
        lambda self, other: run(function, (self, other)),
        lambda self, other: run(lambda a, b: function(b, a), (self, other)),
        lambda self, other: _in_place(function, self, other),
    )


def _in_place(function, array, other):
    require_device(other)
    host, other = array._host, unwrapped(other)
    submit(lambda: np.copyto(host, function(host, other), casting="same_kind"))
    return array


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift",
              "rshift", "and_", "or_", "xor"):  # fmt: skip
    _plain = _name.rstrip("_")
    for _prefix, _method in zip(("", "r", "i"), _binary(_name), strict=True):
        setattr(DeviceArray, f"__{_prefix}{_plain}__", _method)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(DeviceArray, f"__{_name}__", _binary(_name)[0])
for _name in ("neg", "abs", "invert"):
    setattr(DeviceArray, f"__{_name}__", recorded(getattr(operator, _name)))
DeviceArray.__hash__ = None


def poisoned(shape, dtype):
    """Uninitialised memory filled with NaN, or a large integer, so that reading it shows."""
    host = np.empty(shape, dtype)
    host.fill(np.nan if host.dtype.kind == "f" else 0x55)
    return host
