"""Stand-in for CuPy's streams, graphs and memory pools: work is run at once, or recorded."""

import contextlib
import itertools


class CaptureError(RuntimeError):
    """Something that a capturing stream does not allow; CuPy raises CUDARuntimeError."""


_current = []  # streams in use, the innermost last
_pointers = itertools.count(0x1000)


class Node:
    """A node of a graph: ``count`` launches in sequence, which follow the nodes ``after``."""

    def __init__(self, work, count, stream, after):
        self.work, self.count, self.stream, self.after = work, count, stream, frozenset(after)


class Capture:
    """The nodes that a capturing stream, and the streams that joined it, have recorded."""

    def __init__(self):
        self.nodes, self.streams = [], []


class Stream:
    """The part of CuPy's Stream that a captured step needs."""

    extension = None  # the emulated extension, which records its own launches

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0
        if not null:
            emulator = self.extension and self.extension.emulator
            self.ptr = emulator.create_stream() if emulator else next(_pointers)
        self.capture, self.last = None, set()  # last: the nodes that the next one must follow

    def __enter__(self):
        _current.append(self)
        return self

    def __exit__(self, *exc_info):
        _current.pop()

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise CaptureError("cudaErrorStreamCaptureUnsupported: the default stream")
        self._join(Capture())

    def _join(self, capture):
        self.capture, self.last = capture, set()
        capture.streams.append(self)
        self._begin_part()

    def end_capture(self):
        capture = self.capture
        for stream in capture.streams:
            stream._end_part()
        followed = set().union(self.last, *(node.after for node in capture.nodes))
        for stream in capture.streams:
            stream.capture = None
        if len(followed) < len(capture.nodes):
            raise CaptureError("cudaErrorStreamCaptureUnjoined: a stream that nobody waits for")
        return Graph(capture.nodes, self)

    def is_capturing(self):
        return self.capture is not None

    def submit(self, work, count=1):
        """Run ``work``, or record it after the nodes recorded so far."""
        if self.capture is None:
            work()
            return
        self._end_part()  # launches that the extension has recorded come first
        self._add(work, count)
        self._begin_part()

    def _add(self, work, count):
        self.capture.nodes.append(Node(work, count, self, self.last))
        self.last = {len(self.capture.nodes) - 1}

    def _begin_part(self):
        if self.extension:
            self.extension.emulator.begin_capture(self.ptr)

    def _end_part(self):
        if self.extension:
            part = self.extension.emulator.end_capture(self.ptr)
            if part.nodes:
                self._add(lambda: part.launch(self.ptr), part.nodes)

    def synchronize(self):
        if self.is_capturing():
            raise CaptureError("cudaErrorStreamCaptureUnsupported: waiting for the stream")

    def wait_event(self, event):
        if event.capture is None:
            return
        if self.capture is None:
            self._join(event.capture)
        self._end_part()
        self.last = self.last | event.last
        self._begin_part()

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event


class Graph:
    """A recorded graph.

    ``turns`` chooses among streams that have a node ready: "recorded" keeps the order of recording,
    "first" and "others" prefer the first stream or the others. A result that is the same in each
    order does not depend on the timing of the streams.
    """

    turns = "recorded"

    def __init__(self, nodes, first):
        self.nodes, self.first = nodes, first
        self.launches = 0

    @property
    def size(self):
        """The number of launches, copies included."""
        return sum(node.count for node in self.nodes)

    @property
    def longest_path(self):
        """The number of launches on the longest chain of dependent nodes."""
        lengths = []
        for node in self.nodes:
            lengths.append(node.count + max((lengths[i] for i in node.after), default=0))
        return max(lengths, default=0)

    def upload(self, stream=None):
        pass

    def launch(self, stream=None):
        self.launches += 1
        done, left = set(), list(range(len(self.nodes)))
        while left:
            ready = [i for i in left if self.nodes[i].after <= done]
            if self.turns != "recorded":
                wanted = self.turns == "first"
                ready.sort(key=lambda i: (self.nodes[i].stream is self.first) != wanted)
            self.nodes[ready[0]].work()
            done.add(ready[0])
            left.remove(ready[0])


NULL = Stream(null=True)


def current_stream():
    return _current[-1] if _current else NULL


def capturing():
    return current_stream().is_capturing()


def submit(work, count=1):
    current_stream().submit(work, count)


def require_no_capture(what):
    if capturing():
        raise CaptureError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream captures")


class Event:
    """A point in a stream; work that is not captured has finished by then."""

    capture, last = None, frozenset()

    def record(self, stream=None):
        stream = stream or current_stream()
        if stream.capture is not None:
            stream._end_part()
            self.capture, self.last = stream.capture, frozenset(stream.last)
            stream._begin_part()

    def synchronize(self):
        pass


_pools = []  # in use, the innermost last


class MemoryPool:
    """A pool that keeps memory taken from it during a capture alive for its own lifetime."""

    def __init__(self):
        self.kept = []

    def malloc(self, size):
        raise NotImplementedError


@contextlib.contextmanager
def using_allocator(allocator):
    _pools.append(allocator.__self__)
    try:
        yield
    finally:
        _pools.pop()


def keep(host):
    """Keep memory that a graph writes to, so that nothing else gets it after the capture."""
    if not _pools:
        raise CaptureError("a graph would use memory of the pool that everybody shares")
    _pools[-1].kept.append(host)
