"""Over OTLP/gRPC noted spans go out as over HTTP: encoded by template, counted, and never in the program's way."""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from flowtrail.tracer.counts import Counts, Health
from flowtrail.tracer.export import CountingProcessor
from flowtrail.tracer.fast_path.deferred_span import DeferredSpan
from flowtrail.tracer.fast_path.deferring import Deferring, plan
from flowtrail.tracer.fast_path.otlp_grpc import GrpcExporter, requests, requests_of
from flowtrail.tracer.fast_path.otlp_template import encode_noted
from flowtrail.tracer.fast_path.sdk_span import readable
from flowtrail.tracer.interceptor import Chain
from flowtrail.tracer.record import Client, Polled, Received
from flowtrail.tracer.tracing import Tracing, end_process

from .spans import wait_until

CLIENT = Client("till-4", "billing")


class Receiver(TraceServiceServicer):
    """Takes spans over gRPC. `refusals` are the codes of its next answers; closed, its gate lets it answer none."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests = 0
        self.headers: dict[str, Any] = {}
        self.refusals: list[grpc.StatusCode] = []
        self.gate = threading.Event()
        self.gate.set()

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.gate.wait(30)
        self.requests += 1
        if self.refusals:
            context.abort(self.refusals.pop(0), "not now")
        self.headers = dict(context.invocation_metadata())
        self.spans += flat(request)
        return ExportTraceServiceResponse()


def flat(request: ExportTraceServiceRequest) -> list[Span]:
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield receiver
    receiver.gate.set()
    server.stop(None).wait(10)


Made = tuple[Tracing, TracerProvider, Counts]


@pytest.fixture
def make() -> Iterator[Callable[..., Made]]:
    """Make tracing that exports over gRPC, as the variables say; it is shut down afterwards."""
    made: list[TracerProvider] = []

    def tracing(**options: Any) -> Made:
        counts, provider = Counts(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(CountingProcessor(GrpcExporter(), counts, **{"delay_ms": 60_000} | options))
        made.append(provider)
        return Tracing(provider), provider, counts

    yield tracing
    for provider in made:
        provider.shutdown()


def send(tracing: Tracing, times: int = 1) -> None:
    chain = Chain(last=tracing)
    for _ in range(times):
        chain.acknowledge(chain.send(CLIENT, "orders", b"key", b"value", None), 3, 42)


def received(number: int, key: bytes = b"key") -> list[Received]:
    return [Received(CLIENT, "orders", 3, offset, key, 1_700_000_000_000, ()) for offset in range(number)]


def test_noted_spans_go_out_without_one_of_the_sdks_being_made(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a span of the SDK was made")

    monkeypatch.setattr("flowtrail.tracer.export.readable", fail)
    tracing, provider, counts = make()
    send(tracing)
    end_process(tracing.start_process(CLIENT, received(1), is_batch=False)[0], None)
    Chain(last=tracing).consume(Polled(CLIENT, received(3), 1))
    assert provider.force_flush()
    assert [span.name for span in receiver.spans] == ["send orders", "process orders", "poll orders"]
    assert counts.health() == Health(noted=3, exported=3)


def test_the_sdks_own_spans_leave_in_the_same_request(receiver: Receiver, make: Callable[..., Made]) -> None:
    tracing, provider, counts = make()
    send(tracing)
    provider.get_tracer("test").start_span("own").end()
    assert provider.force_flush()
    assert ([span.name for span in receiver.spans], receiver.requests) == (["send orders", "own"], 1)
    provider.get_tracer("test").start_span("alone").end()
    assert provider.force_flush()
    assert receiver.spans[-1].name == "alone"
    assert counts.health() == Health(noted=3, exported=3)


def test_more_than_a_server_takes_at_once_goes_in_several_requests(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing, provider, counts = make()
    for _ in range(10):
        Chain(last=tracing).consume(Polled(CLIENT, received(100, b"k" * 1000), 1))
        Chain(last=tracing).consume(Polled(CLIENT, received(100, b"k" * 1000), 1))
        Chain(last=tracing).consume(Polled(CLIENT, received(100, b"k" * 1000), 1))
        own = provider.get_tracer("test").start_span("own")
        own.set_attribute("large", "x" * 500_000)
        own.end()
    assert provider.force_flush()
    assert counts.health() == Health(noted=40, exported=40)
    assert receiver.requests > 2
    assert len(receiver.spans) == 40


@pytest.mark.parametrize("refused", [1, 2])
def test_of_several_requests_each_is_counted_by_its_own_answer(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    monkeypatch.setattr("flowtrail.tracer.fast_path.otlp_grpc.requests", in_two)
    receiver.refusals = [grpc.StatusCode.INVALID_ARGUMENT] * refused
    tracing, provider, counts = make()
    send(tracing, 5)
    provider.force_flush()
    exported = {1: 2, 2: 0}[refused]
    assert counts.health() == Health(noted=5, exported=exported, dropped=5 - exported)
    assert len(receiver.spans) == exported


def in_two(encoded: list[bytes], deferring: Deferring, ready: list[ReadableSpan]) -> Iterator[Any]:
    for portion in (encoded[:3], encoded[3:]):
        yield from requests(portion, deferring, ready)


def test_a_collector_that_comes_back_gets_what_it_had_refused(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.exporter.otlp.proto.grpc.exporter.random.uniform", lambda least, most: 0.001)
    receiver.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    tracing, provider, counts = make()
    send(tracing, 2)
    assert provider.force_flush()
    assert (receiver.requests, len(receiver.spans)) == (3, 2)
    assert counts.health() == Health(noted=2, exported=2)


PROGRAM = """
import multiprocessing, types
import flowtrail
from opentelemetry import trace

