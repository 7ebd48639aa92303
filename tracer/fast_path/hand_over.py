"""Spans that were only noted, handed over to the processors of the program's own tracer provider.

It stands first among them, so that it hands over what waits before the others flush or shut down.
"""

from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor

from flowtrail.tracer.counts import COUNTS, SHUT_DOWN
from flowtrail.tracer.export import BATCH_SIZE, QUEUE_SIZE

from .drain import Drain
from .sdk_span import Noted, readable

# The program's own processors have their delays too.
DELAY_MS: Final = 100
SHUTDOWN_TIMEOUT_S: Final = 5.0


class HandOver(SpanProcessor):
    """Gives ended spans to the processors behind it, as the SDK does, but on a thread of its own."""

    def __init__(self, multiple: SynchronousMultiSpanProcessor) -> None:
        self._multiple = multiple
        self._drain: Drain[Noted] = Drain(
            self._give, COUNTS, queue_size=QUEUE_SIZE, batch_size=BATCH_SIZE, delay_ms=DELAY_MS, name="flowtrail-spans"
        )
        # The very methods: they are called at each record.
        self.put = self._drain.put
        self.drop = self._drain.drop

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

    def _give(self, batch: list[Noted]) -> None:
        COUNTS.note(len(batch))
        for noted in batch:
            described = noted.described()
            COUNTS.note(len(described) - 1)
            for span in described:
                if span.deferring is None:
                    continue
                finished = readable(span, span.deferring)
                for processor in self._multiple._span_processors:
                    if processor is not self:
                        processor.on_end(finished)
            COUNTS.export(len(described))
