"""Checks of the exercises fail on the empty piece and wrong solutions, and pass on right ones."""

import re
import subprocess

import numpy as np
import pytest

from wrong_solutions import (
    FOLDER,
    HINTS,
    REFUSALS,
    ROOT,
    WRONG,
    exercises,
    judge,
    kl_terms,
    right,
    swish,
)


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_the_empty_piece_is_red(name):
    """The check fails on the unedited piece, with a message that says what to write."""
    with pytest.raises(NotImplementedError, match=r"array|number|list"):
        judge(name, exercises.load(FOLDER / f"{name}.py", exercises.EXERCISES[name].piece))


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_a_right_solution_is_green(name):
    """The check passes on the solution in the folder."""
    judge(name, right(name))


def test_other_right_solutions_are_green():
    """The check passes on solutions written in another way."""
    judge("kl", lambda m, l: (m**2 / 2 + kl_terms(l) / 2).sum(axis=-1))
    judge("bound", lambda w: np.logaddexp.reduce(w, axis=1) - np.log(w.shape[1]))
    judge("swish", swish(lambda x, s: s + x * s * (1 - s)))
    judge("unbroadcast", lambda g, s: np.einsum(
        g, list(range(g.ndim)),
        [i + g.ndim - len(s) for i, n in enumerate(s) if n == g.shape[i + g.ndim - len(s)]],
    ).reshape(s))  # fmt: skip

    def depth_first(root):  # reversed postorder, without recursion
        done, stack = {}, [(root, iter(root.inputs))]
        entered = {root}
        while stack:
            node, rest = stack[-1]
            new = next((n for n in rest if n not in entered), None)
            if new is None:
                done[node] = None
                stack.pop()
            else:
                entered.add(new)
                stack.append((new, iter(new.inputs)))
        return list(done)[::-1]

    judge("order", depth_first)


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name in WRONG for mistake in WRONG[name]]
)
def test_a_wrong_solution_is_red(name, mistake):
    """The check fails on each wrong solution, with a message that is not empty."""
    with np.errstate(all="ignore"), pytest.raises(REFUSALS, match=r"\S"):
        judge(name, WRONG[name][mistake])


def test_there_are_wrong_solutions_for_every_exercise():
    """Twelve exercises, each with three hints and several planted mistakes."""
    assert len(exercises.EXERCISES) == 12
    assert set(WRONG) == set(HINTS) == set(exercises.EXERCISES)
    assert all(len(hints) == 3 for hints in HINTS.values())
    assert min(len(mistakes) for mistakes in WRONG.values()) >= 4


# ---------------------------------------------------------------- the command


@pytest.mark.slow
def test_an_exercise_from_beginning_to_solution(tmp_path, capsys):
    """Begin, fail, show hints, pass; no solution and no tracked file is ever overwritten."""
    tracked = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}

    def run(*arguments):
        status = exercises.main([*arguments, "--folder", str(tmp_path)])
        return status, capsys.readouterr().out

    status, said = run()
    assert status == 0 and len(said.splitlines()) == 12 and "right" not in said.split()
    assert run("swish") == (0, f"swish: write Swish in {tmp_path}/swish.py, then run this again\n")
    status, said = run("swish")
    assert status == 1 and said.startswith("swish: not yet. NotImplementedError: dx")
    hints = [run("swish", "--hint", str(n))[1] for n in (1, 2, 3)]
    assert len({*hints}) == 3 and all(hints)
    status, solution = run("swish", "--solution")
    assert status == 0
    (tmp_path / "swish.py").write_text(solution)
    assert run("swish") == (0, "swish: right\n")
    assert (tmp_path / "swish.py").read_text() == solution
    (tmp_path / "swish.py").write_text("def")
    status, said = run("swish")
    assert status == 1 and "SyntaxError" in said
    assert "not yet" in run()[1]
    run("loss_curve")
    assert (tmp_path / "loss_curve.png").stat().st_size > 10_000
    for path, before in tracked.items():
        assert path.read_bytes() == before, path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["swoosh"], r"exercise: expected one of .*swish.*, got 'swoosh'"),
        (["swish", "--hint", "4"], r"argument --hint: invalid choice: '?4'? .*1, 2, 3"),
        (["--hint", "1"], "--hint and --solution: expected the name of an exercise"),
    ],
)
def test_what_the_command_refuses(arguments, message, capsys):
    """Unknown exercises and hints, and hints about nothing, are errors in one line."""
    with pytest.raises(SystemExit) as stopped:
        exercises.main(arguments)
    assert stopped.value.code == 2
    assert re.search(f"error: {message}", capsys.readouterr().err.splitlines()[-1])


def test_the_folder_of_solutions_is_ignored():
    """Git ignores the folder of solutions, so that none gets into a commit."""
    assert exercises.FOLDER == ROOT / "runs" / "exercises"
    assert "/runs/" in (ROOT / ".gitignore").read_text().split()
    if (ROOT / ".git").exists():
        asked = ["git", "check-ignore", "-q", str(exercises.FOLDER / "swish.py")]
        assert subprocess.run(asked, cwd=ROOT).returncode == 0
