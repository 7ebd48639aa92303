"""Spans around records: send, poll, commit, transactions, and the span around processing.

Only this file starts spans, and it makes them from plain records: on the fast path where that is open (`fast_path`),
else as the SDK's own, at once. It ends them, too, but for those that wait for their transaction (`held_sends.py`).
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Tracer, TracerProvider
from opentelemetry.trace.propagation import _SPAN_KEY

from . import attributes as names
from . import headers, spans
from .configuration import CONFIGURATION
from .counts import COUNTS
from .current_context import get_current
from .held_sends import end_held, hold
from .interceptor import Chain
from .left_out import is_suppressed, is_suppressed_in, traced, traced_offsets
from .metrics import METRICS
from .origin import forwarded_attributes
from .record import Client, Closed, Committed, Event, Polled, Received, Unacknowledged
from .schema_ids import NO_SCHEMAS, SCHEMAS_END, schema_ids
from .serde_errors import schemas_of
from .shapes import Shape, shape_of
from .span_error import set_error
from .under_way import Schemas, Sending, Transaction

if TYPE_CHECKING:
    from .fast_path.deferring import Deferring

SCOPE: Final = "flowtrail.tracer"
# The SDK cuts off links beyond its limit, by default 128 (OTEL_SPAN_LINK_COUNT_LIMIT).
LINKS_PER_SPAN: Final = 128
# The records now being processed: what a send's headers may have been copied from. It lives in the OpenTelemetry
# context, so that it goes wherever the program takes that.
_RECEIVED: Final = context.create_key("flowtrail-received")
_NOTHING: Final[spans.Attributes] = {}


class Tracing:
    """Makes the spans. Before a provider is set it makes none, and none is lost by calling early."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._plan_anew()
        self._is_resting = False
        self._deferring: Deferring | None = None
        self._planned_provider: Any = None
        self._forget()
        self.use(provider)

    def use(self, provider: TracerProvider | None) -> None:
        """Make spans by this provider from now on; None: by the global one, whenever that is set."""
        try:
            tracer = trace.get_tracer(SCOPE, tracer_provider=provider)
        except Exception as error:  # OTEL_PYTHON_TRACER_PROVIDER names one that is not there: `set_up` may make one
            COUNTS.fail("opentelemetry", "get_tracer", error)
            tracer = trace.NoOpTracer()
        with self._planning:
            before = None if self._is_planned_for(provider) else self._forget()
            self._tracer: Tracer = tracer
            self._provider = provider
            self._is_resting = False
        if before is not None:
            before.leave()

    def _plan_anew(self) -> None:
        """In a forked child too: another thread of the parent may have held the lock."""
        # Held while it is planned how spans are made, and while that is forgotten: never for long, and nobody who sends
        # waits for it.
        self._planning = threading.Lock()

    def provider(self) -> TracerProvider | None:
        """The provider in use; None where there is none that could be used."""
        try:
            return self._provider or trace.get_tracer_provider()
        except Exception as error:  # as in `use`
            COUNTS.fail("opentelemetry", "get_tracer_provider", error)
            return None

    def rest(self) -> None:
        """Leave nothing of ours in the provider, until `use`: spans are the SDK's, made at once."""
        with self._planning:
            self._is_resting = True
            before = self._forget()
        if before is not None:
            before.leave()

    def _forget(self) -> "Deferring | None":
        """Forget the plan, and return it: its `leave` may wait."""
        before, self._deferring = self._deferring, None
        self._planned_for: Any = None
        self._processors: Any = None
        return before

    def _is_planned_for(self, provider: TracerProvider | None) -> bool:
        """Whether the fast path is open to this provider already: what is under way there then stays so."""
        if self._deferring is None or not CONFIGURATION.now.fast_path:
            return False
        return (provider or trace.get_tracer_provider()) is self._planned_provider

    # Sends

    def start_send(self, sending: Sending, topic: str, key: object, value: object, partition: int | None) -> None:
        current = get_current()
        now = CONFIGURATION.now
        if (current and is_suppressed_in(current)) or (
            now.excluded_topics and topic is not None and now.is_excluded(topic)
        ):
            return
        given = sending.headers
        sending.topic = topic
        # Nearly no payload has a schema: that is seen without a call.
        is_plain = (
            type(value) is bytes
            and value >= SCHEMAS_END
            and (key is None or (type(key) is bytes and key >= SCHEMAS_END))
        )
        if given is not None or not is_plain:
            schemas = schema_ids(key, value, given)
            if schemas != NO_SCHEMAS:
                sending.schemas = schemas
        processors = self._processors  # as in `_fast`, without a call
        if processors is not None and processors._span_processors is self._planned_for:
            fast = self._deferring
        else:
            fast = self._plan()
        if fast is not None and fast.start_send(sending, current):
            # It is described later; the program may change what can be changed meanwhile.
            sending.key = bytes(key) if type(key) is bytearray else key
            sending.is_tombstone = value is None
            sending.partition = partition
            sending.outcome = None
            sending.captured = tuple(given) if given and now.capture_headers else None
            return
        found = headers.read(given).context
        there = trace.get_current_span(found).get_span_context()
        own = spans.sent_attributes(key, value is None, partition, given if now.capture_headers else None)
        span = self._start(
            shape_of(names.SEND, sending.client, topic),
            own | forwarded_attributes(given, topic),
            links=[Link(there)] if there.is_valid else (),
        )
        sending.headers = headers.write(given, trace.set_span_in_context(span), received=_received(current))
        sending.span = span

    def address(self, sending: Sending, topic: str, partition: int | None) -> None:
        """Name the topic of a send that was begun without one; its sampler has not seen it."""
        if CONFIGURATION.now.is_excluded(topic):
            sending.discard()
        sending.topic = topic
        if sending.span is not None:
            sending.span.update_name(spans.span_name(names.SEND, topic))
            sending.span.set_attribute(names.TOPIC, topic)

    def finish_send(
        self, sending: Sending, partition: int | None, offset: int | None, error: BaseException | None
    ) -> None:
        deferring, span = sending.deferring, sending.span
        if error is not None:
            sending.schemas = _known_of_either(sending.schemas, schemas_of(error))
        if deferring is not None:
            sending.answered(partition, offset)
            if error is None:
                if sending.transaction is None:
                    deferring.put(sending)
                else:
                    hold(sending.transaction, sending)
                return
            sending.described()
            span = deferring.begun(sending)
        elif span is not None:
            schemas = spans.schema_attributes(*(sending.schemas or NO_SCHEMAS))
            span.set_attributes(spans.acknowledged_attributes(sending.client, partition, offset) | schemas)
        else:
            return
        sending.discard()
        if isinstance(error, Unacknowledged):
            span.add_event(names.UNACKNOWLEDGED_EVENT)
        else:
            set_error(span, error)
        if sending.transaction is None:
            span.end()
        else:
            hold(sending.transaction, span)

    # Transactions

    def begin_transaction(self, transaction: Transaction) -> None:
        if is_suppressed():
            return
        transaction.span = self._start(
            shape_of(names.TRANSACTION, transaction.client, None),
            {} if transaction.id is None else {names.TRANSACTIONAL_ID: transaction.id},
            start_time=transaction.started_ns,
        )

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None) -> None:
        transaction.outcome = outcome
        span, transaction.span = transaction.span, None
        end_held(transaction)
        if span is not None:
            span.set_attribute(names.TRANSACTION_OUTCOME, outcome)
            set_error(span, error)
            span.end()

    # Polls, commits and the end

    def polled(self, polled: Polled) -> None:
        current = get_current()
        if current and is_suppressed_in(current):
            return
        if CONFIGURATION.now.excluded_topics:
            polled = polled._replace(records=traced(polled.records))
            if not polled.records:
                return
        fast = self._fast()
        if fast is None or not fast.polled(current, polled):
            self._polled(polled)

    def polled_by(self, polled: Polled) -> Span | None:
        """The same, and return the span of the first records, for whoever asks for its ids; None without one."""
        current = get_current()
        if is_suppressed_in(current):
            return None
        if CONFIGURATION.now.excluded_topics:
            polled = polled._replace(records=traced(polled.records))
            if not polled.records:
                return None
        fast = self._fast()
        return self._polled(polled) if fast is None else fast.polled_by(current, polled)

    def _polled(self, polled: Polled) -> Span | None:
        first = None
        for records, links in spans.portions(polled.records, self._most_links(), with_attributes=True):
            span = self._start(
                shape_of(names.POLL, polled.client, spans.one_topic(record.topic for record in records)),
                spans.consumed_attributes(records, count=len(records)),
                links=links,
                start_time=polled.started_ns,
            )
            if first is None:
                first = span
                for event in polled.events:
                    span.add_event(event.name, event.attributes, event.at_ns)
            span.end()
        return first

    def committed(self, committed: Committed) -> Span | None:
        current = get_current()
        if is_suppressed_in(current):
            return None
        kept = traced_offsets(committed)
        if kept is None:
            return None
        committed = kept
        fast = self._fast()
        noted = None if fast is None else fast.committed(current, committed)
        if noted is not None:
            return noted
        span = self._start(
            shape_of(names.COMMIT, committed.client, spans.committed_topic(committed)),
            spans.committed_attributes(committed),
            start_time=committed.started_ns,
        )
        try:
            for attributes in spans.committed_events(committed):
                span.add_event(names.COMMIT_EVENT, attributes)
            set_error(span, committed.error)
        finally:
            span.end()
        return span

    def rebalanced(self, client: Client, events: Sequence[Event]) -> None:
        span = self._start(shape_of(names.REBALANCE, client, None), {}, context=Context(), start_time=events[0].at_ns)
        for event in events:
            span.add_event(event.name, event.attributes, event.at_ns)
        span.end(events[-1].at_ns)

    def closed(self, closed: Closed) -> None:
        if is_suppressed():
            return
        span = self._start(
            shape_of(names.CLOSE, closed.client, None), spans.closed_attributes(closed), start_time=closed.started_ns
        )
        try:
            for event in closed.events:
                span.add_event(event.name, event.attributes, event.at_ns)
            set_error(span, closed.error)
        finally:
            span.end()

    # Processing

    def start_process(
        self, client: Client, records: Sequence[Received], *, is_batch: bool, is_inferred: bool = False
    ) -> tuple[list[Span], Context]:
        """Start the span of processing; return it and the context in which the work is to run, a new one.

        It is a child of the span that is current, else a root. More records than a span takes links make several
        spans of the same length; the first is the current one while the work runs. No span, and an unchanged context,
        where all records are of excluded topics.
        """
        current = get_current()
        now = CONFIGURATION.now
        if now.excluded_topics:
            records = traced(records)
            if not records:
                return [], Context(current)
        also = spans.INFERRED if is_inferred else _NOTHING
        is_child = now.process_relation == "parent" and not is_batch
        processors = self._processors  # as in `_fast`, without a call
        if processors is not None and processors._span_processors is self._planned_for:
            fast = self._deferring
        else:
            fast = self._plan()
        if fast is not None and not is_child:
            span = fast.start_process(current, client, records, is_batch, also)
            if span is not None:
                only = _measured([span], client, records) if METRICS.is_begun else [span]
                own = {_SPAN_KEY: span, _RECEIVED: records}
                return only, Context({**current, **own} if current else own)
        around: tuple[Link, ...] = ()
        if not is_batch:
            carried = headers.read(records[0].headers).context
            for name, value in baggage.get_all(carried).items():
                current = baggage.set_baggage(name, value, current)
            there = trace.get_current_span(carried).get_span_context()
            if is_child and there.is_valid:
                ambient = trace.get_current_span(current).get_span_context()
                around = (Link(ambient),) if ambient.is_valid else ()
                current = trace.set_span_in_context(NonRecordingSpan(there), current)
        started = [
            self._start(
                shape_of(names.PROCESS, client, spans.one_topic(record.topic for record in portion)),
                spans.consumed_attributes(portion, count=len(portion) if is_batch else None) | also,
                context=current,
                links=[*links, *around],
            )
            for portion, links in spans.portions(records, self._most_links(), with_attributes=is_batch)
        ]
        inside = trace.set_span_in_context(started[0], current)
        if METRICS.is_begun:
            started = _measured(started, client, records)
        return started, context.set_value(_RECEIVED, records, inside)

    def _fast(self) -> "Deferring | None":
        """The fast path, where it is open; looked at anew when the provider, or its processors, changed."""
        processors = self._processors
        if processors is not None and processors._span_processors is self._planned_for:
            return self._deferring
        return self._plan()

    def _plan(self) -> "Deferring | None":
        # Another thread that plans, or rests, is not waited for: this one span is made at once.
        if self._is_resting or not self._planning.acquire(blocking=False):
            return None
        before = None
        try:
            provider = self._provider or trace.get_tracer_provider()
            multiple: Any = getattr(provider, "_active_span_processor", None)
            processors = getattr(multiple, "_span_processors", None)
            if self._is_resting or processors is None:
                return None  # or not the SDK's, or not set yet
            planned = self._planned(provider)
            before = self._forget()
            if before is not None and planned is not None and planned.put == before.put:
                before = None
            self._deferring, self._planned_provider, self._processors = planned, provider, multiple
            self._planned_for = processors if planned is None else planned.processors
            return planned
        finally:
            self._planning.release()
            if before is not None:
                before.leave()

    def _planned(self, provider: Any) -> "Deferring | None":
        """The fast path to a provider; None where it is not to be taken, or the SDK is not as it is known here."""
        if not CONFIGURATION.now.fast_path:
            return None
        try:
            # Late: it imports the SDK, which a program with another provider may not need.
            from .fast_path import deferring

            return deferring.plan(provider.get_tracer(SCOPE), provider)
        except Exception as error:
            COUNTS.fail("opentelemetry", "plan", error)
            return None

    def _start(
        self,
        shape: Shape,
        own: spans.Attributes,
        *,
        context: Context | None = None,
        links: Sequence[Link] = (),
        start_time: int | None = None,
    ) -> Span:
        return self._tracer.start_span(
            shape.name, context, shape.kind, shape.attributes | own, links=links, start_time=start_time
        )

    def _most_links(self) -> int:
        provider = self._provider or trace.get_tracer_provider()
        limits = getattr(provider, "_span_limits", None)
        most = getattr(limits, "max_links", None)
        return max(1, most) if isinstance(most, int) else LINKS_PER_SPAN


