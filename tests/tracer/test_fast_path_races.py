"""What other threads, and the program's own code, do in the midst of the fast path."""

import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanContext, TraceFlags

from flowtrail.tracer import attributes as names
from flowtrail.tracer.configuration import CONFIGURATION, Configuration
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.export import CountingProcessor
from flowtrail.tracer.fast_path.deferred_span import DeferredSpan
from flowtrail.tracer.fast_path.drain import Drain
from flowtrail.tracer.fast_path.hand_over import HandOver
from flowtrail.tracer.interceptor import Chain
from flowtrail.tracer.record import Client, Polled, Received
from flowtrail.tracer.tracing import Tracing, end_process

CLIENT = Client("till-4", "billing")
RECORD = Received(CLIENT, "orders", 3, 7, b"key", None, ())


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def tracing(provider: TracerProvider) -> Iterator[Tracing]:
    tracing = Tracing(provider)
    yield tracing
    tracing.rest()


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set options of the tracer, for one test."""
    monkeypatch.setattr(CONFIGURATION, "now", Configuration())
    monkeypatch.setattr(CONFIGURATION, "_given", {})
    return lambda **options: CONFIGURATION.configure(options)


def send(tracing: Tracing, **headers: bytes) -> None:
    chain = Chain(last=tracing)
    given = [*headers.items()]
    chain.acknowledge(chain.send(CLIENT, "orders", b"key", b"value", given or None), 3, 42)


def process(tracing: Tracing, record: Received = RECORD) -> DeferredSpan:
    ((span,), _) = tracing.start_process(CLIENT, [record], is_batch=False)
    assert isinstance(span, DeferredSpan)
    return span


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_send_in_the_midst_of_resting_does_not_bring_back_what_is_leaving(
    tracing: Tracing, provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(tracing)
    leave = HandOver.leave

    def leaving(hand_over: HandOver) -> None:
        in_thread(lambda: send(tracing)).join(20)
        leave(hand_over)

    monkeypatch.setattr(HandOver, "leave", leaving)
    tracing.rest()
    monkeypatch.undo()
    tracing.use(provider)
    before = COUNTS.health()
    for _ in range(100):
        send(tracing)
    provider.force_flush()
    assert COUNTS.health().dropped == before.dropped
    assert len(exporter.get_finished_spans()) == 102


def test_what_rests_leaves_the_providers_processors_as_they_were_whatever_is_sent_then(
    tracing: Tracing, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    send(tracing)
    tracing.rest()
    send(tracing)
    assert len(provider._active_span_processor._span_processors) == 1
    provider.force_flush()
    assert len(exporter.get_finished_spans()) == 2


def test_it_is_planned_once_for_each_set_of_processors(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_ours = TracerProvider(shutdown_on_exit=False)
    of_ours.add_span_processor(CountingProcessor(InMemorySpanExporter(), COUNTS))
    planned: list[object] = []
    plan = Tracing._planned

    def counted(self: Tracing, provider: object) -> object:
        planned.append(provider)
        return plan(self, provider)

    monkeypatch.setattr(Tracing, "_planned", counted)
    for each in (provider, of_ours):
        tracing = Tracing(each)
        for _ in range(3):
            send(tracing)
        assert planned == [each]
        each.add_span_processor(BatchSpanProcessor(exporter))
        send(tracing)
        send(tracing)
        assert planned == [each, each]
        tracing.rest()
        planned.clear()
    of_ours.shutdown()


def test_a_send_does_not_wait_for_another_that_plans(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = Tracing(provider)
    is_planning, may_end = threading.Event(), threading.Event()
    planned = Tracing._planned

    def slow(self: Tracing, provider: object) -> object:
        is_planning.set()
        assert may_end.wait(20)
        return planned(self, provider)

    monkeypatch.setattr(Tracing, "_planned", slow)
    first = in_thread(lambda: send(tracing))
    assert is_planning.wait(20)
    send(tracing)  # would hang here
    may_end.set()
    first.join(20)
    tracing.rest()
    provider.force_flush()
    assert len(exporter.get_finished_spans()) == 2


def test_no_lock_is_held_while_the_programs_redaction_runs(tracing: Tracing, configured: Callable[..., None]) -> None:
    handling, redacting = threading.Lock(), threading.Event()

    def redact(name: str, text: str) -> str:
        redacting.set()
        with handling:
            return text

    configured(redact=redact)
    one, other = process(tracing), process(tracing)
    with handling:
        toucher = in_thread(lambda: one.set_attribute("by", "one"))
        assert redacting.wait(20)
        configured(redact=None)
        # As a handler of logging does, which holds a lock of its own.
        bridge = in_thread(lambda: other.add_event("logged"))
        bridge.join(20)
        assert not bridge.is_alive()
    toucher.join(20)
    assert not toucher.is_alive()
    end_process([one, other], None)


def test_a_redaction_whose_log_becomes_events_of_the_very_span_does_not_come_back_to_itself(
    tracing: Tracing, provider: TracerProvider, exporter: InMemorySpanExporter, configured: Callable[..., None]
) -> None:
    span = process(tracing)

    def redact(name: str, text: str) -> str:
        span.add_event("redacting")
        return text

    configured(redact=redact)
    span.set_attribute("by", "the program")
    end_process([span], None)
    provider.force_flush()
    (ended,) = exporter.get_finished_spans()
    assert (ended.attributes or {})["by"] == "the program"


def test_a_span_that_ends_while_it_is_touched_ends_once(
    tracing: Tracing, provider: TracerProvider, exporter: InMemorySpanExporter, configured: Callable[..., None]
) -> None:
    span = process(tracing)

    def redact(name: str, text: str) -> str:
        span.end()  # while it is being described for the touch
        return text

    configured(redact=redact)
    span.set_attribute("late", True)
    assert not span.is_recording()
    configured(redact=None)
    provider.force_flush()
    (ended,) = exporter.get_finished_spans()
    assert "late" not in (ended.attributes or {})


@pytest.mark.parametrize("key", [b"text", 10**5000], ids=["text", "number"])
def test_touching_a_span_whose_record_cannot_be_described_raises_nothing(
    tracing: Tracing,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
    configured: Callable[..., None],
    key: object,
) -> None:
    configured(redact=lambda name, text: "\ud800", capture_keys="hash")
    span = process(tracing, RECORD._replace(key=key))
    span.set_attribute("by", "the program")
    end_process([span], ValueError("no"))
    send(tracing)
    provider.force_flush()
    processed, sent = exporter.get_finished_spans()
    assert (processed.attributes or {})["by"] == "the program"
    assert not (processed.attributes or {}).keys() & {names.KEY}
    assert sent.name == "send orders"


def test_a_span_in_hand_says_its_links_and_events_and_can_be_referred_to_weakly(tracing: Tracing) -> None:
    import weakref

    traced = RECORD._replace(headers=[("traceparent", b"00-%032x-%016x-01" % (5, 6))])
    span = process(tracing, traced)
    assert weakref.ref(span)() is span
    assert [link.context.trace_id for link in span.links] == [5]
    span.add_link(SpanContext(7, 8, True, TraceFlags(1)))
    span.add_event("called")
    assert all(isinstance(link, Link) for link in span.links)
    assert ([link.context.trace_id for link in span.links], [event.name for event in span.events]) == (
        [5, 7],
        ["called"],
    )
    end_process([span], None)
    assert [event.name for event in span.events] == ["called"]
    untouched = process(tracing, traced)
    end_process([untouched], None)
    assert [link.context.trace_id for link in untouched.links] == [5]


def test_headers_are_captured_as_they_were_when_the_record_was_sent(
    tracing: Tracing, provider: TracerProvider, exporter: InMemorySpanExporter, configured: Callable[..., None]
) -> None:
    configured(capture_headers=("tenant",))
    chain, headers = Chain(last=tracing), [("tenant", b"")]
    for tenant in (b"a", b"b", b"c"):
        headers[0] = ("tenant", tenant)
        chain.acknowledge(chain.send(CLIENT, "orders", None, b"value", headers), 3, 42)
    provider.force_flush()
    sent = [(span.attributes or {})["messaging.header.tenant"] for span in exporter.get_finished_spans()]
    assert sent == [("a",), ("b",), ("c",)]


def test_what_is_put_in_while_a_batch_is_weighed_still_counts() -> None:
    more = [5]

    def weigh(thing: int) -> int:
        while more:
            drain.put(more.pop(), 100)
        return 100

    taken: list[int] = []
    drain: Drain[int] = Drain(taken.extend, COUNTS, queue_size=10, batch_size=10, delay_ms=0, name="test", weigh=weigh)
    drain.put(1, 100)
    drain.flush(20)
    drain.flush(20)
    drain.stop(20)
    assert taken == [1, 5]
    assert drain._records == 0


def test_a_poll_that_is_not_sampled_is_not_even_noted() -> None:
    provider = TracerProvider(shutdown_on_exit=False, sampler=ALWAYS_OFF)
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    tracing = Tracing(provider)
    try:
        Chain(last=tracing).consume(Polled(CLIENT, [RECORD], 1))
        deferring = tracing._fast()
        assert deferring is not None
        assert len(deferring._queue) == 0
        parent = trace.NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(0)))
        with trace.use_span(parent):
            Chain(last=tracing).consume(Polled(CLIENT, [RECORD], 1))
        assert len(deferring._queue) == 0
    finally:
        tracing.rest()
        provider.shutdown()


def test_what_was_noted_never_becomes_less(tracing: Tracing, provider: TracerProvider) -> None:
    seen: list[int] = []
    counted = COUNTS.note

    def note(spans: int = 1) -> None:
        seen.append(spans)
        counted(spans)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(COUNTS, "note", note)
        Chain(last=tracing).consume(Polled(CLIENT, [RECORD] * 300, 1))
        send(tracing)
        provider.force_flush()
    assert sum(seen) == 4
    assert min(seen) >= 0
