"""``minivae fetch``: download a trained model."""

from ..interop import pretrained
from ..training import checkpoint
from ..training.output_folder import OutputFolder
from ..training.run_files import CHECKPOINT
from .export import imported
from .options import Parser, reported, require_new


def about() -> str:
    """The command in a few words, and whether there are models to download."""
    none = "" if pretrained.hosted() else " (none is hosted for this version)"
    return f"download a trained model{none}"


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae fetch", description=f"{about().capitalize()}.")
    models = "\n".join(f"{name}: {what}" for name, what in pretrained.MODELS.items())
    p.add_argument("name", choices=list(pretrained.MODELS), help=models)
    p.add_argument("--out", metavar="FOLDER",
                   help="new files go here; if not given, to runs/NAME")  # fmt: skip
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Download and check the files; write them, and a checkpoint for the other commands."""
    args = parser().parse_args(argv)
    out, names = OutputFolder(args.out or f"runs/{args.name}"), (*pretrained.FILES, CHECKPOINT)
    require_new(out, names)
    files = pretrained.download(args.name)  # before the folder is created
    with out:
        require_new(out, names)  # once more, as the download may take minutes
        for file, body in files.items():
            out.write(file, body)
        model, config = imported(out.path)
        out.write(CHECKPOINT, checkpoint.to_bytes(CHECKPOINT, model, config=config))
        print(f"{args.name}, {pretrained.MODELS[args.name]}: in {out.path}")
