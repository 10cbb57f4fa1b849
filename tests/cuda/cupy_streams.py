"""CuPy's streams, graphs and pools on the host: work is done at once, or recorded."""

import contextlib
import itertools


class CaptureError(RuntimeError):
    """What CuPy raises as CUDARuntimeError: something that a capturing stream does not allow."""


_current = []  # streams in use, the innermost last
_pointers = itertools.count(0x1000)


class Stream:
    """CuPy's Stream as far as a captured step needs it."""

    extension = None  # the emulated extension, which records its own launches

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0
        if not null:
            emulator = self.extension and self.extension.emulator
            self.ptr = emulator.create_stream() if emulator else next(_pointers)
        self.recorded = None

    def __enter__(self):
        _current.append(self)
        return self

    def __exit__(self, *exc_info):
        _current.pop()

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise CaptureError("cudaErrorStreamCaptureUnsupported: the default stream")
        self.recorded = []
        self._begin_part()

    def end_capture(self):
        self._end_part()
        graph, self.recorded = Graph(self.recorded), None
        return graph

    def is_capturing(self):
        return self.recorded is not None

    def submit(self, work):
        """Run ``work``, or record it after all that was recorded."""
        if self.recorded is None:
            work()
            return
        self._end_part()  # what the extension recorded so far comes first
        self.recorded.append(work)
        self._begin_part()

    def _begin_part(self):
        if self.extension:
            self.extension.emulator.begin_capture(self.ptr)

    def _end_part(self):
        if self.extension:
            part = self.extension.emulator.end_capture(self.ptr)
            if part.nodes:
                self.recorded.append(lambda: part.launch(self.ptr))

    def synchronize(self):
        if self.is_capturing():
            raise CaptureError("cudaErrorStreamCaptureUnsupported: waiting for the stream")

    def wait_event(self, event):
        pass

    def record(self, event=None):
        return event


class Graph:
    """What a stream recorded."""

    def __init__(self, works):
        self.works = works
        self.launches = 0

    def upload(self, stream=None):
        pass

    def launch(self, stream=None):
        self.launches += 1
        for work in self.works:
            work()


NULL = Stream(null=True)


def current_stream():
    return _current[-1] if _current else NULL


def capturing():
    return current_stream().is_capturing()


def submit(work):
    current_stream().submit(work)


def require_no_capture(what):
    if capturing():
        raise CaptureError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream captures")


class Event:
    """A moment of a stream; here everything is over when it is recorded."""

    def record(self, stream=None):
        self.recorded = True

    def synchronize(self):
        pass


_pools = []  # in use, the innermost last


class MemoryPool:
    """Memory taken from it while a stream captures lasts as long as the pool."""

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
    """What a graph will write to must not be given to anybody else after the capture."""
    if not _pools:
        raise CaptureError("a graph would use memory of the pool that everybody shares")
    _pools[-1].kept.append(host)
