"""The fast path: note ids and times where the program waits, do the rest on another thread.

    send    ids, a traceparent, a clock reading   ──▶ queue ──▶ drain thread: attributes, links, bytes
    answer  partition, offset, a clock reading

Making an SDK span takes tens of microseconds and encoding it as much again. Here the program's thread spends a few, and
where spans go straight to OTLP no SDK span is made at all (`otlp_template.py`). It is only taken where nobody can tell
the difference: `plan` says where that is. In every other case, and for every record that is out of the ordinary (it
brings a context of its own, or baggage), spans are the SDK's, made at once.
"""

import os
import random
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, Final

from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, SynchronousMultiSpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY

from flowtrail.tracer import attributes as names
from flowtrail.tracer import spans
from flowtrail.tracer.export import CountingProcessor
from flowtrail.tracer.inferred import is_stale
from flowtrail.tracer.origin import DEAD_LETTER_TO, RETRY_TO
from flowtrail.tracer.propagation import is_w3c
from flowtrail.tracer.record import Client, Committed, Header, Polled, Received
from flowtrail.tracer.shapes import Shape, shape_of
from flowtrail.tracer.traceparent import CONTEXT_NAMES
from flowtrail.tracer.under_way import Sending

from .deferred_span import BegunPollNote, DeferredProcess, DeferredSpan, PollNote
from .hand_over import HandOver
from .samplers import Decide, decider
from .sdk_span import Described, begun

# Headers, in lower case, by which a record brings a context of its own, or a past.
_TOLD: Final = CONTEXT_NAMES | {RETRY_TO, DEAD_LETTER_TO}
_BAGGAGE: Final = "baggage"
_PROCESS: Final = names.PROCESS[0]
# Processors that do nothing when a span starts, in whose place nobody waits for one that is only noted.
_IDLE_AT_START: Final = (
    SpanProcessor.on_start,
    BatchSpanProcessor.on_start,
    CountingProcessor.on_start,
    HandOver.on_start,
)
_IDLE_AT_ENDING: Final = tuple(
    getattr(kind, "_on_ending", None) for kind in (SpanProcessor, BatchSpanProcessor, CountingProcessor, HandOver)
)
# Our own spans have up to this many attributes; a limit below would cut them, and that is the SDK's to do.
_MOST_ATTRIBUTES: Final = 40
# A commit has an event for each partition, a poll one for each rebalance.
_MOST_EVENTS: Final = 128
_RANDOM: Final = 0x02


def plan(tracer: Tracer | Any, provider: Any) -> "Deferring | None":
    """Return the fast path to this provider; None where it could make a difference.

    It takes the SDK's own provider and tracer; a sampler that decides by ids; processors that do nothing at a span's
    start and do not promise to have a span at its end (`SimpleSpanProcessor` does); and limits that our spans stay
    within. Who asks looks again when the processors have changed.
    """
    if type(tracer) is not Tracer or not isinstance(provider, TracerProvider) or provider._disabled:
        return None
    multiple = provider._active_span_processor
    decide = decider(provider.sampler)
    if type(multiple) is not SynchronousMultiSpanProcessor or decide is None or not _is_enabled(tracer):
        return None
    examined = multiple._span_processors
    processors = [each for each in examined if not isinstance(each, HandOver)]
    if not processors or not all(map(_is_idle, processors)) or not _is_within(provider._span_limits):
        return None
    # The SDK counts its own spans when it is told to; it would not see these.
    if os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true":
        return None
    # First what raises where the SDK has other private names; then something is put into the provider.
    made = Deferring(tracer, provider, decide)
    if len(processors) == len(examined) == 1 and isinstance(processors[0], CountingProcessor):
        made.go_through(processors[0], examined)
        return made
    found = HandOver.of(multiple, processors)
    if found is None:
        return None
    made.go_through(*found)
    return made


