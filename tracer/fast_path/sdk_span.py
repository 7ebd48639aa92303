"""Spans that were only noted, as the SDK's own: finished ones for processors, unfinished ones for who needs more."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan, _Span
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from flowtrail.tracer.shapes import Shape
from flowtrail.tracer.under_way import SpanEvent

if TYPE_CHECKING:
    from .deferring import Deferring


class Described(Protocol):
    """A noted span of which everything is said. `parent` is valid or None; times are ns since the epoch."""

    @property
    def deferring(self) -> "Deferring | None": ...
    @property
    def shape(self) -> Shape: ...
    @property
    def trace_id(self) -> int: ...
    @property
    def span_id(self) -> int: ...
    @property
    def trace_flags(self) -> int: ...
    @property
    def parent(self) -> SpanContext | None: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def end_ns(self) -> int | None: ...
    @property
    def own(self) -> Mapping[str, Any]: ...
    @property
    def own_links(self) -> Sequence[Link]: ...
    @property
    def own_events(self) -> Sequence[SpanEvent]: ...


class Noted(Protocol):
    """What the fast path puts into a queue: one span, or what several will be made of."""

    @property
    def deferring(self) -> "Deferring | None": ...

    def described(self) -> Sequence[Described]: ...


def context_of(span: Described) -> SpanContext:
    """The context that children and links name."""
    state = None if span.parent is None else span.parent.trace_state
    return SpanContext(span.trace_id, span.span_id, False, TraceFlags(span.trace_flags), state)


def readable(span: Described, deferring: "Deferring") -> ReadableSpan:
    """Return a finished span as processors and exporters get it."""
    return ReadableSpan(
        name=span.shape.name,
        context=context_of(span),
        parent=span.parent,
        resource=deferring.resource,
        attributes=span.shape.attributes | dict(span.own),
        events=[Event(name, dict(attributes), at_ns) for name, attributes, at_ns in span.own_events],
        links=span.own_links,
        kind=span.shape.kind,
        status=Status(StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_info=deferring.tracer.instrumentation_info,
        instrumentation_scope=deferring.scope,
    )


def bare(span: Described, deferring: "Deferring") -> ReadableSpan:
    """Return a finished span that cannot be described: its ids and times, which hold the trace together."""
    shape = getattr(span, "shape", None)
    return ReadableSpan(
        name="" if shape is None else shape.name,
        context=context_of(span),
        parent=span.parent,
        resource=deferring.resource,
        kind=SpanKind.INTERNAL if shape is None else shape.kind,
        status=Status(StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_info=deferring.tracer.instrumentation_info,
        instrumentation_scope=deferring.scope,
    )


def begun(span: Described, deferring: "Deferring") -> trace.Span:
    """Return the SDK's own span of the same ids, begun at the same time and not ended."""
    tracer = deferring.tracer
    real = _Span(
        name=span.shape.name,
        context=context_of(span),
        parent=span.parent,
        sampler=tracer.sampler,
        resource=tracer.resource,
        attributes=span.shape.attributes | dict(span.own),
        span_processor=tracer.span_processor,
        kind=span.shape.kind,
        links=span.own_links,
        instrumentation_info=tracer.instrumentation_info,
        limits=deferring.limits,
        instrumentation_scope=deferring.scope,
    )
    real.start(span.start_ns)
    for name, attributes, at_ns in span.own_events:
        real.add_event(name, dict(attributes), at_ns)
    return real
