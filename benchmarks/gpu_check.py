"""Run the parts of gpu_check.sh one after another, each within its time, and report each result.

    python benchmarks/gpu_check.py OUTDIR [first|second] [--dry-run SCALE] [--only PART,...]

Only the standard library is needed to start; a part whose packages are missing fails by itself.
Writes ``FILES`` into OUTDIR, each up to date at any moment: commands append to the log and to the
rows, a line at a time, and the summary is replaced whenever a part begins or ends.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 265  # of a call, which must end before 270
FILES = ("summary.txt", "log.txt", "rows.jsonl", "roofline.png")
CALLS = ("first", "second")
# Only tests marked gpu: the others would run, or build, the stand-in for a GPU.
TESTS = "{python} -m pytest -q -p no:cacheprovider -m gpu {parallel}"


@dataclass(frozen=True)
class Part:
    """One command, the most seconds it may take, and a part that must have passed before it."""

    name: str
    seconds: float
    command: str  # {python}, {out} and {left} (its seconds, less a little) are filled in
    gpu: bool = True
    needs: str | None = "build"


def sanitizer(tool):
    """A part that runs the kernels' cases under one tool of compute-sanitizer."""
    command = f"compute-sanitizer --tool {tool} --error-exitcode 9 --print-limit 20 "
    return Part(f"sanitizer-{tool}", 25, command + "{python} benchmarks/_gpu_cases.py {left}")


def parts(call):
    """The parts of a call, in order of importance."""
    build = [
        Part("machine", 15, "nvidia-smi; nvcc --version; {python} -m minivae info", False, None),
        Part("build", 150,
             "MINIVAE_CUDA=1 {python} setup.py build_ext --inplace && {python} -m minivae info",
             False, None),
    ]  # fmt: skip
    if call == "first":
        return [
            *build,
            # Without CUB, CuPy compiles a reduction in a quarter of a second instead of three.
            Part("device-tests", 60, f"CUPY_ACCELERATORS= {TESTS} tests/cuda/test_device.py "
                 "tests/cuda/test_cuda_graph.py tests/cuda/test_cuda_graph_objectives.py "
                 "tests/cuda/test_device_training.py"),
            Part("kernel-tests", 60, f"{TESTS} tests/kernels tests/cuda"),
            steps("steps-mlp", 30, "mlp", "minivae-graph,torch-graph"),
            kernels("products", 40, "matmul,conv2d"),
            steps("steps-conv-face", 60, "conv,face", "minivae-graph,torch-graph"),
        ]  # fmt: skip
    return [
        *build,
        Part("epochs", 30,
             "{python} benchmarks/gpu_step.py --epochs 10 --rows {out}/rows.jsonl"),
        kernels("versions", 60, "reparam_kl", "--plot {out}/roofline.png"),
        *map(sanitizer, ("memcheck", "racecheck")),
        kernels("other-kernels", 40, "bce,squared,adam,relu,batch,channel,log,gather,normal"),
        steps("steps-eager", 30, "mlp", "minivae,torch"),
        steps("steps-compiled", 60, "mlp", "torch.compile,torch-compile-graph"),
        steps("steps-conv-face-compiled", 60, "conv,face", "torch.compile,torch-compile-graph"),
        *map(sanitizer, ("initcheck", "synccheck")),
        Part("suite", 200, TESTS),
    ]  # fmt: skip


def steps(name, seconds, models, contenders):
    """A part that times training steps."""
    return Part(
        name, seconds,
        f"{{python}} benchmarks/gpu_step.py --models {models} --contenders {contenders} "
        "--repeats 1 --rows {out}/rows.jsonl",
    )  # fmt: skip


def kernels(name, seconds, beginnings, more=""):
    """A part that times kernels."""
    return Part(
        name, seconds,
        f"{{python}} benchmarks/kernels.py --device cuda --kernels {beginnings} --budget {{left}} "
        f"--rows {{out}}/rows.jsonl {more}",
    )  # fmt: skip


class Summary:
    """``summary.txt``: a line for each part that began, and how far the call has come."""

    def __init__(self, path, call):
        self.path, self.begin = Path(path), time.monotonic()
        self.lines = [f"=== {call} call"]
        if self.path.exists():
            self.lines = [*self.path.read_text().splitlines(), "", *self.lines]
        self.bad = []

    def tell(self, name, seconds, text):
        """Record that a part has ended or was skipped."""
        self.lines.append(f"{name:<26} {seconds:6.1f} s  {text}")
        if text != "passed":
            self.bad.append(name)
        self.write(f"after {name}")

    def write(self, state):
        """Replace the file atomically."""
        new = self.path.with_suffix(".new")
        new.write_text("\n".join([*self.lines, state, ""]))
        os.replace(new, self.path)

    def finish(self, stopped=None):
        """Write the last line."""
        verdict = "all parts passed" if not self.bad else f"not passed: {', '.join(self.bad)}"
        self.lines.append(f"{time.monotonic() - self.begin:.0f} s in all; {stopped or verdict}")
        self.write("")


