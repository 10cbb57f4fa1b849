"""The published figures that ``reproduce.py`` runs after, one ``Recipe`` each."""

from collections.abc import Callable
from dataclasses import dataclass, field

from minivae import init, models


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run, and where the outcome should lie."""

    source: str  # whose figures these are
    set_up: str  # what is trained, in a line
    images: str  # "train", "train+test", or "validated": 50,000 to train on, 10,000 to choose by
    binarize: str
    batch_size: int
    epochs: int
    schedule: tuple  # (first epoch, learning rate) pairs
    model: Callable  # seed -> a fresh model
    metrics: dict  # of each variant, {name: (published, low, high)}; nats per image
    measure: str  # how they are read off, in a line
    variants: dict = field(default_factory=lambda: {"seed 0": {"seed": 0}})
    keep_best: bool = False
    nll_samples: int = 0
    adam: dict = field(default_factory=dict)


RECIPES = {
    "pytorch-example": Recipe(
        source="PyTorch's VAE example, three runs of it: test loss 105.56-105.61",
        set_up="MLPVAE 784-400-20, PyTorch's default initial weights",
        images="train",
        binarize="none",
        batch_size=128,
        epochs=10,
        schedule=((0, 1e-3),),
        model=lambda seed: models.MLPVAE(20, 400, seed=seed),
        metrics={"test_loss": ("105.56-105.61", 104.8, 106.4)},
        measure="after the last epoch, one sampled z for each test image; grey pixels, so this is "
        "no likelihood",
        variants={f"seed {seed}": {"seed": seed} for seed in range(3)},
    ),
    "keras-2d": Recipe(
        source="Keras' convolutional VAE example: reconstruction 140.15, KL 6.80",
        set_up="ConvVAE with 2 latents, relu on the dense layer of 16; Glorot-uniform weights, "
        "zero biases",
        images="train+test",
        binarize="none",
        batch_size=128,
        epochs=30,
        schedule=((0, 1e-3),),
        model=lambda seed: init.glorot_uniform(models.ConvVAE(2, "relu"), seed),
        metrics={"train_rec": ("140.15", 139.0, 143.0), "train_kl": ("6.80", 6.4, 7.2)},
        measure="means over the steps of the last epoch, as Keras prints them; grey pixels, so "
        "this is no likelihood",
    ),
    "static-400-40": Recipe(
        source="Pythae's VAE on static MNIST: 89.78 (after 89.9 of arXiv:1505.05770)",
        set_up="MLPVAE 784-400-40, PyTorch's default initial weights",
        images="validated",
        binarize="static",
        batch_size=100,
        epochs=500,
        schedule=((0, 1e-4), (200, 1e-4 * 10 ** (-1 / 5)), (350, 1e-4 * 10 ** (-2 / 5))),
        model=lambda seed: models.MLPVAE(40, 400, seed=seed),
        metrics={"nll": ("89.78", 89.0, 90.6)},
        measure="weights of the epoch with the best validation ELBO; importance sampling with 200 "
        "samples on the 10,000 test images, on a static draw of our own",
        keep_best=True,
        nll_samples=200,
    ),
}
