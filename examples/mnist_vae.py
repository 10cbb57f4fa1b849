"""Train a variational autoencoder on MNIST and leave pictures of what it learned."""

import json
import sys
from functools import partial

import numpy as np

import minivae as mv
from minivae import models, optim
from minivae.backend import to_device
from minivae.cli.info import kernels_used
from minivae.cli.options import (
    Parser,
    add_training_options,
    non_negative,
    parse,
    positive_int,
    reported,
    resume,
)
from minivae.data import PixelBatches, mnist
from minivae.evaluation import TrainedModel, posteriors
from minivae.explore import explorer_page
from minivae.noise import SAMPLING
from minivae.training import objectives
from minivae.training.output_folder import OutputFolder
from minivae.training.step import EagerStep
from minivae.training.trainer import Trainer
from minivae.viz import latent

MODELS = {"mlp": models.MLPVAE, "conv": models.ConvVAE}
LATENT_DIM = {"mlp": 20, "conv": 2}
# Adam's rate from each epoch on. Two latents first learn the mean digit, then divide the plane
# among the digits. Small steps take long to leave the first and settle in a poor division; large
# ones do neither, but end in noise, so they shrink (docs/results.md has five seeds).
RATES = {"mlp": ((0, 1e-3),), "conv": ((0, 4e-3), (4, 2e-3), (7, 1e-3), (9, 5e-4))}
OBJECTIVES = {  # name -> a function of the options that gives one
    "elbo": lambda args: objectives.elbo,
    "free-bits": lambda args: partial(objectives.free_bits, nats=args.free_bits),
    "iwae": lambda args: partial(objectives.iwae, samples=args.samples),
    "dreg": lambda args: partial(objectives.dreg, samples=args.samples),
}
# What a resumed run must share, beside what is told apart below.
OPTIONS = ("model", "batch_size", "binarize", "objective", "samples", "free_bits")
PICTURES = ("loss", "reconstructions", "samples", "interpolation", "manifold", "latent")


def parser():
    """The command line."""
    p = Parser(prog="mnist_vae.py", description=__doc__)
    p.add_argument("--model", choices=list(MODELS), default="mlp", help="architecture")
    p.add_argument("--latent-dim", type=positive_int, metavar="N",
                   help="size of the code; if not given, 20 for mlp and 2 for conv")  # fmt: skip
    p.add_argument("--binarize", choices=["none", "static", "dynamic"], default="none",
                   help="grey pixels, or 0 and 1 drawn once or at every visit")  # fmt: skip
    p.add_argument("--objective", choices=list(OBJECTIVES), default="elbo",
                   help="what is minimised; docs/objectives.md has the formulas")  # fmt: skip
    p.add_argument("--samples", type=positive_int, default=5, metavar="K",
                   help="samples of z for each image, for iwae and dreg")  # fmt: skip
    p.add_argument("--free-bits", type=non_negative, default=0.25, metavar="NATS",
                   help="nats that are free of charge to each latent, for free-bits")  # fmt: skip
    add_training_options(
        p, out="runs/mnist", epochs=10, batch_size=128, lr=None,
        lr_help="Adam's learning rate; if not given, 1e-3 for mlp, and for conv 4e-3 that falls to "
        "5e-4 in the tenth epoch",
        data_help="folder that holds mnist/*-ubyte.gz; if not given, $MINIVAE_DATA, the user's "
        "cache, a download or built-in synthetic digits",
    )  # fmt: skip
    return p