class Deferring:
    """The fast path to one provider. Its methods return None, or False, for what is to be done the ordinary way.

    It is open as long as the provider's processors are `processors`. `put` notes a thing, with how many records it
    holds when those are many.
    """

    processors: tuple[SpanProcessor, ...]
    put: Callable[..., bool]

    def __init__(self, tracer: Tracer, provider: TracerProvider, decide: Decide) -> None:
        self.tracer = tracer
        self._provider = provider
        self._decide = decide
        ids = provider.id_generator
        self._trace_id, self._span_id = ids.generate_trace_id, ids.generate_span_id
        # The SDK's own generator is this function; it draws again where that gives zero.
        self._bits = random.getrandbits if type(ids) is RandomIdGenerator else _no_bits
        of_roots = decide(1, None), decide((1 << 128) - 1, None)  # the first that a ratio would take, and the last
        self._samples_all_roots, self._samples_no_roots = all(of_roots), not any(of_roots)
        is_random = getattr(ids, "is_trace_id_random", None)  # older SDKs know no such flag
        self._root_flags = _RANDOM if is_random is not None and is_random() else 0
        self.scope: InstrumentationScope = tracer._instrumentation_scope
        self.limits: SpanLimits = tracer._span_limits
        most = provider._span_limits.max_links
        self.most_links: int = 1 << 30 if most is None else max(1, most)

    def go_through(self, queue: CountingProcessor | HandOver, processors: tuple[SpanProcessor, ...]) -> None:
        """Put what is noted into this queue, which is one of these processors; said once, before anything is noted."""
        self.processors = processors
        self._queue = queue
        self.put = queue.put

    @property
    def resource(self) -> Resource:
        return self._provider.resource

    def leave(self) -> None:
        """Hand over what waits, and take out of the provider what was put in."""
        if isinstance(self._queue, HandOver):
            # What is under way still ends, and comes here.
            self.put = self._queue.pass_on
            self._queue.leave()

    # Operations

    def start_send(self, sending: Sending, current: Context) -> bool:
        """Note that a send begins, and write its context into `sending.headers`. Its facts are noted by the caller."""
        headers = sending.headers
        if not is_w3c():
            return False
        if headers:
            for name, _ in headers:
                if name in _TOLD or name.lower() in _TOLD:
                    return False
        parent = None
        if current:
            if _BAGGAGE_KEY in current:
                return False
            parent = _parent(current)
        if parent is None:
            trace_id, flags = self._bits(128) or self._trace_id(), self._root_flags
        else:
            trace_id, flags = parent.trace_id, parent.trace_flags & _RANDOM
        span_id = self._bits(64) or self._span_id()
        if (parent is None and self._samples_all_roots) or self._decide(trace_id, parent):
            flags |= 1
            sending.deferring = self
            sending.trace_id = trace_id
            sending.span_id = span_id
            sending.trace_flags = flags
            sending.parent = parent
            sending.start_ns = time_ns()
        added: list[Header] = [("traceparent", b"00-%032x-%016x-%02x" % (trace_id, span_id, flags))]
        if parent is not None and parent.trace_state:
            added.append(("tracestate", parent.trace_state.to_header().encode("ascii")))
        sending.headers = [*headers, *added] if headers else added
        return True

    def begun(self, noted: Described) -> Span:
        """The SDK's own span in place of one that was noted, for what goes beyond."""
        return begun(noted, self)

    def polled(self, current: Context, polled: Polled) -> bool:
        """Note a poll; its spans are made by the drain."""
        parent = _parent(current) if current else None
        # Who is told for certain is not asked for every record by the drain.
        is_none = self._samples_no_roots if parent is None else not self._decide(parent.trace_id, parent)
        if not is_none:
            self.put(PollNote(self, polled, parent, time_ns()), len(polled.records))
        return True

    def polled_by(self, current: Context, polled: Polled) -> Span | None:
        """The same, and return the span of its first records, of which nothing but the ids is known."""
        note = BegunPollNote(self, polled, _parent(current) if current else None, time_ns())
        begun = note.begun()
        self.put(note, len(polled.records))
        return begun

    def committed(self, current: Context, committed: Committed) -> Span | None:
        """Note a commit that went well, and return its span."""
        if committed.error is not None:
            return None
        shape = shape_of(names.COMMIT, committed.client, spans.committed_topic(committed))
        span = self.start(shape, _parent(current), committed.started_ns)
        if isinstance(span, DeferredSpan):
            span.own = spans.committed_attributes(committed)
            ended_ns = time_ns()
            span.own_events = [
                (names.COMMIT_EVENT, attributes, ended_ns) for attributes in spans.committed_events(committed)
            ]
            span.end(ended_ns)
        return span

    def start_process(
        self, current: Context, client: Client, records: Sequence[Received], is_batch: bool, also: spans.Attributes
    ) -> Span | None:
        """Note that processing starts; `also` are further attributes."""
        if not is_batch:
            for name, _ in records[0].headers:
                if name == _BAGGAGE or (name != "traceparent" and name.lower() == _BAGGAGE):
                    return None
        topic = records[0].topic if len(records) == 1 else spans.one_topic([record.topic for record in records])
        shape = client.shapes.get((_PROCESS, topic)) or shape_of(names.PROCESS, client, topic)
        parent = _parent(current) if current else None
        if parent is None and self._samples_all_roots:  # `start`, without a call
            trace_id, span_id = self._bits(128) or self._trace_id(), self._bits(64) or self._span_id()
            span: Span = DeferredProcess(self, shape, trace_id, span_id, self._root_flags | 1, None, time_ns())
        else:
            span = self.start(shape, parent, time_ns(), DeferredProcess)
        if type(span) is DeferredProcess:
            span.client, span.records, span.is_batch, span.also = client, records, is_batch, also
        return span

    def start(
        self, shape: Shape, parent: SpanContext | None, start_ns: int, kind: type[DeferredSpan] = DeferredSpan
    ) -> Span:
        """Begin a span, or one that records nothing where the sampler says so."""
        if parent is None:
            trace_id, flags = self._bits(128) or self._trace_id(), self._root_flags
        else:
            trace_id, flags = parent.trace_id, parent.trace_flags & _RANDOM
        span_id = self._bits(64) or self._span_id()
        if (parent is None and self._samples_all_roots) or self._decide(trace_id, parent):
            return kind(self, shape, trace_id, span_id, flags | 1, parent, start_ns)
        trace_state = None if parent is None else parent.trace_state
        return NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(flags), trace_state))

    def beside(self, span: DeferredSpan) -> DeferredSpan | None:
        """Another span as long as this one; None where the sampler does not want it, as for any span."""
        made = self.start(span.shape, span.parent, span.start_ns)
        if not isinstance(made, DeferredSpan):
            return None
        made.end_ns = span.end_ns
        return made


