"""Spans around records: send, poll and commit as an interceptor, and the span around processing.

Only this file starts and ends spans, and it makes them from plain records. The fast path goes here: note ids and
times in a queue, and let another thread make the spans.
"""

import time
from collections.abc import Sequence
from typing import Final

from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer, TracerProvider

from . import attributes as names
from . import headers, spans
from .counts import COUNTS
from .interceptor import Chain
from .record import Client, Committed, Polled, Received, Unacknowledged
from .shapes import Shape, shape_of
from .under_way import Sending, Transaction

SCOPE: Final = "flowtrail.tracer"
# The SDK cuts off links beyond its limit, by default 128 (OTEL_SPAN_LINK_COUNT_LIMIT).
LINKS_PER_SPAN: Final = 128
# Contexts of the records now being processed: what a send's headers were copied from. It lives in the
# OpenTelemetry context, so that it goes wherever the program takes that.
_RECEIVED: Final = context.create_key("flowtrail-received")
# The API's key, and the plain name that older instrumentations set.
_SUPPRESSED: Final = (context._SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")


class Tracing:
    """Makes the spans. Before a provider is set it makes none, and none is lost by calling early."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self.use(provider)

    def use(self, provider: TracerProvider | None) -> None:
        """Make spans by this provider from now on; None: by the global one, whenever that is set."""
        try:
            self._tracer: Tracer = trace.get_tracer(SCOPE, tracer_provider=provider)
        except Exception as error:  # OTEL_PYTHON_TRACER_PROVIDER names one that is not there: `set_up` may make one
            COUNTS.fail("opentelemetry", "get_tracer", error)
            self._tracer = trace.NoOpTracer()
        self._provider = provider

    def start_send(self, sending: Sending, topic: str, key: object, is_tombstone: bool, partition: int | None) -> None:
        if is_suppressed():
            return
        found = headers.read(sending.headers).context
        there = trace.get_current_span(found).get_span_context()
        sending.span = span = self._start(
            shape_of(names.SEND, sending.client, topic),
            spans.sent_attributes(key, is_tombstone, partition),
            links=[Link(there)] if there.is_valid else (),
        )
        sending.headers = headers.write(sending.headers, trace.set_span_in_context(span), received=_received())

    def finish_send(
        self, sending: Sending, partition: int | None, offset: int | None, error: BaseException | None
    ) -> None:
        span, sending.span = sending.span, None
        if span is None:
            return
        span.set_attributes(spans.acknowledged_attributes(sending.client, partition, offset))
        if isinstance(error, Unacknowledged):
            span.add_event(names.UNACKNOWLEDGED_EVENT)
        else:
            _set_error(span, error)
        if sending.transaction is not None and sending.transaction.span is not None:
            sending.transaction.held.append((span, time.time_ns()))
        else:
            span.end()

    def polled(self, polled: Polled) -> None:
        if is_suppressed():
            return
        for records, links in spans.portions(polled.records, self._most_links(), with_attributes=True):
            span = self._start(
                shape_of(names.POLL, polled.client, spans.one_topic(record.topic for record in records)),
                spans.consumed_attributes(records, count=len(records)),
                links=links,
                start_time=polled.started_ns,
            )
            if records[0] is polled.records[0]:
                for event in polled.events:
                    span.add_event(event.name, event.attributes, event.at_ns)
            span.end()

    def committed(self, committed: Committed) -> None:
        if is_suppressed():
            return
        span = self._start(
            shape_of(names.COMMIT, committed.client, spans.committed_topic(committed)),
            spans.committed_attributes(committed),
            start_time=committed.started_ns,
        )
        try:
            for (topic, partition), offset in committed.offsets.items():
                span.add_event(
                    names.COMMIT_EVENT,
                    {names.TOPIC: topic, names.PARTITION: str(partition), names.COMMITTED_OFFSET: offset},
                )
            _set_error(span, committed.error)
        finally:
            span.end()

    def begin_transaction(self, transaction: Transaction) -> None:
        if is_suppressed():
            return
        transaction.span = self._start(
            shape_of(names.TRANSACTION, transaction.client, None),
            {} if transaction.id is None else {names.TRANSACTIONAL_ID: transaction.id},
            start_time=transaction.started_ns,
        )

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None) -> None:
        span, transaction.span = transaction.span, None
        held, transaction.held = transaction.held, []
        for sent, ended_ns in held:
            sent.set_attribute(names.TRANSACTION_OUTCOME, outcome)
            sent.end(ended_ns)
        if span is not None:
            span.set_attribute(names.TRANSACTION_OUTCOME, outcome)
            _set_error(span, error)
            span.end()

    def start_process(
        self, client: Client, records: Sequence[Received], *, is_batch: bool, is_inferred: bool = False
    ) -> tuple[list[Span], Context]:
        """Start the span of processing; return it and the context in which the work is to run.

        It is a child of the span that is current, else a root. More records than a span takes links make several
        spans of the same length; the first is the current one while the work runs.
        """
        current = context.get_current()
        if not is_batch:
            for name, value in baggage.get_all(headers.read(records[0].headers).context).items():
                current = baggage.set_baggage(name, value, current)
        started: list[Span] = []
        received: list[SpanContext] = []
        for portion, links in spans.portions(records, self._most_links(), with_attributes=is_batch):
            started.append(
                self._start(
                    shape_of(names.PROCESS, client, spans.one_topic(record.topic for record in portion)),
                    spans.consumed_attributes(portion, count=len(portion) if is_batch else None)
                    | ({names.INFERRED: True} if is_inferred else {}),
                    context=current,
                    links=links,
                )
            )
            received.extend(link.context for link in links if link.context.is_valid)
        inside = trace.set_span_in_context(started[0], current)
        return started, context.set_value(_RECEIVED, tuple(received), inside)

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
        _set_error(span, error)
        span.end(ended_ns)


def is_suppressed() -> bool:
    """Whether the program asked for no instrumentation in this context."""
    return any(context.get_value(key) for key in _SUPPRESSED)


def _received() -> tuple[SpanContext, ...]:
    found = context.get_value(_RECEIVED)
    return found if isinstance(found, tuple) else ()


def _set_error(span: Span, error: BaseException | None) -> None:
    if error is None:
        return
    kind = spans.error_type(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    try:
        span.record_exception(error)
        text = str(error)
    except Exception as failure:  # an exception of the program's that cannot even say what it is
        COUNTS.fail(kind, "__str__", failure)
        text = ""
    span.set_status(Status(StatusCode.ERROR, text or kind))


TRACING: Final = Tracing()
CHAIN: Final = Chain(last=TRACING)
