"""Train a variational autoencoder on faces, then edit faces with arithmetic on their codes."""

import json
import sys
from pathlib import Path

import numpy as np

import minivae as mv
from minivae import evaluation, models, optim
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
    whole_number,
)
from minivae.data import PixelBatches, load_faces, split_faces
from minivae.data.dataset import difference
from minivae.data.synthetic import faces as synthetic_faces
from minivae.evaluation import TrainedModel, face_edits
from minivae.explore import explorer_page
from minivae.models.face_vae import UPSAMPLINGS
from minivae.noise import EVALUATION, SAMPLING
from minivae.training import checkpoint
from minivae.training.output_folder import OutputFolder
from minivae.training.run_files import BACKUP, CHECKPOINT
from minivae.training.trainer import Trainer
from minivae.viz import latent

EDITED = ("glasses", "smile")  # attributes whose vectors are drawn and scored
RECORDED = ("batch_size", "lr", "weight_decay", "limit", "device")  # a resumed run shares them
TRAINING = ("epochs", "lr", "weight_decay", "warmup", "resume")  # without a use but in training
STRENGTHS = np.linspace(-2, 2, 7)
PICTURES = (
    "loss", "reconstructions", "samples", "interpolation", "morph", "arithmetic",
    *(f"{name}_vector" for name in EDITED),
)  # fmt: skip


def parser():
    """The command line."""
    p = Parser(prog="faces_vae.py", description=__doc__)
    add = p.add_argument
    add("--size", type=whole_number(16, 4096), default=64, metavar="N", help="side of the images")
    add("--latent-dim", type=positive_int, default=100, metavar="N", help="size of the code")
    add("--likelihood", choices=["squared-error", "gaussian"], default="squared-error",
        help="sum of squares (no likelihood), or a Gaussian with one learned sigma")  # fmt: skip
    add("--upsampling", choices=UPSAMPLINGS,
        help="how the decoder doubles sizes: transposed convolutions, which leave a checkerboard, "
        "or resize and convolve; if not given, as the weights have it, or transposed")  # fmt: skip
    add("--weight-decay", type=non_negative, default=1e-5, metavar="X", help="Adam's L2 term")
    add("--synthetic", type=positive_int, default=4000, metavar="N",
        help="how many faces to draw when there are none to load")  # fmt: skip
    add("--teacher", metavar="FILE.npz",
        help="labelled faces; a classifier guesses from them what the set lacks")  # fmt: skip
    add("--checkpoint", metavar="FILE", help="take the weights from here and do not train")
    add_training_options(
        p, out="runs/faces", epochs=40, batch_size=16, lr=1e-4,
        data_help="folder of images, an .npz, or a folder that holds faces/; if not given, "
        "$MINIVAE_DATA or built-in synthetic faces",
    )  # fmt: skip
    return p


def layers(args):
    """How the model goes down and up in size: as asked, or as the weights that will be read have
    it. Before version 0.2 there was one way for all sizes.
    """
    asked = {"upsampling": args.upsampling} if args.upsampling else {}
    written = [CHECKPOINT, BACKUP] if args.resume else []
    for path in [args.checkpoint] if args.checkpoint else [Path(args.out) / n for n in written]:
        try:
            config = checkpoint.load(path)["config"]
        except (mv.CheckpointError, KeyError):
            continue
        found = models.completed(config["architecture"])
        found = {name: found[name] for name in ("paddings", "upsampling") if name in found}
        if asked.items() <= found.items():
            return found
    return asked


