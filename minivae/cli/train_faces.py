"""``minivae train faces`` and ``minivae train images``: train a FaceVAE and score latent edits."""

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import evaluation, models, optim
from ..data import Dataset, FaceDataset, PixelBatches, load_faces, split_faces
from ..data.dataset import difference
from ..data.synthetic import faces as synthetic_faces
from ..evaluation import TrainedModel, face_edits
from ..models.face_vae import UPSAMPLINGS
from ..noise import EVALUATION, NoiseStream
from ..training import checkpoint, parallel
from ..training.metrics import Row
from ..training.output_folder import OutputFolder
from ..training.run_files import CHECKPOINT
from ..training.trainer import Trainer
from .config_file import CONFIG, as_toml
from .options import (
    Parser,
    add_training_options,
    callbacks,
    earlier_config,
    non_negative,
    parse,
    parts,
    positive_int,
    reported,
    resume,
    whole_number,
)
from .run_output import (
    EDITED,
    FACE_PICTURES,
    leftovers,
    write_page,
    write_pictures,
    write_summary,
)

FACES = "Train a variational autoencoder on faces, then edit faces with arithmetic on their codes."
IMAGES = "Train a variational autoencoder on the pictures of a folder."
RECORDED = ("batch_size", "lr", "weight_decay", "limit", "device")  # a resumed run shares them
GUESSED = ("male", *EDITED)  # attributes that --teacher predicts if the set lacks them
TRAINING = ("epochs", "lr", "weight_decay", "warmup", "resume")  # options not for --checkpoint


def parser(prog: str = "minivae train faces", images: bool = False) -> Parser:
    """The command line, of faces or of any images."""
    p = Parser(prog=prog, description=IMAGES if images else FACES)
    add = p.add_argument
    if images:
        add("data", metavar="FOLDER", nargs="?",  # for --config may name it
            help="folder of JPEG, PNG or PNM files, or an .npz")  # fmt: skip
    add("--size", type=whole_number(16, 4096), default=64, metavar="N", help="side of the images")
    add("--latent-dim", type=positive_int, default=100, metavar="N", help="size of the code")
    add("--likelihood", choices=["squared-error", "gaussian"], default="squared-error",
        help="sum of squares (no likelihood), or a Gaussian with one learned sigma")  # fmt: skip
    add("--upsampling", choices=UPSAMPLINGS,
        help="how the decoder doubles sizes: transposed convolutions, which leave a checkerboard, "
        "or resize and convolve; if not given, as the weights have it, or transposed")  # fmt: skip
    add("--weight-decay", type=non_negative, default=1e-5, metavar="X", help="Adam's L2 term")
    if not images:
        add("--synthetic", type=positive_int, default=4000, metavar="N",
            help="how many faces to draw when there are none to load")  # fmt: skip
    add("--teacher", metavar="FILE.npz",
        help="labelled faces to train a classifier of missing attributes on")  # fmt: skip
    add("--checkpoint", metavar="FILE", help="load the weights from this file and do not train")
    add_training_options(
        p, out="runs/images" if images else "runs/faces", epochs=40, batch_size=16, lr=1e-4,
        data_help=None if images else "folder of images, an .npz, or a folder that holds faces/; "
        "if not given, $MINIVAE_DATA or built-in synthetic faces",
    )  # fmt: skip
    return p


@partial(reported, several=True)
def main(
    argv: list[str] | None = None, prog: str = "minivae train faces", images: bool = False
) -> None:
    """Train or load a model, then write summary.json, the pictures and the explorer page."""
    p = parser(prog, images)
    untold = {name: p.get_default(name) for name in TRAINING}
    args = parse(p, argv)
    if images and args.data is None:
        p.error("the following arguments are required: FOLDER")
    _require_sense(p, args, untold)
    if not args.no_plots:
        from . import face_pictures  # before the training, in case matplotlib is missing
    ranks = parallel.world()
    if args.checkpoint and not ranks.dismiss():
        return  # without training one process does all the work
    args.parts = parts(args)
    if args.device == "cuda":
        ranks.choose_gpu()
    split, guessed = _images(args, ranks)
    halves = cast(FaceDataset, split.train), cast(FaceDataset, split.test)
    train = PixelBatches(split.train.images, args.batch_size, seed=args.seed)
    test = PixelBatches(split.test.images, args.batch_size, train=False)
    model = models.FaceVAE(
        args.latent_dim, args.size, likelihood=args.likelihood, seed=args.seed, **layers(args)
    )
    model.to(args.device)
    trained = TrainedModel(model, split, "none", None)
    noun = "images" if images else "faces"
    parameters = sum(p.size for p in model.parameters())
    print(f"{noun.removesuffix('s')} VAE, {args.size} x {args.size}, {args.latent_dim} latents, "
          f"{parameters:,} parameters; {train.count} training and {test.count} held-out "
          f"{noun if images else split.name}")  # fmt: skip

    with ranks.only_first(OutputFolder(args.out)) as out:
        options = as_toml(p, args, f"minivae train {noun}")
        if args.checkpoint:
            _load(args.checkpoint, model, split)
            rows, timing, config, terms = _untrained(args, model, test)
            out.write(CONFIG, options)
        else:
            trainer = _trainer(args, model, train, test, out, split, options)
            rows, timing, config = trainer.run(), trainer.timing(), trainer.state.config
            if not ranks.dismiss():
                return
            terms = {name: rows[-1][f"test_{name}"] for name in ("loss", "rec", "kl")}
        more = {
            "image_size": args.size, "likelihood": args.likelihood,
            "attributes_guessed": guessed,
        }  # fmt: skip
        summary = out, args, trained, noun.removesuffix("s"), rows, terms, timing
        write_summary(*summary, **more)  # already now, in case the scores fail
        write_summary(*summary, **more, edits=scores(model, *halves, args))
        if not args.no_plots:
            drawn = face_pictures.draw(model, *halves, rows, args, noun)
            write_pictures(out, drawn)
            write_page(out, trained, config, rows)
    print(f"results in {out.path}")


