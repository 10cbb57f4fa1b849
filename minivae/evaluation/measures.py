"""All measurements of a trained model as one dict, which ``minivae evaluate`` writes as JSON."""

import math
from typing import Any

import numpy as np

from ..backend import to_numpy
from ..data import PixelBatches
from ..errors import DataError, NonFiniteError
from ..models import ImageClassifier
from ..noise import EVALUATION, SAMPLING, Noise, NoiseStream
from . import classify
from .bounds import IMPORTANCE, elbo, importance_weighted_nll
from .frechet import classifier_frechet_distance
from .grouping import at_a_time
from .latents import active_units, aggregate_posterior, kl_per_latent, posteriors
from .probes import linear_probe, nearest_neighbour_accuracy
from .trained_model import TrainedModel
from .units import bits_per_dimension

AGGREGATE = EVALUATION + (2 << 56)  # offset of the draw for the aggregate posterior
ELBO_SAMPLES = 10


def measure(
    trained: TrainedModel, samples: int = 1000, seed: int = 0, frechet: bool = False
) -> dict[str, Any]:
    """All measurements of a model on its images: a dict for JSON, losses in nats per image.

    Args:
        trained: the model and its images.
        samples: K of the importance-weighted bound.
        seed: of the noise.
        frechet: whether to measure the classifier Fréchet distance too.

    Raises:
        NonFiniteError: the loss is NaN or infinite.
        DataError: ``frechet`` cannot be measured on these images; raised before all measurements.
    """
    if frechet:
        _require_comparable(trained)
    model, images = trained.model, trained.data.test.images
    meaning, is_likelihood = trained.meaning()
    noise = NoiseStream(seed, IMPORTANCE)
    found = elbo(model, trained.batches(trained.data.test), noise, ELBO_SAMPLES)
    if not math.isfinite(found.terms.loss):
        raise NonFiniteError("the loss on the test images is NaN or infinite")
    result = {
        "model": type(model).__name__,
        "parameters": sum(p.size for p in model.parameters()),
        "dataset": trained.data.name, "images": len(images), "images_of_the_run": trained.own,
        "binarize": trained.binarize, "trained_binarize": trained.trained_binarize,
        "likelihood": model.likelihood, "meaning": meaning, "is_likelihood": is_likelihood,
        "seed": seed,
        "elbo": {
            **found.terms._asdict(), "standard_error": found.standard_error,
            "samples": ELBO_SAMPLES,
        },
    }  # fmt: skip
    if model.likelihood != "squared-error":
        weighted = _importance_weighted(trained, samples, seed)
        if is_likelihood:
            weighted["bits_per_dimension"] = bits_per_dimension(
                weighted["nats"], math.prod(images.shape[1:]),
                dequantised=model.likelihood != "bernoulli",
            )  # fmt: skip
        result["importance_weighted"] = weighted
    result |= _about_codes(trained, seed)
    if frechet:
        result["classifier_frechet"] = _frechet_distances(trained, seed)
    return result


def _importance_weighted(trained: TrainedModel, samples: int, seed: int) -> dict[str, Any]:
    count, noise = len(trained.data.test.images), NoiseStream(seed, IMPORTANCE)
    found = importance_weighted_nll(
        trained.model, trained.batches(trained.data.test), noise, samples, total=count
    )
    of_images = float(found.per_image.std() / math.sqrt(count))
    return {
        "nats": float(found.nll), "samples": samples,
        "standard_error": found.standard_error if samples > 1 else None,
        "standard_error_of_images": of_images if count > 1 else None,
        "effective_samples_median": float(np.median(found.effective_samples)),
        "effective_samples_least": float(found.effective_samples.min()),
    }  # fmt: skip


def _about_codes(trained: TrainedModel, seed: int) -> dict[str, Any]:
    """Statistics of the codes: active units, KL, mutual information, accuracy of probes."""
    model = trained.model
    mu, logvar = posteriors(model, trained.batches(trained.data.test))
    result: dict[str, Any] = {"latent_dim": model.latent_dim, "active_units": active_units(mu)}
    if model.noise_dim == model.latent_dim:  # else the prior of these latents is not N(0, I)
        aggregate = aggregate_posterior(mu, logvar, Noise(seed, AGGREGATE))
        result |= {
            "kl_per_latent": kl_per_latent(mu, logvar).tolist(),
            "mutual_information": aggregate.mutual_information,
            "marginal_kl": aggregate.marginal_kl,
            "aggregate_standard_error": aggregate.standard_error,
            "aggregate_mean": aggregate.mean.tolist(),
            "aggregate_variance": np.diag(aggregate.covariance).tolist(),
        }
    train, _ = posteriors(model, trained.batches(trained.data.train, train=True))
    result["probes"] = {}
    for name, labels in trained.data.train.labels.items():
        codes = train, labels, mu, trained.data.test.labels[name]
        result["probes"][name] = {
            "linear": linear_probe(*codes),
            "nearest_neighbours": nearest_neighbour_accuracy(*codes, min(5, len(train))),
            "commonest": float((codes[3] == np.bincount(labels).argmax()).mean()),
        }
    return result


def _require_comparable(trained: TrainedModel) -> None:
    """DataError unless ``_frechet_distances`` can be measured."""
    if min(len(trained.data.train.images), len(trained.data.test.images)) < 2:
        raise DataError(f"{trained.data.name}: --frechet compares at least two images of each part")
    if not trained.data.train.labels:
        raise DataError(f"{trained.data.name}: no labels to train the classifier of --frechet on")


def _frechet_distances(trained: TrainedModel, seed: int) -> dict[str, float]:
    """Distances between test images and samples, and between test and training images."""
    train, test = trained.data.train.images, trained.data.test.images
    classifier = _classifier(trained, seed)
    shape = (classifier.channels, classifier.image_size, classifier.image_size)
    noise, most = NoiseStream(seed, SAMPLING), at_a_time(shape)
    sizes = [min(most, len(test) - i) for i in range(0, len(test), most)]
    drawn = (to_numpy(trained.model.sample(n, noise).data).reshape(n, *shape) for n in sizes)
    grey, others = (
        PixelBatches(images, most, train=False) for images in (test, train[: len(test)])
    )
    return {
        "samples": classifier_frechet_distance(classifier, grey.epoch(0), drawn),
        "training_images": classifier_frechet_distance(classifier, grey.epoch(0), others.epoch(0)),
    }


def _classifier(trained: TrainedModel, seed: int) -> ImageClassifier:
    """A classifier trained on the training images and their labels."""
    images, labels = trained.data.train.images, trained.data.train.labels
    if "digit" in labels:
        classes = max(10, int(labels["digit"].max()) + 1)  # sets such as EMNIST have more
        return classify.fit_digit_classifier(images, labels["digit"], seed=seed, classes=classes)
    targets = np.stack(list(labels.values()), axis=1).astype(np.float32)
    return classify.fit_classifier(images, targets, list(labels), seed=seed)