def end_process(started: Sequence[Span], error: BaseException | None) -> None:
    """End what `start_process` started, with the exception that the work raised."""
    ended_ns = time.time_ns()
    for span in started:
        if error is not None:
            set_error(span, error)
        span.end(ended_ns)
    if METRICS.is_begun:
        METRICS.end_work(started, None if error is None else spans.error_type(error))


def _measured(started: list[Span], client: Client, records: Sequence[Received]) -> list[Span]:
    topic = spans.one_topic(record.topic for record in records)
    return METRICS.begin_work(started, shape_of(names.PROCESS, client, topic).attributes)


def _received(current: Context) -> list[SpanContext]:
    """The contexts that came with the records in hand."""
    found: list[SpanContext] = []
    for record in current.get(_RECEIVED, ()):  # type: ignore[attr-defined]  # only `start_process` sets it
        carried = headers.read(record.headers)
        found += [trace.get_current_span(carried.context).get_span_context(), *carried.others]
    return [each for each in found if each.is_valid]


def _known_of_either(schemas: Schemas | None, others: Schemas) -> Schemas | None:
    """The ids of key and value, the first ones where both are known; None when none is."""
    key, value = schemas or NO_SCHEMAS
    found = key or others[0], value or others[1]
    return None if found == NO_SCHEMAS else found


TRACING: Final = Tracing()
os.register_at_fork(after_in_child=TRACING._plan_anew)
CHAIN: Final = Chain(last=TRACING)
