"""The parts of gpu_check.sh: run one after another, each within its time, and reported at the end.

    python benchmarks/gpu_check.py OUTDIR [--dry-run] [--only PART,...] [--seconds N]

Only the standard library is needed to start; a part whose packages are missing fails by itself.
Leaves in OUTDIR, as far as their parts came: ``FILES``.
"""

import argparse
import os
import shlex
import signal
import site
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 590  # in all
FILES = (
    "summary.txt", "kernels.json", "kernels.csv", "roofline.png", "epochs.json", "steps_mlp.json",
    "steps_conv_face.json", "logs.tar.gz",
)  # fmt: skip
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


@dataclass(frozen=True)
class Part:
    """One command, the most seconds it may take, and a part that must have passed before it."""

    name: str
    seconds: float
    command: str  # {python}, {out} and {left} (its seconds, less a little) are filled in
    gpu: bool = True
    needs: str | None = None


def parts():
    """What is done, in the order of what must be known first."""
    sanitizers = [
        Part(
            f"sanitizer-{tool}", 30,
            f"compute-sanitizer --tool {tool} --error-exitcode 9 --print-limit 20 "
            "{python} benchmarks/_gpu_cases.py {left}", needs="build",
        )
        for tool in TOOLS
    ]  # fmt: skip
    return [
        Part("machine", 15, "nvidia-smi; nvcc --version; {python} -m minivae info", gpu=False),
        Part("build", 170,
             "MINIVAE_CUDA=1 {python} setup.py build_ext --inplace && {python} -m minivae info",
             gpu=False),
        Part("kernel-tests", 90,
             "{python} -m pytest -q -p no:cacheprovider {parallel} tests/kernels/test_kernels.py "
             "tests/kernels/test_kernels_conv.py tests/kernels/test_kernels_layers.py "
             "tests/kernels/test_kernels_products.py tests/cuda/test_cuda_graph.py "
             "tests/cuda/test_device.py tests/cuda/test_cuda_reparam_kl.py "
             "tests/cuda/test_cuda_losses.py tests/cuda/test_cuda_layers.py "
             "tests/cuda/test_cuda_products.py tests/cuda/test_cuda_training.py", needs="build"),
        Part("kernels", 120,
             "{python} benchmarks/kernels.py --device cuda --budget {left} --json "
             "{out}/kernels.json --csv {out}/kernels.csv --plot {out}/roofline.png", needs="build"),
        Part("epochs", 40,
             "{python} benchmarks/gpu_step.py --epochs 10 --json {out}/epochs.json", needs="build"),
        Part("steps-mlp", 60,
             "{python} benchmarks/gpu_step.py --models mlp --repeats 1 --json {out}/steps_mlp.json",
             needs="build"),
        *sanitizers,
        Part("steps-conv-face", 110,
             "{python} benchmarks/gpu_step.py --models conv,face --repeats 1 --json "
             "{out}/steps_conv_face.json", needs="build"),
        Part("suite", 200,
             "{python} -m pytest -q -p no:cacheprovider {parallel}",
             needs="build"),
    ]  # fmt: skip


def run_parts(todo, out, deadline, fill, has_gpu, execute, say=print):
    """Run parts until the deadline (of time.monotonic); their outcomes, (name, text, seconds).

    Args:
        todo: ``Part``s. out: where logs are written. fill: the values of {python} and the like.
        has_gpu: whether parts that need a GPU can run.
        execute: ``execute(command, log, seconds)`` -> exit status, or None when time was over.
    """
    outcomes = {}
    for part in todo:
        left = deadline - time.monotonic()
        needed = part.needs and outcomes.get(part.needs, ("not run", 0))[0]
        start = time.monotonic()
        if part.gpu and not has_gpu:
            text = "skipped: no device"
        elif needed not in (None, "passed"):
            text = f"skipped: {part.needs} {needed}"
        elif left < 5:
            text = "skipped: no time left"
        else:
            seconds = min(part.seconds, left)
            values = {**fill, "left": str(max(3, int(seconds) - 6))}
            say(f"--- {part.name}: at most {seconds:.0f} s", flush=True)
            status = execute(part.command.format(**values), Path(out) / f"{part.name}.log", seconds)
            text = "passed" if status == 0 else "FAILED: time was over"
            if status:
                text = f"FAILED: exit status {status}"
        outcomes[part.name] = (text, time.monotonic() - start)
        say(f"    {part.name}: {text}", flush=True)
    return [(name, text, seconds) for name, (text, seconds) in outcomes.items()]


