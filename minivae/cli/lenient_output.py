"""stdout and stderr that never raise, neither for unencodable characters nor for a closed pipe."""

import codecs
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

PLAIN = {"±": "+-", "é": "e", "×": "x", "\N{MINUS SIGN}": "-"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """The error handler "minivae.plain" of ``codecs``: replaces characters an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (PLAIN.get(c, c.encode("ascii", "backslashreplace").decode()) for c in lacking)
    return "".join(escaped), error.end


codecs.register_error("minivae.plain", _plain)


class LenientStream:
    """A text stream whose ``write`` never raises.

    A character that the stream's encoding lacks is replaced by a plain form or an escape. After an
    error, such as a full disk or a closed pipe, all output is dropped, so that printing cannot end
    a long computation.

    Attributes:
        error: the first OSError; None if there was none.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        self._attempt(lambda: self._stream.write(self._encodable(text)))
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        self._attempt(self._stream.flush)

    def _encodable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        return text.encode(encoding, "minivae.plain").decode(encoding)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            action()
        except OSError as error:
            self.error = error
            # Python flushes again when it exits; the rest of the buffer then goes to /dev/null.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


@contextlib.contextmanager
def lenient_streams() -> Iterator[LenientStream]:
    """Replace stdout and stderr by ``LenientStream``s inside the block; gives that of stdout.

    A stream that is closed (None) drops all output.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as null:
        lenient = [LenientStream(null if stream is None else stream) for stream in before]
        sys.stdout, sys.stderr = lenient
        try:
            yield lenient[0]
        finally:
            for stream in lenient:
                stream.flush()
            sys.stdout, sys.stderr = before
