"""Command-line options shared by several commands, and ``reported``, which handles errors."""

import argparse
import contextlib
import difflib
import functools
import math
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..arguments import AnyPath
from ..atomic_write import write_atomically
from ..backend import cuda_unavailable
from ..errors import (
    CheckpointError,
    DataError,
    MinivaeError,
    NonFiniteError,
    OutputError,
    ParallelError,
)
from ..evaluation import BINARIZE, TrainedModel
from ..training import checkpoint, loaded_run, parallel
from ..training.output_folder import OutputFolder
from ..training.run_files import BACKUP, CHECKPOINT
from ..training.tensorboard import TensorBoardWriter
from ..training.trainer import Interrupted, Trainer
from . import config_file
from .config_file import CONFIG
from .lenient_output import lenient_streams

BINARIZE_HELP = (
    "none: grey pixels\nstatic: 0 or 1, drawn once\n"
    "dynamic: training images drawn again for each batch, test images once"
)
DATA_OF_RUN = "folder or .npz of the run's images, if not where training found them"


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but the error for a misspelt option suggests the closest one, and an empty
        text is refused: it often is a shell variable that is not set.
        """
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            message = f"unrecognized arguments: {' '.join(unknown)}"
            name = unknown[0].split("=")[0]
            if meant := difflib.get_close_matches(name, self._option_string_actions, n=1):
                message += f"; did you mean {meant[0]}?"
            self.error(message)
        for action in self._actions:
            if getattr(found, action.dest, None) == "":
                self.error(str(argparse.ArgumentError(action, "expected a string, got ''")))
        return found

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """A help formatter that keeps line breaks and shows defaults other than None and False."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = text.splitlines()
        return [part for line in lines for part in super(_Help, self)._split_lines(line, width)]

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def add_training_options(
    parser: argparse.ArgumentParser, *, out: str, data_help: str | None, epochs: int,
    batch_size: int, lr: float | None, lr_help: str = "Adam's learning rate",
) -> None:  # fmt: skip
    """Add the options of all training commands, with the defaults of one command."""
    add = parser.add_argument
    add("--epochs", type=positive_int, default=epochs, metavar="N", help="passes over the images")
    add("--batch-size", type=positive_int, default=batch_size, metavar="N", help="images in a step")
    add("--lr", type=positive, default=lr, metavar="X", help=lr_help)
    add("--beta", type=non_negative, default=1.0, metavar="X", help="weight of the KL term")
    add("--warmup", type=non_negative, default=0.0, metavar="EPOCHS",
        help="let the KL's weight grow from 0 to beta over this many epochs")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N",
        help="seed of the initial weights, the order of the images and the noise")  # fmt: skip
    add("--parts", type=positive_int, metavar="S",
        help="cut each batch into S parts, which processes share and whose gradients are added; if "
        "not given, one for each process")  # fmt: skip
    add("--device", choices=["cpu", "cuda"], default="cpu", help="device that computes")
    if data_help:
        add("--data", metavar="DIR", help=data_help)
    add("--out", default=out, metavar="DIR", help="folder for all files that the run writes")
    add("--resume", action="store_true",
        help="continue the run in --out; it ends as if it had never stopped")  # fmt: skip
    add("--limit", type=positive_int, metavar="N",
        help="use only the first N training and N test images")  # fmt: skip
    add("--no-plots", action="store_true", help="write no pictures")
    add("--tensorboard", action="store_true",
        help="also write the losses as a TensorBoard event file")  # fmt: skip
    add("--config", metavar="FILE.toml",
        help=f"read options from this file, such as the {CONFIG} that a run writes; those of the "
        "command line take precedence")  # fmt: skip


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments RUN, whose model a command uses, and ``--device``."""
    parser.add_argument("run", metavar="RUN",
                        help=f"output folder of a training run, or its {CHECKPOINT}")  # fmt: skip
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu",
                        help="device that computes")  # fmt: skip


def add_images_of_run(parser: argparse.ArgumentParser, *, limit: int | None) -> None:
    """Add RUN and the options that choose its images; ``limit`` is the default of ``--limit``."""
    add_run(parser)
    add = parser.add_argument
    add("--data", metavar="DIR", help=DATA_OF_RUN)
    add(
        "--other-data", action="store_true", help="allow other images than the model was trained on"
    )
    add("--binarize", choices=BINARIZE,
        help=f"{BINARIZE_HELP}\nif not given, as in training")  # fmt: skip
    add("--limit", type=positive_int, default=limit, metavar="N",
        help="use only the first N training and N test images")  # fmt: skip


def add_part_of_run(parser: argparse.ArgumentParser, *, limit: int | None) -> None:
    """Add the options of ``add_images_of_run`` and ``--part``, the training or test images."""
    add_images_of_run(parser, limit=limit)
    parser.add_argument("--part", choices=["train", "test"], default="test",
                        help="which of the run's images")  # fmt: skip


def checkpoint_of(run: AnyPath) -> Path:
    """The path of a run's checkpoint; ``run`` is the run's folder or the checkpoint itself.

    Raises:
        DataError: there is no such file or folder.
    """
    path = Path(run)
    if not path.exists():
        raise DataError(f"{run}: no such folder or file; expected a run's output folder")
    return path / CHECKPOINT if path.is_dir() else path


def loaded(args: Namespace) -> TrainedModel:
    """The ``TrainedModel`` for the options of ``add_images_of_run``."""
    return loaded_run.load(
        checkpoint_of(args.run), args.data, binarize=args.binarize, limit=args.limit,
        device=args.device, other_data=args.other_data,
    )  # fmt: skip


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """The arguments, including those of ``--config``; exits with code 2 and one line if one is not
    valid or not available.
    """
    args = parser.parse_args(argv)
    if getattr(args, "config", None):
        try:
            parser.set_defaults(**config_file.read(parser, args.config))
        except DataError as error:
            parser.error(f"argument --config: {error}")
        args = parser.parse_args(argv)
    for name, value in vars(args).items():
        if value == []:  # argparse's unconverted result for --lr=-- (CPython 3.11)
            parser.error(f"argument --{name.replace('_', '-')}: expected one argument")
    if args.device == "cuda" and (reason := cuda_unavailable()):
        parser.error(f"argument --device: {reason}")
    return args


def callbacks(args: Namespace, out: OutputFolder) -> tuple[TensorBoardWriter, ...]:
    """The ``callbacks`` of a ``Trainer`` in the folder ``out``, by the options."""
    return (TensorBoardWriter(out),) if args.tensorboard else ()


def earlier_config(args: Namespace) -> dict[str, Any]:
    """The configuration in the checkpoint of ``--checkpoint`` or ``--resume``, read by rank 0;
    empty without one.
    """
    folder, ranks, found = Path(args.out), parallel.world(), {}
    written = [folder / CHECKPOINT, folder / BACKUP] if args.resume else []
    given = getattr(args, "checkpoint", None)
    for path in ([given] if given else written) if ranks.leads else ():
        with contextlib.suppress(CheckpointError, KeyError):
            found = checkpoint.load(path)["config"]
            break
    return ranks.broadcast(found)


def parts(args: Namespace) -> int:
    """The number of parts of a batch: ``--parts``, else that of the run to be resumed, else one for
    each process.
    """
    if args.parts is None and (config := earlier_config(args)):
        return config.get("parts", 1)
    return args.parts or parallel.world().size


def resume(trainer: Trainer) -> None:
    """Resume the run in a ``Trainer``'s output folder, if there is one, and print the progress."""
    if not trainer.resume():
        print(f"nothing to resume in {trainer.files.out.path}, starting a new run")
    elif trainer.state.epoch >= trainer.epochs:
        print(f"nothing left to train: {trainer.files.out.path} has {trainer.state.epoch} epochs, "
              f"--epochs asks for {trainer.epochs}")  # fmt: skip
    else:
        print(f"resuming after step {trainer.state.step}, "
              f"{trainer.state.epoch} of {trainer.epochs} epochs done")  # fmt: skip


