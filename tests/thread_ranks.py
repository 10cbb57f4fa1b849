"""``parallel.Ranks`` as threads of one process: tests of parallel training without MPI."""

import threading

from minivae.training import parallel


class Meeting:
    """The barrier and the list through which the ranks exchange items."""

    def __init__(self, size):
        self.size, self.barrier = size, threading.Barrier(size, timeout=60)
        self.items = [None] * size


class ThreadComm:
    """The part of an ``mpi4py`` communicator that ``Ranks`` uses, between threads."""

    def __init__(self, meeting, rank):
        self.meeting, self.rank, self.size = meeting, rank, meeting.size

    def allgather(self, item):
        self.meeting.items[self.rank] = item
        self.meeting.barrier.wait()
        found = list(self.meeting.items)
        self.meeting.barrier.wait()
        return found

    def bcast(self, item):
        return self.allgather(item)[0]

    def allreduce(self, item, op):
        return op(self.allgather(item))

    def Alltoall(self, sent, received):  # noqa: N802  as mpi4py's
        for rank, theirs in enumerate(self.allgather(sent.copy())):
            received[rank] = theirs[self.rank]

    def Allgather(self, mine, received):  # noqa: N802
        for rank, theirs in enumerate(self.allgather(mine.copy())):
            received[rank] = theirs


class ThreadRanks(parallel.Ranks):
    """One of several ``Ranks`` that are threads."""

    def __init__(self, meeting, rank):
        super().__init__()
        self.comm, self.size, self.rank = ThreadComm(meeting, rank), meeting.size, rank
        self.mpi = type("MPI", (), {"LOR": staticmethod(any)})


def in_ranks(size, work):
    """Run ``work(ranks)`` in ``size`` threads; each rank's result or exception, by rank."""
    meeting, results = Meeting(size), [None] * size

    def run(rank):
        try:
            results[rank] = work(ThreadRanks(meeting, rank))
        except BaseException as error:
            results[rank] = error
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