def run_command(command, log, seconds):
    """The exit status of a shell command that logs to a file; None when it had to be stopped."""
    with open(log, "wb") as file:
        child = subprocess.Popen(
            ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, cwd=ROOT, env=environment(), start_new_session=True,
        )  # fmt: skip
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)  # its own group: all that it started
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            return None


def write_down(command, log, seconds):
    """What a dry run does with a command."""
    log.write_text(command + "\n")
    return 0


def environment():
    """For all parts: the checkout is what is imported, and the extension is built for this GPU."""
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
    """Of the first GPU, such as "90"; None when there is none."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0].replace(".", "") if done.returncode == 0 and lines else None


def make_environment(scratch):
    """A Python that sees this one's packages and can be installed into; this one if that fails.

    Where python3 is itself in a virtual environment, system site packages are not its packages, so
    they are named in a .pth file.
    """
    folder = Path(scratch) / "venv"
    command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        own = next(folder.glob("lib/python*/site-packages"))
        (own / "parent.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        return str(folder / "bin" / "python")
    except (OSError, subprocess.SubprocessError, StopIteration):
        return sys.executable


def summary(outcomes, total):
    """The report, in text."""
    width = max(len(name) for name, *_ in outcomes)
    lines = [f"{name:<{width}}  {seconds:6.1f} s  {text}" for name, text, seconds in outcomes]
    bad = [name for name, text, _ in outcomes if text != "passed"]
    verdict = "all parts passed" if not bad else f"not passed: {', '.join(bad)}"
    return "\n".join([*lines, f"{total:.0f} s in all; {verdict}", ""])


def bundle(logs, out):
    """All logs as one file."""
    with tarfile.open(Path(out) / "logs.tar.gz", "w:gz") as archive:
        for log in sorted(Path(logs).glob("*.log")):
            archive.add(log, log.name)


def main(argv=None):
    """Run the parts; 0 when all passed, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="folder for the results")
    parser.add_argument("--dry-run", action="store_true", help="log the commands, run none")
    parser.add_argument("--only", help="comma-separated parts")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    args = parser.parse_args(argv)
    begin = time.monotonic()
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    chosen = [p for p in parts() if not args.only or p.name in args.only.split(",")]
    with tempfile.TemporaryDirectory() as logs:
        python = sys.executable if args.dry_run else make_environment(logs)
        workers = min(8, os.cpu_count() or 1)
        has_xdist = subprocess.run([python, "-c", "import xdist"], capture_output=True)
        fill = {
            "python": shlex.quote(python), "out": shlex.quote(str(out)),
            "parallel": f"-n {workers}" if has_xdist.returncode == 0 else "",
        }  # fmt: skip
        execute = write_down if args.dry_run else run_command
        gpu = args.dry_run or compute_capability() is not None
        outcomes = run_parts(chosen, logs, begin + args.seconds, fill, gpu, execute)
        text = summary(outcomes, time.monotonic() - begin)
        (out / "summary.txt").write_text(text)
        bundle(logs, out)
        for name, outcome, _ in outcomes:  # the end of what went wrong, at once
            log = Path(logs) / f"{name}.log"
            if outcome != "passed" and log.exists():
                print(f"\n=== the end of {log.name}\n" + "\n".join(tail(log)))
    print("\n" + text, end="")
    return int(any(outcome != "passed" for _, outcome, _ in outcomes))


def tail(path, lines=25):
    """The last lines of a file."""
    return path.read_text(errors="replace").splitlines()[-lines:]


if __name__ == "__main__":
    sys.exit(main())