def require_writable(path: AnyPath) -> None:
    """OutputError if the file cannot be written, to be called before a long computation."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: cannot be written: this is a folder")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no such folder")
    if not os.access(path.absolute().parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written: its folder is not writable")


def require_new(out: OutputFolder, names: Iterable[str]) -> None:
    """DataError if one of the files exists already."""
    for name in names:
        if (out / name).exists():
            raise DataError(f"{out / name}: is there already; choose another folder")


def write_result(path: AnyPath, body: str | bytes, *, follow_link: bool = True) -> None:
    """Write a file, text or bytes, atomically; OutputError if that fails."""
    body = body.encode() if isinstance(body, str) else body
    try:
        write_atomically(path, body, follow_link=follow_link)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def reported(main: Callable[..., None], several: bool = False) -> Callable[..., int]:
    """Make ``main(argv)`` return an exit code and print the library's errors in one line.

    0 success, 1 training diverged, 2 wrong options or files, 130 stopped by Ctrl-C. Printing never
    ends the command; if stdout cannot be written, stderr says so at the end, and the code is 2. A
    pipe that its reader closed is no error.

    With several processes only rank 0 prints, except that a rank which fails alone reports it.

    Args:
        main: a command, ``main(argv, **options)``.
        several: whether several processes share its work; if not, all but the first end at once.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None, **options: Any) -> int:
        first = parallel.launched()[1] == 0
        if not (several or first):
            return 0
        with lenient_streams() as stdout:
            try:
                ranks = parallel.join() if several else parallel.Ranks()
            except ParallelError as error:
                if first:
                    print(f"error: {error}", file=sys.stderr)
                return 2
            with contextlib.nullcontext() if first else _silent():
                message, code = _outcome(main, argv, options, ranks)
            stdout.flush()
            failed = stdout.error
            if not message and failed and not isinstance(failed, BrokenPipeError):
                message, code = f"error: stdout: cannot be written: {failed.strerror}", 2
            if code:
                ranks.fail(message, code)
        return code

    return wrapped


