"""checkerboard_energy on patterns whose spectrum is known, and on decoders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import models
from minivae.evaluation import checkerboard_energy

ROWS, COLUMNS = np.indices((32, 32))
SIGN = {"rows": (-1.0) ** ROWS, "columns": (-1.0) ** COLUMNS, "board": (-1.0) ** (ROWS + COLUMNS)}


def wave(cycles):
    """A cosine along the rows with ``cycles`` periods in the picture."""
    return np.cos(2 * np.pi * cycles * COLUMNS / 32)


@pytest.mark.parametrize("pattern", SIGN)
def test_a_pattern_of_two_pixels_has_all_its_energy_there(pattern):
    assert checkerboard_energy(SIGN[pattern][None, None]) == pytest.approx(1, abs=1e-12)


@given(st.sampled_from(sorted(SIGN)), st.floats(0.05, 2.0), st.integers(3, 12))
def test_a_pattern_on_a_picture_counts_by_its_energy(pattern, amplitude, cycles):
    """Waves of different frequencies are orthogonal, so their energies (amplitude^2) add up."""
    picture = wave(cycles) + amplitude * SIGN[pattern]
    wanted = amplitude**2 / (amplitude**2 + 0.5)
    assert checkerboard_energy(picture[None, None]) == pytest.approx(wanted, rel=1e-6)


def test_smooth_pictures_and_constants_have_none():
    smooth = ROWS * 0.1 + wave(2)
    assert checkerboard_energy(smooth[None, None]) < 1e-4
    assert checkerboard_energy(np.ones((2, 3, 16, 16))) == 0
    assert np.isnan(checkerboard_energy(np.full((1, 1, 16, 16), np.nan)))


def test_pictures_and_channels_count_together():
    picture = np.stack([SIGN["board"], wave(4), wave(4), wave(5)]).reshape(2, 2, 32, 32)
    assert checkerboard_energy(picture) == pytest.approx(1 / (1 + 3 * 0.5), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 1, 16, 18), (1, 1, 17, 17), (1, 1, 6, 6)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"images: expected \(N, C, S, S\)"):
        checkerboard_energy(np.zeros(shape))


def test_resizing_decoders_start_without_the_pattern():
    """Untrained decoders: resizing has less than a twentieth of the energy of transposed ones."""
    z = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    found = {
        upsampling: checkerboard_energy(
            models.FaceVAE(8, 32, upsampling=upsampling, seed=3).decode(z).data
        )
        for upsampling in ("transposed", "resize")
    }
    assert found["transposed"] > 0.1 and found["resize"] < found["transposed"] / 20
