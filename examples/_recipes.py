"""Recipes of ``reproduce.py``: settings, published values and accepted bands."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import _measures as measures
from _initial_weights import glorot_uniform, logits_of_means

from minivae import models
from minivae.training import objectives


@dataclass(frozen=True)
class Variant:
    """One run of a recipe, with the published value and the accepted band of each metric."""

    metrics: dict  # name -> (published, low, high), bounds included, None where not judged
    seed: int = 0
    objective: Callable = objectives.elbo
    model: Callable | None = None  # in place of the recipe's


@dataclass(frozen=True)
class Recipe:
    """The settings of a training, how its metrics are measured, and the accepted values."""

    source: str  # where the values were published
    set_up: str  # what is trained, in a line
    images: str  # "train", "train+test" or "validated": 50,000 to train on, 10,000 held out
    binarize: str
    batch_size: int
    epochs: int
    schedule: tuple  # (first epoch, learning rate) pairs
    model: Callable  # (seed, uint8 training images) -> a fresh model
    variants: dict  # name -> Variant
    measured: str  # how the metrics are measured, in a line
    measure: Callable  # a function of _measures.py
    keep_best: bool = False  # measure the weights with the lowest test loss, not the last
    labelled: bool = False  # whether the model takes labels
    adam: dict = field(default_factory=dict)  # Adam's options except the learning rate
    short: dict = field(default_factory=dict)  # fields to replace on a CPU, unless --full is given
    # A recipe with gains is judged by them alone: (metric, worse, better) -> (published, low, high)
    # of the metric of variant ``worse`` less that of variant ``better``.
    gains: dict = field(default_factory=dict)

    def shortened(self):
        """The short form of the recipe, for a CPU."""
        return replace(self, **self.short)


def seeds(count, **metrics):
    """The same run from several seeds."""
    names = {name.replace("_", " "): band for name, band in metrics.items()}
    return {f"seed {seed}": Variant(names, seed) for seed in range(count)}


PYTORCH_EXAMPLE = Recipe(
    source="PyTorch's VAE example; the test loss of several runs of it",
    set_up="MLPVAE 784-400-20, PyTorch's default initial weights",
    images="train",
    binarize="none",
    batch_size=128,
    epochs=10,
    schedule=((0, 1e-3),),
    model=lambda seed, _: models.MLPVAE(20, 400, seed=seed),
    variants=seeds(3, test_loss=("105.56-105.61", 104.8, 106.4)),
    measured="after the last epoch, one sampled z for each test image; grey pixels, no likelihood",
    measure=measures.last_epoch,
)

KERAS_2D = Recipe(
    source="Keras' convolutional VAE example, the last line of its log",
    set_up="ConvVAE, 2 latents, relu on the dense layer of 16; Glorot-uniform weights, biases 0",
    images="train+test",
    binarize="none",
    batch_size=128,
    epochs=30,
    schedule=((0, 1e-3),),
    model=lambda seed, _: glorot_uniform(models.ConvVAE(2, "relu"), seed),
    variants=seeds(3, train_rec=("140.15", 139.0, 143.0), train_kl=("6.80", 6.4, 7.2)),
    measured="means over the steps of the last epoch, as Keras prints; grey pixels, no likelihood",
    measure=measures.last_epoch,
)

STATIC_400_40 = Recipe(
    source="Pythae's VAE on static MNIST, after Rezende & Mohamed 2015 (arXiv:1505.05770)",
    # The published script has one hidden layer and a second one commented out. The released
    # weights are 2.03 MB of encoder and 1.97 MB of decoder: that is two layers; one layer would be
    # 1.4 and 1.3 MB.
    set_up="DeepVAE 784-(relu 400, 400)-40-(relu 400, 400)-784, PyTorch's default initial weights; "
    "'one layer' is MLPVAE 784-400-40",
    images="validated",
    binarize="static",
    batch_size=100,
    epochs=500,
    schedule=((0, 1e-4), (200, 1e-4 * 10 ** (-1 / 5)), (350, 1e-4 * 10 ** (-2 / 5))),
    model=lambda seed, _: models.DeepVAE(40, (400, 400), seed=seed, activation="relu"),
    variants={
        "two layers": Variant({"NLL": ("89.78", 89.0, 90.6)}),
        "one layer": Variant(
            {"NLL": ("89.78", None, None)}, model=lambda seed, _: models.MLPVAE(40, 400, seed=seed)
        ),
    },
    measured="weights of the epoch with the best validation ELBO; importance sampling with 200 "
    "samples on the 10,000 test images, on a static draw of our own",
    measure=partial(measures.nll, samples=200),
    keep_best=True,
)


def burda(seed, images):
    """The one-layer network of Burda et al. 2016 with the initial weights of its code."""
    model = glorot_uniform(models.DeepVAE(50, (200, 200)), seed)
    logits_of_means(model.decoder[-1], images)
    return model


def table1(objective, samples, published):
    """The variant for a cell of table 1; its band is the published value plus or minus 0.6 nats."""
    band = (f"{published:.2f}", round(published - 0.6, 2), round(published + 0.6, 2))
    return Variant({"NLL": band}, objective=partial(objective, samples=samples))


TABLE1 = {
    "VAE 1": table1(objectives.sampled_elbo, 1, 86.76),
    "VAE 5": table1(objectives.sampled_elbo, 5, 86.47),
    "VAE 50": table1(objectives.sampled_elbo, 50, 86.35),
    "IWAE 5": table1(objectives.iwae, 5, 85.54),
    "IWAE 50": table1(objectives.iwae, 50, 84.78),
}
IWAE_TABLE1 = Recipe(
    source="Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), table 1, MNIST, one layer",
    set_up="DeepVAE 784-(tanh 200, 200)-50-(tanh 200, 200)-784; Glorot-uniform weights, output "
    "biases the logits of the pixel means",
    images="train",
    binarize="dynamic",
    batch_size=20,
    epochs=3280,
    # Stage i of eight lasts 3^i epochs at the rate 1e-3 10^(-i/7): section 5.
    schedule=tuple(((3**i - 1) // 2, 1e-3 * 10 ** (-i / 7)) for i in range(8)),
    adam={"eps": 1e-4},
    model=burda,
    variants=TABLE1,
    measured="importance sampling with 5,000 samples on the 10,000 test images, drawn once",
    measure=partial(measures.nll, samples=5000),
    short={
        "epochs": 4,  # the first two stages
        "variants": {name: TABLE1[name] for name in ("VAE 1", "IWAE 5", "IWAE 50")},
        "measured": "importance sampling with 1,000 samples on 2,000 test images, drawn once; "
        "after 4 of 3,280 epochs the order is judged, not the values",
        "measure": partial(measures.nll, samples=1000, images=2000),
        "gains": {
            ("NLL", "VAE 1", "IWAE 5"): ("1.22", 0.0, float("inf")),
            ("NLL", "IWAE 5", "IWAE 50"): ("0.76", 0.0, float("inf")),
        },
    },
)

CONDITIONAL = Recipe(
    source="no published figure: whether a conditional VAE draws the digit it is asked for",
    # Four latents: with more, most of the prior's volume is the code of no image of any class.
    set_up="ConditionalVAE 784+10 -> 400 -> 4, 4+10 -> 400 -> 784, PyTorch's default weights",
    images="train",
    labelled=True,
    binarize="none",
    batch_size=128,
    epochs=10,
    schedule=((0, 1e-3),),
    model=lambda seed, _: models.ConditionalVAE(4, 400, seed=seed),
    variants=seeds(
        1, drawn_as_asked=("none", 0.9, 1.0), accuracy_of_the_classifier=("none", None, None)
    ),
    measured="share of 10,000 pictures drawn from the prior, each digit as often, in which a "
    "convolutional classifier of the real training images sees the digit asked for",
    measure=partial(measures.obedience, drawn=10_000),
)

RECIPES = {
    "pytorch-example": PYTORCH_EXAMPLE,
    "keras-2d": KERAS_2D,
    "static-400-40": STATIC_400_40,
    "iwae-table1": IWAE_TABLE1,
    "conditional-digits": CONDITIONAL,
}
