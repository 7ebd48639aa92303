"""A program with batch processors and OTLP exporters of its own sees the SDK's spans, and pays for a template's."""

import http.server
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc
from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext

from flowtrail.tracer import attributes as names
from flowtrail.tracer.configuration import CONFIGURATION, Configuration
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.fast_path import hand_over
from flowtrail.tracer.fast_path.deferring import Deferring, plan
from flowtrail.tracer.fast_path.hand_over import HandOver
from flowtrail.tracer.fast_path.noted_span import NotedSpan, are_stock, encode
from flowtrail.tracer.fast_path.sdk_span import readable
from flowtrail.tracer.interceptor import Chain
from flowtrail.tracer.record import Client, Polled, Received
from flowtrail.tracer.tracing import Tracing, end_process

from .spans import wait_until
from .test_fast_path import Keeping, Sent, a_configuration, a_parent, a_record, a_send
from .test_fast_path import _processed as processed
from .test_otlp_grpc import Receiver, flat

CLIENT = Client("till-4", "billing")
SENT = Sent(b"key", False, 3, 42, [], None, None, None)


@pytest.fixture(params=["http", "grpc"])
def exporter(request: pytest.FixtureRequest) -> Iterator[tuple[SpanExporter, Receiver]]:
    """A stock exporter, and what it sends to."""
    receiver = Receiver()
    if request.param == "grpc":
        server = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield over_grpc.OTLPSpanExporter(address, insecure=True), receiver
        receiver.gate.set()
        server.stop(None).wait(10)
        return

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.Export(ExportTraceServiceRequest.FromString(body), self)
            self.send_response(200)
            self.end_headers()

        def invocation_metadata(self) -> dict[str, str]:
            return dict(self.headers)

        def log_message(self, *_: object) -> None:
            """A test prints nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        serving = threading.Thread(target=web.serve_forever)
        serving.start()
        yield over_http.OTLPSpanExporter(f"http://127.0.0.1:{web.server_port}/v1/traces"), receiver
        receiver.gate.set()
        web.shutdown()
        serving.join()


Made = tuple[Tracing, TracerProvider]


@pytest.fixture
def make() -> Iterator[Callable[..., Made]]:
    """Make tracing over a provider with these processors; it is left and shut down afterwards."""
    made: list[Made] = []

    def tracing(*processors: SpanProcessor) -> Made:
        provider = TracerProvider(shutdown_on_exit=False)
        for processor in processors:
            provider.add_span_processor(processor)
        made.append((Tracing(provider), provider))
        return made[-1]

    yield tracing
    for tracing_, provider in made:
        tracing_.rest()
        provider.shutdown()
    assert over_http.encode_spans is over_grpc.encode_spans is encode_spans  # type: ignore[attr-defined]


def send(tracing: Tracing, times: int = 1) -> None:
    chain = Chain(last=tracing)
    for _ in range(times):
        chain.acknowledge(chain.send(CLIENT, "orders", b"key", b"value", None), 3, 42)


def received(number: int) -> list[Received]:
    return [Received(CLIENT, "orders", 3, offset, b"key", 1_700_000_000_000, ()) for offset in range(number)]


def do_everything(tracing: Tracing) -> None:
    send(tracing)
    for number, is_batch in ((1, False), (200, True)):
        end_process(tracing.start_process(CLIENT, received(number), is_batch=is_batch)[0], None)
    Chain(last=tracing).consume(Polled(CLIENT, received(3), 1))


ALL = ["send orders", "process orders", "process orders", "process orders", "poll orders"]


def fail(*_: object) -> None:
    raise AssertionError("a span of the SDK was made")


def test_a_stock_exporter_sends_noted_spans_without_one_of_the_sdks_being_made(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowtrail.tracer.fast_path.noted_span.readable", fail)
    before = COUNTS.health().interceptor_errors
    tracing, provider = make(BatchSpanProcessor(exporter[0]))
    do_everything(tracing)
    provider.get_tracer("test").start_span("own").end()
    assert provider.force_flush()
    assert sorted(span.name for span in exporter[1].spans) == sorted([*ALL, "own"])
    assert COUNTS.health().interceptor_errors == before


def test_what_waits_goes_out_when_the_provider_shuts_down(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made]
) -> None:
    tracing, provider = make(BatchSpanProcessor(exporter[0]))
    send(tracing, 3)
    provider.shutdown()
    assert len(exporter[1].spans) == 3


def test_what_waits_goes_out_when_the_provider_is_left_and_nothing_of_ours_stays(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made]
) -> None:
    processor = BatchSpanProcessor(exporter[0])
    tracing, provider = make(processor)
    do_everything(tracing)
    wait_until(lambda: over_http.encode_spans is encode, "ours is in its place")  # type: ignore[attr-defined]
    other, _ = make(BatchSpanProcessor(exporter[0]))
    send(other)
    other.rest()
    tracing.rest()
    assert over_http.encode_spans is over_grpc.encode_spans is encode_spans  # type: ignore[attr-defined]
    assert provider._active_span_processor._span_processors == (processor,)
    assert provider.force_flush()
    assert {*ALL} == {span.name for span in exporter[1].spans}


def test_what_follows_one_who_has_left_puts_nothing_in_again(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "LEAVE_TIMEOUT_S", 0)
    tracing, provider = make(BatchSpanProcessor(exporter[0]))
    before = COUNTS.health().exported
    send(tracing, 3)
    tracing.rest()
    wait_until(lambda: COUNTS.health().exported == before + 3, "they follow")
    assert over_http.encode_spans is encode_spans  # type: ignore[attr-defined]
    assert provider.force_flush()
    assert len(exporter[1].spans) == 3


def test_one_who_leaves_takes_nothing_from_another(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make(BatchSpanProcessor(exporter[0])), make(BatchSpanProcessor(exporter[0]))
    for tracing, provider in (first, second):
        send(tracing)
        assert provider.force_flush()
    first[0].rest()
    monkeypatch.setattr("flowtrail.tracer.fast_path.noted_span.readable", fail)
    send(second[0])
    assert second[1].force_flush()
    assert len(exporter[1].spans) == 3


def test_an_encoder_that_fails_leaves_it_to_the_stock_one(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr("flowtrail.tracer.fast_path.noted_span.encode_noted", refuse)
    before = COUNTS.health().interceptor_errors
    tracing, provider = make(BatchSpanProcessor(exporter[0]))
    send(tracing, 2)
    assert provider.force_flush()
    assert [span.name for span in exporter[1].spans] == ["send orders"] * 2
    assert COUNTS.health().interceptor_errors == before + 1


class Scrubbing(over_http.OTLPSpanExporter):
    """What programs do to spans before they leave."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return super().export(spans)


