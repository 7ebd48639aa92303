"""The way of spans out of the process: bounded, counted, and never in the program's way."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer.clients.kafka_python import KafkaProducer
from flowtrail.tracer.counts import Counts, Health
from flowtrail.tracer.export import CountingProcessor

from .spans import wait_until


class Gate(SpanExporter):
    """Exports when it is opened; keeps the sizes of the batches."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        assert self.is_open.wait(30)
        self.batches.append(len(spans))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.is_open.set()


Make = Callable[..., tuple[TracerProvider, Counts]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make a provider with a counting processor around an exporter; shut down afterwards."""
    made: list[TracerProvider] = []

    def provider(exporter: SpanExporter, **options: object) -> tuple[TracerProvider, Counts]:
        counts = Counts()
        provider = TracerProvider(shutdown_on_exit=False)
        given = {"delay_ms": 60_000.0} | options
        provider.add_span_processor(CountingProcessor(exporter, counts, **given))  # type: ignore[arg-type]
        made.append(provider)
        return provider, counts

    yield provider
    for each in made:
        each.shutdown()


def spans(provider: TracerProvider, count: int) -> None:
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("span").end()


def test_what_is_noted_is_exported(gate: Gate, make: Make) -> None:
    gate.is_open.set()
    provider, counts = make(gate, batch_size=10)
    spans(provider, 25)
    assert provider.force_flush()
    assert counts.health() == Health(noted=25, exported=25)
    assert max(gate.batches) <= 10


def test_spans_go_out_after_the_delay_without_being_asked(gate: Gate, make: Make) -> None:
    gate.is_open.set()
    provider, counts = make(gate, delay_ms=1)
    spans(provider, 1)
    wait_until(lambda: counts.health().exported == 1, "the span goes out")


def test_a_delay_longer_than_any_clock_is_waited_for_like_any_other(gate: Gate, make: Make) -> None:
    gate.is_open.set()
    provider, counts = make(gate, delay_ms=float("9" * 20))
    spans(provider, 3)
    assert provider.force_flush(30_000)
    assert counts.health() == Health(noted=3, exported=3)


def test_a_full_queue_drops_the_newest_and_counts(gate: Gate, make: Make) -> None:
    provider, counts = make(gate, queue_size=10, batch_size=5)
    spans(provider, 5)
    assert gate.entered.wait(10)
    spans(provider, 30)
    assert counts.health() == Health(noted=35, dropped=20)
    gate.is_open.set()
    assert provider.force_flush()
    assert counts.health() == Health(noted=35, exported=15, dropped=20)
    assert counts.health().dropped_because == {"queue_full": 20}


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, RuntimeError("no route")], ids=["failure", "exception"])
def test_what_cannot_be_exported_is_dropped_and_counted(
    gate: Gate, make: Make, result: SpanExportResult | Exception
) -> None:
    gate.is_open.set()
    gate.result = result
    provider, counts = make(gate)
    spans(provider, 7)
    provider.force_flush()
    assert counts.health() == Health(noted=7, dropped=7)
    assert counts.health().dropped_because == {"not_exported": 7}


def test_drops_are_logged_once_a_minute_with_their_number_and_reason(
    gate: Gate, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    gate.is_open.set()
    gate.result = RuntimeError("no route")
    provider, _ = make(gate, clock=lambda: now[0])
    for after_s in (0, 1, 30, 28.9, 1):
        now[0] += after_s
        spans(provider, 10)
        provider.force_flush()
    assert [record.getMessage() for record in caplog.records] == [
        "10 spans dropped since the last report, 10 since the start: RuntimeError: no route",
        "40 spans dropped since the last report, 50 since the start: RuntimeError: no route",
    ]


def test_unsampled_spans_are_not_noted(gate: Gate) -> None:
    counts = Counts()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(CountingProcessor(gate, counts))
    spans(provider, 3)
    gate.is_open.set()
    provider.shutdown()
    assert counts.health() == Health()


def test_shutdown_exports_what_waits_and_drops_what_comes_later(gate: Gate, make: Make) -> None:
    gate.is_open.set()
    provider, counts = make(gate)
    tracer = provider.get_tracer("test")
    late = tracer.start_span("late")
    spans(provider, 3)
    provider.shutdown()
    late.end()
    assert counts.health() == Health(noted=4, exported=3, dropped=1)
    assert not provider.force_flush()


def test_shutdown_does_not_wait_for_an_exporter_that_hangs(
    gate: Gate, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowtrail.tracer.export.SHUTDOWN_TIMEOUT_S", 0.05)
    monkeypatch.setattr("flowtrail.tracer.export.GIVE_UP_TIMEOUT_S", 0.05)
    provider, counts = make(gate, batch_size=2)
    spans(provider, 2)
    assert gate.entered.wait(10)
    spans(provider, 6)
    provider.shutdown()
    assert counts.health() == Health(noted=8, dropped=8)
    assert counts.health().dropped_because == {"shut_down": 6, "not_exported": 2}
    gate.is_open.set()
    wait_until(lambda: bool(gate.batches), "the exporter comes back after all")
    assert counts.health() == Health(noted=8, dropped=8), "a batch is counted once"


def test_flushing_an_exporter_that_hangs_gives_up_in_time(gate: Gate, make: Make) -> None:
    provider, _ = make(gate)
    spans(provider, 1)
    assert not provider.force_flush(50)
    gate.is_open.set()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_empty_and_exports_its_own(gate: Gate, make: Make) -> None:
    provider, counts = make(gate)
    spans(provider, 3)
    child = os.fork()
    if child == 0:
        gate.is_open.set()
        counts.reset_after_fork()
        spans(provider, 2)
        is_right = provider.force_flush() and counts.health() == Health(noted=2, exported=2)
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.is_open.set()
    assert provider.force_flush()
    assert counts.health() == Health(noted=3, exported=3)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a collector that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"


@pytest.fixture
def down() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"


@pytest.mark.parametrize("state", ["hanging", "down"])
def test_with_the_collector_away_sends_go_on_and_what_is_lost_is_counted_and_logged_once(
    state: str,
    request: pytest.FixtureRequest,
    broker: EmbeddedBroker,
    make: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint = request.getfixturevalue(state)
    provider, counts = make(OTLPSpanExporter(endpoint, timeout=0.3), queue_size=20, batch_size=10, delay_ms=10)
    flowtrail.set_up(tracer_provider=provider)
    with KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        for _ in range(300):
            producer.send(state, b"value", partition=0).get(20)
    # The producer's close is one too.
    wait_until(lambda: counts.health().dropped == 301, "all spans are given up")
    assert counts.health() == Health(noted=301, dropped=301)
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(messages) == 1
    assert "spans dropped since the last report" in messages[0]
    assert f", to {endpoint}: " in messages[0]
    if state == "down":
        assert "refused" in messages[-1]


class Accepting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """A test prints nothing."""


def test_with_the_collector_there_everything_arrives(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with HTTPServer(("127.0.0.1", 0), Accepting) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        provider, counts = make(OTLPSpanExporter(f"http://127.0.0.1:{server.server_port}/v1/traces"))
        spans(provider, 1000)
        assert provider.force_flush()
        provider.shutdown()
        server.shutdown()
        serving.join()
    assert counts.health() == Health(noted=1000, exported=1000)
    assert caplog.records == []
