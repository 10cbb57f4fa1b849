"""Downloads from a local server: a bad mirror is skipped, and a bad file is never kept."""

import gzip
import hashlib
import http.client
import http.server
import io
import threading
import urllib.error
import urllib.request

import pytest

from minivae import DataError
from minivae.data.download import fetch, https_opener
from minivae.data.mnist import MIRRORS

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        getattr(self, self.path.strip("/"))()

    def reply(self, body, length=None, status=200):
        self.send_response(status)
        if length != "none":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.reply(PACKED)

    def plain(self):
        self.reply(CONTENT)

    def unannounced(self):
        self.reply(PACKED, length="none")

    def html(self):
        self.reply(b"<html>come back later</html>")

    def missing(self):
        self.reply(b"<html>not found</html>", status=404)

    def truncated(self):
        self.reply(PACKED[:-30], length=len(PACKED))

    def cut(self):
        self.reply(PACKED[:-30])

    def other(self):
        self.reply(gzip.compress(CONTENT[:-1] + b"!"))

    def nonsense(self):
        self.reply(PACKED, length="many")

    def huge(self):
        self.reply(b"", length=1 << 40)

    def endless(self):
        self.reply(bytes(200_000), length="none")

    def bomb(self):
        self.reply(gzip.compress(bytes(200_000)))

    def silent(self):
        self.server.released.wait(20)

    def trickle(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(500):
            if self.server.released.wait(0.02):
                break
            self.wfile.write(b"\0")

    def away(self):
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.end_headers()

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # the client hung up, as it should

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.released = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def get(server):
    """Download one file, with these pages of the server as mirrors; plain http, no proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    server.asked.clear()

    def get(*pages, **options):
        urls = [f"http://127.0.0.1:{server.server_port}/{page}" for page in pages]
        options = {"max_bytes": 100_000, "timeout": 5, "opener": opener} | options
        return fetch(urls, "file.gz", MD5, **options)

    return get


@pytest.mark.parametrize(("page", "body"), [("good", PACKED), ("plain", CONTENT)])
def test_good_mirror(get, page, body):
    assert get(page) == body


def test_length_need_not_be_announced(get):
    assert get("unannounced") == PACKED


FAULTS = {
    "html": "web page",
    "missing": "HTTP Error 404",
    "truncated": "truncated transfer: .* bytes announced",
    "cut": "truncated gzip stream",
    "other": f"wrong content: expected extracted md5 {MD5}, got ",
    "nonsense": "invalid literal",
    "huge": "announces .* the limit is 100000",
    "endless": "sends more than the limit",
    "bomb": "extracts to more than the limit",
    "away": "file:",
}


@pytest.mark.parametrize(("page", "fault"), FAULTS.items())
def test_bad_mirror_is_passed_over(get, server, capsys, page, fault):
    assert get(page, "good") == PACKED
    assert server.asked == [f"/{page}", "/good"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"/{page}: " in lines[0]
    with pytest.raises(DataError, match=fault):
        get(page)


@pytest.mark.parametrize(
    ("page", "options", "fault"),
    [("silent", {"timeout": 0.1}, "timed out"), ("trickle", {"deadline": 0.2}, "more than 0.2 s")],
)
def test_slow_mirror_is_given_up(get, page, options, fault):
    with pytest.raises(DataError, match=fault):
        get(page, **options)


def test_all_mirrors_failed(get):
    with pytest.raises(DataError, match=r"file\.gz: none of 3 mirrors") as caught:
        get("html", "missing", "other")
    for page in ("html", "missing", "other"):
        assert f"/{page}: " in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_default_opener_knows_only_tls(get, server, scheme, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    url = f"{scheme}://127.0.0.1:{server.server_port}/good"
    with pytest.raises(DataError, match=f"unknown url type: {scheme}"):
        fetch([url], "file", MD5, timeout=1)
    assert server.asked == []
    with pytest.raises(urllib.error.URLError, match=r"unknown url type|not allowed"):
        redirect_to(https_opener(), f"{scheme}://127.0.0.1/")


def redirect_to(opener, location):
    """What `opener` does when a page it asked for by https sends it to `location`."""
    headers = http.client.HTTPMessage()
    headers["Location"] = location
    request = urllib.request.Request("https://127.0.0.1/")
    request.timeout = 1
    return opener.error("http", request, io.BytesIO(), 302, "Found", headers)


def test_mirrors_are_https():
    assert len(MIRRORS) >= 3
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in MIRRORS)
