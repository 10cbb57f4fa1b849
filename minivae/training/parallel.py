"""Data-parallel training in several processes (MPI, NCCL); the only file that imports either.

A launcher such as ``mpiexec -n 4`` or ``srun -n 4`` starts a program several times; each process
is a *rank*. MPI between CPUs and NCCL between GPUs only move bytes. Sums are computed here, in the
order of one binary tree, so that their bits do not depend on the number of ranks:
docs/several-processes.md.
"""

import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from .. import kernels
from ..backend import (
    array_module,
    current_stream,
    device_module,
    is_device_array,
    nccl_module,
)
from ..errors import ParallelError
from ..kernels.thread_count import initial_threads

# Environment variables of launchers: the number of processes, and the rank of this one.
LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),  # MVAPICH
    ("MPI_LOCALNRANKS", "MPI_LOCALRANKID"),  # MPICH, those of this machine
    ("SLURM_NTASKS", "SLURM_PROCID"),
)
PATIENCE = 5  # seconds that a failing rank waits for the others to fail too


def launched() -> tuple[int, int]:
    """(number of processes that a launcher started, rank of this one); (1, 0) without one."""
    for names in LAUNCHERS:
        count, rank = (os.environ.get(name, "") for name in names)
        if count.isdigit() and rank.isdigit() and int(count) > 1:
            return int(count), int(rank)
    return 1, 0


def supervise() -> None:
    """Fork: the child returns and does the work; the parent waits and reports if it is killed.

    The parent prints the rank and the signal, and exits with the child's code. Without it a
    launcher sees a killed process, ends the others at once and may name any of them.
    """
    count, rank = launched()
    child = os.fork()
    if child == 0:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the parent
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        text = f"minivae: rank {rank} of {count} was ended by {signal.Signals(-code).name}\n"
        os.write(2, text.encode())
    os._exit(code if code >= 0 else 128 - code)


def tree_sum(arrays: Iterable[Any]) -> Any:
    """The sum of 2^k arrays in the order ((a0 + a1) + (a2 + a3)) + ...; the arrays are overwritten.

    Each half of the arrays is a subtree, so that a process can sum its own part of them. At most
    k + 1 partial sums exist at a time.
    """
    waiting: list[tuple[int, Any]] = []  # (number of arrays in the sum, partial sum)
    for total in arrays:
        count = 1
        while waiting and waiting[-1][0] == count:
            left = waiting.pop()[1]
            left += total
            total, count = left, 2 * count
        waiting.append((count, total))
    ((_, total),) = waiting
    return total


