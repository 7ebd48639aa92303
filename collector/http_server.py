"""An ASGI application over HTTP/1.1 on a thread and an event loop of its own: uvicorn, with bounds that it lacks."""

import asyncio
import logging
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

# How long answers that are under way get at the end.
GRACE_S: Final = 3

# SDKs send every five seconds, the Collector keeps idle connections for 90: a server that closes one while the next
# request is on its way costs the sender a failure, and one that keeps no retry its spans.
KEEP_ALIVE_S: Final = 95

# A request line and its headers, together.
MOST_HEAD_BYTES: Final = 16 * 1024
# Until they are whole, from the opening of a connection or their own first byte.
HEAD_TIMEOUT_S: Final = 30.0

# Open files that are asked for: many systems give a process 1024 until it asks, which a crowd of idle senders uses up.
_WANTED_FILES: Final = 65_536
_OTHER_FILES: Final = 4096

_OFFERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@contextmanager
def serving(
    app: Callable[..., Any], listening: socket.socket, name: str, ended: Callable[[str], None], **options: Any
) -> Iterator[None]:
    """Serve an application while the block runs. `ended` is called with `name`, on the server's thread, when the server
    ends before the block does. `options` are uvicorn's own."""
    most_connections = _most_connections()

    class Http(BoundedHttp):
        """uvicorn makes these by itself, and hands on no option of ours."""

        def __init__(self, *arguments: Any, **others: Any) -> None:
            super().__init__(*arguments, **others)
            self.most_connections = most_connections

    config = uvicorn.Config(
        app,
        http=Http,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        **options,
    )
    server = uvicorn.Server(config)
    is_ending = threading.Event()

    def serve() -> None:
        try:
            server.run([listening])
        except (Exception, SystemExit):  # uvicorn exits when it cannot start
            log.exception("the %s server failed", name)
        if not is_ending.is_set():
            ended(name)

    thread = threading.Thread(target=serve, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_ending.set()
        server.should_exit = True
        thread.join(GRACE_S + 2)


class BoundedHttp(HttpToolsProtocol):
    """Bounds what a connection costs before the application sees a request of it.

    Neither httptools nor uvicorn end headers that never do, however many or slow they are, nor a connection on which
    nothing is ever sent.
    """

    most_connections = 10_000
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            # One that has yet to send a request makes room, or one that rests; where all are busy, there is none.
            silent: Any = next((other for other in self.connections if getattr(other, "_timer", None)), None)
            silent = silent or next((other for other in self.connections if _rests(other)), self)
            silent._disarm()  # nor is it chosen again before it is gone
            silent._unset_keepalive_if_required()
            silent.transport.abort()
            if silent is self:
                return
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_in_head and len(data) > MOST_HEAD_BYTES:
            # No more is parsed than may be headers: each costs a call, however short it is.
            self._receive(data[:MOST_HEAD_BYTES])
            data = data[MOST_HEAD_BYTES:]
        if not self.transport.is_closing():
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            log.debug("no HTTP request: %r", error)
            self._disarm()
            self.send_400_response("Invalid HTTP request received.")
            return
        if not self._is_in_head or self.transport.is_closing():
            return
        if was_in_head:
            self._head_bytes += len(data)
            if self._head_bytes >= MOST_HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _parse(self, data: bytes) -> None:
        """Feed the parser, and where a sender offers another protocol, feed it anew without the offer. Java's own
        client offers HTTP/2 on every connection; the parser stops there, and would leave its body unread."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            (end_of_head,) = stopped.args
            lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
            lines += [name + b": " + value for name, value in self.headers if name not in _OFFERS]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"\r\n".join([*lines, b"", b""]) + data[end_of_head:])

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_in_head = False
        self._head_bytes = 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _rests(connection: Any) -> bool:
    """Whether a connection is kept for a next request."""
    return getattr(connection, "timeout_keep_alive_task", None) is not None


def _most_connections() -> int:
    """Return how many connections a server may hold: as many as this process may open files, but for those that others
    in it need (journal, store, the other servers). The soft limit is raised first, as far as the system lets it be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError) as error:  # macOS has a lower one that it does not tell
            log.info("this process may open %d files: %s", soft, error)
    files = _WANTED_FILES if soft == resource.RLIM_INFINITY else soft
    return max(files // 4, files - _OTHER_FILES)
