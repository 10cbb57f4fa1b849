"""Serve the explorer page on this machine, to watch a training run or to decode large models.

The server listens on 127.0.0.1. Every request needs the random token of the printed address and a
``Host`` header of this server, so that other pages in the browser cannot use it. There are four
fixed routes, and no file is read by a path from a request.
"""

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import numpy as np

from ..arguments import AnyPath
from ..backend import Array
from ..errors import MinivaeError
from ..evaluation import TrainedModel
from .export import Contents, page

ADDRESS = "127.0.0.1"
ROUTES = {("GET", "/"): "page", ("GET", "/run"): "run", ("POST", "/encode"): "encode",
          ("POST", "/decode"): "decode"}  # fmt: skip
Query: TypeAlias = dict[str, list[str]]  # the query string of a request
SECONDS = 30  # time limit for a client to send its request


class LiveRun:
    """The contents of a run's page, read again when one of the run's files has changed.

    Args:
        files: paths of the files to watch.
        read: returns (subject, contents), with ``export.contents`` of the subject. If it raises a
            MinivaeError, the contents stay as they were.
    """

    def __init__(
        self, files: Iterable[AnyPath], read: Callable[[], tuple[TrainedModel, Contents]]
    ) -> None:
        self._files, self._read, self._lock = [Path(f) for f in files], read, threading.Lock()
        self._state, (self.subject, self.contents) = self._stamp(), read()

    def refreshed(self) -> "LiveRun":
        """This object, after reading changed files; a damaged file changes nothing."""
        with self._lock:
            stamp = self._stamp()
            if stamp != self._state:
                self._state = stamp
                try:
                    self.subject, self.contents = self._read()
                except MinivaeError:
                    pass  # the file may be replaced soon; until then the old contents stay
        return self

    def json(self) -> Contents:
        """The contents, with their version under ``state``, which a page sends back as ``have``."""
        return {**self.contents, "state": self._state}

    def _stamp(self) -> str:
        found = []
        for file in self._files:
            try:
                status = file.stat()
                found.append(f"{status.st_ino:x}.{status.st_size:x}.{status.st_mtime_ns:x}")
            except OSError:
                found.append("none")
        return "-".join(found)


class RunServer(ThreadingMixIn, TCPServer):
    """An HTTP server for one ``LiveRun``; ``url`` has the token.

    Args:
        run: the ``LiveRun``.
        port: the port; 0 for any free one.

    Raises:
        OSError: the port is taken.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, run: LiveRun, port: int = 0) -> None:
        super().__init__((ADDRESS, port), Handler)
        port = self.server_address[1]
        self.run, self.token, self.model_lock = run, secrets.token_urlsafe(32), threading.Lock()
        self.hosts = {f"{ADDRESS}:{port}", f"localhost:{port}"}
        self.url = f"http://{ADDRESS}:{port}/?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed the connection."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    server: RunServer

    def do_GET(self) -> None:
        """Answer a GET request: the page, or its contents."""
        self.answer()

    def do_POST(self) -> None:
        """Answer a POST request: encode or decode."""
        self.answer()

    def answer(self) -> None:
        """Check the request, then call the method of its route."""
        path, _, text = self.path.partition("?")
        route, query = ROUTES.get((self.command, path)), parse_qs(text)
        token = query.get("token", [""])[0]
        if self.headers.get_all("Host", []) not in ([host] for host in self.server.hosts):
            self.refuse(HTTPStatus.FORBIDDEN, "this server answers to its own address only")
        elif route is None:
            self.refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.refuse(HTTPStatus.FORBIDDEN, "the token is missing or wrong")
        else:
            getattr(self, route)(query)

    def page(self, _: Query) -> None:
        """Send the page."""
        self.reply(HTTPStatus.OK, page(self.server.run.refreshed().json(), served=True),
                   "text/html; charset=utf-8")  # fmt: skip

    def run(self, query: Query) -> None:
        """Send the contents, if they are newer than those the page has."""
        found = self.server.run.refreshed().json()
        if query.get("have") == [found["state"]]:
            self.reply(HTTPStatus.NO_CONTENT)
        else:
            self.reply(HTTPStatus.OK, json.dumps(found).encode(), "application/json")

    def encode(self, _: Query) -> None:
        """Encode one image: pixels in [0, 1] -> mu and logvar, float32."""
        model = self.server.run.subject.model
        shape = (1, *model.image_shapes[-1])
        self.compute(shape, lambda x: np.concatenate([t.numpy() for t in model.encode(x)], axis=1))

    def decode(self, _: Query) -> None:
        """Decode one code: z -> logits, float32."""
        model = self.server.run.subject.model
        self.compute((1, model.latent_dim), lambda z: model.decode(z).numpy())

    def compute(self, shape: tuple[int, ...], function: Callable[[Array], Array]) -> None:
        """Send ``function`` of the float32 array of ``shape`` in the request's body."""
        size = 4 * int(np.prod(shape))
        if self.headers.get("Content-Length") != str(size):
            return self.refuse(HTTPStatus.BAD_REQUEST, f"expected {size} bytes")
        body = self.rfile.read(size)
        if len(body) < size:
            return self.refuse(HTTPStatus.BAD_REQUEST, f"expected {size} bytes")
        values = np.frombuffer(body, "<f4").astype(np.float32).reshape(shape)
        if not np.isfinite(values).all():
            return self.refuse(HTTPStatus.BAD_REQUEST, "expected finite numbers")
        with self.server.model_lock, self.server.run.subject.model.evaluating():
            found = function(values)
        return self.reply(HTTPStatus.OK, found.astype("<f4").tobytes(), "application/octet-stream")

    def reply(
        self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain; charset=utf-8"
    ) -> None:
        """Send header and body in one write."""
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            *([] if status == HTTPStatus.NO_CONTENT else [f"Content-Length: {len(body)}"]),
            "Cache-Control: no-store",
            "Content-Security-Policy: frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy: same-origin",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            *(["Connection: close"] if self.close_connection else []),
        ]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Send an error, and close the connection without reading the rest of the request."""
        self.close_connection = True
        self.reply(status, f"{why}\n".encode())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors that http.server itself sends, such as for requests that are not valid."""
        self.refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
