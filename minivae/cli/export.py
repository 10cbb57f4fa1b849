"""``minivae export``: convert a checkpoint to ONNX or PyTorch's weights, and weights back."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import MinivaeError
from ..interop import onnx_model, weights
from ..models import VAE
from ..training import checkpoint, loaded_run
from ..training.loaded_run import Config
from ..training.output_folder import OutputFolder
from ..training.run_files import CHECKPOINT
from .options import Parser, checkpoint_of, reported, require_new

SUMMARY = "summary.json"
Files: TypeAlias = Mapping[str, str | bytes]  # contents by file name


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae export", description="Write a trained model for other programs.")
    add = p.add_argument
    add("run", metavar="RUN", help=f"output folder of a training run, or its {CHECKPOINT}; for "
        f"checkpoint, a folder with {weights.WEIGHTS} and {weights.CONFIG}")  # fmt: skip
    add("--format", choices=list(FORMATS), required=True,
        help="onnx: encoder and decoder, compared with the model by onnxruntime\n"
        "pytorch: the state_dict, its configuration and a model card\n"
        "checkpoint: from those files back, without the state that --resume needs")  # fmt: skip
    add("--out", metavar="FOLDER", required=True, help="folder to write to; no file is replaced")
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Read the run, convert it, write the files."""
    args = parser().parse_args(argv)
    files = FORMATS[args.format](Path(args.run))
    with OutputFolder(args.out) as out:
        require_new(out, files)
        for name, body in files.items():
            out.write(name, body)
            print(f"wrote {out / name}")


def imported(folder: Path) -> tuple[VAE, Config]:
    """(model, configuration) of a folder that ``to_pytorch`` wrote.

    Raises:
        CheckpointError: a file is missing or damaged, or weights and configuration do not match.
    """
    path = folder / weights.WEIGHTS
    config = weights.read_config(folder)
    model, config = loaded_run.untrained_model(folder / weights.CONFIG, path, config)
    checkpoint.load_weights(path, model)
    return model, config


def to_onnx(run: Path) -> Files:
    """Encoder and decoder as ONNX, by file name; MinivaeError for a model that is not supported."""
    model, _ = loaded_run.load_model(checkpoint_of(run))
    try:
        exported = onnx_model.export(model)
    except TypeError as error:
        raise MinivaeError(f"{run}: {error}") from error
    difference = onnx_model.check(model, exported)
    print(f"onnxruntime and the model differ by at most {difference:.0e}")
    return {f"{name}.onnx": proto.SerializeToString() for name, proto in exported.items()}


def to_pytorch(run: Path) -> Files:
    """Weights, configuration and card, by file name."""
    path = checkpoint_of(run)
    model, config = loaded_run.load_model(path)
    return weights.to_files(model, config, results_of(path))


def results_of(path: Path) -> dict[str, Any]:
    """The ``summary.json`` beside a checkpoint; empty, and a line on stderr says so, where it is of
    other weights: of another run, or from before the run was resumed.
    """
    found, state = weights.read_results(path.with_name(SUMMARY)), checkpoint.load(path)
    shuffle, epochs = state.get("shuffle"), found.get("epochs")
    in_epoch = isinstance(shuffle, dict) and shuffle.get("batch")
    if path.name == CHECKPOINT and state.get("epoch", epochs) == epochs and not in_epoch:
        return found
    if found:
        print(f"{path.with_name(SUMMARY)}: of other weights than {path.name}, so {weights.CARD} "
              "gives no results",
              file=sys.stderr)  # fmt: skip
    return {}


def to_checkpoint(folder: Path) -> Files:
    """A checkpoint for all commands, without the state that ``--resume`` needs, by file name."""
    model, config = imported(folder)
    return {CHECKPOINT: checkpoint.to_bytes(CHECKPOINT, model, config=config)}


FORMATS: dict[str, Callable[[Path], Files]] = {
    "onnx": to_onnx,
    "pytorch": to_pytorch,
    "checkpoint": to_checkpoint,
}