def run_parts(todo, summary, deadline, fill, has_gpu, execute, scale=1.0):
    """Run parts until the deadline (of time.monotonic); a dict from name to outcome.

    Args:
        todo: ``Part``s. summary: a ``Summary``. fill: the values of {python} and the like.
        has_gpu: whether parts that need a GPU can run.
        execute: ``execute(part, command, seconds)`` -> exit status, or None when time was over.
        scale: factor of the seconds of each part.
    """
    outcomes = {}
    for part in todo:
        left, start = deadline - time.monotonic(), time.monotonic()
        needed = part.needs and outcomes.get(part.needs, "passed")  # passed, if not among todo
        if part.gpu and not has_gpu:
            text = "skipped: no device"
        elif needed not in (None, "passed"):
            text = f"skipped: {part.needs} {needed}"
        elif left < 5 * scale:
            text = "skipped: no time left"
        else:
            seconds = min(scale * part.seconds, left)
            summary.write(f"in {part.name}, at most {seconds:.0f} s")
            values = {**fill, "left": str(max(3, int(seconds) - 6))}
            status = execute(part, part.command.format(**values), seconds)
            text = "passed" if status == 0 else "FAILED: time was over"
            if status:
                text = f"FAILED: exit status {status}"
        outcomes[part.name] = text
        summary.tell(part.name, time.monotonic() - start, text)
    return outcomes


def run_command(command, log, seconds):
    """The exit status of a shell command that appends to a log; None when it had to be stopped.

    Whatever ends this function, an exception included, ends all that the command started.
    """
    with open(log, "ab") as file:
        child = subprocess.Popen(
            ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, cwd=ROOT, env=environment(), start_new_session=True,
        )  # fmt: skip
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            stop(child)


def stop(child):
    """End a process that is the first of its own group, and the group."""
    for sign, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, None)):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def pretend(name, scale, rows):
    """The command of a part in a dry run: ten rows, four seconds times ``scale`` in all."""
    return (
        f'for i in $(seq 1 10); do echo \'{{"part": "{name}", "row": \'$i\'}}\' >> {rows}; '
        f"echo {name} $i; sleep {0.4 * scale:.4f}; done"
    )


def environment():
    """Environment of all parts: imports come from the checkout, the build is for this GPU."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "Agg",
    }  # fmt: skip
    if "MINIVAE_CUDA_ARCH" not in found and (capability := compute_capability()):
        found["MINIVAE_CUDA_ARCH"] = capability
    folder = ROOT / ".data"
    if "MINIVAE_DATA" not in found and folder.is_dir():
        found["MINIVAE_DATA"] = str(folder)
    return found


def compute_capability():
    """Compute capability of the first GPU, such as "90"; None when there is none."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0].replace(".", "") if done.returncode == 0 and lines else None


class Stopped(BaseException):
    """SIGTERM came."""


def raise_stopped(*_):
    """The handler of SIGTERM."""
    raise Stopped


def check(call, out, names, scale):
    """Run the parts of one call; whether all passed.

    Args:
        scale: None, or the factor of all times in a dry run, which runs no commands of the parts.
    """
    factor, log, rows = scale or 1.0, out / "log.txt", out / "rows.jsonl"
    summary = Summary(out / "summary.txt", call)
    deadline = time.monotonic() + factor * SECONDS
    chosen = [part for part in parts(call) if names is None or part.name in names]
    has_xdist = subprocess.run([sys.executable, "-c", "import xdist"], capture_output=True)
    workers = min(8, os.cpu_count() or 1)
    fill = {
        "python": shlex.quote(sys.executable), "out": shlex.quote(str(out)),
        "parallel": f"-n {workers}" if has_xdist.returncode == 0 else "",
    }  # fmt: skip

    def execute(part, command, seconds):
        with open(log, "a") as file:
            file.write(f"\n=== {part.name}: at most {seconds:.0f} s\n$ {command}\n")
        print(f"--- {part.name}: at most {seconds:.0f} s", flush=True)
        if scale is not None:
            command = pretend(part.name, scale, shlex.quote(str(rows)))
        before = log.stat().st_size
        status = run_command(command, log, seconds)
        if status != 0:  # the end of what went wrong, at once
            with open(log, errors="replace") as file:
                file.seek(before)
                print("\n".join(file.read().splitlines()[-25:]), flush=True)
        return status

    has_gpu = scale is not None or compute_capability() is not None
    try:
        run_parts(chosen, summary, deadline, fill, has_gpu, execute, factor)
    except (Stopped, KeyboardInterrupt):
        summary.finish("stopped by a signal")
        raise
    summary.finish()
    return not summary.bad


def main(argv=None):
    """Run the parts; 0 when all passed, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="folder for the results")
    parser.add_argument("call", nargs="?", choices=CALLS, help="which call; default both, in turn")
    parser.add_argument(
        "--dry-run", type=float, metavar="SCALE",
        help="simulate the parts without running them, with all times multiplied by SCALE",
    )  # fmt: skip
    parser.add_argument("--only", help="comma-separated parts")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, raise_stopped)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = args.only and args.only.split(",")
    try:
        passed = [
            check(call, out, names, args.dry_run) for call in CALLS if args.call in (None, call)
        ]
    except Stopped:
        return 143
    finally:
        if (out / "summary.txt").exists():
            print("\n" + (out / "summary.txt").read_text(), end="", flush=True)
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
