"""Kernels on arrays past 2^31 elements, division by products, and the declarations of cuBLASLt.

The arrays are reserved address space: only the last blocks of a grid are run, so only the end of an
array is ever touched and takes memory.
"""

import re
import shutil
import site
import subprocess
from pathlib import Path

import cuda_build
import cuda_machine
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

positive = st.integers(0, 62).flatmap(lambda bits: st.integers(2**bits, 2 ** (bits + 1) - 1))


@pytest.fixture(scope="module")
def gpu():
    return cuda_machine.machine("emulated")


@given(n=positive | st.just(0), d=positive)
@example(n=2**63 - 1, d=2**63 - 1)
@example(n=2**63 - 1, d=1)
@example(n=2**63 - 1, d=2**62 + 1)
def test_division_by_a_product_is_division(gpu, n, d):
    divide = gpu.module.emulator.geometry.divide
    multiple = n - n % d
    for number in {n, multiple, max(0, multiple - 1), min(multiple + d, 2**63) - 1}:
        assert divide(number, d) == divmod(number, d)


def promised(shape, dtype=np.float32):
    try:
        return np.zeros(shape, dtype)
    except MemoryError:
        pytest.skip(
            f"the system does not promise {np.prod(shape) * np.dtype(dtype).itemsize} bytes"
        )


def run_last_blocks(gpu, name, *arguments, blocks=2):

    def sent(a):
        if isinstance(a, list):
            return [sent(each) for each in a]
        plain = not isinstance(a, np.ndarray)
        return a if plain else cuda_machine.Interface(dict(a.__array_interface__), a)

    arrays = [sent(a) for a in arguments]
    gpu.module.emulator.only_blocks(-blocks, blocks)
    try:
        getattr(gpu.module, name)(*arrays, 0)
    finally:
        gpu.module.emulator.all_blocks()


END = np.array([-3, 4, 5, -6, 7], np.float32)


def test_elements_past_31_bits(gpu):
    x, y = promised(2**31 + 5), promised(2**31 + 5)
    x[-5:] = END
    run_last_blocks(gpu, "relu", x, y)
    assert y[-5:].tolist() == [0, 4, 5, 0, 7]


def test_channels_past_31_bits(gpu):
    shape = (3, 5, 2**28 + 3)
    x, y = promised(shape), promised(shape)
    x[-1, -1, -5:] = END
    run_last_blocks(gpu, "bias_activation", x, np.arange(5, dtype=np.float32), False, y)
    assert y[-1, -1, -5:].tolist() == [1, 8, 9, -2, 11]


def test_pixels_past_31_bits(gpu):
    rows, size = 2**15 + 3, 2**16 + 1
    images = np.full((2, size), 51, np.uint8)
    images[1, -2:] = 255
    out = promised((rows, size))
    run_last_blocks(gpu, "gather_pixels", images, np.ones(rows, np.int64), None, None, out)
    np.testing.assert_array_equal(out[-1, -4:], np.array([0.2, 0.2, 1, 1], np.float32))


def test_adam_past_31_bits(gpu):
    param, grad, m, v = (promised(2**31 + 5) for _ in range(4))
    grad[-5:] = END
    run_last_blocks(gpu, "adam", [param], [grad], [m], [v], 1, 0.5, 0.9, 0.999, 0.0, 0.0, None)
    np.testing.assert_allclose(param[-5:], -0.5 * np.sign(END), rtol=1e-6)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_products_past_31_bits(gpu, version):
    side = 2**16 - 100 if version == 4 else 46400
    a, b, out = promised((side, 1)), promised((1, side)), promised((side, side))
    a[-1], b[0, -2:] = 3, (5, 7)
    run_last_blocks(gpu, "matmul", a, b, None, False, out, None, version)
    assert out[-1, -1] == 21 and (version == 1 or out[-1, -2] == 15)  # v1 goes down the columns


def test_convolutions_past_31_bits(gpu):
    side = 46400
    x, y = promised((1, 1, side, side)), promised((1, 1, side, side))
    w = np.ones((1, 1, 1, 1), np.float32)
    x[0, 0, -1, -2:] = 5, 7
    one, none = (1, 1), (0, 0)
    run_last_blocks(gpu, "conv2d", x, w, None, one, none, one, False, y, 0)
    assert y[0, 0, -1, -2:].tolist() == [5, 7]
    y[0, 0, -1, -2:] = 0
    run_last_blocks(gpu, "conv2d_grad_input", x, w, None, (side, side), one, none, one, False, y, 0)
    assert y[0, 0, -1, -2:].tolist() == [5, 7]


def test_convolutions_with_distances_past_31_bits_are_refused(gpu):
    def named(*shape):
        about = {
            "shape": shape,
            "typestr": "<f4",
            "data": (64, False),
            "strides": None,
            "version": 3,
        }
        return cuda_machine.Interface(about, None)

    one, none, side = (1, 1), (0, 0), 46400
    with pytest.raises(ValueError, match=r"channels and taps in an image .* got 2152960001"):
        gpu.module.conv2d(
            named(1, 2, side, side), named(1, 2, 1, 1), None, one, none, one, False,
            named(1, 1, side, side), 0, 0,
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"channels and taps in an image .* got 2152960001"):
        gpu.module.conv2d_grad_weight(
            named(1, 1, side, side), named(1, 2, side, side), one, one, none, one,
            named(2, 1, 1, 1), None, 0,
        )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"convolution: expected a number of weights .* got 2152960000"
    ):
        gpu.module.conv2d_grad_input(
            named(1, side, 1, 1), named(side, side, 1, 1), None, one, one, none, one, False,
            named(1, side, 1, 1), 0, 0,
        )  # fmt: skip


# cuBLASLt


def cublaslt_header():
    """The folder of the real header: the toolkit's, or the one of the nvidia-cublas package."""
    folders = [Path(p) / "nvidia" for p in site.getsitepackages()]
    found = [h for f in folders for h in f.glob("*/include/cublasLt.h")]
    if nvcc := shutil.which("nvcc"):
        found += Path(nvcc).resolve().parent.parent.glob("include/cublasLt.h")
    return found[0].parent if found else None


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.skipif(cublaslt_header() is None, reason="no cublasLt.h: neither toolkit nor package")
def test_declarations_of_the_library_agree_with_its_header(tmp_path):
    source = (cuda_build.CSRC / "cuda" / "cublaslt_api.h").read_text()
    (tmp_path / "cuda").mkdir()
    (tmp_path / "probe.cu").write_text('#include "cuda/cublaslt_check.h"\n')

    def compile_with(text):
        (tmp_path / "cuda" / "cublaslt_api.h").write_text(text)
        folders = tmp_path, cuda_build.CSRC, cublaslt_header()
        command = ["nvcc", "-std=c++17", *(w for folder in folders for w in ("-I", folder))]
        return subprocess.run(
            [*command, "-c", tmp_path / "probe.cu", "-o", tmp_path / "probe.o"],
            capture_output=True,
            text=True,
        )

    assert compile_with(source).returncode == 0
    wrong = re.sub(r"kComputeTf32 = 77", "kComputeTf32 = 76", source)
    assert wrong != source and "static assertion failed" in compile_with(wrong).stderr
    wrong = source.replace("int wanted, Heuristic*", "Heuristic*")
    assert wrong != source and "static assertion failed" in compile_with(wrong).stderr
