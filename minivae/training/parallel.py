"""Several processes that train one model: the only file that imports MPI and NCCL.

A launcher such as ``mpiexec -n 4`` or ``srun -n 4`` starts a program several times; each process
is a *rank*. MPI between CPUs and NCCL between GPUs only move bytes. Sums are made here, in the
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

# Where launchers say how many processes they started, and which this one is.
LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),  # MVAPICH
    ("MPI_LOCALNRANKS", "MPI_LOCALRANKID"),  # MPICH, those of this machine
    ("SLURM_NTASKS", "SLURM_PROCID"),
)
PATIENCE = 5  # seconds that a failing rank waits for the others to fail too


def launched() -> tuple[int, int]:
    """(how many processes a launcher started, which of them this is); (1, 0) without a launcher."""
    for names in LAUNCHERS:
        count, rank = (os.environ.get(name, "") for name in names)
        if count.isdigit() and rank.isdigit() and int(count) > 1:
            return int(count), int(rank)
    return 1, 0


def supervise() -> None:
    """Go on in a child process, whose end this one tells of where the child cannot: when killed.

    Without it a launcher sees a dead process, ends the others at once and may name any of them.
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
    """The sum of 2^k arrays, ((a0 + a1) + (a2 + a3)) + ...; they are used up.

    Each half of the arrays is a tree of its own, so that processes can add up a part of them.
    At most k + 1 sums wait at a time.
    """
    waiting: list[tuple[int, Any]] = []  # (how many arrays are in it, a sum)
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
    """The processes that work together: this one alone, unless there is a communicator.

    Every method but ``mine`` and ``is_mine`` is called by all ranks in the same order.

    Args:
        mpi: the module ``mpi4py.MPI``; None for one process.

    Attributes:
        size: the number of ranks.
        rank: the number of this one.
    """

    def __init__(self, mpi: Any = None):
        self.mpi, self.size, self.rank = mpi, 1, 0
        self._nccl: GPUs | None = None
        if mpi:
            self.comm = mpi.COMM_WORLD.Dup()
            self.failing = mpi.COMM_WORLD.Dup()  # of its own: ``fail`` may come at any moment
            self.size, self.rank = self.comm.size, self.comm.rank
            self.local = self.comm.Split_type(mpi.COMM_TYPE_SHARED)
            self._share_cpus()
            sys.excepthook = self._excepthook

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which alone writes files and tells the user."""
        return self.rank == 0

    # ------------------------------------------------------------ who does what
    def mine(self, parts: int) -> range:
        """Which of a batch's parts this rank computes: neighbours, a subtree of the sum."""
        each = parts // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def is_mine(self, number: int) -> bool:
        """Whether work that is shared out in turn, such as a test batch, is this rank's."""
        return number % self.size == self.rank

    def in_turn(self, mine: list[Any]) -> list[Any]:
        """The results of work shared out in turn, of all ranks in the order of the work."""
        found = self.gather(mine)
        return [found[k % self.size][k // self.size] for k in range(sum(map(len, found)))]

    def after_first(self, work: Callable[[], Any]) -> Any:
        """``work()``, which rank 0 has done before the others begin: a download, a cache."""
        if self.leads:
            result = work()
        self.gather(None)
        return result if self.leads else work()

    def only_first(self, context: Any) -> Any:
        """The context manager itself in rank 0; elsewhere it is not entered."""
        return context if self.leads else contextlib.nullcontext(context)

    # ------------------------------------------------------------ moving bytes
    def gather(self, item: Any) -> list[Any]:
        """The item of each rank, known to all."""
        return self.comm.allgather(item) if self.mpi else [item]

    def broadcast(self, item: Any) -> Any:
        """Rank 0's item."""
        return self.comm.bcast(item) if self.mpi else item

    def any(self, flag: bool) -> bool:
        """Whether some rank's flag is set."""
        return self.comm.allreduce(flag, self.mpi.LOR) if self.mpi else flag

    def sum(self, arrays: Iterable[Any]) -> Any:
        """The tree sum of all ranks' arrays, one for each part.

        Each rank adds up a slice of the array of all of them and gives the result to the others:
        2 (R - 1) / R of the array's bytes leave each, as in a ring.

        Args:
            arrays: 2^k vectors of one size, a multiple of the number of ranks; they are used up.
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
        """Give kernels the CPUs of this rank, its share of those that several may use."""
        if os.environ.get("MINIVAE_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
            return  # said for each process
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        sharing = self.local.allgather(cpus).count(cpus)
        kernels.set_threads(max(1, initial_threads() // sharing))

    def choose_gpu(self) -> None:
        """Let each rank of a machine use a GPU of its own."""
        if self.mpi:
            cuda = device_module().cuda
            cuda.Device(self.local.rank % cuda.runtime.getDeviceCount()).use()

    def describe(self) -> str:
        """A line that says which process is which rank: launchers tell of processes."""
        found = self.gather(f"{os.getpid()} on {socket.gethostname()}")
        ranks = ", ".join(f"{rank} is process {process}" for rank, process in enumerate(found))
        return f"{self.size} ranks: {ranks}"

    # ------------------------------------------------------------ the end
    def dismiss(self) -> bool:
        """Let all ranks but 0 go; whether this is rank 0. Nothing is shared from then on."""
        first = self.leads
        if self.mpi:
            self.mpi.Finalize()
            self.mpi, self.size, self.rank = None, 1, 0 if first else self.rank
        return first

    def fail(self, message: str, code: int) -> None:
        """Tell why this rank cannot go on. If the others can, end them all with exit code ``code``.

        When all ranks fail, as where all were asked for the impossible, rank 0 alone tells, and
        this returns. MPI would let the others wait forever for a rank that has ended.
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
        if message:  # sys.stderr may be silent in ranks other than 0
            print(message, file=sys.__stderr__ if self.mpi else sys.stderr, flush=True)

    def _excepthook(self, kind: type, error: BaseException, trace: Any) -> None:
        self.fail("".join(traceback.format_exception(kind, error, trace)).rstrip(), 1)


class GPUs:
    """NCCL between the ranks' GPUs, on CuPy's current stream. Never run on a GPU so far."""

    def __init__(self, ranks: Ranks):
        self.nccl, self.size = nccl_module(), ranks.size
        unique = ranks.broadcast(self.nccl.get_unique_id() if ranks.leads else None)
        self.comm = self.nccl.NcclCommunicator(ranks.size, unique, ranks.rank)

    def Alltoall(self, sent: Any, received: Any) -> None:  # noqa: N802  as mpi4py's
        """Row r of ``sent`` to rank r, and row r of ``received`` from rank r."""
        stream, kind = current_stream(), self._kind(sent)
        self.nccl.groupStart()
        for rank in range(self.size):
            self.comm.send(_address(sent[rank]), sent[rank].size, kind, rank, stream)
            self.comm.recv(_address(received[rank]), received[rank].size, kind, rank, stream)
        self.nccl.groupEnd()

    def Allgather(self, mine: Any, received: Any) -> None:  # noqa: N802
        """Rank r's array to row r of ``received``."""
        addresses = _address(mine), _address(received)
        self.comm.allGather(*addresses, mine.size, self._kind(mine), current_stream())

    def _kind(self, array: Any) -> int:
        return {"f": self.nccl.NCCL_FLOAT32, "d": self.nccl.NCCL_FLOAT64}[array.dtype.char]


def _address(array: Any) -> int:
    """Where a GPU's array lies."""
    return array.__cuda_array_interface__["data"][0]


def join() -> Ranks:
    """As ``world``, for a program that is about to start its work: ``supervise`` reports how it
    ends.
    """
    if launched()[0] > 1:
        supervise()
    return world()


@functools.cache
def world() -> Ranks:
    """All processes that a launcher started with this one; without a launcher this one alone.

    Raises:
        ParallelError: mpi4py or its MPI cannot be loaded, or it is not the launcher's MPI: each
            process would train a model of its own.
    """
    count, _ = launched()
    if count == 1:
        return Ranks()
    started = f"a launcher started {count} processes"
    try:
        from mpi4py import MPI
    except Exception as error:  # where libmpi is missing, RuntimeError
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
    """The MPI library behind mpi4py, without initialising it; or why there is none."""
    try:
        import mpi4py

        initialize, mpi4py.rc.initialize = mpi4py.rc.initialize, False
        try:
            from mpi4py import MPI
        finally:
            mpi4py.rc.initialize = initialize
        return MPI.Get_library_version().strip("\0 \n").splitlines()[0]
    except Exception as error:  # where libmpi is missing or another one, anything
        return f"no: {' '.join(str(error).split())}"
