"""The way of finished spans out of the process: a bounded queue, one thread, and a count of what got lost.

The SDK's own batch processor drops and logs at every span or batch; with a collector that is away that is thousands of
lines, and still no count. Here the newest span is dropped when the queue is full, the host is never held up, and one
line a minute says how many.
"""

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .counts import Counts

_log = logging.getLogger("flowtrail.tracer")

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


class CountingProcessor(SpanProcessor):
    """Queues finished, sampled spans and exports them from a thread of its own.

    `queue_size` spans wait at most; a batch has `batch_size` at most and is sent when it is full, or `delay_ms` after
    the last one. Every span ends up exported or dropped in `counts`. Safe over fork: the child starts empty.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        counts: Counts,
        *,
        queue_size: int = 2048,
        batch_size: int = 512,
        delay_ms: float = 5000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exporter = exporter
        self._counts = counts
        self._queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._delay_s = min(delay_ms / 1000, threading.TIMEOUT_MAX)
        self._clock = clock
        self._stopping = False
        self._hush = _Hush()
        self._start()
        again = weakref.WeakMethod(self._start)
        os.register_at_fork(after_in_child=lambda: (start := again()) and start())

    def _start(self) -> None:
        # Neither takes a lock that Python code could hold: the garbage collector may end a span inside any call.
        # An Event in the queue is set when all before it are out.
        self._queue: deque[ReadableSpan | threading.Event] = deque()
        self._in_hand: deque[int] = deque()  # spans of the batch that the exporter has, if it has one
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_woken = False
        self._reported = 0
        self._reported_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="flowtrail-export", daemon=True)
        if not self._stopping:
            self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens at a span's start."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        self._counts.note()
        if self._stopping or len(self._queue) >= self._queue_size:
            self._counts.drop(1)
            return
        self._queue.append(span)
        if len(self._queue) >= self._batch_size and not self._is_woken:
            self._is_woken = True
            self._wake.put(None)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until what is queued now was exported or dropped; False when that took longer."""
        if self._stopping:
            return False
        is_out = threading.Event()
        self._queue.append(is_out)
        self._wake.put(None)
        return is_out.wait(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what is queued, for `SHUTDOWN_TIMEOUT_S` at most; the rest is dropped. Again is harmless."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.put(None)
        self._thread.join(SHUTDOWN_TIMEOUT_S)
        while (left := self._take()) is not None:
            if not isinstance(left, threading.Event):
                self._counts.drop(1)
        self._exporter.shutdown()
        self._thread.join(GIVE_UP_TIMEOUT_S)
        self._settle(is_sent=False)
        self._report()
        self._hush.remove()

    def _run(self) -> None:
        self._hush.install()
        token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            while not self._stopping:
                self._wait()
                self._export_all()
                self._report()
            self._export_all()
        finally:
            context.detach(token)

    def _wait(self) -> None:
        try:
            self._wake.get(timeout=self._delay_s)
        except Empty:
            return  # the delay is over: what came since goes out now
        finally:
            self._is_woken = False

    def _export_all(self) -> None:
        batch: list[ReadableSpan] = []
        while (first := self._take()) is not None:
            if isinstance(first, threading.Event):
                self._export(batch)
                batch = []
                first.set()
                continue
            batch.append(first)
            if len(batch) >= self._batch_size:
                self._export(batch)
                batch = []
        self._export(batch)

    def _take(self) -> ReadableSpan | threading.Event | None:
        """Return the first in the queue; None when it is empty. A shutdown that ran out of time takes from it too."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def _export(self, batch: list[ReadableSpan]) -> None:
        if not batch:
            return
        self._in_hand.append(len(batch))
        try:
            is_sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:
            is_sent = False
            self._hush.last = f"{type(error).__name__}: {error}"
        self._settle(is_sent=is_sent)

    def _settle(self, *, is_sent: bool) -> None:
        """Count the batch in hand, once: a shutdown that ran out of time may have counted it as dropped already."""
        try:
            spans = self._in_hand.pop()
        except IndexError:
            return
        if is_sent:
            self._counts.export(spans)
            self._hush.last = ""
        else:
            self._counts.drop(spans)
            self._report()

    def _report(self) -> None:
        """Say how many spans were dropped since the last such line, at most once in `REPORT_EVERY_S`."""
        dropped = self._counts.health().dropped
        if dropped == self._reported:
            return
        now = self._clock()
        if self._reported_at is not None and now - self._reported_at < REPORT_EVERY_S:
            return
        _log.warning(
            "%d spans dropped since the last report, %d since the start: %s",
            dropped - self._reported,
            dropped,
            self._hush.last or "the exporter is slower than the program",
        )
        self._reported, self._reported_at = dropped, now


class _Hush(logging.Filter):
    """Keeps what the exporter logs on our thread for the report, instead of a line for each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self._thread = 0

    def install(self) -> None:
        self._thread = threading.get_ident()
        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        self.last = record.getMessage()
        return False
