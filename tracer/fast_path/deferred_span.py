"""A span of which only ids and times are noted; everything else is described when it leaves, on another thread.

The program may hold one (`with process(record) as span`): as soon as it touches it, it becomes the SDK's own span.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import Span as _Recording
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from flowtrail.tracer import attributes as names
from flowtrail.tracer import spans
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client, Polled, Received
from flowtrail.tracer.shapes import Shape, shape_of
from flowtrail.tracer.under_way import SpanEvent

from .sdk_span import begun, context_of, readable

if TYPE_CHECKING:
    from .deferring import Deferring


class _Beginning(threading.local):
    """The spans that this thread is about to make the SDK's own."""

    def __init__(self) -> None:
        self.spans: list[DeferredSpan] = []


_beginning = _Beginning()
_NOTHING: Final = MappingProxyType[str, Any]({})
_touching = threading.RLock()


def _touch_anew() -> None:
    # Another thread of the parent may have held it.
    global _touching
    _touching = threading.RLock()


os.register_at_fork(after_in_child=_touch_anew)

# The API's class has no slots, and a dictionary for each span is one more thing for the garbage collector. What is
# registered with it counts as its subclass too.
if TYPE_CHECKING:
    _Span = trace.Span
else:
    _Span = object


class DeferredSpan(_Span):
    """A span as ids and times.

    `parent` is valid or None; `end_ns` is None until it ends. `own` (attributes beside the shape's), `own_links` and
    `own_events` (name, attributes, ns since the epoch) stand once `describe` was called.
    """

    __slots__ = (
        "__weakref__", "_context", "_touched", "deferring", "end_ns", "own", "own_events", "own_links", "parent",
        "shape", "span_id", "start_ns", "trace_flags", "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        deferring: "Deferring",
        shape: Shape,
        trace_id: int,
        span_id: int,
        trace_flags: int,
        parent: SpanContext | None,
        start_ns: int,
    ) -> None:
        self.deferring = deferring
        self.shape = shape
        self.trace_id = trace_id
        self.span_id = span_id
        self.trace_flags = trace_flags
        self.parent = parent
        self.start_ns = start_ns
        self.end_ns: int | None = None
        self.own: Mapping[str, Any] = _NOTHING
        self.own_links: Sequence[Link] = ()
        self.own_events: Sequence[SpanEvent] = ()
        self._context: SpanContext | None = None
        self._touched: trace.Span | None = None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # what the SDK's span has beside the API, see `_of_sdk`

    def describe(self) -> None:
        """Set `own`, `own_links` and `own_events` from the facts."""

    def described(self) -> "Sequence[DeferredSpan]":
        """Return what is to be exported: this span, described, and those that take what is too much for one."""
        self.describe()
        return (self,)

    # What the API asks of a span

    def get_span_context(self) -> SpanContext:
        found = self._context
        if found is None:
            self._context = found = context_of(self)
        return found

    @property
    def context(self) -> SpanContext:
        return self.get_span_context()

    def __enter__(self) -> trace.Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self.is_recording():
            self._touch().__exit__(kind, error, traceback)
        else:
            self.end()

    def is_recording(self) -> bool:
        return self.end_ns is None if self._touched is None else self._touched.is_recording()

    def end(self, end_time: int | None = None) -> None:
        if self._touched is None:
            if self.end_ns is not None:
                return
            self.end_ns = end_time = time.time_ns() if end_time is None else end_time
        # Asked after: another thread may touch it meanwhile, and looks at the end after it did.
        touched = self._touched
        if touched is None:
            self.deferring.put(self)
        else:
            touched.end(end_time)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._touch().set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._touch().set_attribute(key, value)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        self._touch().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        self._touch().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._touch().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._touch().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._touch().record_exception(exception, attributes, timestamp, escaped)

    def _touch(self) -> trace.Span:
        """Return the SDK's own span of the same ids, which this one is from now on; an ended one takes nothing more."""
        if self._touched is None and self.end_ns is None and self not in _beginning.spans:
            # Not under the lock: the program's `redact` runs here, and whatever that waits for, or logs. Where the log
            # becomes events of this very span, those are lost.
            _beginning.spans.append(self)
            try:
                begun_spans = self._begin()
            finally:
                _beginning.spans.remove(self)
            with _touching:
                if self._touched is None:
                    self._publish(begun_spans)
                    if self.end_ns is not None:  # by another thread, which did not see this one
                        self._touched = None
        return self._touched or trace.NonRecordingSpan(self.get_span_context())

    def _publish(self, begun_spans: Sequence[trace.Span]) -> None:
        self._touched = begun_spans[0]

    def _begin(self) -> Sequence[trace.Span]:
        """Begin the SDK's own spans in place of this one; of what cannot be described, ids and times alone."""
        try:
            described = self.described()
        except Exception as error:
            COUNTS.fail("flowtrail", "describe", error)
            described = (self,)
        return [begun(each, self.deferring) for each in described]


trace.Span.register(DeferredSpan)


def _of_sdk(name: str) -> property:
    """What the SDK's span has beside the API: attributes, status, resource, …."""

    def get(span: DeferredSpan) -> Any:
        if span._touched is None and span.end_ns is not None:
            span.describe()
            return getattr(readable(span, span.deferring), name)
        return getattr(span._touch(), name)

    return property(get)


# Not by `__getattr__`: a class that has one is slow to read from, and these are read at every record.
for _name in dir(_Recording):
    if not _name.startswith("_") and not hasattr(DeferredSpan, _name):
        setattr(DeferredSpan, _name, _of_sdk(_name))


