"""Scores of face edits, on models so simple that the right scores are known."""

import numpy as np
import pytest

import minivae as mv
from minivae import models
from minivae.data.faces import FaceDataset
from minivae.evaluation import face_edits


class PixelModel(models.VAE):
    """Codes are pixels: encoding and decoding lose nothing."""

    shape = (3, 4, 4)

    def __init__(self):
        self.anchor = mv.nn.Parameter(np.zeros(1, np.float32))  # gives a dtype and a device

    def encode(self, x):
        mu = mv.functional.flatten(x, 1)
        return mu, mv.Tensor(np.zeros(mu.shape, np.float32))

    def pixels(self, z):
        return mv.Tensor(np.asarray(z).reshape(len(z), *self.shape))


class BrightCorner:
    """A classifier of the attribute "mark": the first pixel is bright; logits (N, 1)."""

    labels = ("mark",)

    def __call__(self, x):
        return mv.Tensor(x[:, 0, 0, 0][:, None] - np.float32(0.5))


def marked_faces(n=40, seed=0):
    """Random faces; the marked half has its first pixel at 204, the others at 51."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 190, (n, 3, 4, 4)).astype(np.uint8)
    mark = np.arange(n) % 2 == 0
    images[:, 0, 0, 0] = np.where(mark, 204, 51)
    return FaceDataset("marked", images, {"mark": mark})


def test_agreement_counts_added_and_removed_marks():
    train, held_out = marked_faces(4000), marked_faces(20, seed=1)
    scores = face_edits.agreement_scores(
        PixelModel(), BrightCorner(), train, held_out, "mark", (1.0,)
    )
    assert scores["faces"] == {"with": 10, "without": 10}
    assert scores["reconstructed"] == {"with": 1.0, "without": 0.0}
    assert scores["strength 1"] == {"added": 1.0, "removed": 1.0}
    weak = face_edits.agreement_scores(
        PixelModel(), BrightCorner(), train, held_out, "mark", (0.1,)
    )
    assert weak["strength 0.1"] == {"added": 0.0, "removed": 0.0}


def test_counterfactual_errors_are_those_of_the_definition():
    train, with_it = marked_faces(4000), marked_faces(20, seed=1)
    with_it = with_it.take(with_it.attributes["mark"]).images
    without_it = with_it.copy()
    without_it[:, 0, 0, 0] = 51
    scores = face_edits.counterfactual_scores(PixelModel(), train, with_it, without_it, "mark")
    nothing = np.sqrt((153 / 255) ** 2 / 48)  # one pixel of 48 is off by 153/255
    for start in ("from reconstructions", "from originals"):
        assert scores[start]["nothing"] == pytest.approx(nothing, rel=1e-5)
        # With pixels for codes the edit is the mean image difference itself.
        assert scores[start]["latent"] == pytest.approx(scores[start]["pixel"], rel=1e-4)
        assert scores[start]["latent"] < 0.2 * nothing


def test_gain_is_paired_with_its_standard_error():
    truth = np.zeros((3, 1, 1, 1))
    ones = np.ones((3, 1, 1, 1))
    better = np.array([0.1, 0.2, 0.6]).reshape(3, 1, 1, 1)
    scores = face_edits._errors(truth, nothing=0.5 * ones, pixel=0.9 * ones, latent_edit=better)
    gains = np.array([0.4, 0.3, -0.1])
    assert scores["gain"] == pytest.approx(gains.mean())
    assert scores["gain_standard_error"] == pytest.approx(gains.std(ddof=1) / np.sqrt(3))
    assert scores["share_of_faces_better"] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_classifier_learns_what_the_pixels_show():
    faces = mv.data.faces.draw_faces(240, 32, seed=0, progress=False)
    classifier = face_edits.fit_classifier(
        faces, ["glasses"], epochs=20, batch_size=16, progress=False
    )
    assert face_edits.accuracy(classifier, faces)["glasses"] > 0.9
    flipped = FaceDataset("flipped", faces.images, {"glasses": ~faces.attributes["glasses"]})
    assert face_edits.accuracy(classifier, flipped)["glasses"] < 0.1


def test_unknown_label_is_named():
    with pytest.raises(ValueError, match=r"expected some of \['mark'\], got \['moustache'\]"):
        face_edits.label_matrix(marked_faces(4), ["mark", "moustache"])
