"""The compiled CPU kernels: bindings called with spoiled arguments, memory after errors, elements
past 2^31, and the tests of kernels and of recorded steps under GCC's address, undefined-behaviour
and thread sanitizers.

MINIVAE_SANITIZED names a folder where the builds with a sanitizer stay for another run.
"""

import contextlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import report

try:
    from fuzz_bindings import RECIPES
except ImportError:  # nothing is compiled
    RECIPES = {}

HERE = Path(__file__).resolve().parent
SEED = 8
CALLS, QUICK_CALLS, SANITIZED_CALLS = 100_000, 4_000, 30_000
PIECE = 20_000  # calls a process makes

# name -> (GCC's switch, its runtime, options, the tests). ThreadSanitizer takes those with threads.
SANITIZERS = {
    "address and undefined behaviour": (
        "address,undefined", "libasan.so",
        {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=512",
         "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"},
        ["kernels/test_kernels.py", "kernels/test_kernels_conv.py",
         "kernels/test_kernels_layers.py", "kernels/test_kernels_products.py",
         "kernels/test_kernel_arguments.py",
         "kernels/test_elementary.py", "engine/test_noise.py",
         "kernels/test_parallel.py", "kernels/test_threads.py",
         "training/test_recorded_step.py", "training/test_recorded_objectives.py", "-k",
         "not reference and not emulated"],
    ),
    "threads": (
        "thread", "libtsan.so", {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66:die_after_fork=0"},
        ["kernels/test_parallel.py", "kernels/test_threads.py", "kernels/test_kernels.py",
         "kernels/test_kernels_conv.py", "kernels/test_kernels_products.py",
         "kernels/test_kernels_layers.py", "training/test_recorded_step.py",
         "training/test_recorded_objectives.py", "-k",
         "(parallel or thread or test_recorded or nothing_of_an_earlier or larger) "
         "and not reference and not emulated"],
    ),
}  # fmt: skip
# NumPy and its BLAS are not built for ThreadSanitizer, which misses how they synchronise. Nothing
# of ours runs below a frame of theirs.
SUPPRESSED = "race:_multiarray_umath\nrace:libscipy_openblas\ncalled_from_lib:libscipy_openblas\n"
# Hidden from the tests under a sanitizer: other compilers' code, slow and not ours.
STUBS = ("numba", "torch", "jax")

REFUSALS = """
import numpy as np, resource, sys
from minivae import _cpu
x, w = np.zeros((64, 4, 64, 64), np.float32), np.zeros((4, 4, 3, 3), np.float32)
thin = np.zeros((2**40, 0), np.float32)  # the product has 2^80 elements
def refused(call, *args):
    try: call(*args)
    except (TypeError, ValueError, MemoryError): return
    raise SystemExit("not refused")
def once():
    refused(_cpu.conv2d, x, w, None, (1, 1), (0, 0), (2**40, 1), False)
    refused(_cpu.conv2d, x, w, x, (1, 1), (0, 0), (1, 1), False)
    refused(_cpu.batch_norm_forward, x.reshape(64, 4, -1), w[0, 0, 0], w[0, 0, 0], None, x, 1e-5)
    refused(_cpu.reparam_kl_forward, x[0, 0], x[0, 0], (1, -1))
    refused(_cpu.bce_with_logits, x[0, 0], x[0, 0].astype(float), True)
    refused(_cpu.matmul, x[0, 0], x[0, 0], x[0, 0])
    refused(_cpu.matmul, thin, thin.T, None)
    refused(_cpu.gather_pixels, np.zeros((2, 2), np.uint8), x, np.float32, None)
def kib():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
rounds = int(sys.argv[1])
for _ in range(rounds // 10): once()
before = kib()
for _ in range(rounds): once()
print(8 * rounds, kib() - before)
"""

# np.zeros of this size is address space only: what is never written is one shared page of zeros.
LARGE = """
import numpy as np
from minivae import _cpu
n = 2**31 + 8
ones = lambda *shape: np.broadcast_to(np.float64(1), shape)
x = np.zeros((1, 1, n), np.float32); x[0, 0, -1] = 3
assert _cpu.channel_sum(x)[0] == 3
del x
p = np.zeros((2**31 + 8, 1), np.uint8); p[-1] = 255
assert list(_cpu.gather_pixels(p, np.array([0, n - 1]), np.float32, None)[:, 0]) == [0, 1]
assert _cpu.matmul(ones(1, n), ones(n, 1), None)[0, 0] == n
x = np.zeros((1, 1, 2**16, 2**16), np.float32); x[0, 0, -1, -1] = 5
w = np.ones((1, 1, 1, 1), np.float32)
y = _cpu.conv2d(x, w, None, (2**16 - 1,) * 2, (0, 0), (1, 1), False)
assert y.ravel().tolist() == [0, 0, 0, 5]
print(4)
"""


def measure(quick):
    """Everything that can run here; quick leaves the sanitizers and the large arrays out."""
    try:
        from minivae import _cpu  # noqa: F401
    except ImportError as error:
        raise report.Unavailable(f"the compiled kernels are not built ({error})") from error
    rows, faults, numbers = [], [], {"seed": SEED}
    _fuzz_rows(QUICK_CALLS if quick else CALLS, rows, faults, numbers)
    _refusal_row(500 if quick else 5_000, rows, faults, numbers)
    if not quick:
        _large_row(rows, faults)
        for name, sanitizer in SANITIZERS.items():
            _sanitizer_row(name, *sanitizer, rows, faults, numbers)
    return report.Report(["check", "tried", "result"], rows, faults, numbers)


def _python(*args, **options):
    return subprocess.run(
        [sys.executable, *map(str, args)], capture_output=True, text=True, cwd=report.ROOT,
        timeout=3600, **options,
    )  # fmt: skip


def fuzz(calls, trace, extra=(), env=None):
    """Outcomes by name, and faults, of the first calls of the stream."""
    outcomes, faults, worked = {}, [], set()
    for first in range(0, calls, PIECE):
        numbers = (SEED, first, min(first + PIECE, calls))
        done = _python(HERE / "fuzz_bindings.py", *numbers, "--trace", trace, *extra, env=env)
        if done.returncode:
            where = trace.read_text().strip() if trace.exists() else "at the start"
            faults.append(f"exit {done.returncode} in the call {where}: {_report(done.stderr)}")
            continue
        found = json.loads(done.stdout)
        faults += found["faults"]
        worked.update(found["worked"])
        for name, count in found["outcomes"].items():
            outcomes[name] = outcomes.get(name, 0) + count
    # Arguments that are refused unspoiled are a recipe of another day's functions.
    faults += [f"{name}: no call worked" for name in sorted(RECIPES.keys() - worked) if outcomes]
    return outcomes, faults


def _fuzz_rows(calls, rows, faults, numbers):
    with tempfile.TemporaryDirectory() as folder:
        outcomes, wrong = fuzz(calls, Path(folder) / "trace")
    faults += wrong
    numbers["outcomes"] = outcomes
    told = ", ".join(f"{n:,} {name}" for name, n in sorted(outcomes.items(), key=lambda o: -o[1]))
    crashes = sum("exit" in fault for fault in wrong)
    rows.append(["bindings, arguments spoiled at random", calls, f"{told}; {crashes} crashes"])


def _refusal_row(rounds, rows, faults, numbers):
    done = _python("-c", REFUSALS, rounds)
    if done.returncode:
        faults.append(f"refusals: {done.stderr.strip()[-300:]}")
        return
    calls, grown = map(int, done.stdout.split())
    numbers["resident_kib_grown_by_refusals"] = grown
    if grown > 1024:
        faults.append(f"{calls} refused calls left {grown} KiB behind")
    rows.append(["memory after refused calls on arrays of 4 MB", calls, f"{grown:+} KiB resident"])


def _large_row(rows, faults):
    done = _python("-c", LARGE)
    what = "sum, gather, product, convolution past 2^31 elements"
    if done.returncode:
        faults.append(f"{what}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    rows.append([what, 4, "right" if not done.returncode else "wrong"])


def _sanitizer_row(name, switch, runtime, options, tests, rows, faults, numbers):
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    # The runtime has to be there before Python, and the C++ library before the runtime looks for
    # the function that throws.
    libraries = [_library(compiler, name) for name in (runtime, "libstdc++.so.6")]
    if not all(libraries):
        rows.append([f"kernel tests, sanitizer of {name}", 0, "not run: no sanitizer here"])
        return
    kept = os.environ.get("MINIVAE_SANITIZED")
    with contextlib.nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / switch
        _sanitized_copy(folder, compiler, switch)
        environment = {
            **os.environ, **options, "LD_PRELOAD": " ".join(libraries), "PYTHONMALLOC": "malloc",
            "PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "dev", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        (folder / "suppressed").write_text(SUPPRESSED)
        if switch == "thread":
            environment["TSAN_OPTIONS"] += f":suppressions={folder / 'suppressed'}"
        fixed = ["setarch", "-R"] if shutil.which("setarch") else []  # TSan wants a fixed layout
        done = subprocess.run(
            [*fixed, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             "--capture=sys", *tests],
            cwd=folder / "tests", env=environment, capture_output=True, text=True,
        )  # fmt: skip
        passed = re.search(r"(\d+) passed", done.stdout)
        count = int(passed[1]) if passed else 0
        reports = len(re.findall(r"SUMMARY: |runtime error: ", done.stdout + done.stderr))
        numbers[f"tests_under_sanitizer_of_{name.replace(' ', '_')}"] = count
        if done.returncode or not count:
            faults.append(f"sanitizer of {name}: {_report(done.stdout[-4000:] + done.stderr)}")
        rows.append([f"kernel tests, sanitizer of {name}", count, f"pass, {reports} reports"
                     if not done.returncode else "fail"])  # fmt: skip
        if "address" not in switch:
            return
        outcomes, wrong = fuzz(
            SANITIZED_CALLS, folder / "trace", extra=["--no-limit"], env=environment
        )
        faults += [f"sanitizer of {name}: {fault}" for fault in wrong]
        rows.append([f"bindings, sanitizer of {name}", sum(outcomes.values()),
                     f"{sum('exit' in fault for fault in wrong)} reports"])  # fmt: skip


def _library(compiler, name):
    """The path of a library of the compiler's, or None."""
    if compiler is None:
        return None
    path = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True
    ).stdout.strip()
    return path if os.path.isabs(path) else None


def _report(text):
    """The lines of a sanitizer's report, or of a failure, that say most."""
    lines = [line.strip() for line in text.splitlines()]
    telling = [
        li
        for li in lines
        if re.search(r"ERROR|WARNING: Thread|runtime error|#[0-4] |^E |FAILED|Fatal", li)
    ]
    return " | ".join(telling[:8] or lines[-5:])[:900]


def _sanitized_copy(folder, compiler, switch):
    """The package and its tests in `folder`, the extension built with a sanitizer, at -O1."""
    skip = shutil.ignore_patterns("*.so", "__pycache__", "*_not_built.txt")
    for name in ("minivae", "tests"):
        shutil.copytree(report.ROOT / name, folder / name, ignore=skip, dirs_exist_ok=True)
    shutil.copy(report.ROOT / "pyproject.toml", folder)
    for name in STUBS:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('{name} is hidden here')\n")
    binary = folder / "minivae" / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
    newest = max(path.stat().st_mtime for path in (report.ROOT / "csrc").rglob("*"))
    if binary.exists() and binary.stat().st_mtime > newest:
        return
    before = os.getcwd()
    os.chdir(report.ROOT)
    try:
        setup = runpy.run_path("setup.py", run_name="setup")
    finally:
        os.chdir(before)
    import pybind11

    flags = ["-O1" if flag.startswith("-O") else flag for flag in setup["FLAGS"]]
    includes = ["csrc", pybind11.get_include(), sysconfig.get_path("include")]
    subprocess.run(
        [compiler, "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", *flags, "-g1",
         f"-fsanitize={switch}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
         *(f"-I{path}" for path in includes), *setup["cpu"].sources, "-o", str(binary)],
        cwd=report.ROOT, check=True,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
