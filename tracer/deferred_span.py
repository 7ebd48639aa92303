"""A span of which only ids and times are noted; everything else is described when it leaves, on another thread.

The program may hold one (`with process(record) as span`): as soon as it touches it, it becomes the SDK's own span.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from . import attributes as names
from . import spans
from .record import Client, Received
from .sdk_span import begun, context_of
from .shapes import Shape, shape_of
from .under_way import SpanEvent

if TYPE_CHECKING:
    from .deferring import Deferring


_touching = threading.RLock()


class DeferredSpan(trace.Span):
    """A span as ids and times.

    `parent` is valid or None; `end_ns` is None until it ends. `own` (attributes beside the shape's), `links` and
    `events` (name, attributes, ns since the epoch) stand once `describe` was called.
    """

    own: Mapping[str, Any] = MappingProxyType({})
    links: Sequence[Link] = ()
    events: Sequence[SpanEvent] = ()

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
        self._context: SpanContext | None = None
        self._touched: trace.Span | None = None

    def describe(self) -> None:
        """Set `own`, `links` and `events` from the facts."""

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

    def is_recording(self) -> bool:
        return self.end_ns is None if self._touched is None else self._touched.is_recording()

    def end(self, end_time: int | None = None) -> None:
        if self._touched is not None:
            self._touched.end(end_time)
        elif self.end_ns is None:
            self.end_ns = time.time_ns() if end_time is None else end_time
            self.deferring.put(self)

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

    def __getattr__(self, name: str) -> Any:
        # What the SDK's span has beside the API: attributes, status, resource, ….
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._touch(), name)

    def _touch(self) -> trace.Span:
        """Return the SDK's own span of the same ids, which this one is from now on; an ended one takes nothing more."""
        with _touching:
            if self._touched is not None:
                return self._touched
            if self.end_ns is not None:
                return trace.NonRecordingSpan(self.get_span_context())
            self.describe()
            real = begun(self, self.deferring)
            self._touched = real
            return real


class DeferredProcess(DeferredSpan):
    """Processing. All is set by who makes it: at least one record, and `also`, further attributes."""

    client: Client
    records: Sequence[Received]
    is_batch: bool
    also: spans.Attributes

    def describe(self) -> None:
        self.described()

    def described(self) -> Sequence[DeferredSpan]:
        """One span, and others of the same length where there are more links than a span takes."""
        found: list[DeferredSpan] = []
        each: DeferredSpan = self
        for portion, links in spans.portions(self.records, self.deferring.most_links, with_attributes=self.is_batch):
            if found:
                each = self.deferring.beside(self)
            each.links = links
            each.own = spans.consumed_attributes(portion, count=len(portion) if self.is_batch else None) | self.also
            each.shape = shape_of(names.PROCESS, self.client, spans.one_topic([r.topic for r in portion]))
            found.append(each)
        return found
