"""Fuzz every reader, guided by coverage, and give it decompression bombs: only documented errors.

The full run needs atheris (pip install atheris); the quick one makes random changes of good files.
Address space and the time for one input are bounded: going beyond is a fault.
"""

import gzip
import importlib.util
import io
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import report
from fuzz_targets import TARGETS
from PIL import Image

HERE = Path(__file__).resolve().parent
SECONDS, RUNS = 45, 400  # for one target: in full, quick
ADDRESS_SPACE = 4096  # MiB, beyond which an allocation fails
BOMB_MEMORY = 2048  # MiB that the worst allowed image may take
BOMB_SECONDS = 60


def measure(quick):
    """One row a target, one for the bombs."""
    columns = ["what is read", "executions", "accepted", "memory, MiB", "slowest, s"]
    made = report.Report(columns, [])
    if not quick and importlib.util.find_spec("atheris") is None:
        raise report.Unavailable("atheris is not installed (pip install atheris)")
    for name in TARGETS:
        figures, fault = fuzz(name, [f"--runs={RUNS}" if quick else f"--seconds={SECONDS}"])
        made.faults += [fault] if fault else []
        made.rows.append([name, figures["executions"], figures["accepted"], figures["memory_mib"],
                          f"{figures['slowest_seconds']:.2f}"])  # fmt: skip
        print(*made.rows[-1], sep=", ", file=sys.stderr, flush=True)
    bombs(made, quick)
    executions = [row[1] for row in made.rows]
    accepted, memory = sum(row[2] for row in made.rows), max(row[3] for row in made.rows)
    slowest = max((row[4] for row in made.rows), key=float)
    made.rows.append(["all", sum(executions), accepted, memory, slowest])
    made.numbers |= {"guided_by_coverage": not quick, "executions": sum(executions),
                     "address_space_mib": ADDRESS_SPACE}  # fmt: skip
    return made


def fuzz(name, how):
    """(figures, fault or None) of one target."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures"
        command = [sys.executable, HERE / "fuzz_worker.py", name, *how, "--out", out,
                   f"--memory-mib={ADDRESS_SPACE}"]  # fmt: skip
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MINIVAE_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, errors="replace")
        figures = {"executions": 0, "accepted": 0, "memory_mib": 0, "slowest_seconds": 0.0}
        if out.exists():
            figures = json.loads(out.read_text())
        if done.returncode == 0 and figures["executions"]:
            return figures, None
        (crash, *_) = [*out.parent.glob("figures*crash*"), None]
        data = crash.read_bytes()[:400] if crash else b""
        error = [line for line in done.stderr.splitlines() if "Error" in line][-1:]
        return figures, f"{name}: exit code {done.returncode}, {error}, input {data!r}"


# ---------------------------------------------------------------- bombs
def png(mode, side, **options):
    """A PNG of ``side`` x ``side`` equal pixels: small on disk."""
    body = io.BytesIO()
    Image.new(mode, (side, side)).save(body, "PNG", **options)
    return body.getvalue()


def images(side):
    """Pictures of the largest allowed number of pixels, in the modes that cost most."""
    exif = Image.Exif()
    exif[274] = 6
    cmyk = io.BytesIO()
    Image.new("CMYK", (side, side)).save(cmyk, "JPEG", exif=exif)
    return {
        "RGBA": png("RGBA", side, exif=exif), "16 bits": png("I;16", side, exif=exif),
        "palette": png("P", side, transparency=0), "1 bit": png("1", side), "CMYK": cmyk.getvalue(),
        "too large": png("1", 2 * side),
    }  # fmt: skip


def files():
    """Small files that announce, or hold, very much."""
    megabytes = io.BytesIO()
    with gzip.GzipFile(fileobj=megabytes, mode="wb", compresslevel=1) as stream:
        stream.write(struct.pack(">BBBBI", 0, 0, 8, 1, 1 << 28))
        for _ in range(1024):
            stream.write(bytes(1 << 20))
    deep = b'{"a":' * 100_000
    return {
        "IDX files": {
            "1 GiB in gzip": megabytes.getvalue(),
            "announces 2^128": b"\0\0\x08\4" + b"\xff" * 16,
        },
        "checkpoints": {
            "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
            "deep header": struct.pack("<Q", len(deep)) + deep,
            "header of 90 MB": struct.pack("<Q", 90_000_000) + b'{"' + b"a" * 89_999_998,
        },
        "attribute tables": {
            "a million columns": b"image," + b",".join(b"%d" % i for i in range(1_000_000)),
            "a million lines": b"image,a\n" + b"".join(b"%d.jpg,1\n" % i for i in range(1_000_000)),
            "one long field": b"image," + b"a" * 10_000_000,
        },
    }


def bombs(made, quick):
    """Each in a process of its own, whose memory and time are bounded."""
    cases = [(target, name, body) for target, group in files().items()
             for name, body in group.items()]  # fmt: skip
    cases += [("image files", name, body) for name, body in images(1024 if quick else 8192).items()]
    accepted, memory, slowest = 0, 0, 0.0
    for target, name, body in cases:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os._exit(_bomb(target, body, write))
        os.close(write)
        _, status, usage = os.wait4(pid, 0)
        with open(read) as pipe:
            said = pipe.read()
        if status or not said:
            made.faults.append(f"{target}, {name}: exit status {status}")
            continue
        outcome, grown = said.split()
        accepted += outcome == "True"
        memory, slowest = max(memory, int(grown)), max(slowest, usage.ru_utime)
        made.numbers[f"{target}, {name}"] = [outcome, int(grown)]
        if int(grown) > BOMB_MEMORY:
            made.faults.append(f"{target}, {name}: {grown} MiB")
    made.rows.append(["bombs: the largest images allowed, gigabytes in kilobytes", len(cases),
                      accepted, memory, f"{slowest:.2f}"])  # fmt: skip


def _bomb(name, body, write):
    """In the child: read one bomb, tell whether it was accepted and the memory it took."""
    import resource

    from fuzz_worker import peak_mib

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE << 20, ADDRESS_SPACE << 20))
    signal.alarm(BOMB_SECONDS)
    target = TARGETS[name]()
    before = peak_mib()
    accepted = target(body)
    os.write(write, f"{accepted} {peak_mib() - before:.0f}".encode())
    target.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
