"""Load for a receiver: one process, raw sockets, requests whose ids and times are new at every send.

    python -m benchmarks.otlp_load URL --seconds 10 --spans 512 --connections 4 [--spans-s 0]     prints a line of JSON

Each connection sends its next request once the one before was answered, as an exporter does. With `--spans-s` they
share that rate; 0 is as fast as they are answered.
"""

import argparse
import json
import selectors
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.kafka_spans import Renewable

# What a sender that is told to come back waits.
REST_S: Final = 0.2
# How long the last answers are waited for.
PATIENCE_S: Final = 60.0
_END_OF_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Told:
    """What a load did. `spans` were acknowledged; `refused` requests were told to come back, `failed` had no answer.

    `generator_share` is the part of the time that this process was at work: near 1 it was the bottleneck, not the
    receiver. Its CPU is without its start. Latencies are of answers with 200, in ms.
    """

    spans: int
    requests: int
    refused: int
    failed: int
    began_unix_s: float
    seconds: float
    body_bytes: int
    generator_cpu_s: float
    generator_share: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class Connection:
    """One connection with at most one request under way."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address = address
        self._selector = selector
        self._pending = b""
        self._got = b""
        self._socket: socket.socket | None = None
        self.began_s = 0.0

    def send(self, request: memoryview, now_s: float) -> None:
        """Begin a request. Raises OSError."""
        self.began_s = now_s
        if self._socket is None:
            self._open()
        assert self._socket is not None
        try:
            sent = self._socket.send(request)
        except BlockingIOError:
            sent = 0
        if sent < len(request):
            self._pending = bytes(request[sent:])  # the buffer behind the view gets the next ids
            self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def go_on(self, events: int) -> int | None:
        """Write and read what can be; return the status once the answer is whole. Raises OSError."""
        assert self._socket is not None
        if events & selectors.EVENT_WRITE:
            self._pending = self._pending[self._socket.send(self._pending) :]
            if not self._pending:
                self._selector.modify(self._socket, selectors.EVENT_READ, self)
        if not events & selectors.EVENT_READ:
            return None
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionError("closed in the middle of a request")
        self._got += piece
        head, found, body = self._got.partition(_END_OF_HEAD)
        if not found or len(body) < _content_length(head):
            return None
        self._got = b""
        return int(head[9:12])

    def close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        self._pending = self._got = b""

    def _open(self) -> None:
        self._socket = socket.create_connection(self._address, timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self)


def _content_length(head: bytes) -> int:
    begin = head.lower().find(b"content-length:")
    return int(head[begin + 15 :].split(b"\r\n", 1)[0]) if begin >= 0 else 0


class Load:
    """Sends for some seconds, then waits for the last answers. Answers beyond 200, 429 and 503 raise RuntimeError."""

    def __init__(self, url: str, spans: int, connections: int, spans_s: float = 0.0) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/x-protobuf\r\n"
            "Content-Length: %d\r\n\r\n"
        )
        self._requests = Renewable(spans, head.encode())
        self._next: Iterator[memoryview] = iter(self._requests)
        self._selector = selectors.DefaultSelector()
        address = (parts.hostname, parts.port)
        self._connections = [Connection(address, self._selector) for _ in range(connections)]
        self._free = deque(self._connections)
        self._resting: deque[tuple[float, Connection]] = deque()
        self._every_s = spans / spans_s if spans_s else 0.0
        self._latencies_s = array("d")
        self._refused = self._failed = 0

    def run(self, seconds: float) -> Told:
        began_unix_s, began_cpu_s, began_s = time.time(), time.process_time(), time.perf_counter()
        until_s, due_s = began_s + seconds, began_s
        while True:
            now_s = time.perf_counter()
            while self._resting and self._resting[0][0] <= now_s:
                self._free.append(self._resting.popleft()[1])
            if now_s < until_s:
                while self._free and due_s <= now_s:
                    self._send(self._free.popleft())
                    due_s += self._every_s
            elif len(self._free) + len(self._resting) == len(self._connections) or now_s > until_s + PATIENCE_S:
                break
            self._take_answers(max(0.0, min(0.1, due_s - now_s)) if self._free and now_s < until_s else 0.1)
        self._failed += len(self._connections) - len(self._free) - len(self._resting)
        took_s = time.perf_counter() - began_s
        cpu_s = time.process_time() - began_cpu_s
        in_order_ms = sorted(latency_s * 1000 for latency_s in self._latencies_s) or [0.0]
        return Told(
            spans=len(self._latencies_s) * self._requests.spans,
            requests=len(self._latencies_s),
            refused=self._refused,
            failed=self._failed,
            began_unix_s=began_unix_s,
            seconds=took_s,
            body_bytes=self._requests.body_bytes,
            generator_cpu_s=cpu_s,
            generator_share=cpu_s / took_s,
            p50_ms=in_order_ms[len(in_order_ms) // 2],
            p99_ms=in_order_ms[len(in_order_ms) * 99 // 100],
            max_ms=in_order_ms[-1],
        )

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._selector.close()

    def _send(self, connection: Connection) -> None:
        try:
            connection.send(next(self._next), time.perf_counter())
        except OSError:
            self._fail(connection)

    def _take_answers(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            connection: Connection = key.data
            try:
                status = connection.go_on(events)
            except OSError:
                self._fail(connection)
                continue
            if status == 200:
                self._latencies_s.append(time.perf_counter() - connection.began_s)
                self._free.append(connection)
            elif status in {429, 503}:
                self._refused += 1
                self._rest(connection)
            elif status is not None:
                raise RuntimeError(f"the receiver answered {status}")

    def _fail(self, connection: Connection) -> None:
        self._failed += 1
        connection.close()
        self._rest(connection)

    def _rest(self, connection: Connection) -> None:
        self._resting.append((time.perf_counter() + REST_S, connection))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--spans", type=int, default=512)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--spans-s", type=float, default=0)
    options = parser.parse_args()
    load = Load(options.url, options.spans, options.connections, options.spans_s)
    print(json.dumps(asdict(load.run(options.seconds))))
    load.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
