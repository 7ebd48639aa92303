"""Whatever a connection sends or does not send, it costs little, and honest ones are served."""

import resource
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from flowtrail.collector import http_server
from flowtrail.collector.http_server import MOST_HEAD_BYTES, serving

PATIENCE_S = 20
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: collector\r\n"


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """Answer a request with its body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served() -> Iterator[int]:
    """A server; yields its port. It may not end by itself."""
    ended: list[str] = []
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
        serving(echo, listening, "echo", ended.append),
    ):
        yield listening.getsockname()[1]
    assert ended == []


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as port:
        yield port


@pytest.fixture
def hasty_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that waits for headers hardly at all."""
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT_S", 0.05)
    with served() as port:
        yield port


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def told(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def answer(connection: socket.socket, ending: bytes) -> bytes:
    """What comes until it ends so."""
    received = b""
    while not received.endswith(ending):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


def flood(connection: socket.socket, piece: bytes) -> None:
    """Send until the other side has enough."""
    try:
        while True:
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        return


@pytest.mark.parametrize(
    ("begin", "piece"),
    [(HEAD, b"x: y\r\n" * 1000), (HEAD + b"x: ", b"y" * 6000), (b"POST /", b"x" * 6000)],
    ids=["many headers", "a long one", "a long path"],
)
def test_headers_without_an_end_are_refused(port: int, begin: bytes, piece: bytes) -> None:
    with opened(port) as connection:
        connection.sendall(begin)
        sender = threading.Thread(target=flood, args=(connection, piece))
        sender.start()
        sender.join(PATIENCE_S)
        assert not sender.is_alive()
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200


def test_a_sender_of_too_many_headers_is_told(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(HEAD)
        connection.sendall(b"x: y\r\n" * (MOST_HEAD_BYTES // 6 + 1))
        assert told(connection).startswith(b"HTTP/1.1 431 ")


def test_headers_within_the_bounds_and_bodies_beyond_them_are_served(port: int) -> None:
    body = b"x" * (30 * MOST_HEAD_BYTES)
    with httpx.Client() as client:
        for _ in range(2):
            response = client.post(f"http://127.0.0.1:{port}/", content=body, headers={"x": "y" * 15_000})
            assert response.content == body


def test_headers_that_come_too_slowly_end_the_connection(hasty_port: int) -> None:
    with opened(hasty_port) as connection:
        connection.sendall(HEAD)
        assert told(connection) == b""


def test_headers_of_a_second_request_may_not_be_slow_either(hasty_port: int) -> None:
    with opened(hasty_port) as connection:
        connection.sendall(HEAD + b"content-length: 1\r\n\r\na")
        answer(connection, b"a")
        connection.sendall(HEAD)
        assert told(connection) == b""


def test_a_connection_on_which_nothing_is_sent_is_closed(hasty_port: int) -> None:
    with opened(hasty_port) as connection:
        assert told(connection) == b""


def test_a_slow_body_is_not_held_to_the_time_of_headers(hasty_port: int) -> None:
    with opened(hasty_port) as connection, opened(hasty_port) as silent:
        connection.sendall(HEAD + b"content-length: 2\r\n\r\na")
        assert told(silent) == b""  # the time for headers is over
        connection.sendall(b"b")
        assert answer(connection, b"ab").startswith(b"HTTP/1.1 200 ")


def test_a_sender_that_offers_http_2_is_served_over_http_1(port: int) -> None:
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
    with opened(port) as connection:
        for body in (b"first", b"again"):
            connection.sendall(HEAD + upgrade + b"content-length: 5\r\n\r\n" + body)
            assert answer(connection, body).startswith(b"HTTP/1.1 200 ")


def test_where_there_is_no_more_room_a_silent_connection_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_most_connections", lambda: 3)
    with served() as port, opened(port) as busy:
        busy.sendall(HEAD + b"content-length: 1\r\n\r\na")
        answer(busy, b"a")
        with opened(port) as one, opened(port) as other, opened(port) as last:
            last.sendall(HEAD + b"content-length: 1\r\n\r\nb")
            answer(last, b"b")
            closed, _, _ = select.select([one, other], [], [], PATIENCE_S)
            assert len(closed) == 1
            assert told(closed[0]) == b""
            busy.sendall(HEAD + b"content-length: 1\r\n\r\nc")
            answer(busy, b"c")


def test_where_there_is_no_silent_one_a_connection_that_rests_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_most_connections", lambda: 1)
    with served() as port, opened(port) as resting:
        resting.sendall(HEAD + b"content-length: 1\r\n\r\na")
        answer(resting, b"a")
        with opened(port) as late:
            assert told(resting) == b""
            late.sendall(HEAD + b"content-length: 1\r\n\r\nb")
            answer(late, b"b")


def test_where_all_connections_are_busy_a_new_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_most_connections", lambda: 1)
    with served() as port, opened(port) as busy:
        busy.sendall(HEAD + b"expect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        answer(busy, b"100 Continue\r\n\r\n")
        with opened(port) as late:
            assert told(late) == b""
        busy.sendall(b"a")
        answer(busy, b"a")


def test_a_server_leaves_files_for_the_journal_and_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert http_server._most_connections() == 20_000 - 4096
    assert asked == [(20_000, 20_000)]


def test_a_system_that_lets_no_limit_be_raised_gets_fewer_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert http_server._most_connections() == 256


@pytest.mark.parametrize("sent", [b"hello, world\r\n\r\n", b"CONNECT collector:80 HTTP/1.1\r\nhost: collector\r\n\r\n"])
def test_what_is_no_request_is_refused_and_the_connection_closed(port: int, sent: bytes) -> None:
    with opened(port) as connection:
        connection.sendall(sent)
        assert told(connection).startswith(b"HTTP/1.1 400 ")
