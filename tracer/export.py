"""The way of finished spans out of the process: a bounded queue, one thread, and a count of what got lost.

The SDK's own batch processor drops and logs at every span or batch; with a collector that is away that is thousands of
lines, and still no count. Here the newest span is dropped when the queue is full, the host is never held up, and one
line a minute says how many.

Spans come as the SDK's own, or only noted (`fast_path`); both leave in one request.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .counts import NOT_EXPORTED, SHUT_DOWN, Counts
from .fast_path.deferred_span import at_least, weigh
from .fast_path.drain import Drain
from .fast_path.otlp_template import encode_noted, template_of
from .fast_path.sdk_span import Noted, readable

_log = logging.getLogger("flowtrail.tracer")

# The SDK's defaults are smaller, 2048 and 512. A request costs the same whether it has 512 spans or 4096, more than a
# millisecond of the process's time; and a noted span takes a fraction of the memory of one of the SDK's.
QUEUE_SIZE: Final = 8192
BATCH_SIZE: Final = 4096
REPORT_EVERY_S = 60.0
# At exit a collector that hangs may cost this long, not the exporter's whole timeout.
SHUTDOWN_TIMEOUT_S = 5.0
# An exporter that was shut down gives up what it is at; one that does not is left behind.
GIVE_UP_TIMEOUT_S = 1.0
# Where the stock exporters log every batch that fails.
EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
)

# How those begin a line about a try that failed, after which comes another.
TRANSIENT: Final = "Transient error"


class CountingProcessor(SpanProcessor):
    """Queues finished, sampled spans and exports them from a thread of its own.

    `queue_size` spans wait at most; a batch has `batch_size` at most and is sent when it is full, or `delay_ms` after
    the first one came. Every span ends up exported or dropped in `counts`. Safe over fork: the child starts empty.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        counts: Counts,
        *,
        queue_size: int = QUEUE_SIZE,
        batch_size: int = BATCH_SIZE,
        delay_ms: float = 5000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exporter = exporter
        self._export_template = template_of(exporter)
        self._counts = counts
        self._clock = clock
        self._hush = _Hush()
        self._in_hand: deque[int] = deque()  # spans of the batch that the exporter has, if it has one
        self._reported = 0
        self._reported_at: float | None = None
        self._drain: Drain[ReadableSpan | Noted] = Drain(
            self._export,
            counts,
            queue_size=queue_size,
            batch_size=batch_size,
            delay_ms=delay_ms,
            name="flowtrail-export",
            on_start=self._start,
            weigh=weigh,
            on_idle=self._report,
        )
        # The very method: it is called at each record.
        self.put = self._drain.put

    def _start(self) -> None:
        """On the drain's thread, when it starts; in a forked child too, which has nothing in hand."""
        self._in_hand.clear()
        self._reported, self._reported_at = 0, None
        self._hush.install()

    def __len__(self) -> int:
        return len(self._drain)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens at a span's start."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self.put(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until what is queued now was exported or dropped; False when that took longer."""
        return self._drain.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what is queued, for `SHUTDOWN_TIMEOUT_S` at most; the rest is dropped. Again is harmless."""
        if self._drain.is_stopping:
            return
        left = len(self._drain.stop(SHUTDOWN_TIMEOUT_S))
        self._counts.note(left)
        self._counts.drop(left, SHUT_DOWN)
        self._exporter.shutdown()
        self._drain.join(GIVE_UP_TIMEOUT_S)
        self._settle(0)
        self._report()
        self._hush.remove()

    def _export(self, batch: list[ReadableSpan | Noted]) -> None:
        certain = at_least(batch)
        self._counts.note(certain)
        ready: list[ReadableSpan] = []
        encoded: list[bytes] = []
        is_template = self._export_template is not None
        deferring, failed = None, 0
        for each in batch:
            if isinstance(each, ReadableSpan):
                ready.append(each)
                continue
            try:
                if is_template:
                    encode_noted(each, encoded)
                    deferring = each.deferring
                else:
                    ready += [readable(span, span.deferring) for span in each.described() if span.deferring is not None]
            except Exception as error:
                self._counts.fail("flowtrail", "describe", error)
                failed += 1
        spans = len(ready) + len(encoded)
        self._counts.note(spans + failed - certain)
        self._counts.drop(failed, NOT_EXPORTED)
        if not spans:
            return
        self._in_hand.append(spans)
        try:
            if self._export_template is not None and deferring is not None:
                sent = self._export_template(encoded, deferring, ready)
            else:
                sent = spans if self._exporter.export(ready) is SpanExportResult.SUCCESS else 0
        except Exception as error:
            sent = 0
            self._hush.last = f"{type(error).__name__}: {error}"
        self._settle(sent)

    def _settle(self, sent: int) -> None:
        """Count the batch in hand, once: a shutdown that ran out of time may have counted it as dropped already."""
        try:
            spans = self._in_hand.pop()
        except IndexError:
            return
        self._counts.export(sent)
        if sent == spans:
            self._hush.forget()
        else:
            self._counts.drop(spans - sent, NOT_EXPORTED)
            self._report()

    def _report(self) -> None:
        """Say how many spans were dropped since the last such line, at most once in `REPORT_EVERY_S`."""
        dropped = self._counts.health().dropped
        if dropped == self._reported:
            return
        now = self._clock()
        if self._reported_at is not None and now - self._reported_at < REPORT_EVERY_S:
            return
        endpoint = getattr(self._exporter, "_endpoint", None)  # of OpenTelemetry's own exporters
        _log.warning(
            "%d spans dropped since the last report, %d since the start%s: %s",
            dropped - self._reported,
            dropped,
            f", to {endpoint}" if isinstance(endpoint, str) else "",
            self._hush.told() or "the queue is full: no answer yet, or slower ones than the program",
        )
        self._reported, self._reported_at = dropped, now


class _Hush(logging.Filter):
    """Keeps what the exporter logs on our thread for the report, instead of a line for each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        # Why the exporter came back for another try: what it says when it gives up does not repeat it.
        self._cause = ""
        self._thread = 0

    def install(self) -> None:
        self._thread = threading.get_ident()
        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def told(self) -> str:
        return f"{self.last} {self._cause}".strip()

    def forget(self) -> None:
        """The exporter works again."""
        self.last = self._cause = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        text = record.getMessage()
        if text.startswith(TRANSIENT):
            self._cause = f"({text.removesuffix('.')})"
        else:
            self.last = text
        return False