def _images(args: Namespace, ranks: parallel.Ranks) -> tuple[Dataset, list[str]]:
    """The images, split in two parts, and the names of the attributes that ``--teacher`` gave."""
    faces = ranks.after_first(
        lambda: load_faces(args.data, args.size, synthetic_count=getattr(args, "synthetic", 0))
    )
    guessed = face_edits.guess_attributes(faces, GUESSED, args.teacher) if args.teacher else {}
    split = split_faces(faces.with_attributes(guessed), args.seed, args.limit)
    return split, sorted(guessed)


def _untrained(
    args: Namespace, model: models.VAE, test: PixelBatches
) -> tuple[list[Row], dict[str, float | None], dict[str, Any], dict[str, float]]:
    """(rows, timing, configuration, test losses) for loaded weights, as after a training."""
    timing: dict[str, float | None] = {"seconds": None, "images_per_second": None}
    config = {"seed": args.seed, "architecture": {"name": "FaceVAE", **model.config()}}
    noise = NoiseStream(args.seed, EVALUATION)
    terms = evaluation.elbo(model, test.epoch(0), noise, beta=args.beta).terms._asdict()
    return [], timing, config, terms


def _trainer(
    args: Namespace, model: models.VAE, train: PixelBatches, test: PixelBatches, out: OutputFolder,
    split: Dataset, options: str,
) -> Trainer:  # fmt: skip
    """The ``Trainer`` for the options, resumed if ``--resume`` was given."""
    trainer = Trainer(
        model,
        optim.Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay),
        train, test, out,
        epochs=args.epochs, seed=args.seed, beta=args.beta, warmup=args.warmup,
        config={**{name: vars(args)[name] for name in RECORDED}, **split.record()},
        replaces=leftovers(FACE_PICTURES), beside={CONFIG: options},
        callbacks=callbacks(args, out), parts=args.parts,
    )  # fmt: skip
    if args.resume:
        resume(trainer)
    return trainer


def _require_sense(p: Parser, args: Namespace, untold: dict[str, Any]) -> None:
    """Exit with code 2 if ``--checkpoint`` is combined with an option of the training, or with
    an output folder whose summary would be overwritten.
    """
    if not args.checkpoint:
        return
    for name, default in untold.items():
        if getattr(args, name) != default:
            option = name.replace("_", "-")
            p.error(f"argument --{option}: not allowed with argument --checkpoint, which trains "
                    "nothing")  # fmt: skip
    same = Path(args.checkpoint).resolve().parent == Path(args.out).resolve()
    if same or Path(args.out, CHECKPOINT).exists():
        p.error(f"argument --out: expected a folder without a run, got {args.out}, whose "
                "summary.json would be lost")  # fmt: skip


def _load(path: str, model: models.VAE, split: Dataset) -> None:
    """Load weights from a checkpoint; warn if its run may have trained on held-out images."""
    recorded = checkpoint.load(path, model).get("config", {})
    if "data" not in recorded or difference(recorded, split.record()):
        print(f"{path}: these are not known to be the images and the split of its run: faces held "
              "out here may be among those it was trained on", file=sys.stderr)  # fmt: skip


def layers(args: Namespace) -> dict[str, Any]:
    """The arguments ``paddings`` and ``upsampling`` of the model: those of the weights that will
    be loaded, if there are any, unless ``--upsampling`` asks for another. Before version 0.2 all
    sizes had the published ones.
    """
    asked = {"upsampling": args.upsampling} if args.upsampling else {}
    if config := earlier_config(args):
        found = models.completed(config["architecture"])
        found = {name: found[name] for name in ("paddings", "upsampling") if name in found}
        if asked.items() <= found.items():
            return found
    return asked


def scores(
    model: models.VAE, train: FaceDataset, test: FaceDataset, args: Namespace
) -> dict[str, Any]:
    """Scores of adding and removing attributes on held-out faces; see ``face_edits``."""
    names = [n for n in EDITED if face_edits.has_both(train, n) and face_edits.has_both(test, n)]
    if not names:
        return {}
    classifier = face_edits.fit_classifier(train, names, seed=args.seed)
    found: dict[str, Any] = {"classifier_accuracy": face_edits.accuracy(classifier, test)}
    for name in names:
        found[name] = {
            "agreement": face_edits.agreement_scores(model, classifier, train, test, name)
        }
        if test.recipe:  # drawn faces: the edited face can be drawn too
            has = test.take(test.attributes[name])
            without = synthetic_faces.render(
                {**has.recipe, name: np.zeros(len(has), bool)}, args.size
            )
            found[name]["counterfactual"] = face_edits.counterfactual_scores(
                model, train, has.images, without, name
            )
    return found
