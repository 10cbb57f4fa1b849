"""Mutation testing: mutmut plants small errors, one at a time, in operations, losses, estimators,
reference kernels and optimisers; how many of them do the tests catch?

The tests run in one process of one core, forked for each mutant; mutmut picks those that reach the
changed function. Mutants that change a message alone are not run, nor are those that can change no
result. MINIVAE_MUTANTS names a folder to keep, where a second run takes up the survivors alone.
"""

import ast
import contextlib
import difflib
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import report

# What is mutated and the tests that are to notice it.
MUTATED = {
    "operations": (
        ["ops/activation.py", "ops/arithmetic.py", "ops/batch_norm.py", "ops/composed.py",
         "ops/conv.py", "ops/linear.py", "ops/reductions.py", "ops/reparam_kl.py",
         "ops/shapes.py"],
        ["engine/test_ops", "engine/test_backward", "engine/test_tensor",
         "engine/test_survivors", "engine/test_boundaries"],
    ),
    "losses": (["ops/loss.py"], ["engine/test_ops", "engine/test_boundaries"]),
    "optimisers": (["optim/optimizer.py", "optim/sgd.py", "optim/adam.py"],
                   ["engine/test_optim", "engine/test_boundaries"]),
    "definitions of the kernels": (
        ["kernels/reference.py", "kernels/reference_layers.py"],
        ["kernels/test_kernels", "kernels/test_kernels_conv", "kernels/test_kernels_layers",
         "kernels/test_kernels_products", "engine/test_boundaries"],
    ),
    "objectives": (["training/objectives.py"],
                   ["training/test_objectives", "engine/test_survivors",
                    "engine/test_boundaries"]),
    "estimators": (
        ["evaluation/bounds.py", "evaluation/frechet.py", "evaluation/grouping.py",
         "evaluation/latents.py", "evaluation/probes.py", "evaluation/units.py"],
        ["evaluation/test_estimators", "engine/test_survivors", "evaluation/test_bounds"],
    ),
}  # fmt: skip
SAMPLE = 120  # of each group's mutants, drawn at random
MINUTES = 6  # for each group; what was not reached by then is not counted
CONFIG = """[mutmut]
source_paths = minivae
only_mutate =
{mutated}
also_copy =
    docs
    csrc
    examples
    README.md
{extensions}
pytest_add_cli_args_test_selection =
{tests}
pytest_add_cli_args =
    -x
    -q
    -p
    no:cacheprovider
    -k
    not cpu- and not numba and not emulated
timeout_multiplier = 2
timeout_constant = 60
"""
# What the tests draw from hypothesis here: fewer examples notice less, so a score is a lower bound.
EXAMPLES = 10
EXPLAINED = Path(__file__).with_name("mutation_explained.json")
NOTICED = {1, 3, 24, 36, 152, -24, -11}  # a test failed, took too long, or crashed

# Mutants that change no result on this machine, by what is alike before and after; not run.
EQUIVALENT = [
    (r"(array_module|device_of|kernels\.get)\(('\w+')?[^()]*(\(\)[^()]*)?\)", r"\1(\2)",
     "asks where an array lives"),
    (r"if (self\.needs\[\w+\])( or True)?", r"if \1", "a gradient that nobody asked for"),
    (r"with_grad=\w+\)\[0\]", "", "a gradient that is thrown away"),
    (r",? ?strict=\w+", "", "lengths that the line before made equal"),
    (r"astype\((np\.float64|None)\)", "", "None is float64 to NumPy"),
    (r",? ?(unit|desc|leave)=('\w*'|\w+)", "", "the looks of a progress bar"),
]  # fmt: skip


def measure(quick):
    """The whole run; there is no quick one."""
    if quick:
        raise report.Unavailable("planting errors takes most of an hour; there is no quick part")
    if importlib.util.find_spec("mutmut") is None:
        raise report.Unavailable("mutmut is not installed (pip install mutmut)")
    kept = os.environ.get("MINIVAE_MUTANTS")
    mutants = []
    with contextlib.nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        for group in MUTATED:
            mutants += _group(group, Path(folder) / group.replace(" ", "_"))
    return summary(mutants)


def _group(group, folder):
    """The mutants of one group, with the exit code of the tests for those that were run."""
    _copy(group, folder)
    # No mutant has this name: mutmut plants them all, and says that it found none to run.
    _mutmut(folder, "no.such.mutant")
    mutants = list(_mutants(group, folder))
    chosen = [m["key"] for m in mutants if m["kind"] == "maths"]
    codes = _codes(folder)
    if any(codes[key] is not None for key in chosen):  # an earlier run's folder
        chosen = [key for key in chosen if codes[key] is not None and codes[key] not in NOTICED]
    elif len(chosen) > SAMPLE:
        chosen = random.Random(0).sample(chosen, SAMPLE)
    if chosen:
        with contextlib.suppress(subprocess.TimeoutExpired):
            _mutmut(folder, *chosen, timeout=60 * MINUTES)
    codes = _codes(folder)
    for m in mutants:
        m["code"] = codes[m["key"]]
    run = sum(m["code"] is not None for m in mutants)
    print(f"{group}: {len(mutants)} planted, {len(chosen)} drawn, {run} run", flush=True)
    return mutants


