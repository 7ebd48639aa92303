"""The messaging metrics of OpenTelemetry's conventions, made of finished spans, and the tracer's own health.

    METRICS.finished(…) ──▶ queue ──▶ recorded by a thread of its own, and whenever a reader collects

Nothing is recorded until the program has a meter provider; `is_on` says whether it has. A measurement takes the SDK
several microseconds and a lock that the garbage collector, closing a producer in the middle of it, would wait for
forever: so whoever finishes a span only puts it aside. What a reader collects is exact all the same, since collecting
empties the queue first.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/ (1.44). The partition is not among the
attributes, though recommended: it would multiply every series by the partitions. Nor is a transaction's length
measured: most of it is the program's own work.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, NoOpMeterProvider, Observation
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

from . import attributes as names
from .counts import COUNTS, Health

SCOPE: Final = "flowtrail.tracer"
# Of the conventions, in seconds.
DURATION_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# As many spans may wait to be measured; the newest are left out when there are more.
QUEUE_SIZE: Final = 20_000
RECORD_EVERY_S: Final = 1.0
# So many wake the thread before that.
_BATCH: Final = 1000

# On the health metric of dropped spans: why, as `Health.dropped_because` has it.
DROP_REASON: Final = "flowtrail.drop.reason"
# The tracer's own health: name, unit, sentence, and where the number is (numbers by reason, where there are several).
HEALTH: Final[tuple[tuple[str, str, str, Callable[[Health], int | Mapping[str, int]]], ...]] = (
    ("flowtrail.tracer.spans.noted", "{span}", "Finished spans that were meant for export.", lambda now: now.noted),
    ("flowtrail.tracer.spans.exported", "{span}", "Spans that the exporter took.", lambda now: now.exported),
    ("flowtrail.tracer.spans.dropped", "{span}", "Spans that were lost.", lambda now: now.dropped_because),
    (
        "flowtrail.tracer.headers.dropped",
        "{record}",
        "Records that were sent without our headers, which would have made them too large.",
        lambda now: now.headers_dropped,
    ),
    (
        "flowtrail.tracer.errors",
        "{error}",
        "Exceptions that were kept from the program.",
        lambda now: now.interceptor_errors,
    ),
)

AttributeValue = str | int | bool


class _Finished(NamedTuple):
    """A finished operation, put aside. `series` is what tells it from others: see `_series`."""

    series: tuple[AttributeValue | None, ...]
    duration_ns: int | None
    messages: int
    span_context: SpanContext | None


class Work(list[Span]):
    """The spans of a work on records, at least one, that is measured: spans themselves take no attributes of ours."""

    __slots__ = ("attributes", "began_ns")

    def __init__(self, started: list[Span], attributes: Mapping[str, object]) -> None:
        super().__init__(started)
        self.attributes = attributes
        self.began_ns = time.time_ns()


class _Instruments:
    """What one provider's meter made for us."""

    def __init__(self, provider: MeterProvider, collecting: Callable[[], None], dropped: Callable[[], int]) -> None:
        meter = provider.get_meter(SCOPE)
        self.sent: Counter = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Messages that a producer tried to send."
        )
        self.consumed: Counter = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Messages that were delivered to the program."
        )
        self.operation: Histogram = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of a send, poll or commit.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        self.process: Histogram = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of the program's work on a message, or on a batch.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )

        def observe(
            read: Callable[[Health], int | Mapping[str, int]],
        ) -> Callable[[CallbackOptions], Iterable[Observation]]:
            def observed(_: CallbackOptions) -> Iterator[Observation]:
                collecting()
                found = read(COUNTS.health(with_waiting=False))
                if isinstance(found, int):
                    yield Observation(found)
                else:
                    for reason, count in found.items():
                        yield Observation(count, {DROP_REASON: reason})

            return observed

        for name, unit, sentence, read in HEALTH:
            meter.create_observable_counter(name, [observe(read)], unit, sentence)
        meter.create_observable_counter(
            "flowtrail.tracer.measurements.dropped",
            [observe(lambda _: dropped())],
            "{span}",
            "Finished spans that are missing in the metrics: too many waited.",
        )


