"""The explorer's server: accepted and refused requests, and its answers. Requests are raw bytes on
a socket."""

import contextlib
import json
import re
import socket
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import runs

import minivae as mv
from minivae import explore, models
from minivae.cli.explore import loaded
from minivae.tensor import no_grad
from minivae.training import metrics


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("served")
    runs.digits(path)
    return runs.saved(path, models.MLPVAE(latent_dim=3, hidden=8, seed=1))


@contextlib.contextmanager
def serving(folder):
    """A running ``RunServer`` of a run and the images beside it."""

    def read():
        subject, config = loaded(folder / "checkpoint.safetensors", folder)
        return subject, explore.contents(subject, config, metrics.read(folder))

    files = [folder / "checkpoint.safetensors", folder / "metrics.csv"]
    with explore.RunServer(explore.LiveRun(files, read)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as running:
        yield running


def talk(server, raw):
    """The answer on a new connection until it is closed: with a reset where the server has
    not read all that was sent.
    """
    answer = b""
    with socket.create_connection(server.server_address, timeout=10) as connection:
        connection.sendall(raw)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def request(server, target, method="GET", body=b"", host=None, token=True):
    """One well-formed request; the token is added to the target."""
    host = host or f"127.0.0.1:{server.server_address[1]}"
    if token:
        target += f"{'&' if '?' in target else '?'}token={server.token}"
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    return talk(server, head.encode("latin-1") + body)


# ---------------------------------------------------------------- who is answered
def test_the_page(server):
    """The server sends the page with the run in it; its policy allows requests to this server
    alone."""
    status, head, body = request(server, "/")
    assert status == 200 and "text/html" in head and "Connection: close" not in head
    assert "connect-src 'self'" in body.decode() and "MLPVAE" in body.decode()
    assert f"Content-Length: {len(body)}" in head
    assert request(server, "/", host=f"localhost:{server.server_address[1]}")[0] == 200


@pytest.mark.parametrize("host", [
    "example.org", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", "[::1]:{port}",
    "127.0.0.1:{port}.example.org", "127.0.0.1:{port}, example.org",
])  # fmt: skip
@pytest.mark.parametrize("target", ["/", "/run", "/etc/passwd"])
def test_a_foreign_host_is_refused(server, host, target):
    """A name that an attacker points at 127.0.0.1 is refused, even with the token."""
    host = host.format(port=server.server_address[1])
    status, head, body = request(server, target, host=host)
    assert status == 403 and "Connection: close" in head and b"MLPVAE" not in body


def test_no_host_and_two_hosts_are_refused(server):
    """HTTP allows neither a request without a Host header nor one with two."""
    port, token = server.server_address[1], server.token
    own = f"Host: 127.0.0.1:{port}\r\n"
    for hosts in ("", own + own, own + "Host: example.org\r\n"):
        assert talk(server, f"GET /?token={token} HTTP/1.1\r\n{hosts}\r\n".encode())[0] == 403


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?token=",
        "?token=x",
        "?Token={token}",
        "?token={token}x",
        "?token={token}&token=x&token=",
        "?token=%00",
        "?token=ÿ",
    ],
)
@pytest.mark.parametrize("target", ["/", "/run"])
def test_no_or_a_wrong_token_is_refused(server, target, query):
    """Every route requires the exact token."""
    status, head, _ = request(server, target + query.format(token=server.token), token=False)
    wanted = 200 if query.startswith("?token={token}&") else 403
    assert status == wanted and ("Connection: close" in head) == (wanted == 403)


@pytest.mark.parametrize("target, count", [("/encode", 784), ("/decode", 3)])
def test_posts_need_the_token(server, target, count):
    """A POST is answered with the token, and without it refused for that reason."""
    body = b"\0" * (4 * count)
    assert request(server, target, "POST", body)[0] == 200
    status, head, answer = request(server, target, "POST", body, token=False)
    assert status == 403 and "Connection: close" in head
    assert answer == b"the token is missing or wrong\n"


