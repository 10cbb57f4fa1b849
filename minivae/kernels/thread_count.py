"""The initial number of threads of the compiled kernels.

MINIVAE_NUM_THREADS, else OMP_NUM_THREADS, else the number of CPUs that this process may use: those
of its affinity mask, limited by the CPU quota of its control groups, as containers have one. With
more threads than that, some wait for a CPU while the others spin at a barrier.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import KernelUnavailable


def initial_threads() -> int:
    """The number of threads to start with, at least 1.

    Raises:
        KernelUnavailable: MINIVAE_NUM_THREADS is not a whole number of at least 1.
    """
    text = os.environ.get("MINIVAE_NUM_THREADS", "")
    if text:
        if not _is_count(text):
            raise KernelUnavailable(
                f"MINIVAE_NUM_THREADS: expected a whole number of at least 1, got {text!r}"
            )
        return int(text)
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # of a list by level
    if _is_count(first):  # a variable of OpenMP's, so another value is ignored, not an error
        return int(first)
    quota = cpu_quota()
    cpus = usable_cpus()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) < 2**31


def usable_cpus() -> int:
    """How many CPUs this process may be scheduled on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path = Path("/")) -> float | None:
    """How many CPUs' time the control groups allow this process, in CPUs; None for no limit.

    The smallest limit of the process's group and its ancestors applies. Version 2 has
    ``cpu.max`` ("quota period" or "max period"), version 1 ``cpu.cfs_quota_us`` (-1 for no limit)
    and ``cpu.cfs_period_us``. A container sees its own group as the root of the mount.
    """
    limits: list[float] = []
    for mount, path in _groups(root):
        for group in (path, *path.parents):
            limits += _limit(mount / group.relative_to("/"))
    return min(limits, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, Path]]:
    """(mount point, group) of this process for each hierarchy that may limit CPU time."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeError):
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path.startswith("/"):
            continue
        names: tuple[str, ...] = ()
        if not controllers:  # version 2, alone or beside version 1
            names = "", "unified"
        elif "cpu" in controllers.split(","):
            names = controllers, "cpu"
        for name in names:
            yield mounts / name, Path(path)


def _limit(group: Path) -> list[float]:
    """The limit that one group sets, a list of at most one number."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        if quota == "max" or int(quota) <= 0 or int(period) <= 0:
            return []
        return [int(quota) / int(period)]
    except (OSError, ValueError):
        return []