def _no_bits(count: int) -> int:
    """In place of random bits: zero, for which the generator is asked."""
    return 0


def _parent(current: Context) -> SpanContext | None:
    """The context of the span that is current there, when it is valid."""
    span = current.get(_SPAN_KEY)
    if not isinstance(span, Span):
        return None
    found = span.get_span_context()
    return found if found.is_valid and not is_stale(current) else None


def _is_enabled(tracer: Any) -> bool:
    is_enabled = getattr(tracer, "_is_enabled", None)  # older SDKs cannot switch a tracer off
    return True if is_enabled is None else bool(is_enabled())


def _is_idle(processor: SpanProcessor) -> bool:
    kind = type(processor)
    return (
        not isinstance(processor, SimpleSpanProcessor)
        and kind.on_start in _IDLE_AT_START
        and getattr(kind, "_on_ending", None) in _IDLE_AT_ENDING
    )


def _is_within(limits: Any) -> bool:
    most = (limits.max_span_attributes, limits.max_event_attributes, limits.max_link_attributes)
    events = limits.max_events
    if events is not None and events < _MOST_EVENTS:
        return False
    lengths = (limits.max_attribute_length, limits.max_span_attribute_length)
    return all(each is None or each >= _MOST_ATTRIBUTES for each in most) and lengths == (None, None)
