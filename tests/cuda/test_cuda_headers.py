"""nvcc compiles the per-element arithmetic of csrc/math, which CUDA kernels include."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
STAND_IN = Path(__file__).with_name("stand_in")

PROBE = """
#include "math/adam.h"
#include "math/batch_norm.h"
#include "math/bce_with_logits.h"
#include "math/fast_float.h"
#include "math/log_mean_exp.h"
#include "math/negative_elbo.h"
#include "math/normal.h"
#include "math/pixels.h"
#include "math/relu.h"
#include "math/reparam_kl.h"
#include "math/squared_error_with_logits.h"
#include "math/tf32.h"

using namespace minivae;

template <class T>
__global__ void probe(const T* in, const unsigned char* pixels, T* out, AdamFactors<T> factors) {
  const Index i = threadIdx.x;
  const Words4 w = noise_words({1, 2}, i);
  T n0, n1, dmu, dlogvar;
  box_muller(w.w0, w.w1, n0, n1);
  fast_box_muller(w.w2, w.w3, dmu, dlogvar);
  out[i] = fast_deviation_of(dmu).sigma + dlogvar;
  const Deviation<T> s = deviation_of(in[1]);
  const T z = reparameterize(in[0], s, n0);
  reparam_kl_gradient(in[0], s, n1, z, kl_element(in[0], in[1], s), dmu, dlogvar);
  const T e = logistic_exponential(z);
  out[i] += squared_error_gradient(pixel_error(z, in[0], e), e);
  T m = dmu, v = dlogvar * dlogvar;
  out[i] += bce_loss(z, uniform_from<T>(w.w2), e) + pixel_value<T>(pixels[i]);
  factors = adam_factors<T>(1, 1e-3, {0.9, 0.999, 1e-8, 0});
  adam_element(out[i], bce_gradient(z, pixel_draw<T>(pixels[i], w.w3), e), m, v, factors);
  const T xh = normalized(z, in[0], inverse_deviation(v, e));
  out[i] += batch_norm_gradient(xh, relu_gradient(relu_of(z), m), in[0], in[1], e);
  out[i] += weighted_loss(z, m, e) + kl_share(v, i);
  const T top = finite_or_zero(z);
  out[i] += log_mean_exp_from(shifted_exp(z, top), top) + round_to_tf32(static_cast<float>(z));
}

template __global__ void probe(const float*, const unsigned char*, float*, AdamFactors<float>);
template __global__ void probe(const double*, const unsigned char*, double*, AdamFactors<double>);
"""


def compile_probe(source, folder):
    file = folder / "probe.cu"
    file.write_text(source)
    return subprocess.run(
        ["nvcc", "-std=c++17", "-arch=sm_80", "-fmad=false", "-I", str(CSRC), "-c", str(file),
         "-o", str(folder / "probe.o")],
        capture_output=True,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_nvcc_compiles_the_arithmetic_headers(tmp_path):
    done = compile_probe(PROBE, tmp_path)
    assert done.returncode == 0, done.stderr
    broken = compile_probe(
        PROBE.replace("deviation_of(in[1])", "no_such_function(in[1])"), tmp_path
    )
    assert broken.returncode != 0, "the compiler did not look inside the kernel"


def test_every_header_is_probed():
    included = set(map(str, CSRC.glob("math/*.h")))
    reached, pending = (
        set(),
        [line.split('"')[1] for line in PROBE.splitlines() if "#include" in line],
    )
    while pending:
        path = CSRC / pending.pop()
        if str(path) not in reached:
            reached.add(str(path))
            pending += [
                line.split('"')[1]
                for line in path.read_text().splitlines()
                if line.startswith('#include "')
            ]
    assert included <= reached


def test_nothing_in_csrc_knows_the_stand_in():
    """The stand-in's headers and sources replace those of csrc by their names alone."""
    for path in CSRC.rglob("*.*"):
        assert not re.search(r"(?i)emulat", path.read_text()), path
    for path in STAND_IN.rglob("*.*"):
        name = path.relative_to(STAND_IN)
        replaced = [(CSRC / name).with_suffix(s) for s in (".h", ".cuh", ".cu", ".cpp")]
        own = name.parts[0] == "emulated" or name.name == "bind_emulator.cpp"
        assert own or any(p.exists() for p in replaced), f"{name} stands before nothing"
