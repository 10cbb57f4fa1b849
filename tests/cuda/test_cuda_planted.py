"""Planted bugs in CUDA kernels: for each bug the named test fails.

One bug goes into each of several files of a copy of csrc, and one build has them all, because a
test runs the files of its own kernel only. Races and memory errors are planted in
test_cuda_sanitizers.
"""

import os
import shutil
import subprocess
import sys

import cuda_build
import cuda_machine
import numpy as np
import pytest
import test_cuda_layers as layers
import test_cuda_linear as linear
import test_cuda_losses as losses
import test_cuda_products as products
import test_cuda_training as training

pytestmark = pytest.mark.minutes


def convolution(**axis):
    axis = products.axis_of(**axis)
    return lambda gpu: products.check_convolutions(gpu, 2, 3, 4, axis, axis, np.float32)


def product(version, *size):
    return lambda gpu: products.check_matmul(gpu, *size, version, np.float32)


def loss(columns):
    return lambda gpu: losses.test_loss_and_gradient_of_every_kind_of_row(
        gpu, "bce_with_logits", np.float32, columns
    )


BUGS = {  # file: (what to change, to what, the test that sees it)
    "adam.cu": (  # the step that a captured graph goes on from
        "static_cast<double>(value_of(step))", "static_cast<double>(step.start)",
        training.test_step_and_learning_rate_may_lie_on_the_device,
    ),
    "batch_norm.cu": (  # E x^2 - (E x)^2 without a pivot
        "const double pivot = x[channel * L];", "const double pivot = 0 * x[channel * L];",
        lambda gpu: layers.test_variance_keeps_its_digits_far_from_zero(gpu, np.float64),
    ),
    "bias_activation.cu": (  # channels of the next image do not start over
        "if (++channel == by_C.d) channel = 0;", "++channel;",
        lambda gpu: layers.test_bias_with_and_without_relu.hypothesis.inner_test(
            gpu, False, (5, 3, 2), 0, 0
        ),
    ),
    "channel_sums.cuh": (  # the last pair is not added
        "half >= across; half /= 2", "half > across; half /= 2",
        lambda gpu: layers.check_sums(gpu, (9, 5, 1), 0, 0),
    ),
    "linear.cu": (  # the bias's gradient, a column of ones
        "i.offset == I ? T(1)", "i.offset == I ? T(0)",
        lambda gpu: linear.check(gpu, 5, 3, (2, 4), np.float32),
    ),
    "negative_elbo.cu": (  # the weight of the KL
        "weighted_loss(mean_rec, mean_kl, weight)", "weighted_loss(mean_rec, mean_kl, T(1))",
        lambda gpu: losses.test_terms_of_the_loss(gpu, 5, 300, np.float32),
    ),
    "conv2d_grad_weight.cu": (  # the other channels of the images before
        ".quotient * (part.rows - 1)", ".quotient * (part.rows - 2)", convolution(size=7, kernel=3),
    ),
    "conv_part.h": (  # taps of the adjoint in the wrong direction
        "part.tap_step = -static_cast<int>", "part.tap_step = static_cast<int>",
        convolution(size=7, kernel=3),
    ),
    "epilogue.cuh": (  # the last piece of a sum
        "piece < pieces; ++piece", "piece < pieces - 1; ++piece", product(4, 5, 6, 300),
    ),
    "gather_pixels.cu": (  # a quad over two rows takes both from the first
        "image_of(index, ++place,", "image_of(index, place,",
        lambda gpu: training.test_gather_pixels.hypothesis.inner_test(gpu, 7, 30, 0, False, 0),
    ),
    "log_mean_exp.cu": (  # exp(inf - inf)
        "top = finite_or_zero(lane_max(top));", "top = lane_max(top);",
        losses.test_log_mean_exp_at_infinity,
    ),
    "permutation.cu": (  # every run upwards
        "if ((low > high) == up)", "if (low > high || (up && low == high))",
        lambda gpu: training.test_permutation_is_the_one_of_the_host(gpu, 1000, 0),
    ),
    "relu.cu": (  # the tail of an array left out
        "launch(kernel, over_elements(count, 4), stream, x, y, count);",
        "launch(kernel, over_elements(count / 4 * 4, 4), stream, x, y, count);",
        lambda gpu: layers.test_relu_and_its_gradient.hypothesis.inner_test(
            gpu, (1, 1, 1025), 0, 0
        ),
    ),
    "row_loss.cuh": (  # a row that begins inside a quad touches one more
        ": quads.last;", ": first + kPiece / 4;", loss(8191),
    ),
    "tile_product.cuh": (  # a wait for one slab too few
        "wait_for_copies<kSlabs - 2>()", "wait_for_copies<kSlabs - 1>()",
        lambda gpu: products.test_convolutions_of_every_version(gpu, 4, (9, 12)),
    ),
    "tensor_tile.cuh": (  # two fragments exchanged
        "left[r][1] = a[k + place()][i + 8];", "left[r][1] = a[k + place() + 4][i];",
        product(5, 17, 9, 8),
    ),
}  # fmt: skip


def main(path):
    """Print the bugs in the module at ``path`` for which the named test fails."""
    module = cuda_build.load(path)
    cuda_machine.emulated = lambda: module
    for name, (_, _, test) in BUGS.items():
        try:
            test(cuda_machine.machine("emulated"))
        except AssertionError:
            print(name, flush=True)


@pytest.fixture(scope="module")
def noticed(tmp_path_factory):
    """The output of ``main`` for the stand-in with every bug, in a process of its own, since a
    process can load one stand-in only."""
    if reason := cuda_build.missing():
        pytest.skip(reason)
    csrc = tmp_path_factory.mktemp("planted") / "csrc"
    shutil.copytree(cuda_build.CSRC, csrc)
    for name, (old, new, _) in BUGS.items():
        path = csrc / "cuda" / name
        source = path.read_text()
        assert source.count(old) == 1, f"the place to plant a bug in {name} is gone: {old}"
        path.write_text(source.replace(old, new))
    command = [sys.executable, __file__, cuda_build.build(csrc=csrc)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", BUGS)
def test_bug_is_noticed(name, noticed):
    BUGS[name][2](cuda_machine.machine("emulated"))  # green without the bug
    assert name in noticed


if __name__ == "__main__":
    main(*sys.argv[1:])
