"""The film's GIF: deterministic bytes, small size, and pictures that match the frames."""

import io
import itertools

import matplotlib
import numpy as np
import pytest
from PIL import Image

from minivae.viz import film


def frames(count, latents, codes=50, pictures=4):
    """Frames whose codes spread while the KL grows."""
    rng, t = np.random.default_rng(0), np.arange(count)
    return {
        "step": t * 10, "beta": np.linspace(0, 4, count), "rec": 200 / (1 + t),
        "kl": np.outer(t, 1 + np.arange(latents)) / count,
        "mu": t[:, None, None] / count * rng.standard_normal((codes, latents)).astype(np.float32),
        "pixels": rng.integers(0, 256, (count, pictures, 784), dtype=np.uint8),
    }  # fmt: skip


def pictures(body):
    """Every picture of a GIF, (H, W, 3), and their durations in milliseconds."""
    found, durations = [], []
    with Image.open(io.BytesIO(body)) as image:
        assert image.format == "GIF" and image.info["loop"] == 0
        for i in range(image.n_frames):
            image.seek(i)
            found.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return found, durations


@pytest.mark.parametrize("latents", [1, 2, 20])
def test_every_frame_is_a_picture(latents):
    made = frames(3, latents)
    body = film.gif(made, np.arange(50) % 10, 20, r"a set called $\frac$")
    assert body == film.gif(made, np.arange(50) % 10, 20, r"a set called $\frac$")
    found, durations = pictures(body)
    assert len(found) == 3 and {p.shape for p in found} == {(film.HEIGHT, film.WIDTH, 3)}
    assert durations == [film.DURATION] * 2 + [film.LAST]
    left = [p[66:290, 50:274] for p in found]  # the codes
    middle = [p[66:290, 300:524] for p in found]  # the pictures
    right = [p[66:290, 580:780] for p in found]  # the losses
    for part in (left, middle, right):
        assert all((a != b).any() for a, b in itertools.pairwise(part))


def test_the_user_s_style_changes_nothing():
    made, labels = frames(2, 3), np.arange(50) % 10
    body = film.gif(made, labels, 20, "title")
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black"}):
        assert film.gif(made, labels, 20, "title") == body


def test_pictures_are_shown_dot_for_dot():
    """The grid is the decoded pixels, rounded to a few greys."""
    made = frames(2, 2, pictures=64)
    found, _ = pictures(film.gif(made, np.zeros(50, int), 20, ""))
    page = made["pixels"][1].reshape(8, 8, 28, 28).swapaxes(1, 2).reshape(224, 224)
    wanted = np.rint(page / 255 * (film.GREYS - 1)) / (film.GREYS - 1) * 255
    assert abs(found[1][66:290, 300:524].mean(axis=2) - wanted).max() < 9  # steps of the palette


def test_a_long_film_is_thinned_to_its_first_and_last_frames_and_some_between(monkeypatch):
    monkeypatch.setattr(film, "SHOWN", 4)
    made = frames(3 * film.SHOWN, 2)
    ends = {name: values[[0, -1]] for name, values in made.items()}
    body = film.gif(made, np.zeros(50, int), 20, "")
    found, _ = pictures(body)
    assert len(found) == film.SHOWN
    first, last = pictures(film.gif(ends, np.zeros(50, int), 20, ""))[0]
    assert (found[0][66:290, 300:524] == first[66:290, 300:524]).all()
    assert (found[-1][66:290, 300:524] == last[66:290, 300:524]).all()


def test_classes_keep_their_colours():
    """Colours stay the same if all codes of the last frame are one point, and if there are more
    classes than colours in the cycle."""
    made = frames(3, 2)
    made["mu"][-1] = 0
    for classes in (10, 47):
        found, _ = pictures(film.gif(made, np.arange(50) % classes, 20, ""))
        dots = found[1][66:290, 50:274].reshape(-1, 3).astype(int)
        coloured = dots[np.ptp(dots, axis=1) > 60]
        assert len(np.unique(coloured, axis=0)) > 0.8 * min(classes, 20)
