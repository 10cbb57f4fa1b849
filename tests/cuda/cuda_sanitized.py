"""Small cases of every CUDA kernel, run in one process under a sanitizer.

    python cuda_sanitized.py MODULE CASE ...

runs them in the emulated module at that path and prints each case's kernels; test_cuda_sanitizers
starts it with the sanitizer's library loaded first. Arrays are exactly as large as they say, so
that the address sanitizer sees the first element beyond. A case is the body of an ordinary test,
on sizes that leave a block, a warp and a quad incomplete.
"""

import sys
import types

import cuda_build
import cuda_machine
import numpy as np


class TightMachine(cuda_machine._Emulated):
    """The stand-in without guard values around its arrays; records which kernels ran."""

    def __init__(self, module):
        self.module, self.ran = module, set()

    def upload(self, whole):
        return types.SimpleNamespace(
            host=(host := np.array(whole)), __cuda_array_interface__=host.__array_interface__
        )

    def run(self, name, *arguments, shift=0, stream=0):
        self.ran.add(name)
        return super().run(name, *arguments, shift=shift, stream=stream)


def inner(test):
    """The undecorated function of a Hypothesis test."""
    return test.hypothesis.inner_test


def _cases():
    import test_cuda_layers as layers
    import test_cuda_linear as linear
    import test_cuda_losses as losses
    import test_cuda_products as products
    import test_cuda_reparam_kl as reparam_kl
    import test_cuda_training as training

    both = (np.float32, np.float64)

    def reparam_kl_of(version):
        def case(gpu):
            for shape, shift in (((9, 5), 0), ((3, 70), 0), ((3, 8), 1)):
                reparam_kl.check(gpu, version, shape, np.float32, shift)
            reparam_kl.check(gpu, version, (4, 33), np.float64)

        return case

    def noise(gpu):
        for dtype in both:
            inner(reparam_kl.test_noise_is_the_stream)(gpu, dtype, 1031, 0, 5, 6)

    def row_losses(gpu):
        for name in losses.LOSSES:
            for columns in (1, 37, 300):
                losses.test_loss_and_gradient_of_every_kind_of_row(gpu, name, np.float32, columns)
            losses.test_loss_and_gradient_of_every_kind_of_row(gpu, name, np.float64, 130)
        inner(losses.test_log_mean_exp)(gpu, 5, 33, 1.0, 0, 0)
        losses.test_terms_of_the_loss(gpu, 5, 300, np.float32)

    def layer_kernels(gpu):
        for shape in ((5, 33, 1), (3, 5, 49), (2, 2, 600)):
            layers.check_sums(gpu, shape, 0, 0)
            inner(layers.test_bias_with_and_without_relu)(gpu, True, shape, 0, 0)
            inner(layers.test_relu_and_its_gradient)(gpu, shape, 0, 0)
            for mode in (True, False):
                layers.check_batch_norm(gpu, shape, 0, 0, mode, np.float32)
        inner(layers.test_running_statistics_follow)(gpu, 5, 0)

    def step(gpu):
        inner(training.test_adam)(gpu, 261, 0, 3, 0.1, 0)
        inner(training.test_zeros_and_the_end_of_a_step)(gpu, 7, 0)
        for draw in (False, True):
            inner(training.test_gather_pixels)(gpu, 5, 31, 0, draw, 0)
        training.test_a_bad_index_gives_nan_and_reads_nothing(gpu)
        training.test_permutation_is_the_one_of_the_host(gpu, 300, 1)

    def products_of(version):
        return lambda gpu: products.test_product_of_every_kind_of_size(gpu, version, (19, 21, 35))

    def small_layers(gpu):
        linear.check(gpu, 9, 200, (5, 7), np.float32)
        linear.check(gpu, 3, 5, (66,), np.float64, rectify=True)

    def convolutions(version):
        axis = products.axis_of(9, 3 if version < 5 else 1, 2, 1)
        sizes = 2, 3, 18, axis, axis, np.float32, (1, 0)
        return lambda gpu: products.check_convolutions(gpu, *sizes, version=version)

    return {
        **{f"reparam_kl-{version}": reparam_kl_of(version) for version in reparam_kl.VERSIONS},
        **{f"matmul-{version}": products_of(version) for version in products.VERSIONS},
        **{f"conv2d-{version}": convolutions(version) for version in products.CONVOLUTIONS},
        "noise": noise,
        "losses": row_losses,
        "layers": layer_kernels,
        "small-layers": small_layers,
        "training": step,
    }


def main(path, *names):
    module = cuda_build.load(path)
    cuda_machine.GUARD = 0
    cuda_machine.emulated = lambda: module
    cases = _cases()
    for name in names or cases:
        gpu = TightMachine(module)
        cases[name](gpu)
        print(name, *sorted(gpu.ran), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
