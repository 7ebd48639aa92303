"""The fast path makes the same spans as the ordinary one, wherever it is taken, and is not taken where it could not."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from flowtrail.tracer import attributes as names
from flowtrail.tracer.configuration import CONFIGURATION, Configuration
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.export import QUEUE_SIZE
from flowtrail.tracer.fast_path import otlp_records
from flowtrail.tracer.fast_path.deferred_span import DeferredSpan, PollNote
from flowtrail.tracer.fast_path.deferring import Deferring, plan
from flowtrail.tracer.fast_path.drain import MOST_RECORDS, Drain
from flowtrail.tracer.fast_path.hand_over import BATCH_SIZE
from flowtrail.tracer.fast_path.otlp_bytes import encode_attributes
from flowtrail.tracer.fast_path.otlp_template import encode_noted, request
from flowtrail.tracer.fast_path.samplers import decider
from flowtrail.tracer.fast_path.sdk_span import Noted, readable
from flowtrail.tracer.interceptor import ABORTED, COMMITTED, UNKNOWN, Chain
from flowtrail.tracer.record import Client, Committed, Event, Header, Polled, Received
from flowtrail.tracer.tracing import Tracing, end_process
from flowtrail.tracer.under_way import Sending, Transaction

from .spans import wait_until

CLIENT = Client("till-4", "billing", "member-1", "cluster-1", "localhost", 9092)


class Keeping(SpanProcessor):
    """Keeps what ended."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []
        self.gate: threading.Event | None = None

    def on_end(self, span: ReadableSpan) -> None:
        assert self.gate is None or self.gate.wait(20)
        self.ended.append(span)


class Counting(IdGenerator):
    """Ids from 1 on, so that two providers give the same ones."""

    def __init__(self) -> None:
        self._traces = self._spans = 0

    def generate_trace_id(self) -> int:
        self._traces += 1
        return self._traces

    def generate_span_id(self) -> int:
        self._spans += 1
        return self._spans

    def is_trace_id_random(self) -> bool:
        return True


Made = tuple[Tracing, TracerProvider, Keeping]


@pytest.fixture
def make() -> Iterator[Callable[..., Made]]:
    """Make tracing over a provider of its own, fast or ordinary; it is shut down afterwards."""
    made: list[Made] = []

    def tracing(*, is_fast: bool = True, **options: object) -> Made:
        provider = TracerProvider(shutdown_on_exit=False, id_generator=Counting(), **options)  # type: ignore[arg-type]
        keeping = Keeping()
        # A span that is asked for at its end must be made at once.
        provider.add_span_processor(keeping if is_fast else Watching(keeping))
        made.append((Tracing(provider), provider, keeping))
        return made[-1]

    yield tracing
    for tracing_, provider, _ in made:
        tracing_.rest()
        provider.shutdown()


class Watching(SpanProcessor):
    """Does something when a span starts: the fast path is closed."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Only that it is there counts."""

    def on_end(self, span: ReadableSpan) -> None:
        self._keeping.ended.append(span)


def send(tracing: Tracing, headers: Sequence[Header] | None = None, *, error: Exception | None = None) -> list[Header]:
    chain = Chain(last=tracing)
    sending = chain.send(CLIENT, "orders", b"key", b"value", headers)
    sent = list(sending.headers or ())
    chain.acknowledge(sending, None if error else 3, None if error else 42, error=error)
    return sent


def received(number: int = 1, headers: Sequence[Header] = (), **facts: object) -> list[Received]:
    return [
        Received(CLIENT, "orders", 3, offset, b"key", 1_700_000_000_000, headers, **facts)  # type: ignore[arg-type]
        for offset in range(number)
    ]


def do_everything(tracing: Tracing) -> list[list[Header]]:
    """One of each; returns the headers that were sent."""
    chain = Chain(last=tracing)
    carried: list[Header] = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    sent = [send(tracing), send(tracing, [("colour", b"red")]), send(tracing, error=ValueError("no"))]
    chain.consume(Polled(CLIENT, received(3, carried), 1, [Event("seek", {names.OFFSET: 7}, 2)]))
    chain.commit(Committed(CLIENT, {("orders", 3): 8, ("orders", 4): 9}, 5))
    for records, is_batch in ((received(1, carried), False), (received(4, carried), True), (received(1), True)):
        spans, inside = tracing.start_process(CLIENT, records, is_batch=is_batch, is_inferred=is_batch)
        token = context.attach(inside)
        sent.append(send(tracing))
        context.detach(token)
        end_process(spans, None)
    transaction = chain.begin_transaction(CLIENT, "tx")
    sending = chain.send(CLIENT, "orders", None, None, None, 2, None, transaction)
    chain.acknowledge(sending, 2, 1)
    chain.end_transaction(transaction, ABORTED)
    return sent