@reported
def main(argv=None):
    """Train, then write summary.json, the pictures and the page that explores the run."""
    args = parse(parser(), argv)
    digits = mnist.load(args.data).limited(args.limit)
    options = {"batch_size": args.batch_size, "seed": args.seed, "binarize": args.binarize}
    train = PixelBatches(digits.train.images, **options)
    test = PixelBatches(digits.test.images, **options, train=False)
    latent_dim = args.latent_dim or LATENT_DIM[args.model]
    model = MODELS[args.model](latent_dim=latent_dim, seed=args.seed).to(args.device)
    rates = ((0, args.lr),) if args.lr else RATES[args.model]
    adam = optim.Adam(model.parameters(), lr=rates[0][1])
    parameters = sum(p.size for p in model.parameters())
    print(f"{args.model} VAE, {latent_dim} latents, {parameters:,} parameters; "
          f"{train.count} training and {test.count} test images of {digits.name}")  # fmt: skip

    with OutputFolder(args.out) as out:
        trainer = Trainer(
            model, adam, train, test, out,
            epochs=args.epochs, seed=args.seed, beta=args.beta, warmup=args.warmup,
            schedule=rates if len(rates) > 1 else (),
            step=EagerStep(model, adam, OBJECTIVES[args.objective](args)),
            config={
                **{name: vars(args)[name] for name in OPTIONS}, "lr": rates[0][1],
                "latent_dim": latent_dim, "device": args.device, "limit": args.limit,
                **digits.record(),
            },
            replaces=["summary.json", "explorer.html", *(f"{name}.png" for name in PICTURES)],
        )  # fmt: skip
        if args.resume:
            resume(trainer)
        rows = trainer.run()
        out.write("summary.json", json.dumps({
            "dataset": digits.name, "model": args.model, "parameters": parameters,
            "epochs": len(rows), "batch_size": args.batch_size, "seed": args.seed,
            "device": args.device, "kernels": kernels_used(args.device),
            **{name: rows[-1][name] for name in ("test_loss", "test_rec", "test_kl")},
            **trainer.timing(),
        }, indent=2) + "\n")  # fmt: skip
        if not args.no_plots:
            draw(model, test, digits, rows, args, out)
            pixels = args.binarize, args.binarize
            trained = TrainedModel(
                model, digits.name, digits.train, digits.test, *pixels, public=digits.public
            )
            out.write("explorer.html", explorer_page(trained, trainer.state.config, rows))
    print(f"results in {out.path}")


def draw(model, test, digits, rows, args, out):
    """Every picture; an earlier run's manifold and plane of codes went with its checkpoint."""
    from minivae.viz import plots

    kind = "grey pixels" if args.binarize == "none" else f"{args.binarize} binarisation"
    about = f"\n{digits.name}, {kind}; {type(model).__name__}, {model.latent_dim} latents, "
    about += f"beta {args.beta:g}, epoch {len(rows)}"
    x = to_device(test.images[:20].astype(np.float32) / 255, args.device)  # as the model sees them
    noise = mv.Noise(args.seed, SAMPLING)
    labels = digits.test.labels["digit"]
    one_each = np.unique(labels[: len(x)], return_index=True)[1]  # of every class
    half = (len(one_each) + 1) // 2  # 0 to 5, 1 to 6, ...
    walks = np.stack([
        model.interpolate(x[a], x[b], steps=11).numpy()
        for a, b in zip(one_each[:half], one_each[-half:], strict=True)
    ])  # fmt: skip
    pictures = {
        "loss": plots.losses(
            rows, f"Training images during each epoch, test images after it{about}"
        ),
        "reconstructions": plots.reconstructions(
            test.images[:20] / 255,
            model.reconstruct(x).numpy(),
            f"Test images and their reconstructions{about}",
        ),
        "samples": plots.samples(
            model.sample(100, noise).numpy(), f"Decoded draws from the prior{about}"
        ),
        "interpolation": plots.interpolation(walks, f"From one test image to another{about}"),
    }
    if model.latent_dim == 2:
        grid = to_device(latent.manifold_grid(), args.device)
        pictures["manifold"] = plots.manifold(
            model.pixels(grid).numpy(), np.linspace(0.01, 0.99, 20), f"The latent plane{about}"
        )
        codes, _ = posteriors(model, test.epoch(0))
        pictures["latent"] = plots.latent_plane(
            codes, labels, f"Mean codes of the test images{about}"
        )
    for name, figure in pictures.items():
        out.write(f"{name}.png", plots.png(figure))


if __name__ == "__main__":
    sys.exit(main())
