"""An ASGI application over HTTP/1.1 on a thread and an event loop of its own: uvicorn, with bounds that it lacks."""

import asyncio
import logging
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

# A request line and its headers, together. Nobody needs a tenth of it.
MOST_HEAD_BYTES: Final = 64 * 1024
# Until they are whole, from the opening of a connection or their own first byte.
HEAD_TIMEOUT_S: Final = 30.0

_OFFERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@contextmanager
def serving(
    app: Callable[..., Any], listening: socket.socket, name: str, ended: Callable[[str], None], **options: Any
) -> Iterator[None]:
    """Serve an application while the block runs. `ended` is called with `name`, on the server's thread, when the server
    ends before the block does. `options` are uvicorn's own."""
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
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

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
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
            if self._head_bytes > MOST_HEAD_BYTES:
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
