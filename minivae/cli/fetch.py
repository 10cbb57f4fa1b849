"""``minivae fetch``: download a trained model."""

from ..interop import pretrained
from ..training import checkpoint
from ..training.output_folder import OutputFolder
from ..training.run_files import CHECKPOINT
from .export import imported
from .options import Parser, reported, require_new


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae fetch", description="Download a trained model.")
    about = "; ".join(f"{name}: {what}" for name, what in pretrained.MODELS.items())
    p.add_argument("name", choices=list(pretrained.MODELS), help=about)
    p.add_argument("--out", metavar="FOLDER",
                   help="where its files go; if not given, runs/NAME; replaces none")  # fmt: skip
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Download, check, and write with a checkpoint that ``evaluate`` and ``explore`` take."""
    args = parser().parse_args(argv)
    with OutputFolder(args.out or f"runs/{args.name}") as out:
        require_new(out, (*pretrained.FILES, CHECKPOINT))
        for file, body in pretrained.download(args.name).items():
            out.write(file, body)
        model, config = imported(out.path)
        out.write(CHECKPOINT, checkpoint.to_bytes(CHECKPOINT, model, config=config))
        print(f"{args.name}, {pretrained.MODELS[args.name]}: in {out.path}")
