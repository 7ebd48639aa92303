"""A span of which only ids and times are noted; everything else is described when it leaves, on another thread.

The program may hold one (`with process(record) as span`): as soon as it touches it, it becomes the SDK's own span.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan, _Span
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from . import attributes as names
from . import spans
from .record import Client, Header, Received
from .shapes import Shape, shape_of

if TYPE_CHECKING:
    from .deferring import Deferring

# Key, whether it is a tombstone, the partition that was asked for, and headers to capture from.
SendFacts: TypeAlias = tuple[object, bool, int | None, Sequence[Header] | None]
SpanEvent: TypeAlias = tuple[str, Mapping[str, Any], int]

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

    @property
    def trace_state(self) -> TraceState | None:
        return None if self.parent is None else self.parent.trace_state

    def describe(self) -> None:
        """Set `own`, `links` and `events` from the facts."""

    def described(self) -> "Sequence[DeferredSpan]":
        """Return what is to be exported: this span, described, and those that take what is too much for one."""
        self.describe()
        return (self,)

    def readable(self) -> ReadableSpan:
        """Return the finished and described span as the SDK has it."""
        return ReadableSpan(
            name=self.shape.name,
            context=self.get_span_context(),
            parent=self.parent,
            resource=self.deferring.resource,
            attributes=self.shape.attributes | dict(self.own),
            events=[Event(name, dict(attributes), at_ns) for name, attributes, at_ns in self.events],
            links=self.links,
            kind=self.shape.kind,
            status=Status(StatusCode.UNSET),
            start_time=self.start_ns,
            end_time=self.end_ns,
            instrumentation_info=self.deferring.tracer.instrumentation_info,
            instrumentation_scope=self.deferring.scope,
        )

    # What the API asks of a span

    def get_span_context(self) -> SpanContext:
        found = self._context
        if found is None:
            self._context = found = SpanContext(
                self.trace_id, self.span_id, False, TraceFlags(self.trace_flags), self.trace_state
            )
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
            tracer = self.deferring.tracer
            real = _Span(
                name=self.shape.name,
                context=self.get_span_context(),
                parent=self.parent,
                sampler=tracer.sampler,
                resource=tracer.resource,
                attributes=self.shape.attributes | dict(self.own),
                span_processor=tracer.span_processor,
                kind=self.shape.kind,
                links=self.links,
                instrumentation_info=tracer.instrumentation_info,
                limits=tracer._span_limits,
                instrumentation_scope=tracer._instrumentation_scope,
            )
            real.start(self.start_ns)
            for name, attributes, at_ns in self.events:
                real.add_event(name, attributes, at_ns)
            self._touched = real
            return real


class DeferredSend(DeferredSpan):
    """A send. `client` and `facts` are set by who makes it, `partition`, `offset` and `schemas` by the answer.

    `outcome` is the transaction's, if there was one.
    """

    client: Client
    facts: SendFacts
    partition: int | None = None
    offset: int | None = None
    schemas: tuple[str | None, str | None] | None = None
    outcome: str | None = None

    def describe(self) -> None:
        own = spans.sent_attributes(*self.facts)
        if self.partition is not None:
            own[names.PARTITION] = str(self.partition)
        if self.offset is not None:
            own[names.OFFSET] = self.offset
        if self.schemas is not None:
            own |= spans.schema_attributes(*self.schemas)
        if self.outcome is not None:
            own[names.TRANSACTION_OUTCOME] = self.outcome
        self.own = own


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