@reported
def main(argv=None):
    """Train or load, then write summary.json, the pictures and the page to explore them."""
    p = parser()
    args = parse(p, argv)
    for name in TRAINING if args.checkpoint else ():
        if getattr(args, name) != p.get_default(name):
            option = name.replace("_", "-")
            p.error(f"argument --{option}: not allowed with argument --checkpoint, which trains "
                    "nothing")  # fmt: skip
    if args.checkpoint and Path(args.checkpoint).resolve().parent == Path(args.out).resolve():
        p.error("argument --out: expected another folder than that of --checkpoint, whose "
                "summary.json would be lost")  # fmt: skip
    faces = load_faces(args.data, args.size, synthetic_count=args.synthetic)
    guessed = (
        face_edits.guess_attributes(faces, ("male", *EDITED), args.teacher) if args.teacher else {}
    )
    faces = faces.with_attributes(guessed)
    split = split_faces(faces, args.seed, args.limit)
    train_faces, test_faces = split.train, split.test
    train = PixelBatches(train_faces.images, args.batch_size, seed=args.seed)
    test = PixelBatches(test_faces.images, args.batch_size, train=False)
    model = models.FaceVAE(
        args.latent_dim, args.size, likelihood=args.likelihood, seed=args.seed, **layers(args)
    )
    model.to(args.device)
    parameters = sum(p.size for p in model.parameters())
    print(f"face VAE, {args.size} x {args.size}, {args.latent_dim} latents, {parameters:,} "
          f"parameters; {train.count} training and {test.count} held-out {faces.name}")  # fmt: skip

    with OutputFolder(args.out) as out:
        if args.checkpoint:
            recorded = mv.load(args.checkpoint, model).get("config", {})
            if "data" not in recorded or difference(recorded, split.record()):
                print(f"{args.checkpoint}: these are not known to be the images and the split of "
                      "its run: faces held out here may be among those it was trained on",
                      file=sys.stderr)  # fmt: skip
            rows, timing = [], {"seconds": None, "images_per_second": None}
            config = {"seed": args.seed, "architecture": {"name": "FaceVAE", **model.config()}}
        else:
            trainer = Trainer(
                model,
                optim.Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay),
                train, test, out,
                epochs=args.epochs, seed=args.seed, beta=args.beta, warmup=args.warmup,
                config={
                    **{name: vars(args)[name] for name in RECORDED},
                    **split.record(),
                },
                replaces=["summary.json", "explorer.html", *(f"{n}.png" for n in PICTURES)],
            )  # fmt: skip
            if args.resume:
                resume(trainer)
            rows, timing, config = trainer.run(), trainer.timing(), trainer.state.config
        # For a run of this process the very numbers of its last epoch; weights from a file are
        # tested here for the first time.
        noise = mv.NoiseStream(args.seed, EVALUATION)
        tested = evaluation.elbo(model, test.epoch(0), noise, beta=args.beta).terms
        out.write("summary.json", json.dumps({
            "dataset": faces.name, "model": "face", "parameters": parameters,
            "epochs": len(rows), "batch_size": args.batch_size, "seed": args.seed,
            "device": args.device, "kernels": kernels_used(args.device),
            **{f"test_{name}": value for name, value in tested._asdict().items()},
            **timing,
            "image_size": args.size, "likelihood": args.likelihood,
            "attributes_guessed": sorted(guessed),
            "edits": scores(model, train_faces, test_faces, args),
        }, indent=2) + "\n")  # fmt: skip
        if not args.no_plots:
            draw(model, train_faces, test_faces, rows, args, out)
            trained = TrainedModel(
                model, split.name, split.train, split.test, "none", None, public=split.public
            )
            out.write("explorer.html", explorer_page(trained, config, rows))
    print(f"results in {out.path}")


def scores(model, train, test, args):
    """How well attributes can be added and removed, on held-out faces (``face_edits``)."""
    names = [n for n in EDITED if face_edits.has_both(train, n) and face_edits.has_both(test, n)]
    if not names:
        return {}
    classifier = face_edits.fit_classifier(train, names, seed=args.seed)
    found = {"classifier_accuracy": face_edits.accuracy(classifier, test)}
    for name in names:
        found[name] = {
            "agreement": face_edits.agreement_scores(model, classifier, train, test, name)
        }
        if test.recipe:  # drawn faces: the edited face can be drawn too
            has = test.take(test.attributes[name])
            without = synthetic_faces.render(
                has.recipe | {name: np.zeros(len(has), bool)}, args.size
            )
            found[name]["counterfactual"] = face_edits.counterfactual_scores(
                model, train, has.images, without, name
            )
    return found


