"""Fetch a file from the first of several mirrors that has the right bytes."""

import hashlib
import http.client
import io
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from ..atomic_write import write_atomically
from ..errors import DataError
from .idx import MAX_BYTES
from .untrusted_file import errors_named, extracted

CHUNK = 1 << 16


def fetch(
    urls: Sequence[str],
    destination: str | os.PathLike,
    md5: str,
    *,
    max_bytes: int = MAX_BYTES,
    timeout: float = 10.0,
    deadline: float = 300.0,
    opener: urllib.request.OpenerDirector | None = None,
) -> Path:
    """Download `destination` from the first of `urls` that delivers bytes with this hash.

    `md5` is that of the extracted bytes, because mirrors compress anew; a gzip stream and the plain
    bytes are both accepted. (It guards against damage; TLS guards against forgery.) `max_bytes`
    bounds the transfer and the extracted bytes. A mirror is given up when it is silent for
    `timeout` seconds or takes more than `deadline` in all; a line on stderr tells each failure.
    `opener` defaults to one that knows https only. `destination` is created or replaced in one
    step after its bytes were checked, or left alone.

    Raises DataError, listing every mirror's failure or naming why `destination` cannot be written.
    """
    destination = Path(destination)
    opener = opener or https_opener()
    failures = []
    for url in urls:
        try:
            body = _transfer(url, destination.name, opener, max_bytes, timeout, deadline)
            _check_md5(body, md5, max_bytes)
        except (DataError, OSError, http.client.HTTPException, ValueError) as cause:
            failures.append(f"{url}: {cause or type(cause).__name__}".replace("\n", " "))
            tqdm.write(f"minivae: mirror failed: {failures[-1]}", file=sys.stderr)
        else:
            try:
                destination.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(destination, body, follow_link=False)
            except OSError as cause:
                reason = cause.strerror or cause
                raise DataError(f"{destination}: cannot be written: {reason}") from cause
            return destination
    raise DataError(
        f"{destination.name}: none of {len(urls)} mirrors delivered it\n  " + "\n  ".join(failures)
    )


def https_opener() -> urllib.request.OpenerDirector:
    """An opener that knows no scheme but https, so that a redirect cannot leave TLS either."""
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


def _transfer(url, name, opener, max_bytes, timeout, deadline) -> bytes:
    """The body of one response, whole, or an error."""
    start = time.monotonic()
    request = urllib.request.Request(url, headers={"User-Agent": "minivae"})
    with opener.open(request, timeout=timeout) as response:
        announced = response.headers.get("Content-Length")
        length = int(announced) if announced is not None else None
        if (length or 0) > max_bytes:
            raise DataError(f"announces {length} bytes, the limit is {max_bytes}")
        body = bytearray()
        bar = tqdm(total=length, desc=name, unit="B", unit_scale=True, leave=False, disable=None)
        with bar:
            # read1 returns what has come; read would wait for a whole chunk, past the deadline.
            while chunk := response.read1(CHUNK):
                body += chunk
                bar.update(len(chunk))
                if len(body) > max_bytes:
                    raise DataError(f"sends more than the limit of {max_bytes} bytes")
                if time.monotonic() - start > deadline:
                    raise DataError(f"took more than {deadline:g} s")
    if length is not None and len(body) < length:
        raise DataError(f"truncated transfer: {length} bytes announced, {len(body)} came")
    return bytes(body)


def _check_md5(body: bytes, expected: str, max_bytes: int) -> None:
    if body.lstrip()[:1] == b"<":
        raise DataError("sent a web page (HTML or XML) in place of the file")
    with errors_named("the file it sent"):
        came = _extracted_md5(io.BytesIO(body), max_bytes)
    if came != expected:
        raise DataError(f"wrong content: extracted md5 {came}, expected {expected}")


def _extracted_md5(file: BinaryIO, max_bytes: int) -> str:
    """MD5 of the extracted bytes of a binary file, which may not be more than `max_bytes`."""
    digest, count = hashlib.md5(usedforsecurity=False), 0
    stream = extracted(file)
    while chunk := stream.read(CHUNK):
        count += len(chunk)
        if count > max_bytes:
            raise DataError(f"extracts to more than the limit of {max_bytes} bytes")
        digest.update(chunk)
    return digest.hexdigest()