def told(span: ReadableSpan) -> object:
    """What a span says, without times and ids (a poll's are drawn when it is described)."""
    links = [(link.context, dict(link.attributes or {})) for link in span.links]
    events = [(event.name, dict(event.attributes or {})) for event in span.events if event.name != "exception"]
    scope = span.instrumentation_scope
    return (
        span.name, span.kind, sorted((span.attributes or {}).items()), links, events, span.status.status_code,
        span.status.description, span.parent is not None, scope.name if scope else None, span.resource.attributes,
    )  # fmt: skip


def test_every_operation_makes_the_same_spans_on_either_path(make: Callable[..., Made]) -> None:
    resource = Resource.create({"service.name": "shop"})
    found = []
    for is_fast in (True, False):
        tracing, provider, keeping = make(is_fast=is_fast, resource=resource)
        assert len(do_everything(tracing)) == 6
        assert provider.force_flush()
        found.append(sorted(map(repr, map(told, keeping.ended))))
    assert found[0] == found[1]
    assert len(found[0]) == 13


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_key_that_the_program_changes_after_the_send_is_noted_as_it_was(
    make: Callable[..., Made], is_fast: bool
) -> None:
    tracing, provider, keeping = make(is_fast=is_fast)
    key = bytearray(b"key-A")
    chain = Chain(last=tracing)
    sending = chain.send(CLIENT, "orders", key, b"value", None)
    key[:] = b"key-B"
    chain.acknowledge(sending, 0, 1)
    provider.force_flush()
    assert (keeping.ended[0].attributes or {})[names.KEY] == "key-A"


