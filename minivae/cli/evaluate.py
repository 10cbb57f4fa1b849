"""``minivae evaluate``: measure a trained model; prints a table and can write JSON."""

import json
import math
from collections.abc import Sequence
from typing import Any

from ..evaluation import measure
from .info import kernels_used
from .options import (
    Parser,
    add_images_of_run,
    checkpoint_of,
    loaded,
    parse,
    positive_int,
    reported,
    require_writable,
    seed,
    write_result,
)

WHOSE_IMAGES = {
    True: (),
    False: ("not the images of its run",),
    None: ("the checkpoint does not say which images it was trained on",),
}


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae evaluate", description="Measure a trained model.")
    add_images_of_run(p, limit=None)
    add = p.add_argument
    add("--samples", type=positive_int, default=1000, metavar="K",
        help="samples per image for the importance-weighted bound; published results "
        "use 5000")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N", help="seed of the noise")
    add("--frechet", action="store_true",
        help="also train a small classifier and compare decoded draws from the prior in its "
        "features")  # fmt: skip
    add("--json", metavar="FILE", help="write the results there too")
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = parse(parser(), argv)
    if args.json:
        require_writable(args.json)  # before hours of work
    result = {
        "checkpoint": str(checkpoint_of(args.run)),
        **measure(loaded(args), args.samples, args.seed, args.frechet),
        "device": args.device,
        "kernels": kernels_used(args.device),
    }
    if args.json:
        write_result(args.json, json.dumps(result, indent=2) + "\n")
    print(table(result))


def choice_of_pixels(result: dict[str, Any]) -> str:
    """How a model's pixels were binarised, and whether that is as in training."""
    used, trained = result["binarize"], result["trained_binarize"]
    if trained is None:
        return f"binarize {used}; the checkpoint does not say how it was trained"
    return f"binarize {used}, {'as in training' if used == trained else f'trained with {trained}'}"


def table(result: dict[str, Any]) -> str:
    """The results of ``measure`` as a table of text."""
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
        ]  # fmt: skip
        if (error := found["standard_error_of_images"]) is not None:
            rows.append(("", f"± {error:.2f}", "by the choice of images"))
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
    asked = result["likelihood"] == "bernoulli" or result["binarize"] != "none"
    about = (
        f"{result['model']}, {result['parameters']:,} parameters, on {result['images']} test "
        f"images of {result['dataset']}",
        result["meaning"],
        *([choice_of_pixels(result)] if asked else []),
        *WHOSE_IMAGES[result["images_of_the_run"]],
        "",
    )
    left, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = (f"  {a:<{left}}  {b:>{middle}}  {unit}".rstrip() for a, b, unit in rows)
    return "\n".join([*about, *lines])


def span(values: Sequence[float]) -> str:
    """The smallest and the largest of ``values``, as text."""
    return f"{min(values):.2f} to {max(values):.2f}"


def number(value: float, error: float | None = None) -> str:
    """A value, and its standard error if known, as text."""
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"
