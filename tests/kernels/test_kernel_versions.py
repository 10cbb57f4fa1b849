"""Every version of a CUDA kernel is described, defined and launched where the file says."""

import pytest

from kernel_versions import described, versions_by_kernel


@pytest.mark.parametrize("stem", versions_by_kernel())
def test_the_file_has_the_versions_that_its_header_counts(stem):
    """A version without a case would throw, one beyond the count could not be asked for."""
    places = described(stem)
    assert len(places) > 2
    assert places == dict.fromkeys(places, versions_by_kernel()[stem])


def test_the_kernels_with_several_versions_are_known():
    """Without this test, the one above would pass if no kernel with versions were found."""
    if not versions_by_kernel():
        pytest.skip("csrc is not beside the tests")
    assert set(versions_by_kernel()) == {"conv2d", "matmul", "reparam_kl"}
