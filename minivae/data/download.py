"""Download a file over HTTPS and check its hash, from the first of several mirrors that has it."""

import hashlib
import http.client
import io
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import BinaryIO

from ..errors import DataError
from ..progress_bar import ProgressBar
from .idx import MAX_BYTES
from .untrusted_file import errors_named, extracted

CHUNK = 1 << 16
TIMEOUT, DEADLINE = 10.0, 300.0  # seconds without data, and for a whole transfer
FAILURES = DataError, OSError, http.client.HTTPException, MemoryError, ValueError  # of a transfer


def fetch(
    urls: Sequence[str],
    name: str,
    md5: str,
    *,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT,
    deadline: float = DEADLINE,
    opener: urllib.request.OpenerDirector | None = None,
) -> bytes:
    """Download a file from the first of several mirrors that delivers bytes with this hash.

    A line on stderr reports each mirror's failure.

    Args:
        urls: the file's address at each mirror.
        name: of the file, for messages.
        md5: of the extracted bytes, because mirrors compress differently; a gzip stream and the
            plain bytes are both accepted. (It guards against damage; TLS guards against forgery.)
        max_bytes: limit on the transfer, and on the extracted bytes.
        timeout: seconds without data after which a mirror is given up.
        deadline: seconds after which a transfer is given up.
        opener: opens the addresses; by default one for https only.

    Raises:
        DataError: no mirror delivered the file; the message lists their failures.
    """
    opener = opener or https_opener()
    failures = []
    for url in urls:
        try:
            body = _transfer(url, name, opener, max_bytes, timeout, deadline)
            _check_md5(body, md5, max_bytes)
        except FAILURES as cause:
            failures.append(f"{url}: {cause or type(cause).__name__}".replace("\n", " "))
            ProgressBar.write(f"minivae: mirror failed: {failures[-1]}", file=sys.stderr)
        else:
            return body
    raise DataError(f"{name}: none of {len(urls)} mirrors delivered it\n  " + "\n  ".join(failures))


def fetch_exactly(
    url: str,
    name: str,
    sha256: str,
    *,
    max_bytes: int = MAX_BYTES,
    opener: urllib.request.OpenerDirector | None = None,
) -> bytes:
    """Download one file and check the SHA-256 of its bytes as transferred; arguments as ``fetch``.

    ``sha256`` is in hex.

    Raises:
        DataError: the download fails, or the hash is another one.
    """
    try:
        body = _transfer(url, name, opener or https_opener(), max_bytes)
    except FAILURES as cause:
        raise DataError(f"{name}: {url}: {cause or type(cause).__name__}") from cause
    found = hashlib.sha256(body).hexdigest()
    if found != sha256:
        raise DataError(f"{name}: {url}: wrong content: expected sha256 {sha256}, got {found}")
    return body


def https_opener() -> urllib.request.OpenerDirector:
    """An opener for https alone, so that a redirect cannot leave TLS either."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _transfer(
    url: str,
    name: str,
    opener: urllib.request.OpenerDirector,
    max_bytes: int,
    timeout: float = TIMEOUT,
    deadline: float = DEADLINE,
) -> bytes:
    """The complete body of one response; one of ``FAILURES`` otherwise."""
    start = time.monotonic()
    request = urllib.request.Request(url, headers={"User-Agent": "minivae"})
    with opener.open(request, timeout=timeout) as response:
        announced = response.headers.get("Content-Length")
        length = int(announced) if announced is not None else None
        if (length or 0) > max_bytes:
            raise DataError(f"announces {length} bytes, the limit is {max_bytes}")
        body = bytearray()
        bar = ProgressBar(total=length, desc=name, unit="B", unit_scale=True, leave=False)
        with bar:
            # read1 returns the bytes that have arrived; read could wait past the deadline.
            while chunk := response.read1(CHUNK):
                body += chunk
                bar.update(len(chunk))
                if len(body) > max_bytes:
                    raise DataError(f"sends more than the limit of {max_bytes} bytes")
                if time.monotonic() - start > deadline:
                    raise DataError(f"took more than {deadline:g} s")
    if length is not None and len(body) < length:
        raise DataError(f"truncated transfer: {length} bytes announced, got {len(body)}")
    return bytes(body)


def _check_md5(body: bytes, expected: str, max_bytes: int) -> None:
    if body.lstrip()[:1] == b"<":
        raise DataError("sent a web page (HTML or XML) in place of the file")
    with errors_named("the file it sent"):
        found = _extracted_md5(io.BytesIO(body), max_bytes)
    if found != expected:
        raise DataError(f"wrong content: expected extracted md5 {expected}, got {found}")


def _extracted_md5(file: BinaryIO, max_bytes: int) -> str:
    """MD5 of the extracted bytes of a binary file, which may not be more than ``max_bytes``."""
    digest, count = hashlib.md5(usedforsecurity=False), 0
    stream = extracted(file)
    while chunk := stream.read(CHUNK):
        count += len(chunk)
        if count > max_bytes:
            raise DataError(f"extracts to more than the limit of {max_bytes} bytes")
        digest.update(chunk)
    return digest.hexdigest()
