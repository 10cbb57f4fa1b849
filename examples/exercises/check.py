"""Twelve exercises: list them, begin one, check what you wrote, or ask for a hint.

    python examples/exercises/check.py                  list them, with what is done
    python examples/exercises/check.py swish            begin it; once begun, check it
    python examples/exercises/check.py swish --hint 1   a hint; 2 and 3 say more
    python examples/exercises/check.py swish --solution

You work on copies in runs/exercises, which git ignores. No solution there is ever overwritten.
"""

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import _checks  # noqa: E402  beside this file
from _hints import HINTS  # noqa: E402
from _loss_curves import picture  # noqa: E402

FOLDER = HERE.parents[1] / "runs" / "exercises"


class Exercise(NamedTuple):
    """One file: the name in it that is to be written, a guess at the minutes, what it teaches."""

    piece: str
    minutes: int
    about: str


EXERCISES = {
    "unbroadcast": Exercise("unbroadcast", 15, "the gradient of a broadcast"),
    "order": Exercise("backward_order", 25, "in which order backward visits a graph"),
    "swish": Exercise("Swish", 15, "an operation's backward"),
    "kl": Exercise("gaussian_kl", 20, "the KL, its half, and single precision"),
    "reparameterise": Exercise("Sample", 20, "a gradient through a random draw"),
    "adjoint": Exercise("conv_transpose", 30, "the transposed convolution"),
    "bound": Exercise("importance_bound", 25, "the importance-weighted bound"),
    "loss_curve": Exercise("ANSWERS", 20, "find the bug from the loss curve"),
    "batch_norm": Exercise("batch_norm_backward", 45, "a backward with three paths"),
    "free_bits": Exercise("charged", 20, "a loss against posterior collapse"),
    "dreg": Exercise("sample_gradient", 45, "a sharper gradient of that bound"),
    "half_memory": Exercise("reparam_kl_forward", 30, "the fused operation with half the memory"),
}


def load(path, piece):
    """What a solution's file defines under the name ``piece``."""
    spec = importlib.util.spec_from_file_location(f"solution_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, piece)


def begin(name, folder):
    """Copy an exercise, with its picture where it has one, and say what to do."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / f"{name}.py", folder / f"{name}.py")
    if name == "loss_curve":
        (folder / "loss_curve.png").write_bytes(picture())
    print(f"{name}: write {EXERCISES[name].piece} in {folder / name}.py, then run this again")


def check(name, folder):
    """What is wrong with the solution in the folder, or None."""
    try:
        solution = load(folder / f"{name}.py", EXERCISES[name].piece)
        getattr(_checks, f"check_{name}")(solution)
    except Exception as error:  # whatever a solution raises is what is wrong with it
        return f"{type(error).__name__}: {str(error).strip()}"


def main(argv=None):
    """Do what is asked; the exit status is 0 unless a check that was asked for fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exercise", nargs="?", help="its name; without one, all are listed")
    parser.add_argument("--hint", type=int, choices=(1, 2, 3), help="the first, second or third")
    parser.add_argument("--solution", action="store_true", help="print a solution")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where your copies are")
    args = parser.parse_args(argv)
    name = args.exercise
    if name is None:
        if args.hint or args.solution:
            parser.error("--hint and --solution: expected the name of an exercise before them")
        for number, (each, exercise) in enumerate(EXERCISES.items(), 1):
            begun = (args.folder / f"{each}.py").exists()
            state = ("not yet" if check(each, args.folder) else "right") if begun else ""
            print(f"{number:>3}  {each:<15}{exercise.minutes:>3} min  {exercise.about:<42}{state}")
        return 0
    if name not in EXERCISES:
        parser.error(f"exercise: expected one of {', '.join(EXERCISES)}, got {name!r}")
    if args.hint:
        print(HINTS[name][args.hint - 1])
    elif args.solution:
        print((HERE / "solutions" / f"{name}.py").read_text(encoding="utf-8"), end="")
    elif not (args.folder / f"{name}.py").exists():
        begin(name, args.folder)
    elif wrong := check(name, args.folder):
        print(f"{name}: not yet. {wrong}")
        return 1
    else:
        print(f"{name}: right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
