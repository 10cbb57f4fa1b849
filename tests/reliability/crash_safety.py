"""Crash safety: kills, failing system calls, full disks, read-only folders and damaged files.

Each run is the tiny one of tests/tiny_run.py in a process of its own. After each accident the
newest good checkpoint must load, the resumed run must end with the bytes of one never stopped, and
no temporary file may be left.
"""

import contextlib
import errno
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MINIVAE_NUM_THREADS": "1"}  # before NumPy comes

import report  # noqa: I001  puts tests/ on the path

import numpy as np

import tiny_run
from minivae.training import checkpoint
from minivae import atomic_write
from minivae.errors import CheckpointError, MinivaeError, OutputError

OPTIONS = {"save_every": 2}
CHECKPOINT, BACKUP = "checkpoint.safetensors", "backup.safetensors"
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
CALLS = ("open", "mkdir", "fsync", "link", "replace", "unlink")  # of os, that a run may make
NOBODY = 65534


def measure(quick):
    """The table; ``quick`` makes fewer attempts of each kind."""
    rng = np.random.default_rng(0)
    made = report.Report(["accident", "tried", "outcome"], [])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        bench = Bench(Path(folder), made)
        every_moment(bench, quick)
        random_kills(bench, 30 if quick else 500, rng)
        failing_calls(bench, ERRORS[:1] if quick else ERRORS)
        full_disks(bench, 40_000 if quick else 4096)
        read_only(bench)
        damaged(bench, 200 if quick else 30_000, rng)
        two_processes(bench, 3 if quick else 40)
    return made


class Bench:
    """A folder for damaged runs, the bytes of an uninterrupted run, and the report."""

    def __init__(self, folder, made):
        self.folder, self.made, self.cut = folder, made, folder / "cut"
        self.whole = tiny_run.run(folder / "whole", **OPTIONS)

    def fault(self, text):
        self.made.faults.append(text)

    def row(self, *cells):
        self.made.rows.append(list(cells))

    def fresh(self):
        shutil.rmtree(self.cut, ignore_errors=True)

    def resumed(self, what):
        """Resume in another process; a fault unless the result is that of an uninterrupted run."""
        status = tiny_run.in_child(lambda: tiny_run.run(self.cut, resume=True, **OPTIONS))
        left = sorted(set(os.listdir(self.cut)) - {"damaged.safetensors"})
        if status or (self.cut / CHECKPOINT).read_bytes() != self.whole or left != tiny_run.LEFT:
            self.fault(f"{what}: resumed with status {status}, files {left}, or other bytes")

    def newest_loads(self, what):
        """A checkpoint that exists loads: a crash never leaves a damaged one."""
        for name in (CHECKPOINT, BACKUP):
            with contextlib.suppress(FileNotFoundError):
                os.stat(self.cut / name)
                try:
                    checkpoint.load(self.cut / name)
                except CheckpointError as error:
                    self.fault(f"{what}: {error}")

    def leftovers(self):
        return len(list(self.cut.glob(".*.part"))) if self.cut.exists() else 0


def every_moment(bench, quick):
    """Before and after each weight update, write, flush, link and rename, and within a write."""
    if quick:
        return  # tests/training/test_resume.py does it
    found = tiny_run.kill_everywhere(bench.folder / "moments")
    for kind in ("unreadable", "not resumed", "different"):
        for at in found[kind]:
            bench.fault(f"killed at moment {at}: {kind}")
    if found["killed"] != found["moments"]:
        bench.fault(f"{found['killed']} of {found['moments']} kills happened")
    bench.row("SIGKILL at every moment of a save and around every step", found["killed"],
              "resumed, same bytes")  # fmt: skip


def random_kills(bench, kills, rng):
    """Kill, resume, kill the resumed run, and so on until one ends."""
    start = time.monotonic()
    tiny_run.in_child(lambda: tiny_run.run(bench.cut, **OPTIONS))
    usual = time.monotonic() - start
    done = runs = within_writes = 0
    while done < kills:
        bench.fresh()
        killed, most = True, done + 200  # far more than a run of 1.3 times its usual time needs
        while killed:
            if done == most:
                bench.fault(f"killed and resumed 200 times, a run of {usual:.3f} s did not end")
                return
            killed = _killed(bench.cut, delay=rng.uniform(0, 1.3 * usual))
            done += killed
            within_writes += bool(bench.leftovers())
            bench.newest_loads(f"random kill {done}")
        bench.resumed(f"random kill {done}")
        runs += 1
    bench.made.numbers |= {
        "random_kills": done,
        "runs": runs,
        "kills_within_a_write": within_writes,
    }
    bench.row("SIGKILL at a random moment", done,
              f"{within_writes} within a write; {runs} runs ended with the same bytes")  # fmt: skip


