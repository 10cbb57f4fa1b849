"""``minivae sample``: new pictures from a trained model."""

from ..noise import SAMPLING, Noise
from ..training.loaded_run import load_model
from .image_output import PLACE, grey_levels, image_shape, is_npz, write_images
from .options import Parser, add_run, checkpoint_of, parse, positive_int, reported, seed


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae sample", description="Decode draws from the prior.")
    add_run(p)
    p.add_argument("--out", metavar="PLACE", required=True, help=PLACE)
    p.add_argument("--count", type=positive_int, default=100, metavar="N", help="how many pictures")
    p.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of the draws")
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Draw, decode, write."""
    args = parse(parser(), argv)
    is_npz(args.out)  # before the work
    model, _ = load_model(checkpoint_of(args.run))
    model.to(args.device)
    pixels = model.sample(args.count, Noise(args.seed, SAMPLING)).numpy()
    write_images(args.out, images=grey_levels(pixels, image_shape(model)))
    print(f"{args.count} pictures in {args.out}")
