"""``python -m minivae evaluate``: what a checkpoint's model is worth, as a table and as JSON."""

import json
import math
from pathlib import Path

import numpy as np

from .. import evaluation
from ..atomic_write import write_atomically
from ..backend import to_numpy
from ..data import PixelBatches
from ..errors import DataError, NonFiniteError
from ..evaluation import classify
from ..evaluation.grouping import at_a_time
from ..noise import EVALUATION, SAMPLING, Noise, NoiseStream
from ..training.loaded_run import BINARIZE, load
from ..training.run_files import CHECKPOINT
from .info import kernels_used
from .options import Parser, parse, positive_int, reported, seed

AGGREGATE = EVALUATION + (2 << 56)  # offset of the draw that tells the aggregate posterior
ELBO_SAMPLES = 10
WHOSE_IMAGES = {
    True: (),
    False: ("not the images of its run",),
    None: ("the checkpoint does not say which images it was trained on",),
}


def parser():
    """The command line."""
    p = Parser(prog="python -m minivae evaluate", description="Measure a trained model.")
    add = p.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="checkpoint.safetensors of a training run")
    add("--data", metavar="DIR", help="as the example that trained the model takes it")
    add(
        "--other-data", action="store_true", help="allow other images than the model was trained on"
    )
    add("--binarize", choices=BINARIZE,
        help="grey pixels, or 0 and 1 drawn once; if not given, as in training, which the "
        "checkpoint says")  # fmt: skip
    add("--samples", type=positive_int, default=1000, metavar="K",
        help="of the importance-weighted bound; the literature has 5000")  # fmt: skip
    add("--limit", type=positive_int, metavar="N", help="only the first N images of each part")
    add("--seed", type=seed, default=0, metavar="N", help="the noise follows from it")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where the arrays live")
    add("--frechet", action="store_true",
        help="also train a small classifier and compare decoded draws from the prior in its "
        "features")  # fmt: skip
    add("--json", metavar="FILE", help="write the results there too")
    return p


@reported
def main(argv=None):
    """Measure, print, write."""
    args = parse(parser(), argv)
    if args.json and not Path(args.json).absolute().parent.is_dir():  # before hours of work
        raise DataError(f"{args.json}: cannot be written: there is no such folder")
    if Path(args.checkpoint).is_dir():
        raise DataError(f"{args.checkpoint}: a folder; name the {CHECKPOINT} in it")
    subject = load(
        args.checkpoint, args.data, binarize=args.binarize, limit=args.limit, device=args.device,
        other_data=args.other_data,
    )  # fmt: skip
    result = measure(subject, args.samples, args.seed, args.device, args.frechet)
    result = {"checkpoint": args.checkpoint, **result}
    print(table(result))
    if args.json:
        try:
            write_atomically(args.json, json.dumps(result, indent=2).encode() + b"\n")
        except OSError as error:
            raise DataError(f"{args.json}: cannot be written: {error.strerror}") from error