class Filtering(BatchSpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)


def others() -> list[list[SpanProcessor]]:
    stock = over_http.OTLPSpanExporter
    return [
        [Keeping()],
        [BatchSpanProcessor(Scrubbing())],
        [Filtering(stock())],
        [BatchSpanProcessor(stock()), Keeping()],
    ]


@pytest.mark.parametrize("number", range(4))
def test_whoever_has_more_than_the_stock_ones_gets_the_sdks_very_spans(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    given: list[ReadableSpan] = []
    monkeypatch.setattr(hand_over, "_end", lambda finished, behind: given.append(finished))
    tracing, provider = make(*others()[number])
    do_everything(tracing)
    assert provider._active_span_processor._span_processors[0].force_flush()
    assert [type(span) for span in given] == [ReadableSpan] * 5
    assert over_http.encode_spans is encode_spans  # type: ignore[attr-defined]


def test_an_encoder_that_somebody_else_replaced_stays(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encode_spans(spans)

    with monkeypatch.context() as patched:
        patched.setattr(over_http, "encode_spans", theirs)
        assert not are_stock([BatchSpanProcessor(over_http.OTLPSpanExporter())])


def test_spans_wait_for_room_in_the_sdks_queue_so_that_none_is_lost_uncounted(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made]
) -> None:
    exporter[1].gate.clear()
    tracing, provider = make(BatchSpanProcessor(exporter[0], max_queue_size=64, max_export_batch_size=32))
    before = COUNTS.health()
    send(tracing, 1000)
    exporter[1].gate.set()
    wait_until(lambda: COUNTS.health().exported - before.exported == 1000, "all are handed over")
    assert provider.force_flush()
    assert len(exporter[1].spans) == 1000
    assert COUNTS.health().dropped == before.dropped


def test_a_worker_that_missed_its_full_queue_is_told_again(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = BatchSpanProcessor(
        exporter[0], max_queue_size=4, max_export_batch_size=4, schedule_delay_millis=1_000_000
    )
    awaken = processor._batch_processor._worker_awaken
    missed: list[None] = []
    monkeypatch.setattr(awaken, "set", lambda: type(awaken).set(awaken) if missed else missed.append(None))
    tracing, _ = make(processor)
    before = COUNTS.health().exported
    send(tracing, 5)
    wait_until(lambda: COUNTS.health().exported - before == 5, "there is room for the fifth")
    assert missed


def test_what_finds_no_room_until_the_end_is_counted(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "SHUTDOWN_TIMEOUT_S", 0.05)
    exporter[1].gate.clear()
    processor = BatchSpanProcessor(exporter[0], max_queue_size=64, max_export_batch_size=32)
    tracing, provider = make(processor)
    before = COUNTS.health()
    send(tracing, 1000)
    first = provider._active_span_processor._span_processors[0]
    assert isinstance(first, HandOver)
    first.shutdown()
    wait_until(lambda: not first._drain._thread.is_alive(), "the thread gives up")
    after = COUNTS.health()
    exported, dropped = after.exported - before.exported, after.dropped - before.dropped
    assert after.noted - before.noted == 1000 == exported + dropped
    assert 64 <= exported <= 64 + 32
    exporter[1].gate.set()
    processor.force_flush()
    assert len(exporter[1].spans) == exported


def test_a_full_queue_keeps_nothing_from_another_processor(
    exporter: tuple[SpanExporter, Receiver], make: Callable[..., Made]
) -> None:
    exporter[1].gate.clear()
    keeping = Keeping()
    tracing, provider = make(BatchSpanProcessor(exporter[0], max_queue_size=8, max_export_batch_size=4), keeping)
    send(tracing, 100)
    assert provider._active_span_processor._span_processors[0].force_flush()
    assert len(keeping.ended) == 100
    exporter[1].gate.set()


def test_leaving_does_not_wait_for_a_processor_that_hangs_and_loses_nothing(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "LEAVE_TIMEOUT_S", 0.05)
    keeping = Keeping()
    keeping.gate = threading.Event()
    tracing, _ = make(keeping)
    before = COUNTS.health()
    send(tracing, 2 * hand_over.BATCH_SIZE)
    tracing.rest()
    assert keeping.ended == []
    keeping.gate.set()
    wait_until(lambda: len(keeping.ended) == 2 * hand_over.BATCH_SIZE, "they follow")
    wait_until(lambda: COUNTS.health().exported - before.exported == 2 * hand_over.BATCH_SIZE, "they are counted")
    assert COUNTS.health().dropped == before.dropped


# What a noted span is to who looks at it


@pytest.fixture
def deferring() -> Iterator[Deferring]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keeping())
    found = plan(provider.get_tracer("flowtrail.tracer", "1.2"), provider)
    assert found is not None
    yield found
    found.leave()
    provider.shutdown()


def noted(
    deferring: Deferring, records: Sequence[Received], parent: SpanContext | None, sent: Sent = SENT
) -> list[NotedSpan]:
    one = processed(deferring, list(records[:1]), parent, False)
    batch = processed(deferring, [*records, *records], parent, True)
    # Sampled whatever the parent: `processed` sees to that.
    send = sent.of(deferring, records[0].client, records[0].topic, parent)
    made = [(send, False), (one, False), *((span, True) for span in batch.described())]
    return [NotedSpan(span, deferring, is_described=is_described) for span, is_described in made]  # type: ignore[arg-type]


def test_it_is_the_sdks_span_in_every_property(deferring: Deferring) -> None:
    for span in noted(deferring, received(3), None):
        note, _, is_described = span._note
        context = span.context
        assert span.is_untouched
        if not is_described:
            note.described()  # type: ignore[attr-defined]
        theirs = readable(note, deferring)
        assert isinstance(span, ReadableSpan)
        assert span.to_json() == theirs.to_json()
        assert span.get_span_context() is context
        assert {name: value for name, value in vars(span).items() if name in vars(theirs)}.keys() == vars(theirs).keys()
        assert not span.is_untouched
        with pytest.raises(AttributeError, match="nothing"):
            span.nothing  # noqa: B018


def test_what_is_changed_on_it_is_what_is_exported(deferring: Deferring) -> None:
    renamed, scrubbed, _ = noted(deferring, received(1), None)
    renamed._name = "mine"
    assert scrubbed.attributes is not None
    scrubbed._attributes = {names.KEY: "***"}
    first, second = flat(encode([renamed, scrubbed]))
    assert first.name == "mine"
    assert [attribute.value.string_value for attribute in second.attributes] == ["***"]


def test_one_that_cannot_be_described_keeps_the_trace_together(
    deferring: Deferring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr("flowtrail.tracer.fast_path.noted_span.readable", refuse)
    monkeypatch.setattr("flowtrail.tracer.fast_path.noted_span.encode_noted", refuse)
    (span, *_) = noted(deferring, received(1), None)
    (found,) = flat(encode([span]))
    assert span.context is not None
    assert int.from_bytes(found.span_id, "big") == span.context.span_id


@given(
    st.lists(a_record, min_size=1, max_size=3),
    a_send,
    a_parent,
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.just(Configuration()) | a_configuration,
)
def test_it_is_encoded_as_the_sdks_span_is_whether_somebody_looked_or_not(
    records: list[Received],
    sent: Sent,
    parent: SpanContext | None,
    is_looked_at: list[bool],
    configuration: Configuration,
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keeping())
    deferring = plan(provider.get_tracer("flowtrail.tracer", "1.2"), provider)
    assert deferring is not None
    before, CONFIGURATION.now = CONFIGURATION.now, configuration
    try:
        made = noted(deferring, records, parent, sent)
        for span, is_read in zip(made, is_looked_at, strict=True):
            assert not is_read or span.name
        ours = encode(made)
        theirs = encode_spans([*made])
    finally:
        CONFIGURATION.now = before
        deferring.leave()
        provider.shutdown()
    assert by_id(ours) == by_id(theirs)
    assert len(ours.resource_spans) == len({*is_looked_at})


def by_id(message: ExportTraceServiceRequest) -> dict[bytes, Span]:
    found = {span.span_id: span for span in flat(message)}
    assert len(found) == 3
    for resource in message.resource_spans:
        assert resource.resource == message.resource_spans[0].resource
        assert [scope.scope for scope in resource.scope_spans] == [message.resource_spans[0].scope_spans[0].scope]
    return found