class Metrics:
    """Records what finished operations say, once there is a provider for it. None of its methods raises."""

    _thread: threading.Thread | None
    _is_woken: bool
    _dropped: int

    def __init__(self, provider: MeterProvider | None = None) -> None:
        # By provider, since an instrument can be made only once: a second one would observe everything twice.
        self._all_instruments: list[tuple[MeterProvider, _Instruments]] = []
        self._forget()
        self.use(provider)

    def use(self, provider: MeterProvider | None) -> None:
        """Record by this provider from now on; None: by the global one, whenever that is set."""
        self._given = provider
        self._provider: MeterProvider | None = None
        self._instruments: _Instruments | None = None
        # Whether there is anything to be told of; to be looked at before every record, unlike `is_on`.
        self.is_begun = False
        self._is_broken = False

    @property
    def is_on(self) -> bool:
        """Whether there is a provider. As long as there is none, asking costs half a microsecond."""
        return self._provider is not None or self._look()

    def begin(self) -> None:
        """Make the instruments now if there is a provider, rather than with the first span."""
        if self.is_on:
            self.is_begun = self._make_instruments() is not None

    def finished(
        self,
        operation: tuple[str, str],
        attributes: Mapping[str, object],
        duration_ns: int | None,
        messages: int,
        error_type: str | None = None,
        span_context: SpanContext | None = None,
    ) -> None:
        """Note a finished operation; `operation` is one of `attributes.SEND` and its like, `attributes` its span's.

        `messages` are those that were sent or polled; other operations count none. `duration_ns` None: not measured, as
        for the further spans of a poll that has several. A sampled `span_context` becomes an exemplar.
        """
        if not self.is_on or operation is names.TRANSACTION:
            return
        if len(self._queue) >= QUEUE_SIZE:
            self._dropped += 1
            return
        try:
            self._queue.append(
                _Finished(_series(operation, attributes, error_type), duration_ns, messages, span_context)
            )
            if self._thread is None:
                self._start()
            elif len(self._queue) >= _BATCH and not self._is_woken:
                self._is_woken = True
                self._wake.put(None)
        except Exception as error:
            COUNTS.fail("metrics", "finished", error)

    def begin_work(self, started: list[Span], attributes: Mapping[str, object]) -> list[Span]:
        """Note when the work on records began; `attributes` are its span's. Give what is returned to `end_work`."""
        return Work(started, attributes)

    def end_work(self, started: Sequence[Span], error_type: str | None) -> None:
        """Measure the work since `begin_work`, whether its spans are sampled or not. Nothing for other lists."""
        if isinstance(started, Work):
            duration_ns = time.time_ns() - started.began_ns
            self.finished(names.PROCESS, started.attributes, duration_ns, 1, error_type, started[0].get_span_context())

    def record(self) -> None:
        """Record everything that was put aside; any thread may call it."""
        if (self._instruments or self._make_instruments()) is not None:
            self._record_all()

    def _record_all(self) -> None:
        """Record what waits; return when also what another thread has in hand is recorded. Makes no instruments.

        A reader calls this with the SDK's lock in its hands, which making instruments needs.
        """
        instruments = self._instruments
        if instruments is None:
            return
        with self._recording:
            counted: dict[tuple[AttributeValue | None, ...], list[_Finished]] = {}
            try:
                while (finished := self._take()) is not None:
                    self._record_duration(instruments, finished)
                    if finished.messages and finished.series[0] in {names.SEND[0], names.POLL[0]}:
                        counted.setdefault(finished.series, []).append(finished)
                # One addition for all of a series: it costs as much for a thousand as for one.
                for series, all_finished in counted.items():
                    counter = instruments.sent if series[0] == names.SEND[0] else instruments.consumed
                    messages = sum(finished.messages for finished in all_finished)
                    seen_in = _context(all_finished[-1].span_context)
                    counter.add(messages, self._attributes(series, with_type=False), context=seen_in)
            except Exception as error:
                COUNTS.fail("metrics", "record", error)

    def _record_duration(self, instruments: _Instruments, finished: _Finished) -> None:
        if finished.duration_ns is None:
            return
        is_process = finished.series[0] == names.PROCESS[0]
        (instruments.process if is_process else instruments.operation).record(
            finished.duration_ns / 1e9,
            self._attributes(finished.series, with_type=not is_process),
            context=_context(finished.span_context),
        )

    def _attributes(self, series: tuple[AttributeValue | None, ...], *, with_type: bool) -> dict[str, AttributeValue]:
        """The attributes of a series; one dict for each, made once."""
        try:
            return self._made[series, with_type]
        except KeyError:
            pass
        found: dict[str, AttributeValue] = {names.SYSTEM: "kafka"}
        found.update((name, value) for name, value in zip(_SERIES, series, strict=True) if value is not None)
        if not with_type:
            found.pop(names.OPERATION_TYPE)
        if len(self._made) >= _BATCH:  # a program that makes up topic names without end
            self._made.clear()
        self._made[series, with_type] = found
        return found

    def _take(self) -> _Finished | None:
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def _look(self) -> bool:
        """Find the provider, if there is one by now. Makes nothing: a span may end inside a call of the provider's."""
        if self._is_broken:
            return False
        try:
            provider = self._given or metrics.get_meter_provider()
            # The API's stand-in, until a provider is set, is not one of its public names.
            if not isinstance(provider, NoOpMeterProvider) and not _is_of_the_api(provider):
                self._provider = provider
        except Exception as error:  # such as a provider of a name that OTEL_PYTHON_METER_PROVIDER got wrong
            self._is_broken = True
            COUNTS.fail("metrics", "get_meter_provider", error)
        return self._provider is not None

    def _make_instruments(self) -> _Instruments | None:
        with self._making:
            provider = self._provider
            if self._instruments is None and provider is not None:
                try:
                    self._instruments = next((made for by, made in self._all_instruments if by is provider), None)
                    if self._instruments is None:
                        self._instruments = _Instruments(provider, self._record_all, lambda: self._dropped)
                        self._all_instruments.append((provider, self._instruments))
                except Exception as error:
                    self._provider, self._is_broken = None, True
                    COUNTS.fail("metrics", "instruments", error)
            return self._instruments

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="flowtrail-metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self.record()
            # After the delay, or woken: both are right.
            with contextlib.suppress(Empty):
                self._wake.get(timeout=RECORD_EVERY_S)
            self._is_woken = False

    def _forget(self) -> None:
        # What waits in a forked process waits in its parent too, and its thread is there alone. As in `export.py`,
        # nothing that `finished` does takes a lock that Python code could hold.
        self._making, self._recording = threading.Lock(), threading.Lock()
        self._queue: deque[_Finished] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_woken = False
        self._thread = None
        self._dropped = 0
        self._made: dict[tuple[tuple[AttributeValue | None, ...], bool], dict[str, AttributeValue]] = {}