def measure(subject, samples=1000, seed=0, device="cpu", frechet=False):
    """Everything that can be said of a ``Subject``, as a dict for JSON. Losses in nats per image.

    Args:
        subject: model and images.
        samples: K of the importance-weighted bound.
        seed: of the noise.
        device: where the model is, for the record.
        frechet: also the classifier Fréchet distance.

    Raises:
        NonFiniteError: the loss is NaN or infinite. DataError: as ``frechet_scores``.
    """
    model, count = subject.model, len(subject.test.images)
    dimensions = math.prod(subject.test.images.shape[1:])
    meaning, is_likelihood = subject.meaning()
    noise = seed, evaluation.IMPORTANCE

    def test():
        return subject.batches(subject.test)

    bound = evaluation.elbo(model, test(), NoiseStream(*noise), ELBO_SAMPLES)
    if not math.isfinite(bound.terms.loss):
        raise NonFiniteError("the loss on the test images is NaN or infinite")
    result = {
        "model": type(model).__name__,
        "parameters": sum(p.size for p in model.parameters()),
        "dataset": subject.dataset, "images": count, "images_of_the_run": subject.own,
        "binarize": subject.binarize, "trained_binarize": subject.trained_binarize,
        "likelihood": model.likelihood, "meaning": meaning, "is_likelihood": is_likelihood,
        "seed": seed, "device": device, "kernels": kernels_used(device),
        "elbo": {
            **bound.terms._asdict(), "standard_error": bound.standard_error,
            "samples": ELBO_SAMPLES,
        },
    }  # fmt: skip
    if model.likelihood != "squared-error":
        found = evaluation.importance_weighted_nll(
            model, test(), NoiseStream(*noise), samples, total=count
        )
        result["importance_weighted"] = {
            "nats": float(found.nll), "samples": samples,
            "standard_error": found.standard_error,
            "standard_error_of_images": float(found.per_image.std() / math.sqrt(count)),
            "effective_samples_median": float(np.median(found.effective_samples)),
            "effective_samples_least": float(found.effective_samples.min()),
        }  # fmt: skip
        if is_likelihood:
            result["importance_weighted"]["bits_per_dimension"] = evaluation.bits_per_dimension(
                float(found.nll), dimensions, dequantised=model.likelihood != "bernoulli"
            )
    result |= about_codes(subject, seed)
    if frechet:
        result["classifier_frechet"] = frechet_scores(subject, seed)
    return result


def choice_of_pixels(result):
    """Which pixels a Bernoulli model was asked about, and whether it was trained on such."""
    used, trained = result["binarize"], result["trained_binarize"]
    if trained is None:
        return f"binarize {used}; the checkpoint does not say how it was trained"
    return f"binarize {used}, {'as in training' if used == trained else f'trained with {trained}'}"


def about_codes(subject, seed):
    """What the codes hold: a dict of results."""
    model = subject.model
    mu, logvar = evaluation.posteriors(model, subject.batches(subject.test))
    result = {"latent_dim": model.latent_dim, "active_units": evaluation.active_units(mu)}
    if model.noise_dim == model.latent_dim:  # else the prior of these latents is no N(0, I)
        aggregate = evaluation.aggregate_posterior(mu, logvar, Noise(seed, AGGREGATE))
        result |= {
            "kl_per_latent": evaluation.kl_per_latent(mu, logvar).tolist(),
            "mutual_information": aggregate.mutual_information,
            "marginal_kl": aggregate.marginal_kl,
            "aggregate_standard_error": aggregate.standard_error,
            "aggregate_mean": aggregate.mean.tolist(),
            "aggregate_variance": np.diag(aggregate.covariance).tolist(),
        }
    train, _ = evaluation.posteriors(model, subject.batches(subject.train))
    probes = {}
    for name, labels in subject.train.labels.items():
        codes = train, labels, mu, subject.test.labels[name]
        probes[name] = {
            "linear": evaluation.linear_probe(*codes),
            "nearest_neighbours": evaluation.nearest_neighbour_accuracy(*codes, min(5, len(train))),
            "commonest": float((codes[3] == np.bincount(labels).argmax()).mean()),
        }
    return result | {"probes": probes}