def _silent() -> contextlib.ExitStack:
    """A context that discards stdout and stderr."""
    stack = contextlib.ExitStack()
    null = stack.enter_context(open(os.devnull, "w"))
    stack.enter_context(contextlib.redirect_stdout(null))
    stack.enter_context(contextlib.redirect_stderr(null))
    return stack


def _outcome(
    main: Callable[..., None], argv: Sequence[str] | None, options: dict[str, Any],
    ranks: parallel.Ranks,
) -> tuple[str, Any]:  # fmt: skip
    """(message to print, exit code) of ``main(argv, **options)``."""
    try:
        main(argv, **options)
    except Interrupted as error:
        return str(error), 130
    except KeyboardInterrupt:
        return "stopped", 130
    except MinivaeError as error:
        return f"error: {error}", 1 if isinstance(error, NonFiniteError) else 2
    except MemoryError as error:  # a large model, or many large pictures
        return f"error: not enough memory: {error}", 2
    except SystemExit as error:  # from the parser, which has printed the reason
        if ranks.size == 1:
            raise
        return "", error.code
    return "", 0


def _number(
    convert: Callable[[str], Any], accept: Callable[[Any], bool], expected: str
) -> Callable[[str], Any]:
    """A converter for argparse, whose error says "expected ..., got ...".

    ``convert`` makes the value and ``accept`` checks it; ``expected`` describes valid values.
    """

    def converted(text: str) -> Any:
        try:
            value = convert(text)
            if accept(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return converted


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A converter for argparse: an int in [least, most]."""
    expected = f"a whole number from {least} to {most}"
    return _number(int, lambda n: least <= n <= most, expected)


positive_int = _number(int, lambda n: n >= 1, "a whole number of at least 1")
seed = _number(int, lambda n: 0 <= n < 2**64, "a whole number from 0 to 2**64 - 1")
positive = _number(float, lambda x: 0 < x < math.inf, "a number above 0")
non_negative = _number(float, lambda x: 0 <= x < math.inf, "a number of at least 0")