# The attributes that tell series apart, the operation's name first.
_SERIES: Final = (
    names.OPERATION_NAME,
    names.OPERATION_TYPE,
    names.TOPIC,
    names.GROUP,
    names.SERVER_ADDRESS,
    names.SERVER_PORT,
    names.ERROR_TYPE,
)


def _series(
    operation: tuple[str, str], attributes: Mapping[str, object], error_type: str | None
) -> tuple[AttributeValue | None, ...]:
    get: Callable[[str], AttributeValue | None] = attributes.get  # type: ignore[assignment]  # spans have plain values
    return (
        *operation,
        get(names.TOPIC),
        get(names.GROUP),
        get(names.SERVER_ADDRESS),
        get(names.SERVER_PORT),
        error_type,
    )


def _is_of_the_api(provider: MeterProvider) -> bool:
    return type(provider).__module__.startswith("opentelemetry.metrics")


_NO_SPAN: Final = Context()


def _context(span_context: SpanContext | None) -> Context:
    """A context in which the finished span is current, for an exemplar; only a sampled one can be found again."""
    if span_context is None or not span_context.trace_flags.sampled:
        return _NO_SPAN
    return trace.set_span_in_context(NonRecordingSpan(span_context), _NO_SPAN)


METRICS: Final = Metrics()
os.register_at_fork(after_in_child=METRICS._forget)