def work(topic):
    record = types.SimpleNamespace(topic=topic, partition=0, offset=1, key=None, value=b"", headers=[])
    with flowtrail.process(record): pass

flowtrail.set_up(service="till")
work("before")
trace.get_tracer_provider().force_flush()
child = multiprocessing.get_context("fork").Process(target=work, args=("child",))
child.start(); child.join(); work("parent")
"""


def test_a_forked_child_exports_over_a_channel_of_its_own(receiver: Receiver) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM],  # of forking with threads
        env=os.environ | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [span.name for span in receiver.spans] == ["process before", "process child", "process parent"]


TOLD = ("endpoint", "insecure", "headers", "timeout", "compression", "channel_options", "retryable_error_codes")
VARIABLES: list[dict[str, str]] = [
    {},
    {"ENDPOINT": "http://collector:1234", "HEADERS": "a=1,b=two", "TIMEOUT": "3", "COMPRESSION": "gzip"},
    {"TRACES_ENDPOINT": "collector:1", "TRACES_INSECURE": "true", "TRACES_HEADERS": "a=1", "TRACES_TIMEOUT": "2"},
    {"ENDPOINT": "https://collector:1234", "TRACES_COMPRESSION": "gzip"},
]


@pytest.mark.parametrize("variables", VARIABLES)
def test_every_variable_counts_as_for_the_stock_exporter(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", text)
    told = []
    for exporter in (GrpcExporter(), OTLPSpanExporter()):
        told.append([getattr(exporter, f"_{name}", None) for name in TOLD] + [exporter._credentials is None])
        exporter.shutdown()
    assert told[0] == told[1]


def test_headers_and_compression_reach_the_collector(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "tenant=north")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    tracing, provider, _ = make()
    send(tracing)
    assert provider.force_flush()
    assert receiver.headers["tenant"] == "north"
    assert len(receiver.spans) == 1


@pytest.mark.parametrize("state", ["hanging", "down"])
def test_with_the_collector_away_what_is_lost_is_counted_and_logged_once(
    state: str,
    receiver: Receiver,
    make: Callable[..., Made],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    receiver.gate.clear()
    if state == "down":
        with socket.create_server(("127.0.0.1", 0)) as server:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    tracing, _, counts = make(queue_size=20, batch_size=10, delay_ms=10)
    send(tracing, 300)
    wait_until(lambda: counts.health().dropped == 300, "all spans are given up")
    assert counts.health() == Health(noted=300, dropped=300)
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "spans dropped since the last report" in message


def test_shutdown_does_not_wait_for_a_collector_that_hangs(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowtrail.tracer.export.SHUTDOWN_TIMEOUT_S", 0.05)
    receiver.gate.clear()
    tracing, provider, counts = make(batch_size=2)
    send(tracing, 8)
    provider.shutdown()
    health = counts.health()
    assert (health.noted, health.exported, health.dropped) == (8, 0, 8)
    (processor,) = provider._active_span_processor._span_processors
    assert isinstance(processor, CountingProcessor)
    wait_until(lambda: not processor._drain._thread.is_alive(), "the call in hand is given up with the channel")


def test_where_the_exporter_is_not_as_it_is_known_spans_go_out_all_the_same(
    receiver: Receiver, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(exporter: Any) -> None:
        initialize(exporter)  # type: ignore[no-untyped-call]
        exporter._wire, exporter._channel = exporter._channel, None

    initialize = OTLPSpanExporter._initialize_channel_and_stub
    monkeypatch.setattr(OTLPSpanExporter, "_initialize_channel_and_stub", connect)
    tracing, provider, counts = make()
    send(tracing, 3)
    assert provider.force_flush()
    (processor,) = provider._active_span_processor._span_processors
    assert isinstance(processor, CountingProcessor)
    assert processor._export_template is None
    assert counts.health() == Health(noted=3, exported=3)
    assert [span.name for span in receiver.spans] == ["send orders"] * 3
    processor._exporter._wire.close()  # type: ignore[attr-defined]


def test_what_arrives_is_what_the_stock_exporter_sends(receiver: Receiver, make: Callable[..., Made]) -> None:
    tracing, provider, _ = make()
    deferring = plan(provider.get_tracer("flowtrail.tracer", "1.2"), provider)
    assert deferring is not None
    (noted,), _ = tracing.start_process(CLIENT, received(3), is_batch=True)
    assert isinstance(noted, DeferredSpan)
    noted.end_ns = noted.start_ns + 1
    encoded: list[bytes] = []
    encode_noted(noted, encoded)
    ours, theirs = GrpcExporter(), OTLPSpanExporter()
    assert ours.export_noted(encoded, deferring, []) == 1
    assert theirs.export([readable(span, deferring) for span in noted.described()]) is SpanExportResult.SUCCESS
    ours.shutdown()
    theirs.shutdown()
    assert receiver.spans[0] == receiver.spans[1]


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 6), st.integers(1, 400))
def test_whatever_the_portions_nothing_is_lost_doubled_or_changed(
    names: list[bytes], number_ready: int, most_bytes: int
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(CountingProcessor(GrpcExporter(), Counts()))
    deferring = plan(provider.get_tracer("flowtrail.tracer"), provider)
    assert deferring is not None
    ready = [ended(provider, f"own {number}") for number in range(number_ready)]
    encoded = [b"\x12" + bytes([len(name) + 2]) + b"\x0a" + bytes([len(name)]) + name for name in names]
    made = list(requests(encoded, deferring, ready, most_bytes))
    parsed = [ExportTraceServiceRequest.FromString(each.data) for each in made]
    provider.shutdown()
    assert [each.spans for each in made] == [len(flat(each)) for each in parsed]
    assert all(each.spans for each in made)
    assert [span.trace_id for each in parsed for span in flat(each)][: len(names)] == names
    assert [span for each in parsed for span in flat(each)][len(names) :] == flat(encode_spans(ready))
    assert sum(each.spans for each in requests_of(ready, most_bytes)) == number_ready


def ended(provider: TracerProvider, name: str) -> ReadableSpan:
    span = provider.get_tracer("test").start_span(name)
    assert isinstance(span, ReadableSpan)
    return span