@pytest.mark.parametrize("target", [
    "/../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/etc/passwd", "/page.js",
    "/%2e%2e/", "/checkpoint.safetensors", "/run/", "/./", "http://127.0.0.1/", "*",
    "/\\..\\x", "/favicon.ico",
])  # fmt: skip
@pytest.mark.parametrize("token", [True, False])
def test_paths_are_never_read(server, target, token):
    """Paths other than the four fixed routes get status 404, and the connection is closed."""
    status, head, body = request(server, target, token=token)
    assert status == 404 and "Connection: close" in head and body == b"there is nothing here\n"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "CONNECT", "get", "POST"])
def test_other_methods_are_refused(server, method):
    """Methods other than those of the routes are refused."""
    status, head, _ = request(server, "/", method)
    assert status in (404, 501) and "Connection: close" in head


@pytest.mark.parametrize("raw, status", [
    (b"\r\n\r\n", None), (b"GET\r\n\r\n", 400), (b"GET / HTTP/9.9\r\n\r\n", 505),
    (b"\xff\xfe\x00\r\n\r\n", 400),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431),
])  # fmt: skip
def test_what_is_no_request(server, raw, status):
    """Malformed requests get one answer, an empty one none, and they are disconnected."""
    with socket.create_connection(server.server_address, timeout=10) as connection:
        connection.sendall(raw)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
    if not answer and len(raw) > 1000 and sys.platform != "linux":
        pytest.skip("the reset of a connection whose input is not read took the answer with it")
    answers = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert answers == ([] if status is None else [b"%d" % status])


def test_a_refused_request_closes_its_connection(server):
    """Bytes after a refused request are not answered: no request can hide in another's body."""
    port = server.server_address[1]
    good = f"GET /run?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    refused = f"POST /nothing HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 5\r\n\r\n"
    status, _, body = talk(server, (refused + good).encode())
    assert status == 404 and b"HTTP/1.1" not in body
    status, _, body = talk(server, (good + good).encode())  # a good one does not close it
    assert status == 200 and body.count(b"HTTP/1.1 200") == 1


def test_header_and_body_are_one_write(server, monkeypatch):
    """A client never sees a part of an answer's header."""
    writes = []
    from minivae.explore.server import Handler

    original = Handler.setup

    def setup(handler):
        original(handler)
        write = handler.wfile.write
        handler.wfile.write = lambda data: writes.append(data) or write(data)

    monkeypatch.setattr(Handler, "setup", setup)
    for target in ("/", "/run", "/nothing"):
        request(server, target)
    assert len(writes) == 3
    assert all(data.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in data for data in writes)


