"""What goes through the chain, measured: in front of tracing, while the program has a meter provider.

Apart from tracing, since a metric counts what no sampler kept. Without a provider none of this is in the way. The work
on records does not go through the chain: tracing tells of it by `METRICS.begin_work` and `end_work`.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import SpanContext, TraceFlags

from . import attributes as names
from . import spans
from .configuration import CONFIGURATION
from .counts import COUNTS
from .left_out import is_suppressed, traced_offsets
from .metrics import METRICS
from .record import Client, Closed, Committed, Event, Polled, Unacknowledged
from .shapes import shape_of
from .tracing import CHAIN, Tracing
from .under_way import Sending, Transaction


def measure() -> None:
    """Measure from now on if there is a meter provider; again is harmless. Raises nothing."""
    try:
        if not METRICS.is_on:
            return
        METRICS.begin()
        last = CHAIN._last
        if isinstance(last, Tracing):
            CHAIN._last = Measuring(last)
    except Exception as error:
        COUNTS.fail("metrics", "measure", error)


class Measuring:
    """Tells the metrics of what it passes on to tracing. What raises is for the chain to count."""

    def __init__(self, last: Tracing) -> None:
        self._last = last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._last, name)  # what is not measured

    def start_send(self, sending: Sending, topic: str, key: object, value: object, partition: int | None) -> None:
        if _is_measured(topic):
            sending.topic, sending.start_ns = topic, time.time_ns()
        self._last.start_send(sending, topic, key, value, partition)

    def finish_send(
        self, sending: Sending, partition: int | None, offset: int | None, error: BaseException | None
    ) -> None:
        started_ns = getattr(sending, "start_ns", None)  # none where it was suppressed, or begun before metrics were
        seen_in = None if started_ns is None else _span_context(sending)
        self._last.finish_send(sending, partition, offset, error)
        # A record of a batch has no topic until the batch is sent; one that never is counts for nothing.
        if started_ns is not None and sending.topic is not None and not CONFIGURATION.now.is_excluded(sending.topic):
            METRICS.finished(
                names.SEND,
                shape_of(names.SEND, sending.client, sending.topic).attributes,
                time.time_ns() - started_ns,
                1,
                None if error is None or isinstance(error, Unacknowledged) else spans.error_type(error),
                seen_in,
            )

    def polled(self, polled: Polled) -> None:
        duration_ns = time.time_ns() - polled.started_ns
        span = self._last.polled_by(polled)
        seen_in = None if span is None else span.get_span_context()
        if is_suppressed():
            return
        # By topic, though it was one poll: its duration counts where all are of one.
        messages = Counter(record.topic for record in polled.records if _is_measured(record.topic))
        for topic, count in messages.items():
            METRICS.finished(
                names.POLL,
                shape_of(names.POLL, polled.client, topic).attributes,
                duration_ns if len(messages) == 1 else None,
                count,
                span_context=seen_in,
            )
        if len(messages) > 1:
            attributes = shape_of(names.POLL, polled.client, None).attributes
            METRICS.finished(names.POLL, attributes, duration_ns, 0, span_context=seen_in)

    def committed(self, committed: Committed) -> None:
        duration_ns = time.time_ns() - committed.started_ns
        span = self._last.committed(committed)
        kept = traced_offsets(committed)
        if kept is not None and not is_suppressed():
            METRICS.finished(
                names.COMMIT,
                shape_of(names.COMMIT, committed.client, spans.committed_topic(kept)).attributes,
                duration_ns,
                0,
                None if committed.error is None else spans.error_type(committed.error),
                None if span is None else span.get_span_context(),
            )

    def rebalanced(self, client: Client, events: Sequence[Event]) -> None:
        self._last.rebalanced(client, events)

    def closed(self, closed: Closed) -> None:
        self._last.closed(closed)

    def begin_transaction(self, transaction: Transaction) -> None:
        self._last.begin_transaction(transaction)

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None) -> None:
        self._last.end_transaction(transaction, outcome, error)


def _is_measured(topic: str | None) -> bool:
    return not is_suppressed() and not CONFIGURATION.now.is_excluded(topic)


def _span_context(sending: Sending) -> SpanContext | None:
    """The context of a send's span, noted or made; None without one."""
    if sending.span is not None:
        return sending.span.get_span_context()
    if sending.deferring is not None:
        return SpanContext(sending.trace_id, sending.span_id, False, TraceFlags(sending.trace_flags))
    return None
