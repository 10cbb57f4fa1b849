"""``minivae encode``: write the posteriors of a run's images, with their labels, to an .npz."""

from ..errors import DataError
from ..evaluation import posteriors
from .image_output import is_npz, write_npz
from .options import Parser, add_part_of_run, loaded, parse, reported


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae encode", description="Write the posteriors of images.")
    add_part_of_run(p, limit=None)
    p.add_argument("--out", metavar="FILE.npz", required=True,
                   help="gets mu, logvar (N, D) and label_NAME (N,) of each label")  # fmt: skip
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Load, encode, write."""
    args = parse(parser(), argv)
    if not is_npz(args.out):
        raise DataError(f"--out: expected FILE.npz, got {args.out}")
    trained = loaded(args)
    part = getattr(trained.data, args.part)
    mu, logvar = posteriors(trained.model, trained.batches(part, args.part == "train"))
    labels = {f"label_{name}": values for name, values in part.labels.items()}
    write_npz(args.out, {"mu": mu, "logvar": logvar, **labels})
    print(f"{len(mu)} codes of {mu.shape[1]} latents in {args.out}")