def _copy(group, folder):
    """The tracked files as they are now, the compiled extension and mutmut's settings."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=report.ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    extensions = [p.relative_to(report.ROOT) for p in (report.ROOT / "minivae").glob("_cpu*.so")]
    for name in [*filter(None, tracked), *map(str, extensions)]:
        if (report.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(report.ROOT / name, folder / name)
    files, tests = MUTATED[group]
    mutated = [f"minivae/{name}" for name in files]
    tests = [f"tests/{name}.py" for name in tests]

    def indented(names):
        absent = [name for name in names if not (folder / name).exists()]
        if absent:  # mutmut would do without a word
            raise FileNotFoundError(f"{', '.join(map(str, absent))}: renamed?")
        return "\n".join(f"    {name}" for name in names)

    (folder / "setup.cfg").write_text(
        CONFIG.format(
            mutated=indented(mutated), tests=indented(tests), extensions=indented(extensions)
        )
    )
    conftest = folder / "tests" / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + f"\nsettings.register_profile('mutation', settings.get_profile('dev'), "
        f"max_examples={EXAMPLES})\nsettings.load_profile('mutation')\n"
    )


def _mutmut(folder, *names, timeout=None):
    return subprocess.run(
        [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names], cwd=folder,
        capture_output=True, timeout=timeout,
        # No compiler: the tests would make a stand-in for a GPU first.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "CXX": "/nonexistent/c++"},
    )  # fmt: skip


def _metas(folder):
    return sorted((folder / "mutants" / "minivae").glob("**/*.py.meta"))


def _codes(folder):
    """Exit code of the tests for every mutant, None for one that was not run."""
    codes = {}
    for path in _metas(folder):
        codes |= json.loads(path.read_text())["exit_code_by_key"]
    return codes


def _mutants(group, folder):
    """key, group, function, change and kind of every mutant that mutmut planted."""
    for meta in _metas(folder):
        source = meta.with_suffix("")
        name = source.relative_to(folder / "mutants").as_posix()
        functions = {
            node.name: node
            for node in ast.walk(ast.parse(source.read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        for key in json.loads(meta.read_text())["exit_code_by_key"]:
            mangled = key.rpartition(".")[2]
            stem = re.sub(r"__mutmut_\d+$", "", mangled)
            before, after = functions[f"{stem}__mutmut_orig"], functions[mangled]
            change = _change(before, after)
            yield {
                "key": key, "group": group, "file": name, "change": change,
                "function": ".".join(re.sub(r"^xǁ|^x_", "", stem).split("ǁ")),
                "kind": _kind(before, after),
            }  # fmt: skip


def _lines(function):
    body = [ast.unparse(function.args), *(ast.unparse(s) for s in function.body)]
    return "\n".join(body).splitlines()


def _change(before, after):
    lines = difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=0)
    return [
        re.sub(r"^([-+])\s*", r"\1 ", li)
        for li in lines
        if li[:1] in "+-" and li[:3] not in ("+++", "---")
    ]


def _kind(before, after):
    """What the mutant changes: "a message", a reason of EQUIVALENT, or "maths"."""
    if _skeleton(before) == _skeleton(after):
        return "a message"
    texts = ["\n".join(_lines(function)) for function in (before, after)]
    for pattern, alike, reason in EQUIVALENT:
        old, new = (re.sub(pattern, alike, text) for text in texts)
        if old == new:
            return reason
    return "maths"


def _skeleton(function):
    """The function without its texts and without what its errors say."""

    class Strip(ast.NodeTransformer):
        def visit_Raise(self, node):
            return ast.Raise(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)

    stripped = Strip().visit(ast.parse(ast.unparse(function)))
    stripped.body[0].name = "f"
    return ast.unparse(stripped)


def summary(mutants):
    """The table, and a fault for every survivor that nobody explained."""
    explained = json.loads(EXPLAINED.read_text("utf-8")) if EXPLAINED.exists() else {}
    rows, faults, survivors, total = [], [], [], Counter()
    for group in MUTATED:
        mine = [m for m in mutants if m["group"] == group]
        run = [m for m in mine if m["kind"] == "maths" and m["code"] is not None]
        count = Counter(planted=len(mine), run=len(run))
        for m in run:
            if m["code"] in NOTICED:
                count["noticed"] += 1
                continue
            reason = explained.get(m["file"], {}).get(f"{m['function']}: {' '.join(m['change'])}")
            survivors.append({k: m[k] for k in ("file", "function", "change")} | {"why": reason})
            count["explained"] += reason is not None
        total += count
        rows.append(_row(group, count))
    rows.append(_row("all", total))
    unexplained = [s for s in survivors if s["why"] is None]
    share = total["noticed"] / max(1, total["run"] - total["explained"])
    if share < 0.95:
        faults.append(f"{share:.1%} of the mutants that change a result die, expected 95 %")
    for s in unexplained:
        print(f"survivor: {s['file']}: {s['function']}: {' '.join(s['change'])}")
    numbers = {
        "kinds": dict(Counter(m["kind"] for m in mutants)), "share_noticed": round(share, 4),
        "sample_per_group": SAMPLE, "survivors": survivors,
    }  # fmt: skip
    columns = ["planted in", "planted", "run", "noticed", "same result", "score"]
    return report.Report(columns, rows, faults, numbers)


def _row(name, count):
    real = count["run"] - count["explained"]
    score = f"{count['noticed'] / real:.1%}" if real else "–"
    return [name, *(count[k] for k in ("planted", "run", "noticed", "explained")), score]


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
