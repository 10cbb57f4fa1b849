"""Scores for edits of face attributes in latent space: adding or removing glasses, a smile.

An edit moves the mean code of a face along the attribute's vector and decodes it. It is scored

- by ``counterfactual_scores`` against the true edited face, which is known for drawn faces;
- by ``agreement_scores`` with a classifier trained on the original faces, for photographs.

Both take held-out faces, and also score the reconstructions without an edit.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..arguments import AnyPath
from ..backend import Array
from ..data.batches import PixelBatches
from ..data.faces import FaceDataset, load_faces
from ..errors import DataError
from ..models.classifier import ImageClassifier
from ..models.vae import VAE
from ..tensor import no_grad
from ..viz import latent
from . import classify
from .latents import posteriors

BATCH = 64
LANCZOS = Image.Resampling.LANCZOS


def unit_pixels(images: Array) -> Array:
    """uint8 images as float32 in [0, 1]."""
    return np.concatenate(list(PixelBatches(images, BATCH, train=False).epoch(0)))


def encode_means(model: VAE, images: Array) -> Array:
    """The posterior mean of each uint8 image, float32 (N, D)."""
    mu, _ = posteriors(model, PixelBatches(images, BATCH, train=False).epoch(0))
    return mu.astype(np.float32)


def decode_means(model: VAE, codes: Array) -> Array:
    """The decoder's mean image for each code, (N, C, S, S) in [0, 1]."""
    rows = range(0, len(codes), BATCH)
    return np.concatenate([model.pixels(codes[i : i + BATCH]).numpy() for i in rows])


def fit_classifier(
    faces: FaceDataset,
    labels: Sequence[str],
    epochs: int = 5,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
) -> ImageClassifier:
    """Train an ``ImageClassifier`` on the faces' attributes named in ``labels``.

    Arguments as ``classify.fit_classifier``; errors as ``label_matrix``.

    Returns:
        The classifier. Its accuracy on other faces is ``accuracy(classifier, other)``.
    """
    targets = label_matrix(faces, labels)
    return classify.fit_classifier(
        faces.images, targets, labels, epochs, seed, batch_size, progress
    )


def has_both(faces: FaceDataset, attribute: str) -> bool:
    """Whether the attribute is known, and some faces have it and some do not."""
    values = faces.attributes.get(attribute, np.zeros(0, bool))
    return bool(values.any() and not values.all())


def guess_attributes(
    faces: FaceDataset, names: Iterable[str], teacher: AnyPath, size: int = 64, epochs: int = 5
) -> dict[str, Array]:
    """Predict attributes that a set lacks with a classifier trained on a labelled set.

    Args:
        faces: the set, whose faces must be cropped like those of the labelled set.
        names: the attributes to predict; those that the set has are left out.
        teacher: path of the labelled set, as ``source`` of ``data.load_faces``.
        size: height and width at which the classifier sees faces.
        epochs: of the classifier's training.

    Returns:
        dict from name to bool (N,): predicted, not ground truth.

    Raises:
        DataError: the labelled set cannot be read, or lacks one of the attributes.
    """
    names = [name for name in names if name not in faces.attributes]
    if not names:
        return {}
    labelled = load_faces(teacher, size)
    if missing := [name for name in names if name not in labelled.attributes]:
        known = ", ".join(labelled.attributes) or "none"
        raise DataError(f"{teacher}: no attribute {', '.join(missing)}; there are {known}")
    classifier = fit_classifier(labelled, names, epochs=epochs)
    small = np.stack([
        np.asarray(Image.fromarray(np.moveaxis(image, 0, -1)).resize((size, size), LANCZOS))
        for image in faces.images
    ])  # fmt: skip
    pixels = unit_pixels(np.moveaxis(small, -1, 1))
    return {name: says(classifier, pixels, name) for name in names}


def label_matrix(faces: FaceDataset, labels: Sequence[str]) -> Array:
    """The attributes ``labels`` as 0 and 1, float32 (N, A); ValueError if the faces lack one."""
    missing = [name for name in labels if name not in faces.attributes]
    if missing:
        raise ValueError(f"labels: expected some of {sorted(faces.attributes)}, got {missing}")
    return np.stack([faces.attributes[name] for name in labels], axis=1).astype(np.float32)


def says(classifier: ImageClassifier, images: Array, label: str) -> Array:
    """Whether the classifier predicts ``label`` for each image, pixels in [0, 1]: bool (N,)."""
    column = classifier.labels.index(label)
    rows = range(0, len(images), BATCH)
    with no_grad():
        logits = [classifier(images[i : i + BATCH]).numpy()[:, column] for i in rows]
    return np.concatenate(logits) > 0


