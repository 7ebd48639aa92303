"""Spans that were only noted, handed over to the processors of the program's own tracer provider.

It stands first among them, so that it hands over what waits before the others flush or shut down. Where all of them are
the SDK's batch processors with stock OTLP exporters, nobody looks into a span before it is encoded: then a span is not
made at all, only what looks like one (`noted_span.py`).
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor

from flowtrail.tracer.counts import COUNTS, NOT_EXPORTED, SHUT_DOWN
from flowtrail.tracer.export import QUEUE_SIZE
from flowtrail.tracer.under_way import Sending

from .deferred_span import DeferredProcess, at_least, weigh
from .drain import Drain
from .noted_span import NotedSpan, are_stock, give_back, take_place
from .sdk_span import Noted, readable

# The program's own processors have queues and delays too: little, and often, so that theirs do not overflow.
BATCH_SIZE: Final = 256
DELAY_MS: Final = 20
SHUTDOWN_TIMEOUT_S: Final = 5.0
# A processor that hangs may hold up for this long who leaves the provider.
LEAVE_TIMEOUT_S: Final = 1.0
# How often to look whether a queue has room: the SDK's worker empties it by batches, each a request.
ROOM_EVERY_S: Final = 0.005


class HandOver(SpanProcessor):
    """Gives ended spans to the processors behind it, as the SDK does, but on a thread of its own."""

    def __init__(self, multiple: SynchronousMultiSpanProcessor) -> None:
        self._multiple = multiple
        self._is_over = False
        self._known: Any = None  # the processors that the next three are about
        self._behind: Sequence[SpanProcessor] = ()
        self._queues: list[Any] = []
        self._is_stock = False
        self._drain: Drain[Noted] = Drain(
            self._give,
            COUNTS,
            queue_size=QUEUE_SIZE,
            batch_size=BATCH_SIZE,
            delay_ms=DELAY_MS,
            name="flowtrail-spans",
            weigh=weigh,
        )
        # The very method: it is called at each record.
        self.put = self._drain.put

    @classmethod
    def of(
        cls, multiple: SynchronousMultiSpanProcessor, others: Sequence[SpanProcessor]
    ) -> "tuple[HandOver, tuple[SpanProcessor, ...]] | None":
        """Return the one that stands first among these processors, and all of them; it is put there when there is none.

        None when the others are not these any more.
        """
        with multiple._lock:
            now = multiple._span_processors
            if [each for each in now if not isinstance(each, HandOver)] != others:
                return None
            if not isinstance(now[0], HandOver):
                multiple._span_processors = now = (cls(multiple), *now)
            first = now[0]
            assert isinstance(first, HandOver)
            return first, now

    def __len__(self) -> int:
        return len(self._drain)

    def leave(self) -> None:
        """Stand among the processors no more. What waits is still handed over, which is not waited for too long."""
        with self._multiple._lock:
            self._multiple._span_processors = tuple(
                each for each in self._multiple._span_processors if each is not self
            )
        self._drain.finish(LEAVE_TIMEOUT_S)
        give_back(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens at a span's start."""

    def on_end(self, span: ReadableSpan) -> None:
        """Spans that are the SDK's own need no handing over."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._drain.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        left = len(self._drain.stop(SHUTDOWN_TIMEOUT_S))
        self._is_over = True
        COUNTS.note(left)
        COUNTS.drop(left, SHUT_DOWN)

    def pass_on(self, noted: Noted, records: int = 0) -> bool:
        """Hand over at once what comes after this left."""
        self._hand([noted], [each for each in self._multiple._span_processors if each is not self])
        return True

    def _give(self, batch: list[Noted]) -> None:
        now = self._multiple._span_processors
        if now is not self._known:
            self._known = now
            self._behind = [each for each in now if each is not self]
            self._queues = _queues(self._behind)
            self._is_stock = are_stock(self._behind)
            if self._is_stock:
                take_place(self)
        self._hand(batch, self._behind, waits=True, is_stock=self._is_stock)

    def _hand(
        self, batch: list[Noted], behind: Sequence[SpanProcessor], *, waits: bool = False, is_stock: bool = False
    ) -> None:
        COUNTS.note(at_least(batch))
        for noted in batch:
            certain = at_least((noted,))
            try:
                finished = _noted_spans(noted) if is_stock else _finished(noted)
            except Exception as error:
                COUNTS.fail("flowtrail", "describe", error)
                COUNTS.note(1 - certain)
                COUNTS.drop(1, NOT_EXPORTED)
                continue
            COUNTS.note(len(finished) - certain)
            for span in finished:
                if waits and not self._has_room():
                    COUNTS.drop(1, SHUT_DOWN)
                else:
                    _end(span, behind)

    def _has_room(self) -> bool:
        """Wait until one of the processors has room; False when the provider is shut down before that.

        What the SDK's batch processor has no room for it drops without a count. Here spans wait in a queue of ours, and
        what that has no room for is counted.
        """
        while self._queues and all(_is_full(each) for each in self._queues):
            if self._is_over:
                return False
            time.sleep(ROOM_EVERY_S)
            for each in self._queues:
                # Its worker may have missed that the queue filled, as it just went to sleep; each new span tells it
                # again, but none comes while we wait.
                each._worker_awaken.set()
        return True


def _finished(noted: Noted) -> list[ReadableSpan]:
    return [readable(span, span.deferring) for span in noted.described() if span.deferring is not None]


def _noted_spans(noted: Noted) -> list[ReadableSpan]:
    """As `_finished`; a note that is one span for certain is not even described."""
    deferring = noted.deferring
    if deferring is None:
        return []
    if isinstance(noted, Sending) or (type(noted) is DeferredProcess and not noted.is_batch):
        return [NotedSpan(noted, deferring, is_described=False)]
    return [NotedSpan(span, deferring, is_described=True) for span in noted.described()]


def _end(finished: ReadableSpan, behind: Sequence[SpanProcessor]) -> None:
    """Tell every processor that a span ended; one that raises keeps it from no other."""
    is_taken = False
    for processor in behind:
        try:
            processor.on_end(finished)
            is_taken = True
        except Exception as error:
            COUNTS.fail(type(processor).__qualname__, "on_end", error)
    if is_taken:
        COUNTS.export(1)
    else:
        COUNTS.drop(1, NOT_EXPORTED)


def _queues(processors: Sequence[SpanProcessor]) -> list[Any]:
    """What has the queues of the SDK's batch processors; none when a processor has another way, or is not as known."""
    found = []
    for each in processors:
        batch = getattr(each, "_batch_processor", None)
        known = (("_queue", deque), ("_shutdown", bool), ("_worker_awaken", threading.Event))
        if not all(isinstance(getattr(batch, name, None), kind) for name, kind in known):
            return []
        found.append(batch)
    return found


def _is_full(batch: Any) -> bool:
    most = batch._queue.maxlen
    return most is not None and len(batch._queue) >= most and not batch._shutdown