class DeferredProcess(DeferredSpan):
    """Processing. All is set by who makes it: at least one record, and `also`, further attributes."""

    __slots__ = ("_others", "also", "client", "is_batch", "records")

    if TYPE_CHECKING:
        client: Client
        records: Sequence[Received]
        is_batch: bool
        also: spans.Attributes
        _others: list[trace.Span]

    def end(self, end_time: int | None = None) -> None:
        if self._touched is None:
            if self.end_ns is not None:
                return
            self.end_ns = end_time = time.time_ns() if end_time is None else end_time
        touched = self._touched  # as in the span's own `end`
        if touched is None:
            self.deferring.put(self, len(self.records))
            return
        if touched.is_recording():
            end_time = time.time_ns() if end_time is None else end_time
            status = getattr(touched, "status", None)
            for other in self._others:
                if status is not None and status.status_code is StatusCode.ERROR:
                    other.set_status(status)
                    other.set_attribute(names.ERROR_TYPE, touched.attributes.get(names.ERROR_TYPE, "_OTHER"))  # type: ignore[attr-defined]
                other.end(end_time)
        touched.end(end_time)

    def _publish(self, begun_spans: Sequence[trace.Span]) -> None:
        """A batch of more records than a span takes links is several spans here, too; they end with this one."""
        self._touched, *self._others = begun_spans

    def describe(self) -> None:
        self.described()

    def described(self) -> Sequence[DeferredSpan]:
        """One span, and others of the same length where there are more links than a span takes."""
        if len(self.records) == 1:
            links = spans.link(self.records[0], with_attributes=self.is_batch)
            if len(links) <= self.deferring.most_links:
                self.own_links = links
                self.own = spans.consumed_attributes(self.records, count=1 if self.is_batch else None) | self.also
                return (self,)
        portions = list(spans.portions(self.records, self.deferring.most_links, with_attributes=self.is_batch))
        found = []
        for span, (portion, links) in zip(self.parts([records for records, _ in portions]), portions, strict=True):
            if span is not None:
                span.own_links = links
                span.own = spans.consumed_attributes(portion, count=len(portion) if self.is_batch else None) | self.also
                found.append(span)
        return found

    def parts(self, portions: Sequence[Sequence[Received]]) -> "list[DeferredSpan | None]":
        """This span and others of the same length, one for each portion of its records; None: it is not sampled.

        They have no attributes and links yet.
        """
        found = [self, *(self.deferring.beside(self) for _ in portions[1:])]
        for span, records in zip(found, portions, strict=True):
            if span is not None:
                span.shape = shape_of(names.PROCESS, self.client, spans.one_topic([each.topic for each in records]))
        return found


class PollNote:
    """A poll that returned records, and when; more records than a span takes links make several spans."""

    __slots__ = ("_client", "_ended_ns", "_events", "_parent", "_started_ns", "deferring", "records")

    def __init__(self, deferring: "Deferring", polled: Polled, parent: SpanContext | None, ended_ns: int) -> None:
        self.deferring = deferring
        # Not the tuple itself: what waits is what the garbage collector goes through.
        self._client, self.records, self._started_ns, self._events = polled
        self._parent = parent
        self._ended_ns = ended_ns

    def described(self) -> list[DeferredSpan]:
        most, found = self.deferring.most_links, []
        for records, links in spans.portions(self.records, most, with_attributes=True):
            span = self.start(records)
            if span is not None:
                span.own = spans.consumed_attributes(records, count=len(records))
                span.own_links = links
                found.append(span)
        return found

    def start(self, records: Sequence[Received]) -> DeferredSpan | None:
        """The span of these records of the poll, without attributes and links; None when it is not sampled."""
        topic = records[0].topic if len(records) == 1 else spans.one_topic([record.topic for record in records])
        shape = shape_of(names.POLL, self._client, topic)
        span = self.deferring.start(shape, self._parent, self._started_ns)
        if not isinstance(span, DeferredSpan):
            return None
        if self._events and records[0] is self.records[0]:
            span.own_events = [tuple(event) for event in self._events]  # type: ignore[misc]  # as many as fields
        span.end_ns = self._ended_ns
        return span


class BegunPollNote(PollNote):
    """A poll whose first span has its ids at once: somebody asks for them."""

    __slots__ = ("_first",)

    def __init__(self, deferring: "Deferring", polled: Polled, parent: SpanContext | None, ended_ns: int) -> None:
        super().__init__(deferring, polled, parent, ended_ns)
        shape = shape_of(names.POLL, polled.client, None)  # until its records are known
        self._first: trace.Span | None = deferring.start(shape, parent, polled.started_ns)

    def begun(self) -> trace.Span | None:
        return self._first

    def start(self, records: Sequence[Received]) -> DeferredSpan | None:
        first, self._first = self._first, None
        if first is None:
            return super().start(records)
        if not isinstance(first, DeferredSpan):
            return None
        first.shape = shape_of(names.POLL, self._client, spans.one_topic([record.topic for record in records]))
        first.own_events = [tuple(event) for event in self._events]  # type: ignore[misc]  # as many as fields
        first.end_ns = self._ended_ns
        return first


def weigh(noted: object) -> int:
    """How many records a note holds, for the queue's bound."""
    if isinstance(noted, PollNote):
        return len(noted.records)
    return len(noted.records) if isinstance(noted, DeferredProcess) else 0


def at_least(batch: Sequence[object]) -> int:
    """How many spans these surely are: a poll is one thing in the queue, and may be many, or none that is sampled."""
    return sum(not isinstance(each, PollNote) for each in batch)