def _killed(folder, delay):
    """Whether a run in a child was killed ``delay`` seconds after its start, or had ended."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            tiny_run.run(folder, resume=True, **OPTIONS)
        os._exit(0)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


class Failing:
    """Makes the ``at``-th call that touches the disk fail."""

    def __init__(self, at, code):
        self.at, self.code, self.count = at, code, 0

    def moment(self):
        self.count += 1
        if self.count == self.at:
            raise OSError(self.code, os.strerror(self.code))

    def before(self, function):
        def wrapped(*args, **kwargs):
            self.moment()
            return function(*args, **kwargs)

        return wrapped

    def install(self):
        for name in CALLS:
            setattr(os, name, self.before(getattr(os, name)))

        def opened(*args):
            self.moment()
            return tiny_run.HalfWriter(open(*args), self.moment)

        atomic_write.open = opened


def failing_calls(bench, codes):
    """Each call that touches the disk fails in turn: the error names it, and nothing is lost."""

    def attempt(failing):
        """A run of which one call fails: exit code 0 for none, 1 told, 2 not told."""
        failing.install()
        try:
            tiny_run.run(bench.cut, **OPTIONS)
        except MinivaeError as error:
            os._exit(1 if os.strerror(failing.code) in str(error) else 2)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(2)
        (bench.folder / "count").write_text(str(failing.count))

    bench.fresh()
    tiny_run.in_child(lambda: attempt(Failing(None, 0)))
    calls = int((bench.folder / "count").read_text())
    outcomes = {0: 0, 1: 0, 2: 0}
    for code in codes:
        for at in range(1, calls + 1):
            bench.fresh()
            failing = Failing(at, code)
            told = os.waitstatus_to_exitcode(tiny_run.in_child(lambda f=failing: attempt(f)))
            outcomes[told] = outcomes.get(told, 0) + 1
            what = f"{errno.errorcode[code]} in call {at} of {calls}"
            if told not in (0, 1):
                bench.fault(f"{what}: not an error of the library's own with the reason")
            bench.newest_loads(what)
            bench.resumed(what)
    names = ", ".join(errno.errorcode[code] for code in codes)
    bench.row(f"a call that touches the disk fails ({names})", calls * len(codes),
              f"{outcomes[1]} reported with file and reason, {outcomes[0]} without effect; "
              "resumed, same bytes")  # fmt: skip


def full_disks(bench, step):
    """A file system of every size from too small to large enough; then space is freed."""
    disk = bench.folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True).returncode:
        bench.row("a full disk (tmpfs)", 0, "not run: needs the right to mount")
        return
    bench.cut, before = disk / "cut", bench.cut
    told = tried = 0

    def attempt():
        try:
            tiny_run.run(bench.cut, **OPTIONS)
        except (OutputError, CheckpointError) as error:
            os._exit(1 if "No space left on device" in str(error) else 2)

    try:
        for size in range(4096, 4 * len(bench.whole), step):
            bench.fresh()
            _resize(disk, size)
            code = os.waitstatus_to_exitcode(tiny_run.in_child(attempt))
            tried += 1
            told += code == 1
            if code not in (0, 1):
                bench.fault(f"disk of {size} bytes: status {code}")
            if bench.leftovers():
                bench.fault(f"disk of {size} bytes: temporary files take room")
            _resize(disk, 1 << 24)
            bench.newest_loads(f"disk of {size} bytes")
            bench.resumed(f"disk of {size} bytes")
    finally:
        subprocess.run(["umount", disk], check=True)
        bench.cut = before
    if not 0 < told < tried:
        bench.fault(f"{told} of {tried} disks were too small: the sizes miss the point")
    bench.row("a full disk (tmpfs)", tried,
              f"{told} too small: reported, no file left; with room resumed, "
              "same bytes")  # fmt: skip


def _resize(disk, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def read_only(bench):
    """A folder without write permission, from the start and from each step on."""
    mine = os.geteuid()
    for at in (None, *range(6)):
        bench.fresh()
        bench.cut.mkdir(mode=0o777)
        os.chmod(bench.cut, 0o777)
        os.chmod(bench.folder, 0o755)

        def locking(trainer, at=at):
            step = trainer.step_function

            def wrapped(x, noise, beta):
                if trainer.state.step == at:
                    os.chmod(bench.cut, 0o555)
                return step(x, noise, beta)

            return wrapped

        def attempt(locking=locking, at=at):
            if mine == 0:  # whom permissions do not bind
                os.chown(bench.cut, NOBODY, NOBODY)
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            if at is None:
                os.chmod(bench.cut, 0o555)
            try:
                tiny_run.run(bench.cut, step=locking, **OPTIONS)
            except (OutputError, CheckpointError) as error:
                os._exit(1 if "cannot be written: Permission denied" in str(error) else 2)

        code = os.waitstatus_to_exitcode(tiny_run.in_child(attempt))
        if code != 1:
            bench.fault(f"read-only from step {at}: status {code}")
        os.chmod(bench.cut, 0o755)
        bench.newest_loads(f"read-only from step {at}")
        bench.resumed(f"read-only from step {at}")
    bench.row("the folder becomes read-only, before or at any step", 7,
              "reported; with permission resumed, same bytes")  # fmt: skip


def damaged(bench, flips, rng):
    """A checkpoint cut at every length and with one bit flipped anywhere, header and weights."""
    path, size = bench.folder / "damaged", len(bench.whole)
    path.write_bytes(bench.whole)
    stride = 1 if flips > 1000 else 997
    lengths = range(size - 1, -1, -stride)
    for length in lengths:
        os.truncate(path, length)
        if _loads(path):
            bench.fault(f"a checkpoint cut to {length} of {size} bytes loads")
    bench.row("a checkpoint cut short (every length)" if stride == 1 else "a checkpoint cut short",
              len(lengths), "refused")  # fmt: skip
    header = 8 * (8 + struct.unpack("<Q", bench.whole[:8])[0])
    in_header = rng.permutation(header)[:flips]
    anywhere = rng.integers(header, 8 * size, flips)
    good, harmless = checkpoint.load(bench.folder / "whole" / CHECKPOINT), 0
    with open(path, "wb+", buffering=0) as file:
        file.write(bench.whole)
        for bit in (*in_header, *anywhere):
            place, mask = int(bit) // 8, 1 << int(bit) % 8
            os.pwrite(file.fileno(), bytes([bench.whole[place] ^ mask]), place)
            state = _loads(path)
            if state == good and bit < header:
                harmless += 1  # such as a blank
            elif state:
                bench.fault(f"bit {bit} of {8 * size} flipped: unnoticed")
            os.pwrite(file.fileno(), bench.whole[place : place + 1], place)
    tried = len(in_header) + len(anywhere)
    bench.row("one bit of a checkpoint flipped", tried,
              f"{tried - harmless:,} refused, {harmless} changed nothing")  # fmt: skip
    damages = 20 if flips < 1000 else 200
    for i in range(damages):
        bench.fresh()
        shutil.copytree(bench.folder / "whole", bench.cut)
        place = int(rng.integers(size))
        if i % 2:
            os.truncate(bench.cut / CHECKPOINT, place)
        else:
            with open(bench.cut / CHECKPOINT, "rb+") as file:
                file.seek(max(place, header // 8))
                file.write(bytes([bench.whole[max(place, header // 8)] ^ 1]))
        bench.resumed(f"damage at {place}")
        if not (bench.cut / "damaged.safetensors").exists():
            bench.fault(f"damage at {place}: not put aside")
    bench.row("a run whose newest checkpoint is damaged", damages,
              "reported, continued from the backup, same bytes")  # fmt: skip


def _loads(path):
    """The state that a checkpoint has, or None when it is refused."""
    try:
        return checkpoint.load(path)
    except CheckpointError:
        return None


def two_processes(bench, rounds):
    """Six processes start in one folder at once."""
    told = ran = 0
    for _ in range(rounds):
        bench.fresh()
        gate, release = os.pipe()
        children = []
        for _ in range(6):
            pid = os.fork()
            if pid == 0:
                os.close(release)
                os.read(gate, 1)  # until the parent closes its end
                try:
                    tiny_run.run(bench.cut, resume=True, **OPTIONS)
                except OutputError as error:
                    os._exit(1 if "in use by another process (pid" in str(error) else 2)
                except BaseException:
                    os._exit(3)
                os._exit(0)
            children.append(pid)
        os.close(release)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        os.close(gate)
        told, ran = told + codes.count(1), ran + codes.count(0)
        if not 1 <= codes.count(0) == 6 - codes.count(1):
            bench.fault(f"six processes at once: exit codes {codes}")
        bench.resumed("six processes at once")
    if not told:
        bench.fault("no two processes ever met")
    bench.row("six processes start in one folder", 6 * rounds,
              f"{told} refused, the holder named; same bytes")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
