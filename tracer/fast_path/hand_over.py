"""Spans that were only noted, handed over to the processors of the program's own tracer provider.

It stands first among them, so that it hands over what waits before the others flush or shut down.
"""

from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor

from flowtrail.tracer.counts import COUNTS, NOT_EXPORTED, SHUT_DOWN
from flowtrail.tracer.export import QUEUE_SIZE

from .deferred_span import weigh
from .drain import Drain
from .sdk_span import Described, Noted, readable

# The program's own processors have queues and delays too: little, and often, so that theirs do not overflow.
BATCH_SIZE: Final = 256
DELAY_MS: Final = 20
SHUTDOWN_TIMEOUT_S: Final = 5.0


class HandOver(SpanProcessor):
    """Gives ended spans to the processors behind it, as the SDK does, but on a thread of its own."""

    def __init__(self, multiple: SynchronousMultiSpanProcessor) -> None:
        self._multiple = multiple
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
    def of(cls, multiple: SynchronousMultiSpanProcessor) -> "HandOver":
        """Return the one that stands first among these processors; it is put there when there is none."""
        with multiple._lock:
            first = multiple._span_processors[0]
            if isinstance(first, HandOver):
                return first
            made = cls(multiple)
            multiple._span_processors = (made, *multiple._span_processors)
            return made

    def __len__(self) -> int:
        return len(self._drain)

    def leave(self) -> None:
        """Hand over what waits, and stand among the processors no more."""
        with self._multiple._lock:
            self._multiple._span_processors = tuple(
                each for each in self._multiple._span_processors if each is not self
            )
        self.shutdown()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens at a span's start."""

    def on_end(self, span: ReadableSpan) -> None:
        """Spans that are the SDK's own need no handing over."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._drain.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        left = len(self._drain.stop(SHUTDOWN_TIMEOUT_S))
        COUNTS.note(left)
        COUNTS.drop(left, SHUT_DOWN)

    def pass_on(self, noted: Noted, records: int = 0) -> bool:
        """Hand over at once what comes after this left."""
        self._give([noted])
        return True

    def _give(self, batch: list[Noted]) -> None:
        COUNTS.note(len(batch))
        for noted in batch:
            try:
                described = noted.described()
            except Exception as error:
                COUNTS.fail("flowtrail", "describe", error)
                COUNTS.drop(1, NOT_EXPORTED)
                continue
            COUNTS.note(len(described) - 1)
            for span in described:
                self._end(span)

    def _end(self, span: Described) -> None:
        """Tell every processor that a span ended; one that raises keeps it from no other."""
        is_taken = False
        try:
            finished = None if span.deferring is None else readable(span, span.deferring)
        except Exception as error:
            COUNTS.fail("flowtrail", "describe", error)
            finished = None
        for processor in self._multiple._span_processors:
            if processor is self or finished is None:
                continue
            try:
                processor.on_end(finished)
                is_taken = True
            except Exception as error:
                COUNTS.fail(type(processor).__qualname__, "on_end", error)
        if is_taken:
            COUNTS.export(1)
        else:
            COUNTS.drop(1, NOT_EXPORTED)