@pytest.mark.parametrize(("is_fast", "where"), [(True, "flowtrail-spans"), (False, "MainThread")])
def test_redact_is_called_where_a_span_is_described(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, is_fast: bool, where: str
) -> None:
    seen: list[tuple[str, str | None]] = []

    def redact(attribute: str, text: str) -> str:
        seen.append((threading.current_thread().name, tenant.get()))
        return text

    monkeypatch.setattr(CONFIGURATION, "now", Configuration(redact=redact))
    tenant: ContextVar[str | None] = ContextVar("tenant", default=None)
    given = tenant.set("north")
    tracing, provider, _ = make(is_fast=is_fast)
    send(tracing)
    provider.force_flush()
    (process,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
    process.set_attribute("touched", True)
    process.end()
    tenant.reset(given)
    assert seen == [(where, None if is_fast else "north"), ("MainThread", "north")]


def test_a_send_is_given_the_same_headers_on_either_path(make: Callable[..., Made]) -> None:
    fast, ordinary = (make(is_fast=is_fast)[0] for is_fast in (True, False))
    for headers in (None, [], [("colour", b"red")], [("traceparent", b"nonsense")]):
        assert send(fast, headers) == send(ordinary, headers)


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
@pytest.mark.parametrize("state", [None, TraceState([("vendor", "x")])], ids=["no state", "state"])
@pytest.mark.parametrize("is_remote", [True, False])
def test_a_child_has_its_parents_trace_flags_and_state_on_either_path(
    make: Callable[..., Made], flags: int, state: TraceState | None, is_remote: bool
) -> None:
    parent = NonRecordingSpan(SpanContext(5, 6, is_remote, TraceFlags(flags), state))
    token = context.attach(trace.set_span_in_context(parent))
    sent, found = [], []
    for is_fast in (True, False):
        tracing, provider, keeping = make(is_fast=is_fast)
        sent.append(send(tracing))
        provider.force_flush()
        found.append([(span.context, span.parent) for span in keeping.ended])
    context.detach(token)
    assert sent[0] == sent[1]
    assert found[0] == found[1]


SAMPLERS = [
    ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF, TraceIdRatioBased(0.0), TraceIdRatioBased(0.5),
    TraceIdRatioBased(1.0), ParentBasedTraceIdRatio(0.5),
    ParentBased(ALWAYS_OFF, TraceIdRatioBased(0.3), ALWAYS_ON, ALWAYS_OFF, TraceIdRatioBased(0.7)),
]  # fmt: skip


@given(
    st.sampled_from(SAMPLERS),
    st.integers(1, 2**128 - 1),
    st.one_of(st.none(), st.tuples(st.booleans(), st.integers(0, 3))),
)
def test_a_sampler_of_the_sdk_decides_as_it_would_itself(
    sampler: Sampler, trace_id: int, parent: tuple[bool, int] | None
) -> None:
    there = None if parent is None else SpanContext(trace_id, 7, parent[0], TraceFlags(parent[1]))
    around = Context() if there is None else trace.set_span_in_context(NonRecordingSpan(there), Context())
    decide = decider(sampler)
    assert decide is not None
    assert decide(trace_id, there) is sampler.should_sample(around, trace_id, "send orders").decision.is_sampled()  # type: ignore[no-untyped-call]


def test_a_trace_that_is_not_sampled_is_carried_on_unsampled_and_makes_no_span(make: Callable[..., Made]) -> None:
    sent = []
    for is_fast in (True, False):
        tracing, provider, keeping = make(is_fast=is_fast, sampler=ALWAYS_OFF)
        sent.append(do_everything(tracing))
        provider.force_flush()
        assert keeping.ended == []
    assert sent[0][:3] == sent[1][:3]  # polls draw their ids later
    assert (sent[0][0][0][1] or b"").endswith(b"-02")


class Named(Sampler):
    """Looks at more than ids."""

    should_sample = ALWAYS_ON.should_sample

    def get_description(self) -> str:
        return "named"


class Simple(SimpleSpanProcessor):
    def __init__(self) -> None:
        super().__init__(InMemorySpanExporter())


class Ending(SpanProcessor):
    def _on_ending(self, span: Span) -> None:
        """Only that it is there counts."""


class Changed(TraceIdRatioBased):
    def should_sample(self, *arguments: object, **named: object) -> object:  # type: ignore[override]
        return super().should_sample(*arguments, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "processor"),
    [
        ({"sampler": Named()}, Keeping),
        ({"sampler": Changed(1.0)}, Keeping),
        ({"sampler": StaticSampler(Decision.RECORD_ONLY)}, Keeping),
        ({"sampler": ParentBased(Named())}, Keeping),
        ({"span_limits": SpanLimits(max_span_attributes=10)}, Keeping),
        ({"span_limits": SpanLimits(max_span_attribute_length=10)}, Keeping),
        ({}, lambda: Watching(Keeping())),
        ({}, Ending),
        ({}, Simple),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_it_is_not_taken_where_somebody_could_tell(
    options: dict[str, object], processor: Callable[[], SpanProcessor]
) -> None:
    provider = TracerProvider(shutdown_on_exit=False, **options)  # type: ignore[arg-type]
    provider.add_span_processor(processor())
    assert plan(provider.get_tracer("test"), provider) is None
    assert not any(type(each).__name__ == "HandOver" for each in provider._active_span_processor._span_processors)
    provider.shutdown()


def test_it_is_taken_with_the_sdks_batch_processor_whose_exporter_gets_every_span() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracing = Tracing(provider)
    send(tracing)
    assert provider.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["send orders"]
    send(tracing)
    provider.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["send orders"] * 2


def test_it_can_be_switched_off(make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(fast_path=False))
    tracing, provider, keeping = make()
    send(tracing)
    assert len(provider._active_span_processor._span_processors) == 1
    assert [span.name for span in keeping.ended] == ["send orders"]


def test_a_processor_that_is_added_later_is_seen(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    send(tracing)
    late = Keeping()
    provider.add_span_processor(late)
    send(tracing)
    provider.force_flush()
    assert (len(keeping.ended), len(late.ended)) in {(2, 1), (2, 2)}
    provider.add_span_processor(Watching(Keeping()))
    send(tracing)
    assert (len(keeping.ended), len(late.ended)) in {(3, 2), (3, 3)}


def test_a_provider_that_is_left_is_as_it_was(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    before = provider._active_span_processor._span_processors
    send(tracing)
    tracing.rest()
    assert provider._active_span_processor._span_processors == before
    assert len(keeping.ended) == 1


def test_other_propagators_and_baggage_write_their_own_headers(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing, provider, keeping = make()
    token = context.attach(baggage.set_baggage("tenant", "north"))
    assert [name for name, _ in send(tracing)] == ["traceparent", "baggage"]
    context.detach(token)
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", W3CBaggagePropagator())
    assert send(tracing) == []
    provider.force_flush()
    assert len(keeping.ended) == 2


def test_a_span_in_hand_that_is_touched_is_the_sdks_own(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    (span,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
    assert isinstance(span, DeferredSpan)
    assert span.is_recording()
    span.set_attribute("customer.tier", "gold")
    span.set_attributes({"a": 1})
    span.add_event("called", {"b": 2})
    span.add_link(SpanContext(1, 2, True))
    span.update_name("mine")
    span.set_status(StatusCode.ERROR, "no")
    span.record_exception(ValueError("no"))
    assert span.attributes["customer.tier"] == "gold"
    end_process([span], None)
    provider.force_flush()
    (ended,) = keeping.ended
    assert (ended.name, ended.status.description, len(ended.links)) == ("mine", "no", 1)
    assert [event.name for event in ended.events] == ["called", "exception"]
    assert dict(ended.attributes or {}) | {"customer.tier": "gold", "a": 1, names.OFFSET: 0} == ended.attributes
    assert ended.context == span.get_span_context()
    assert not span.is_recording()


def test_a_span_in_hand_can_be_used_as_a_block(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    (well,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
    with well as inside:
        assert inside is well
        assert isinstance(well, trace.Span)
    (badly,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
    with pytest.raises(KeyError), badly:
        raise KeyError("no")
    provider.force_flush()
    assert {span.status.status_code for span in keeping.ended} == {StatusCode.ERROR, StatusCode.UNSET}
    assert len(keeping.ended) == 2


def test_a_span_that_ended_takes_nothing_more(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    (span,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
    span.end(5)
    span.end(6)
    span.set_attribute("late", True)
    provider.force_flush()
    (ended,) = keeping.ended
    assert ended.end_time == span.end_time == 5  # type: ignore[attr-defined]
    assert "late" not in (ended.attributes or {})


def test_two_threads_that_touch_a_span_at_once_touch_the_same(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    for _ in range(20):
        (span,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
        threads = [threading.Thread(target=span.set_attribute, args=(f"by.{n}", n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        span.end()
    provider.force_flush()
    assert len(keeping.ended) == 20
    assert all({f"by.{n}" for n in range(4)} <= set(span.attributes or {}) for span in keeping.ended)


def test_a_batch_above_the_links_of_a_span_makes_several_of_the_same_length(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    spans, _ = tracing.start_process(CLIENT, received(300), is_batch=True)
    end_process(spans, None)
    Chain(last=tracing).consume(Polled(CLIENT, received(300), 1))
    provider.force_flush()
    for name in ("process orders", "poll orders"):
        of_name = [span for span in keeping.ended if span.name == name]
        assert [len(span.links) for span in of_name] == [128, 128, 44]
        assert len({(span.start_time, span.end_time) for span in of_name}) == 1
        assert len({span.context.span_id for span in of_name if span.context}) == 3


def test_in_a_full_queue_the_newest_is_dropped_and_counted_without_waiting(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    is_open = threading.Event()
    keeping.gate = is_open
    before = COUNTS.health()
    for _ in range(20_000):
        send(tracing)
    assert COUNTS.health().noted - before.noted == 20_000
    dropped = COUNTS.health().dropped - before.dropped
    assert 20_000 - QUEUE_SIZE - 2 * BATCH_SIZE <= dropped <= 20_000 - QUEUE_SIZE
    is_open.set()
    assert provider.force_flush()
    after = COUNTS.health()
    assert after.exported - before.exported == 20_000 - dropped == len(keeping.ended)


@pytest.mark.parametrize("what", ["polls", "batches"])
def test_records_that_wait_are_bounded_and_there_is_room_again_when_they_left(
    make: Callable[..., Made], what: str
) -> None:
    tracing, provider, keeping = make()
    keeping.gate = threading.Event()
    records = received(500)

    def put() -> None:
        if what == "polls":
            Chain(last=tracing).consume(Polled(CLIENT, records, 1))
        else:
            end_process(tracing.start_process(CLIENT, records, is_batch=True)[0], None)

    before = COUNTS.health()
    for _ in range(200):
        put()
    keeping.gate.set()
    assert provider.force_flush()
    linked = sum(len(span.links) for span in keeping.ended)
    assert MOST_RECORDS <= linked <= MOST_RECORDS + 256 * 500
    assert linked < 200 * 500
    put()
    assert provider.force_flush()
    assert sum(len(span.links) for span in keeping.ended) == linked + 500
    after = COUNTS.health()
    assert after.noted - before.noted == after.exported - before.exported + after.dropped - before.dropped


def test_many_records_wake_the_drain_before_there_is_no_room(make: Callable[..., Made]) -> None:
    taken: list[int] = []
    drain: Drain[int] = Drain(
        taken.extend, COUNTS, queue_size=1000, batch_size=1000, delay_ms=1e9, name="test", weigh=lambda thing: 500
    )
    for number in range(MOST_RECORDS // 2 // 500 + 1):
        assert drain.put(number, 500)
    wait_until(lambda: len(taken) > MOST_RECORDS // 2 // 500, "what was put in is taken")
    drain.stop(1)


def test_drains_leave_nothing_behind_that_a_fork_would_call(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[object] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **callbacks: registered.append(callbacks))
    for _ in range(3):
        Drain(list.clear, COUNTS, queue_size=1, batch_size=1, delay_ms=1, name="test").stop(20)
    assert registered == []


def test_what_happened_to_several_partitions_is_told_on_either_path(make: Callable[..., Made]) -> None:
    before = COUNTS.health().interceptor_errors
    event = Event("assign", {names.PARTITION: ["0", "1"], names.TOPIC: ["orders", "orders"]}, 2)
    assert encode_attributes(b"\x1a", event.attributes).count(names.PARTITION.encode()) == 1
    assert COUNTS.health().interceptor_errors == before


def test_a_processor_that_raises_loses_no_span_of_another_and_no_count(make: Callable[..., Made]) -> None:
    class Raising(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("no")

    provider = TracerProvider(shutdown_on_exit=False)
    keeping = Keeping()
    for processor in (Raising(), keeping):
        provider.add_span_processor(processor)
    tracing, before = Tracing(provider), COUNTS.health()
    for _ in range(10):
        send(tracing)
    provider.force_flush()
    after = COUNTS.health()
    assert len(keeping.ended) == 10
    assert (after.noted - before.noted, after.exported - before.exported) == (10, 10)
    tracing.rest()
    provider.shutdown()


def test_what_ends_after_the_provider_was_left_is_handed_over_all_the_same(make: Callable[..., Made]) -> None:
    tracing, _, keeping = make()
    chain = Chain(last=tracing)
    sending = chain.send(CLIENT, "orders", None, None, None)
    (process,), _ = tracing.start_process(CLIENT, received(), is_batch=False)
    tracing.rest()
    chain.acknowledge(sending, 1, 1)
    process.end()
    assert sorted(span.name for span in keeping.ended) == ["process orders", "send orders"]


def test_a_failed_batch_of_many_records_is_several_failed_spans(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    spans, _ = tracing.start_process(CLIENT, received(300), is_batch=True)
    end_process(spans, ValueError("no"))
    provider.force_flush()
    assert [len(span.links) for span in keeping.ended] in ([128, 128, 44], [128, 44, 128])
    assert {span.status.status_code for span in keeping.ended} == {StatusCode.ERROR}
    assert {(span.attributes or {})[names.ERROR_TYPE] for span in keeping.ended} == {"ValueError"}


def test_a_forked_child_exports_its_own_spans_and_none_of_its_parents(make: Callable[..., Made]) -> None:
    tracing, provider, keeping = make()
    send(tracing)
    provider.force_flush()
    chain = Chain(last=tracing)
    waiting = chain.send(CLIENT, "orders", None, None, None)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        keeping.ended.clear()
        send(tracing)
        provider.force_flush()
        os.write(writing, b"%d" % len(keeping.ended))
        os._exit(0)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 10) == b"1"
    os.close(reading)
    chain.acknowledge(waiting, 1, 1)
    provider.force_flush()
    assert len(keeping.ended) == 2


# Encoding

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
names_of = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
a_header = st.tuples(
    st.sampled_from(["traceparent", "tracestate", "colour"]),
    st.one_of(
        st.just(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        st.just(b"00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00"),
        st.just(b"vendor=1"),
        st.binary(max_size=20),
    ),
)
a_client = st.builds(
    Client,
    client_id=st.none() | texts,
    group=st.none() | texts,
    member_id=st.none() | texts,
    cluster_id=st.none() | texts,
    server_address=st.none() | texts,
    server_port=st.none() | st.integers(0, 65535),
)
a_record = st.builds(
    Received,
    client=a_client,
    topic=texts,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    key=st.one_of(st.none(), texts, st.binary(max_size=40), st.integers()),
    timestamp_ms=st.none() | st.integers(0, 2**62),
    headers=st.lists(a_header, max_size=4),
    is_tombstone=st.booleans(),
    delivery_attempt=st.none() | st.integers(1, 5),
    key_schema=st.none() | st.just("7"),
    value_schema=st.none() | st.just("8"),
)
a_parent = st.none() | st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(flags) for flags in range(4)]),
    trace_state=st.sampled_from([None, TraceState([("a", "1"), ("b", "ü2")]), TraceState([])]),
)
an_event = st.builds(
    Event,
    name=texts,
    attributes=st.dictionaries(
        names_of, st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(texts, max_size=3))
    ),
    at_ns=st.integers(0, 2**63),
)


class Sent(NamedTuple):
    """A send that was answered; without partition and offset where the client does not say them."""

    key: object
    is_tombstone: bool
    partition: int | None
    offset: int | None
    headers: list[Header]
    appended_ms: int | None
    schemas: tuple[str | None, str | None] | None
    transaction: tuple[str | None, str | None] | None  # its id, and the outcome

    def of(self, deferring: Deferring, client: Client, topic: str, parent: SpanContext | None) -> Sending:
        """The note of it, made as `Tracing.start_send` and the answer do."""
        token = context.attach(Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent)))
        sending = Sending(client, None)
        if self.transaction is not None:
            transactional_id, outcome = self.transaction
            sending.transaction = Transaction(client, transactional_id)
        try:
            assert deferring.start_send(sending, context.get_current())
        finally:
            context.detach(token)
        sending.topic, sending.key, sending.is_tombstone = topic, self.key, self.is_tombstone
        sending.partition, sending.schemas = None, self.schemas
        sending.outcome = None if self.transaction is None else outcome
        sending.captured = tuple(self.headers) if CONFIGURATION.now.capture_headers else None
        if self.appended_ms is not None:
            sending.appended(self.appended_ms)
        sending.answered(self.partition, self.offset)
        return sending


# Most have nothing out of the ordinary, or the straight way would hardly be gone.
a_send = st.builds(
    Sent,
    key=st.one_of(st.none(), texts, st.binary(max_size=40), st.integers(), st.uuids(), st.just("half \ud800")),
    is_tombstone=st.sampled_from([False, False, False, True]),
    partition=st.none() | st.integers(0, 2**31 - 1),
    offset=st.none() | st.integers(0, 2**63 - 1),
    headers=st.lists(a_header, max_size=4),
    appended_ms=st.sampled_from([None, None, None, 1_700_000_000_000]),
    schemas=st.sampled_from([None, None, None, ("7", None), (None, "8"), ("7", "8")]),
    transaction=st.none() | st.tuples(st.none() | texts, st.sampled_from([None, COMMITTED, ABORTED, UNKNOWN])),
)


def backwards(attribute: str, text: str) -> str:
    return text[::-1]


def hiding(attribute: str, text: str) -> str | None:
    return None if attribute == names.KEY else text


def halving(attribute: str, text: str) -> str:
    return text + "\ud800"


def failing(attribute: str, text: str) -> str:
    raise ValueError(text)


a_configuration = st.builds(
    Configuration,
    capture_keys=st.sampled_from(["text", "hash", "off"]),
    hash_secret=st.sampled_from(["", "secret"]),
    capture_headers=st.sampled_from([(), ("colour",), ("colour", "traceparent")]),
    redact=st.sampled_from([None, backwards, hiding, halving, failing]),
)


@given(
    st.lists(a_record, min_size=1, max_size=4),
    a_send,
    a_parent,
    st.lists(an_event, max_size=3),
    st.dictionaries(names_of, texts, max_size=3),
    st.booleans(),
    st.sampled_from([1, 2, 128]),
    st.just(Configuration()) | a_configuration,
)
def test_the_template_encodes_as_the_stock_encoder_does(
    records: list[Received],
    sent: Sent,
    parent: SpanContext | None,
    events: list[Event],
    resource: dict[str, str],
    is_batch: bool,
    most_links: int,
    configuration: Configuration,
) -> None:
    provider = TracerProvider(
        shutdown_on_exit=False,
        resource=Resource(resource, "https://schema.example/1"),
        span_limits=SpanLimits(max_links=most_links),
    )
    provider.add_span_processor(Keeping())
    deferring = plan(provider.get_tracer("flowtrail.tracer", "1.2", "https://schema.example/2"), provider)
    assert deferring is not None
    before, CONFIGURATION.now = CONFIGURATION.now, configuration
    try:
        polled = Polled(records[0].client, records, 1_700_000_000_000_000_000, events)
        notes: list[Noted] = [
            PollNote(deferring, polled, parent, 1_700_000_000_000_000_001),
            _processed(deferring, records if is_batch else records[:1], parent, is_batch),
            sent.of(deferring, records[0].client, records[0].topic, parent),
        ]
        # A poll draws its ids when it is described: for both ways the same.
        number(deferring)
        encoded: list[bytes] = []
        for note in notes:
            encode_noted(note, encoded)
        number(deferring)
        theirs = encode_spans([readable(span, deferring) for note in notes for span in note.described()])
    finally:
        CONFIGURATION.now = before
        deferring.leave()
        provider.shutdown()
    assert ExportTraceServiceRequest.FromString(request(encoded, deferring.resource, deferring.scope)) == theirs


def test_only_small_records_are_kept_from_their_poll_to_their_processing_and_not_for_ever() -> None:
    otlp_records._kept.clear()
    try:
        (plain,) = received(1, [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")])
        for large in (
            plain._replace(key=b"k" * 5000),
            plain._replace(key=object()),
            plain._replace(headers=[("traceparent", b"x" * 5000)]),
            plain._replace(headers=[*plain.headers, ("document", b"x" * 5000)]),
        ):
            assert otlp_records.encode_polled(large) is not None
        assert not otlp_records._kept
        first = otlp_records.encode_polled(plain)
        assert first is not None
        assert otlp_records.encode_processed(plain) is first
        assert not otlp_records._kept
        polled = [plain._replace(offset=offset) for offset in range(10_000)]
        for record in polled:
            otlp_records.encode_polled(record)
        assert len(otlp_records._kept) <= 4096
    finally:
        otlp_records._kept.clear()


def number(deferring: Deferring) -> None:
    """Draw ids from 1 on again."""
    ids = Counting()
    deferring._bits = lambda count: 0
    deferring._trace_id, deferring._span_id = ids.generate_trace_id, ids.generate_span_id


def _processed(
    deferring: Deferring, records: list[Received], parent: SpanContext | None, is_batch: bool
) -> DeferredSpan:
    around = Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())
    plain = [
        record._replace(headers=[header for header in record.headers if header[0] != "baggage"])
        if any(header[0] == "baggage" for header in record.headers)
        else record  # the very one that was polled
        for record in records
    ]
    token = context.attach(around)
    try:
        # The sampler follows its parent; here the span is wanted in any case.
        deferring._decide = lambda trace_id, parent: True
        span = deferring.start_process(context.get_current(), plain[0].client, plain, is_batch, {"also": True})
    finally:
        context.detach(token)
    assert isinstance(span, DeferredSpan)
    span.end_ns = span.start_ns + 1
    return span


def test_nothing_is_no_bytes() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    scope = provider.get_tracer("test")._instrumentation_scope  # type: ignore[attr-defined]
    assert request([], provider.resource, scope) == b""


def test_spans_go_out_while_nobody_asks(make: Callable[..., Made]) -> None:
    tracing, _, keeping = make()
    send(tracing)
    wait_until(lambda: len(keeping.ended) == 1, "the span is handed over")