def draw(model, train, test, rows, args, out):
    """Every picture that the faces and their attributes allow."""
    from minivae.viz import plots

    about = f"\n{test.name} at {test.size}; FaceVAE, {model.latent_dim} latents, "
    about += f"{args.likelihood}, beta {args.beta:g}, "
    about += f"epoch {len(rows)}" if rows else f"weights of {Path(args.checkpoint).name}"
    x = to_device(face_edits.unit_pixels(test.images[:20]), args.device)
    codes, faces = (
        face_edits.encode_means(model, train.images),
        face_edits.encode_means(model, test.images),
    )
    noise = mv.Noise(args.seed, SAMPLING)

    def decoded(codes):
        """Pictures (..., C, S, S) of codes (..., D)."""
        codes = np.asarray(codes, np.float32)
        images = face_edits.decode_means(model, codes.reshape(-1, model.latent_dim))
        return images.reshape(*codes.shape[:-1], *images.shape[1:])

    rng = np.random.default_rng(args.seed)
    pairs = rng.permutation(len(faces))[: 2 * min(4, len(faces) // 2)].reshape(-1, 2)
    pictures = {
        "reconstructions": plots.reconstructions(
            x if isinstance(x, np.ndarray) else x.get(), model.reconstruct(x).numpy(),
            f"Held-out faces {about}",
        ),
        "samples": plots.samples(
            model.sample(32, noise).numpy(), f"New faces from the prior{about}", columns=8
        ),
    }  # fmt: skip
    if len(pairs):
        pictures["interpolation"] = plots.interpolation(
            decoded([latent.lerp(faces[a], faces[b], 6) for a, b in pairs]),
            f"Six steps between held-out faces{about}",
        )
        pictures["morph"] = plots.interpolation(
            decoded([great_circle(faces[a], faces[b], 9) for a, b in pairs[:2]]),
            f"Along the great circle{about}",
        )
    if rows:
        pictures["loss"] = plots.losses(
            rows, f"Training faces during each epoch, held-out faces after it{about}"
        )
    if all(face_edits.has_both(train, name) for name in ("male", "glasses")):
        man, glasses = train.attributes["male"], train.attributes["glasses"]
        groups = {
            "man with glasses": man & glasses,
            "woman with glasses": ~man & glasses,
            "woman without": ~man & ~glasses,
        }
        if all(group.any() for group in groups.values()):
            typical = [latent.exemplars(codes, g, min(3, g.sum())) for g in groups.values()]
            means = [codes[rows].mean(axis=0) for rows in typical]
            panels = decoded([*means, latent.arithmetic(*means)])
            pictures["arithmetic"] = plots.arithmetic(
                panels, [*groups, "man without?"],
                f"Mean codes of three typical faces, decoded{about}",
            )  # fmt: skip
    for name in EDITED:
        if face_edits.has_both(train, name):
            vector = latent.attribute_vector(codes, train.attributes[name])
            walks = decoded(faces[:4, None] + STRENGTHS[:, None] * vector)
            pictures[f"{name}_vector"] = plots.attribute_walks(
                walks, STRENGTHS, name, f"The {name} vector on held-out faces{about}"
            )
    for name, figure in pictures.items():
        out.write(f"{name}.png", plots.png(figure))


def great_circle(a, b, steps):
    """``latent.slerp``; the straight line, its limit, for codes of one direction: a picture that
    comes twice, a single latent, a collapsed posterior.
    """
    try:
        return latent.slerp(a, b, steps)
    except ValueError:
        return latent.lerp(a, b, steps)


if __name__ == "__main__":
    sys.exit(main())
