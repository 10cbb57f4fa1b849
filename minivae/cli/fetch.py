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
                   help="new files go here; if not given, to runs/NAME")  # fmt: skip
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Download and check the files; write them, and a checkpoint for the other commands."""
    args = parser().parse_args(argv)
    with OutputFolder(args.out or f"runs/{args.name}") as out:
        require_new(out, (*pretrained.FILES, CHECKPOINT))
        for file, body in pretrained.download(args.name).items():
            out.write(file, body)
        model, config = imported(out.path)
        out.write(CHECKPOINT, checkpoint.to_bytes(CHECKPOINT, model, config=config))
        print(f"{args.name}, {pretrained.MODELS[args.name]}: in {out.path}")