def listening_addresses(port):
    """The local addresses at which a port is listened to, of both families."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            pytest.skip("no /proc/net")
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, hexadecimal = local.split(":")
            if int(hexadecimal, 16) == port and state == "0A":
                found.append(address)
    return found


def test_nothing_listens_beyond_loopback(server):
    """The server has one listening socket, at 127.0.0.1."""
    wanted = f"{struct.unpack('<I', socket.inet_aton('127.0.0.1'))[0]:08X}"
    assert listening_addresses(server.server_address[1]) == [wanted]


def test_tokens_differ(folder):
    """Every start makes a new, long, random token."""
    tokens = set()
    for _ in range(3):
        with serving(folder) as one:
            tokens.add(one.token)
            assert one.url.endswith(f"/?token={one.token}")
    assert len(tokens) == 3 and min(map(len, tokens)) >= 40


def test_the_token_leaks_through_no_header(server):
    """Headers forbid the referrer, caching, frames and other origins."""
    head = request(server, "/")[1]
    for line in ("Referrer-Policy: no-referrer", "Cache-Control: no-store",
                 "Content-Security-Policy: frame-ancestors 'none'", "nosniff",
                 "Cross-Origin-Resource-Policy: same-origin"):  # fmt: skip
        assert line in head
    assert server.token not in head and "Access-Control" not in head


# ---------------------------------------------------------------- what it computes
def test_decode_and_encode_in_python(server):
    """Answers hold exactly the numbers that the model computes in Python."""
    model = server.run.subject.model
    z = np.array([0.5, -1, 2], np.float32)
    status, _, body = request(server, "/decode", "POST", z.tobytes())
    with no_grad():
        np.testing.assert_array_equal(np.frombuffer(body, "<f4"), model.decode(z[None]).numpy()[0])
    x = np.random.default_rng(0).random(784, np.float32)
    status, _, body = request(server, "/encode", "POST", x.tobytes())
    with no_grad():
        mu, logvar = model.encode(x.reshape(1, 1, 28, 28))
    assert status == 200
    np.testing.assert_array_equal(
        np.frombuffer(body, "<f4"), np.concatenate([mu.numpy()[0], logvar.numpy()[0]])
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"\0" * 11, b"\0" * 13, b"\0" * (1 << 16), np.array([1, np.nan, 0], "<f4").tobytes()],
)
def test_other_bodies_are_refused(server, body):
    """A body of another length than a code, or with NaN or infinity, is refused."""
    status, head, _ = request(server, "/decode", "POST", body)
    assert status == 400 and "Connection: close" in head


def test_a_body_that_does_not_come(server):
    """A body that is shorter than announced is refused."""
    port = server.server_address[1]
    head = f"POST /decode?token={server.token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    assert talk(server, f"{head}Content-Length: 12\r\n\r\nabc".encode())[0] == 400
    assert talk(server, f"{head}Content-Length: -1\r\n\r\n".encode())[0] == 400
    assert talk(server, f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode())[0] == 400


# ---------------------------------------------------------------- a run that goes on
def test_training_is_seen(tmp_path):
    """A new checkpoint gives new weights and metrics; the same one gives nothing."""
    runs.digits(tmp_path)
    folder = runs.saved(tmp_path, models.MLPVAE(latent_dim=3, hidden=8, seed=1))
    with serving(folder) as server:
        first = json.loads(request(server, "/run")[2])
        assert request(server, f"/run?have={first['state']}")[::2] == (204, b"")
        row = runs.METRICS.splitlines()[1]
        (folder / "metrics.csv").write_text(runs.METRICS + "2" + row[1:] + "\n")
        runs.saved(tmp_path, models.MLPVAE(latent_dim=3, hidden=8, seed=2), metrics=None)
        status, _, body = request(server, f"/run?have={first['state']}")
        second = json.loads(body)
        assert status == 200 and len(second["metrics"]) == 2
        assert second["model"] != first["model"] and second["state"] != first["state"]
        z = np.zeros(3, np.float32)
        answer = np.frombuffer(request(server, "/decode", "POST", z.tobytes())[2], "<f4")
        with no_grad():
            wanted = models.MLPVAE(latent_dim=3, hidden=8, seed=2).decode(z[None]).numpy()[0]
        np.testing.assert_array_equal(answer, wanted)


def test_a_checkpoint_damaged_meanwhile_changes_nothing(tmp_path):
    """The server goes on with the last good checkpoint."""
    runs.digits(tmp_path)
    folder = runs.saved(tmp_path, models.MLPVAE(latent_dim=3, hidden=8, seed=1))
    with serving(folder) as server:
        first = json.loads(request(server, "/run")[2])
        (folder / "checkpoint.safetensors").write_bytes(b"damaged")
        second = json.loads(request(server, f"/run?have={first['state']}")[2])
        assert second["model"] == first["model"]
        mv.save(folder / "checkpoint.safetensors", models.AutoEncoder((784, 2)))
        third = json.loads(request(server, f"/run?have={second['state']}")[2])
        assert third["model"] == first["model"]


def test_a_port_that_is_taken(server, tmp_path, capsys):
    """A port in use is refused in one line."""
    from minivae.__main__ import main

    runs.digits(tmp_path)
    folder = runs.saved(tmp_path, models.MLPVAE(latent_dim=3, hidden=8))
    port = str(server.server_address[1])
    words = ["explore", str(folder), "--data", str(tmp_path), "--serve", port, "--no-browser"]
    assert main(words) == 2
    assert re.fullmatch(rf"error: port {port}: .*in use\n", capsys.readouterr().err)