class Ranks:
    """The processes that train together; only this one without MPI.

    All ranks must call the methods in the same order, except ``mine`` and ``is_mine``.

    Args:
        mpi: the module ``mpi4py.MPI``; None for one process.

    Attributes:
        size: the number of ranks.
        rank: the rank of this process.
    """

    def __init__(self, mpi: Any = None):
        self.mpi, self.size, self.rank = mpi, 1, 0
        self._nccl: GPUs | None = None
        if mpi:
            self.comm = mpi.COMM_WORLD.Dup()
            self.failing = mpi.COMM_WORLD.Dup()  # separate, as ``fail`` may come at any moment
            self.size, self.rank = self.comm.size, self.comm.rank
            self.local = self.comm.Split_type(mpi.COMM_TYPE_SHARED)
            self._share_cpus()
            sys.excepthook = self._excepthook

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, the only one that writes files and prints."""
        return self.rank == 0

    # ------------------------------------------------------------ who does what
    def mine(self, parts: int) -> range:
        """The parts of a batch that this rank computes: adjacent ones, a subtree of the sum."""
        each = parts // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def is_mine(self, number: int) -> bool:
        """Whether this rank does piece ``number`` of work shared round-robin (test batches)."""
        return number % self.size == self.rank

    def in_turn(self, mine: list[Any]) -> list[Any]:
        """All ranks' results of work shared as in ``is_mine``, in the order of the pieces.

        ``mine`` has this rank's results.
        """
        found = self.gather(mine)
        return [found[k % self.size][k // self.size] for k in range(sum(map(len, found)))]

    def after_first(self, work: Callable[[], Any]) -> Any:
        """``work()``, run by rank 0 first and then by the others, such as a download to a cache."""
        if self.leads:
            result = work()
        self.gather(None)
        return result if self.leads else work()

    def only_first(self, context: Any) -> Any:
        """A context manager that gives ``context`` in all ranks and enters it in rank 0 only."""
        return context if self.leads else contextlib.nullcontext(context)

    # ------------------------------------------------------------ moving bytes
    def gather(self, item: Any) -> list[Any]:
        """The items of all ranks, in order of rank, in every rank."""
        return self.comm.allgather(item) if self.mpi else [item]

    def broadcast(self, item: Any) -> Any:
        """Rank 0's item, in every rank."""
        return self.comm.bcast(item) if self.mpi else item

    def any(self, flag: bool) -> bool:
        """Whether any rank's flag is set, in every rank."""
        return self.comm.allreduce(flag, self.mpi.LOR) if self.mpi else flag

    def sum(self, arrays: Iterable[Any]) -> Any:
        """The tree sum of all ranks' arrays, one array for each part (an allreduce).

        Each rank sums one slice over all ranks and sends the result to the others: each sends
        2 (R - 1) / R of the array's bytes, as in a ring allreduce.

        Args:
            arrays: 2^k vectors of one size, a multiple of the number of ranks; overwritten.
        """
        total = tree_sum(arrays)
        if not self.mpi:
            return total
        slices = total.reshape(self.size, -1)
        theirs = array_module(total).empty_like(slices)
        move = self._gpus() if is_device_array(total) else self.comm
        move.Alltoall(slices, theirs)
        move.Allgather(tree_sum(theirs), slices)
        return total

    def _gpus(self) -> "GPUs":
        if self._nccl is None:
            self._nccl = GPUs(self)
        return self._nccl

    # ------------------------------------------------------------ this machine
    def _share_cpus(self) -> None:
        """Set the number of threads: the CPUs of this process divided by the ranks sharing them."""
        if os.environ.get("MINIVAE_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
            return  # the user has set it for each process
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        sharing = self.local.allgather(cpus).count(cpus)
        kernels.set_threads(max(1, initial_threads() // sharing))

    def choose_gpu(self) -> None:
        """Make a GPU current: each rank of a machine gets its own if there are enough."""
        if self.mpi:
            cuda = device_module().cuda
            cuda.Device(self.local.rank % cuda.runtime.getDeviceCount()).use()

    def describe(self) -> str:
        """A line with the process id of each rank, as launchers' messages name processes."""
        found = self.gather(f"{os.getpid()} on {socket.gethostname()}")
        ranks = ", ".join(f"{rank} is process {process}" for rank, process in enumerate(found))
        return f"{self.size} ranks: {ranks}"

    # ------------------------------------------------------------ the end
    def dismiss(self) -> bool:
        """End MPI, so that rank 0 works alone from here on; returns whether this is rank 0."""
        first = self.leads
        if self.mpi:
            self.mpi.Finalize()
            self.mpi, self.size, self.rank = None, 1, 0 if first else self.rank
        return first

    def fail(self, message: str, code: int) -> None:
        """Report ``message``, why this rank fails, and end all ranks with exit code ``code``.

        Without that, MPI would let the others wait forever for this one. If all ranks fail within
        ``PATIENCE`` seconds, as for a wrong argument, rank 0 alone reports, and all return.
        """
        if not self.mpi:
            self._tell(message)
            return
        others, end = self.failing.Ibarrier(), time.monotonic() + PATIENCE
        while not (together := others.Test()) and time.monotonic() < end:
            time.sleep(0.01)
        if together and self.leads:
            self._tell(message)
        elif not together:
            self._tell(f"rank {self.rank} of {self.size}: {message or f'ended with code {code}'}")
            self.mpi.COMM_WORLD.Abort(code)

    def _tell(self, message: str) -> None:
        if message:  # sys.__stderr__, as sys.stderr may be silenced in ranks other than 0
            print(message, file=sys.__stderr__ if self.mpi else sys.stderr, flush=True)

    def _excepthook(self, kind: type, error: BaseException, trace: Any) -> None:
        self.fail("".join(traceback.format_exception(kind, error, trace)).rstrip(), 1)


class GPUs:
    """NCCL between the ranks' GPUs, on CuPy's current stream. Not yet tested on GPUs."""

    def __init__(self, ranks: Ranks):
        self.nccl, self.size = nccl_module(), ranks.size
        unique = ranks.broadcast(self.nccl.get_unique_id() if ranks.leads else None)
        self.comm = self.nccl.NcclCommunicator(ranks.size, unique, ranks.rank)

    def Alltoall(self, sent: Any, received: Any) -> None:  # noqa: N802  as mpi4py's
        """Send row r of ``sent`` to rank r, and receive row r of ``received`` from rank r."""
        stream, kind = current_stream(), self._kind(sent)
        self.nccl.groupStart()
        for rank in range(self.size):
            self.comm.send(_address(sent[rank]), sent[rank].size, kind, rank, stream)
            self.comm.recv(_address(received[rank]), received[rank].size, kind, rank, stream)
        self.nccl.groupEnd()

    def Allgather(self, mine: Any, received: Any) -> None:  # noqa: N802
        """Receive rank r's array ``mine`` into row r of ``received``."""
        addresses = _address(mine), _address(received)
        self.comm.allGather(*addresses, mine.size, self._kind(mine), current_stream())

    def _kind(self, array: Any) -> int:
        return {"f": self.nccl.NCCL_FLOAT32, "d": self.nccl.NCCL_FLOAT64}[array.dtype.char]


def _address(array: Any) -> int:
    """The device address of a GPU array."""
    return array.__cuda_array_interface__["data"][0]


def join() -> Ranks:
    """As ``world``, for a program before it starts its work: with several processes it first calls
    ``supervise``.
    """
    if launched()[0] > 1:
        supervise()
    return world()


@functools.cache
def world() -> Ranks:
    """The processes that a launcher started, or this one alone without a launcher.

    Raises:
        ParallelError: mpi4py or its MPI library cannot be loaded, or it is not the launcher's MPI,
            so that each process would train a model of its own.
    """
    count, _ = launched()
    if count == 1:
        return Ranks()
    started = f"a launcher started {count} processes"
    try:
        from mpi4py import MPI
    except Exception as error:  # RuntimeError if libmpi is missing
        why = " ".join(str(error).split())
        raise ParallelError(
            f'{started}, which need mpi4py to work together: python -m pip install "minivae[mpi]" '
            f"({why})"
        ) from error
    if MPI.COMM_WORLD.size == 1:
        library = MPI.Get_library_version().splitlines()[0].strip("\0 ")
        raise ParallelError(
            f"{started}, but mpi4py found one alone: start them with the launcher of its own MPI, "
            f"{library}"
        )
    return Ranks(MPI)


def library() -> str:
    """The version of mpi4py's MPI library, which is not initialised; or "no: ..." with a reason."""
    try:
        import mpi4py

        initialize, mpi4py.rc.initialize = mpi4py.rc.initialize, False
        try:
            from mpi4py import MPI
        finally:
            mpi4py.rc.initialize = initialize
        return MPI.Get_library_version().strip("\0 \n").splitlines()[0]
    except Exception as error:  # of any kind, if libmpi is missing or a wrong one
        return f"no: {' '.join(str(error).split())}"
