"""``minivae train mnist``: train a VAE on digits and write metrics, checkpoints and pictures."""

import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import models, optim
from ..data import PixelBatches, mnist
from ..evaluation import TrainedModel
from ..training import objectives, parallel
from ..training.objectives import Objective
from ..training.output_folder import OutputFolder
from ..training.step import EagerStep
from ..training.trainer import Trainer
from .config_file import CONFIG, as_toml
from .options import (
    BINARIZE_HELP,
    Parser,
    add_training_options,
    callbacks,
    non_negative,
    parse,
    parts,
    positive_int,
    reported,
    resume,
)
from .run_output import DIGIT_PICTURES, GIF, leftovers, write_page, write_pictures, write_summary

COMMAND = "minivae train mnist"
DESCRIPTION = "Train a variational autoencoder on MNIST and leave pictures of what it learned."
MODELS = {"mlp": models.MLPVAE, "conv": models.ConvVAE}
LATENT_DIM = {"mlp": 20, "conv": 2}
# (first epoch, Adam's learning rate). With two latents a model first learns the mean digit, then
# divides the plane among the digits. With 1e-3 the first phase is long and the division poor; a
# larger rate does better but ends with a noisy loss, so the rate decreases.
RATES = {"mlp": ((0, 1e-3),), "conv": ((0, 2e-3), (6, 1e-3), (8, 5e-4))}
OBJECTIVES: dict[str, Callable[[Any], Objective]] = {  # name -> function from the options to it
    "elbo": lambda args: objectives.elbo,
    "free-bits": lambda args: partial(objectives.free_bits, nats=args.free_bits),
    "iwae": lambda args: partial(objectives.iwae, samples=args.samples),
    "dreg": lambda args: partial(objectives.dreg, samples=args.samples),
}
USED_BY = {"samples": ("iwae", "dreg"), "free_bits": ("free-bits",)}  # option -> objectives
# Options that a resumed run must share; further ones are added in ``main``.
OPTIONS = ("model", "batch_size", "binarize", "objective", "samples", "free_bits")


def parser(prog: str = COMMAND) -> Parser:
    """The command line."""
    p = Parser(prog=prog, description=DESCRIPTION)
    p.add_argument("--model", choices=list(MODELS), default="mlp", help="architecture")
    p.add_argument("--latent-dim", type=positive_int, metavar="N",
                   help="size of the code; if not given, 20 for mlp and 2 for conv")  # fmt: skip
    p.add_argument("--binarize", choices=["none", "static", "dynamic"], default="none",
                   help=BINARIZE_HELP)  # fmt: skip
    p.add_argument("--objective", choices=list(OBJECTIVES), default="elbo",
                   help="elbo: the negative ELBO, rec + beta KL\n"
                   "free-bits: the same, but KL below --free-bits per latent is not penalised\n"
                   "iwae: the negative importance-weighted bound from --samples samples\n"
                   "dreg: that of iwae, with a gradient of lower variance")  # fmt: skip
    p.add_argument("--samples", type=positive_int, default=5, metavar="K",
                   help="samples of z for each image, for iwae and dreg")  # fmt: skip
    p.add_argument("--free-bits", type=non_negative, default=0.25, metavar="NATS",
                   help="nats of KL per latent without penalty, for free-bits")  # fmt: skip
    p.add_argument("--film", action="store_true",
                   help="write film.gif too: codes, pictures, losses during training")  # fmt: skip
    add_training_options(
        p, out="runs/mnist", epochs=10, batch_size=128, lr=None,
        lr_help="Adam's learning rate; if not given, 1e-3 for mlp, and for conv 2e-3, then 1e-3 "
        "from the seventh and 5e-4 from the ninth epoch on",
        data_help="folder that holds mnist/*-ubyte.gz; if not given, $MINIVAE_DATA, the user's "
        "cache, a download or built-in synthetic digits",
    )  # fmt: skip
    return p


def warn_of_unused_options(args: Namespace) -> None:
    """Print a line on stderr for each option that was given and that the objective ignores."""
    defaults = parser()
    for name, users in USED_BY.items():
        if getattr(args, name) != defaults.get_default(name) and args.objective not in users:
            print(f"minivae: --{name.replace('_', '-')} is not used by --objective "
                  f"{args.objective}, but by {' and '.join(users)}", file=sys.stderr)  # fmt: skip


@partial(reported, several=True)
def main(argv: list[str] | None = None, prog: str = COMMAND) -> None:
    """Train, then write summary.json, the pictures and the page that explores the run."""
    p = parser(prog)
    args = parse(p, argv)
    if args.film and args.no_plots:
        p.error("argument --film: not allowed with argument --no-plots")
    if not args.no_plots:
        from . import digit_pictures  # before the training, in case matplotlib is missing
    ranks, args.parts = parallel.world(), parts(args)
    if ranks.rank == 0 and not args.resume:  # which refuses options that differ
        warn_of_unused_options(args)
    if args.device == "cuda":
        ranks.choose_gpu()
    digits = ranks.after_first(lambda: mnist.load(args.data)).limited(args.limit)
    options = {"batch_size": args.batch_size, "seed": args.seed, "binarize": args.binarize}
    train = PixelBatches(digits.train.images, **options)
    test = PixelBatches(digits.test.images, **options, train=False)
    latent_dim = args.latent_dim or LATENT_DIM[args.model]
    model = MODELS[args.model](latent_dim=latent_dim, seed=args.seed).to(args.device)
    if isinstance(model, models.ConvVAE):
        model.start_at(digits.train.images.mean() / 255)
    rates = ((0, args.lr),) if args.lr else RATES[args.model]
    adam = optim.Adam(model.parameters(), lr=rates[0][1])
    parameters = sum(p.size for p in model.parameters())
    print(f"{args.model} VAE, {latent_dim} latents, {parameters:,} parameters; "
          f"{train.count} training and {test.count} test images of {digits.name}")  # fmt: skip
    trained = TrainedModel(model, digits, args.binarize, args.binarize)
    with ranks.only_first(OutputFolder(args.out)) as out:
        film = (
            digit_pictures.film_of(model, digits.test, out, len(train), args) if args.film else None
        )
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
            replaces=leftovers(DIGIT_PICTURES, film), beside={CONFIG: as_toml(p, args, COMMAND)},
            callbacks=callbacks(args, out), film=film, parts=args.parts,
        )  # fmt: skip
        if args.resume:
            resume(trainer)
        rows = trainer.run()
        if not ranks.dismiss():
            return
        terms = {name: rows[-1][f"test_{name}"] for name in ("loss", "rec", "kl")}
        write_summary(out, args, trained, args.model, rows, terms, trainer.timing())
        if not args.no_plots:
            labels = digits.test.labels["digit"]
            drawn = digit_pictures.draw(model, test, labels, digits.name, rows, args)
            write_pictures(out, drawn)
            if film:
                out.write(GIF, digit_pictures.gif_of(film, labels, digits.name, args))
            write_page(out, trained, trainer.state.config, rows)
    print(f"results in {out.path}")