def accuracy(classifier: ImageClassifier, faces: FaceDataset) -> dict[str, float]:
    """The classifier's accuracy on ``faces`` for each label: a dict from label to [0, 1]."""
    pixels = unit_pixels(faces.images)
    return {
        name: float(np.mean(says(classifier, pixels, name) == faces.attributes[name]))
        for name in classifier.labels
    }


def agreement_scores(
    model: VAE,
    classifier: ImageClassifier,
    train: FaceDataset,
    held_out: FaceDataset,
    attribute: str,
    strengths: Sequence[float] = (1.0, 1.5, 2.0),
) -> dict[str, dict[str, float]]:
    """Shares of held-out faces for which the classifier predicts the attribute after an edit.

    The attribute's vector is the difference of mean codes with and without it over ``train``.

    Args:
        model, classifier: the model whose codes are edited, and the judge of the pictures.
        train: faces for the attribute's vector.
        held_out: faces to edit.
        attribute: its name.
        strengths: multiples of the vector by which codes are moved.

    Returns:
        dict: ``faces`` {with, without}: numbers of faces; ``reconstructed`` {with, without}: the
        share predicted for reconstructions of faces with and without the attribute; and for each
        strength ``added``: the share predicted after adding it to faces without, and ``removed``:
        the share no longer predicted after removing it from faces with.
    """
    vector = latent.attribute_vector(encode_means(model, train.images), train.attributes[attribute])
    codes, has = encode_means(model, held_out.images), held_out.attributes[attribute]

    def share(codes: Array) -> float:
        return float(says(classifier, decode_means(model, codes), attribute).mean())

    scores: dict[str, dict[str, float]] = {
        "faces": {"with": int(has.sum()), "without": int((~has).sum())},
        "reconstructed": {"with": share(codes[has]), "without": share(codes[~has])},
    }
    for strength in strengths:
        step = np.float32(strength) * vector
        scores[f"strength {strength:g}"] = {
            "added": share(codes[~has] + step),
            "removed": 1 - share(codes[has] - step),
        }
    return scores


def counterfactual_scores(
    model: VAE, train: FaceDataset, with_it: Array, without_it: Array, attribute: str
) -> dict[str, dict[str, Any]]:
    """Errors of removing the attribute, compared with the same faces drawn without it.

    Args:
        model: the model whose codes are edited.
        train: faces for the attribute's vector and for the mean image difference.
        with_it, without_it: uint8 (N, C, S, S), the same held-out faces drawn with and without.
        attribute: its name.

    Returns:
        Two dicts, "from reconstructions" and "from originals", of root mean squared errors to
        ``without_it`` over pixels in [0, 1], mean over faces. ``nothing``: the picture unchanged;
        ``pixel``: the picture minus the mean image difference; ``latent``: for a reconstruction the
        decoded edit, for an original the picture plus the change that the edit makes to the
        reconstruction. ``gain``: by how much the error of latent is below the smaller of the other
        two, with its standard error (None for a single face).
    """
    has = train.attributes[attribute]
    vector = latent.attribute_vector(encode_means(model, train.images), has)
    with_mean, without_mean = (train.images[group].mean(axis=0) for group in (has, ~has))
    pixel_change = (without_mean - with_mean) / 255
    codes = encode_means(model, with_it)
    truth, original = unit_pixels(without_it), unit_pixels(with_it)
    plain, edited = decode_means(model, codes), decode_means(model, codes - vector)
    return {
        "from reconstructions": _errors(truth, plain, plain + pixel_change, edited),
        "from originals": _errors(
            truth, original, original + pixel_change, original + (edited - plain)
        ),
    }


def _errors(truth: Array, nothing: Array, pixel: Array, latent_edit: Array) -> dict[str, Any]:
    """Mean RMSE of each method, and the paired gain of the latent edit over the better other."""
    rmse = {
        name: np.sqrt(((np.clip(x, 0, 1) - truth) ** 2).mean(axis=(1, 2, 3)))
        for name, x in [("nothing", nothing), ("pixel", pixel), ("latent", latent_edit)]
    }
    rival = min(("nothing", "pixel"), key=lambda name: rmse[name].mean())
    gain = rmse[rival] - rmse["latent"]
    n = len(gain)
    return {
        **{name: float(values.mean()) for name, values in rmse.items()},
        "gain": float(gain.mean()),
        "gain_standard_error": float(gain.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "share_of_faces_better": float((gain > 0).mean()),
    }
