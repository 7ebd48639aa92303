"""Everything that came goes on to the endpoint, also when it was away, and nobody waits for it."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flowtrail.collector.exporters.otlp_http import READER, exporter, retry_after_s
from flowtrail.collector.journal.delivery import Unavailable
from flowtrail.collector.journal.sqlite import SqliteJournal

from .otlp_bodies import body, span

PATIENCE_S = 20


class Endpoint:
    """An OTLP/HTTP endpoint that keeps what it takes. `answers` are given first, one a request, in place of 200."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        self.refuses: bytes | None = None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                status, headers = endpoint.answers.pop(0) if endpoint.answers else (200, {})
                if endpoint.refuses is not None and endpoint.refuses in data:
                    status = 400
                if status == 200:
                    endpoint.bodies.append(data)
                self.send_response(status)
                for name, value in {**headers, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet: the test says what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def spans(self) -> list[bytes]:
        """The ids of all spans that were taken."""
        requests = [ExportTraceServiceRequest.FromString(data) for data in self.bodies]
        return [
            told.span_id
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for told in scope.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with closing(Endpoint()) as endpoint:
        yield endpoint


@contextmanager
def opened(path: Path) -> Iterator[SqliteJournal]:
    with closing(SqliteJournal(path / "journal", max_bytes=10**7, required=["store"], optional=[READER])) as journal:
        yield journal


def append(journal: SqliteJournal, count: int) -> list[bytes]:
    """Append requests of one span each; return the span ids."""
    spans = [span() for _ in range(count)]
    journal.append([body(told) for told in spans])
    return [told.span_id for told in spans]


def test_every_request_is_sent_on_in_order(tmp_path: Path, endpoint: Endpoint) -> None:
    with opened(tmp_path) as journal:
        ids = append(journal, 100)
        sending = exporter(journal, endpoint.url)
        while sending.step():
            pass
        assert endpoint.spans() == ids
        assert len(endpoint.bodies) == 2
        assert journal.depth(READER).requests == 0


def test_an_endpoint_that_was_away_gets_everything_once(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.answers = [(503, {"retry-after": "0"}), (502, {}), (429, {"retry-after": "0"})]
    with opened(tmp_path) as journal:
        sending = exporter(journal, endpoint.url)
        sending.start()
        ids = append(journal, 10)
        until(lambda: len(endpoint.spans()) == 10)
        until(lambda: journal.depth(READER).requests == 0)
        sending.stop()
        assert endpoint.spans() == ids
        assert sending.progress.last_error is not None
        assert journal.count_set_aside(READER) == 0


def test_an_endpoint_that_is_not_there_holds_up_nobody(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        sending = exporter(journal, "http://127.0.0.1:9/v1/traces")
        sending.start()
        append(journal, 10)
        until(lambda: sending.progress.last_error is not None)
        journal.commit("store", journal.read("store", 100, 10**7)[-1].position)
        sending.stop()
        assert journal.depth("store").requests == 0
        assert journal.depth(READER).requests == 10


def test_after_a_new_start_it_goes_on_where_it_was(tmp_path: Path, endpoint: Endpoint) -> None:
    with opened(tmp_path) as journal:
        first = append(journal, 3)
        exporter(journal, endpoint.url).step()
        second = append(journal, 3)
    with opened(tmp_path) as journal:
        exporter(journal, endpoint.url).step()
    assert endpoint.spans() == first + second


def test_a_request_that_the_endpoint_refuses_is_set_aside_and_the_others_arrive(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    with opened(tmp_path) as journal:
        ids = append(journal, 9)
        endpoint.refuses = ids[4]
        sending = exporter(journal, endpoint.url)
        while sending.step():
            pass
        assert endpoint.spans() == ids[:4] + ids[5:]
        assert journal.count_set_aside(READER) == 1


@pytest.mark.parametrize("status", [301, 302, 304, 307])
def test_a_redirect_is_no_delivery(tmp_path: Path, endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, {"location": "/elsewhere"})]
    with opened(tmp_path) as journal:
        ids = append(journal, 2)
        sending = exporter(journal, endpoint.url)
        with pytest.raises(Unavailable, match=f"{status} and points to /elsewhere"):
            sending.step()
        assert journal.depth(READER).requests == 2
        sending.step()
        assert endpoint.spans() == ids


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("100000", 300),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now_s=90) == seconds


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it does not come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.01)