def frechet_scores(subject, seed):
    """Distances of the test images from decoded draws from the prior, and from training images.

    Raises:
        DataError: the images have no labels to train a classifier on, or are fewer than two.
    """
    train, test = subject.train, subject.test
    if min(len(train.images), len(test.images)) < 2:
        raise DataError(f"{subject.dataset}: --frechet compares at least two images of each part")
    if not train.labels:
        raise DataError(f"{subject.dataset}: no labels to train the classifier of --frechet on")
    if "digit" in train.labels:
        labels = train.labels["digit"]
        classes = max(10, int(labels.max()) + 1)  # letters and the like have more
        classifier = classify.fit_digit_classifier(train.images, labels, seed=seed, classes=classes)
    else:
        names = list(train.labels)
        targets = np.stack([train.labels[n] for n in names], axis=1).astype(np.float32)
        classifier = classify.fit_classifier(train.images, targets, names, seed=seed)
    shape = (classifier.channels, classifier.image_size, classifier.image_size)
    noise = NoiseStream(seed, SAMPLING)
    most = at_a_time(shape)
    sizes = [min(most, len(test.images) - i) for i in range(0, len(test.images), most)]
    drawn = (
        to_numpy(subject.model.sample(n, noise).data).reshape(n, *shape) for n in sizes
    )  # fmt: skip
    grey, others = (
        PixelBatches(images, most, train=False)
        for images in (test.images, train.images[: len(test.images)])
    )
    distance = evaluation.classifier_frechet_distance
    return {
        "samples": distance(classifier, grey.epoch(0), drawn),
        "training_images": distance(classifier, grey.epoch(0), others.epoch(0)),
    }


def table(result):
    """The results as text."""
    elbo, exact = result["elbo"], result["is_likelihood"]
    rows = [
        ("-ELBO" if exact else "loss", number(elbo["loss"], elbo["standard_error"]),
         f"nats, {elbo['samples']} samples"),
        ("  reconstruction", number(elbo["rec"]), "nats" if exact else ""),
        ("  KL", number(elbo["kl"]), "nats"),
    ]  # fmt: skip
    if found := result.get("importance_weighted"):
        rows += [
            ("-ln p(x)" if exact else "importance-weighted loss",
             number(found["nats"], found["standard_error"]),
             f"nats, {found['samples']} samples; in the median image "
             f"{found['effective_samples_median']:.0f} are effective"),
            ("", f"± {found['standard_error_of_images']:.2f}", "by the choice of images"),
        ]  # fmt: skip
        if exact:
            rows.append(("", f"{found['bits_per_dimension']:.4f}", "bits per dimension"))
    rows.append(("active units", f"{result['active_units']} of {result['latent_dim']}", ""))
    if "marginal_kl" in result:
        error, most = result["aggregate_standard_error"], math.log(result["images"])
        rows += [
            ("information in codes", number(result["mutual_information"], error),
             f"nats, at most {most:.2f}"),
            ("KL of their mixture", number(result["marginal_kl"], error), "nats, from the prior"),
            ("  mean of a latent", span(result["aggregate_mean"]), "the prior's is 0"),
            ("  variance", span(result["aggregate_variance"]), "the prior's is 1"),
            ("KL of a latent", span(result["kl_per_latent"]), "nats"),
        ]  # fmt: skip
    for name, probe in result["probes"].items():
        rows.append((
            f"{name} from codes", f"{probe['linear']:.1%}",
            f"linear; {probe['nearest_neighbours']:.1%} nearest neighbours, "
            f"{probe['commonest']:.1%} always the commonest",
        ))  # fmt: skip
    if frechet := result.get("classifier_frechet"):
        rows.append((
            "classifier Fréchet", f"{frechet['samples']:.2f}",
            f"decoded draws; {frechet['training_images']:.2f} training images; not the FID",
        ))  # fmt: skip
    about = (
        f"{result['model']}, {result['parameters']:,} parameters, on {result['images']} test "
        f"images of {result['dataset']}",
        result["meaning"],
        *([choice_of_pixels(result)] if result["likelihood"] == "bernoulli" else []),
        *WHOSE_IMAGES[result["images_of_the_run"]],
        "",
    )
    left, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = (f"  {a:<{left}}  {b:>{middle}}  {unit}".rstrip() for a, b, unit in rows)
    return "\n".join([*about, *lines])


def span(values):
    """The least and the largest of some values."""
    return f"{min(values):.2f} to {max(values):.2f}"


def number(value, error=None):
    """A value, and its standard error where there is one."""
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"
