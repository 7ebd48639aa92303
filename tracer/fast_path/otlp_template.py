"""Finished spans as OTLP bytes, without making SDK spans and protobuf objects first.

    ExportTraceServiceRequest
    └ 1 resource_spans
      ├ 1 resource                      once for a request, kept
      └ 2 scope_spans
        ├ 1 scope                       kept
        └ 2 span                        for each: ids, times, and what differs; name, kind and the client's attributes
                                        are kept with its shape

Nearly all notes hold nothing out of the ordinary and are written down straight; others are described first.
What is parsed from these bytes equals, field by field, what is parsed from the stock encoder's for the same spans.
https://opentelemetry.io/docs/specs/otlp/, https://protobuf.dev/programming-guides/encoding/
"""

import functools
from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.exporter.otlp.proto.common._internal import _encode_instrumentation_scope, _encode_resource
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind

from flowtrail.tracer.attributes import KEY, OFFSET, RECORD_TIMESTAMP_MS, SEND, TOMBSTONE, TOPIC
from flowtrail.tracer.capture import captured_key
from flowtrail.tracer.configuration import CONFIGURATION
from flowtrail.tracer.record import Received
from flowtrail.tracer.shapes import Shape, shape_of
from flowtrail.tracer.spans import further_attributes
from flowtrail.tracer.traceparent import read_spans
from flowtrail.tracer.under_way import Sending

from .deferred_span import DeferredProcess, PollNote
from .otlp_bytes import (
    SHORT,
    encode_attributes,
    field,
    int_attribute,
    partition_attribute,
    short_attribute,
    text_attribute,
    text_field,
    varint,
)
from .sdk_span import Described, Noted

if TYPE_CHECKING:
    from .deferring import Deferring

# Sends encoded notes and ready spans; says how many spans went.
Send: TypeAlias = Callable[[Sequence[bytes], "Deferring", Sequence[ReadableSpan]], int]

# opentelemetry.proto.trace.v1.Span.SpanKind
_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
# Fields 1 and 2 of Span and of Link: both ids.
_IDS: Final = Struct(">2sQQ2sQ").pack
_LOW: Final = (1 << 64) - 1
# Fields 7 and 8 of Span, start and end, and 16, flags.
_TIMES: Final = Struct("<BQBQ6s").pack
_FIXED64: Final = Struct("<BQ").pack
# Field 15, an empty status (unset), and 16, flags: whether the parent is remote is known, and whether it is.
_STATUS: Final = b"\x7a\x00"
_FLAGS: Final = b"\x85\x01\x00\x01\x00\x00"
_FLAGS_REMOTE: Final = b"\x85\x01\x00\x03\x00\x00"
# Field 6 of Link.
_LINK_FLAGS: Final = b"\x35\x00\x01\x00\x00"
_LINK_FLAGS_REMOTE: Final = b"\x35\x00\x03\x00\x00"


def template_of(exporter: Any) -> Send | None:
    """Return what sends notes, and the SDK's own spans beside them, through an OTLP exporter.

    That is the stock one over HTTP, in one request, or ours over gRPC. None for any other, and for one whose inside is
    not as it is known here.
    """
    if type(exporter) is not OTLPSpanExporter:
        # Asked for by name: the one over gRPC imports a library that most programs do not need.
        return exporter.export_noted if getattr(exporter, "takes_bytes", False) else None
    client: Any = getattr(exporter, "_client", None)
    if not callable(getattr(client, "export", None)):
        return None

    def send(encoded: Sequence[bytes], deferring: "Deferring", ready: Sequence[ReadableSpan]) -> int:
        if getattr(exporter, "_shutdown", False):
            return 0
        # Requests one after the other are one request: repeated fields add up.
        data = request(encoded, deferring.resource, deferring.scope)
        if ready:
            data += encode_spans(ready).SerializePartialToString()
        return len(encoded) + len(ready) if client.export(data).success else 0

    return send


def encode_noted(noted: Noted, encoded: list[bytes]) -> None:
    """Append the spans that a note stands for, each as the field of a request that `request` takes."""
    if isinstance(noted, Sending):
        encoded.append(field(0x12, _sent(noted)))
        return
    if isinstance(noted, DeferredProcess):
        processed = _processed(noted)
        if processed is not None:
            encoded.append(field(0x12, processed))
            return
    elif isinstance(noted, PollNote):
        polled = _polled(noted)
        if polled is not None:
            encoded += polled
            return
    encoded += [field(0x12, _span(span)) for span in noted.described()]


def request(encoded: Sequence[bytes], resource: Resource, scope: InstrumentationScope) -> bytes:
    """Return an ExportTraceServiceRequest of spans that are encoded; without any it is empty, and no bytes at all."""
    if not encoded:
        return b""
    named, scoped = _resource(resource), _scope(scope)
    scope_bytes = len(scoped) + sum(map(len, encoded))
    spans = [b"\x12", varint(scope_bytes), scoped]
    resource_bytes = len(named) + sum(map(len, spans)) + scope_bytes - len(scoped)
    # Put together once: it is a megabyte or so.
    return b"".join([b"\x0a", varint(resource_bytes), named, *spans, *encoded])


# Notes with nothing out of the ordinary, without attribute dictionaries and links in between


def _sent(sending: Sending) -> bytes:
    """What `Sending.described` says, in the same order."""
    is_plain = sending.schemas is None and sending.captured is None and sending.transaction is None
    if not is_plain or sending.is_tombstone:
        sending.described()
        return _span(sending)
    client, topic = sending.client, sending.topic
    parts = [_head(sending, client.shapes.get((SEND[0], topic)) or shape_of(SEND, client, topic))]
    if sending.partition is not None:
        parts.append(partition_attribute(0x4A, sending.partition))
    _add_key(parts, 0x4A, sending.key)
    if sending.offset is not None:
        parts.append(int_attribute(0x4A, OFFSET, sending.offset))
    return b"".join(parts)


def _processed(span: DeferredProcess) -> bytes | None:
    """What `DeferredProcess.described` says of one record; None for a batch, and for a record with several contexts."""
    if span.is_batch:
        return None
    record = span.records[0]
    context, others = read_spans(record.headers)
    if others:
        return None
    parts = [_head(span, span.shape)]
    _add_record(parts, 0x4A, record)
    parts.append(encode_attributes(0x4A, span.also))
    if context is not None:
        parts.append(field(0x6A, _link(context, b"")))
    return b"".join(parts)


def _polled(note: PollNote) -> list[bytes] | None:
    """What `PollNote.described` says of a poll that takes one span; None for others."""
    records = note.polled.records
    if len(records) > note.deferring.most_links:
        return None
    links = []
    for record in records:
        context, others = read_spans(record.headers)
        if others:
            return None
        own: list[bytes] = [text_attribute(0x22, TOPIC, record.topic)]
        _add_record(own, 0x22, record)
        links.append(field(0x6A, _link(INVALID_SPAN_CONTEXT if context is None else context, b"".join(own))))
    span = note.span(records)
    return [] if span is None else [field(0x12, _span(span) + b"".join(links))]


def _add_record(parts: list[bytes], tag: int, record: Received) -> None:
    """What `spans.record_attributes` says, in the same order."""
    parts.append(partition_attribute(tag, record.partition))
    parts.append(int_attribute(tag, OFFSET, record.offset))
    _add_key(parts, tag, record.key)
    if record.timestamp_ms is not None:
        parts.append(int_attribute(tag, RECORD_TIMESTAMP_MS, record.timestamp_ms))
    if record.is_tombstone:
        parts.append(encode_attributes(tag, {TOMBSTONE: True}))
    further = further_attributes(record)
    if further:
        parts.append(encode_attributes(tag, further))


def _add_key(parts: list[bytes], tag: int, key: object) -> None:
    now = CONFIGURATION.now
    # What `captured_key` makes of most keys, without making a text of the bytes and bytes of the text.
    if type(key) is bytes and now.captures_keys_as_they_are and len(key) < SHORT and key.isascii():
        parts.append(short_attribute(tag, KEY, key))
        return
    text = captured_key(key, now)
    if text is not None:
        parts.append(text_attribute(tag, KEY, text))


# Any span


def _span(span: Described) -> bytes:
    parts = [_head(span, span.shape), encode_attributes(0x4A, span.own)]
    for event, attributes, at_ns in span.events:
        parts.append(field(0x5A, _FIXED64(0x09, at_ns) + text_field(0x12, event) + encode_attributes(0x1A, attributes)))
    for link in span.links:
        own = encode_attributes(0x22, link.attributes) if link.attributes else b""
        parts.append(field(0x6A, _link(link.context, own)))
    return b"".join(parts)


def _head(span: Described, shape: Shape) -> bytes:
    """Ids, times, and what the shape says."""
    trace_id, parent = span.trace_id, span.parent
    ids = _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", span.span_id)
    common = shape.encoded or _encode_shape(shape)
    if parent is None:
        return ids + _TIMES(0x39, span.start_ns, 0x41, span.end_ns, _FLAGS) + common
    times = _TIMES(0x39, span.start_ns, 0x41, span.end_ns, _FLAGS_REMOTE if parent.is_remote else _FLAGS)
    head = b"%b\x22\x08%b%b%b" % (ids, parent.span_id.to_bytes(8, "big"), times, common)
    if parent.trace_state:
        head += text_field(0x1A, ",".join([f"{name}={value}" for name, value in parent.trace_state.items()]))
    return head


def _encode_shape(shape: Shape) -> bytes:
    shape.encoded = (
        field(0x2A, shape.name.encode(errors="replace"))
        + varint(0x30)
        + varint(_KINDS[shape.kind])
        + _STATUS
        + encode_attributes(0x4A, shape.attributes)
    )
    return shape.encoded


def _link(context: SpanContext, own: bytes) -> bytes:
    trace_id = context.trace_id
    ids = _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", context.span_id)
    return ids + own + (_LINK_FLAGS_REMOTE if context.is_remote else _LINK_FLAGS)


@functools.lru_cache(maxsize=8)
def _scope(scope: InstrumentationScope) -> bytes:
    return field(0x0A, _encode_instrumentation_scope(scope).SerializeToString()) + _schema(scope.schema_url)


def _schema(url: str | None) -> bytes:
    """The address of the conventions that were followed, field 3 of both ResourceSpans and ScopeSpans."""
    return text_field(0x1A, url) if url else b""


_encoded_resource: tuple[Resource, bytes] | None = None


def _resource(resource: Resource) -> bytes:
    """The resource's field; the last one is kept, since a process has one (and after a fork another)."""
    global _encoded_resource
    kept = _encoded_resource
    if kept is None or kept[0] is not resource:
        encoded = field(0x0A, _encode_resource(resource).SerializeToString())
        kept = resource, encoded + _schema(resource.schema_url)
        _encoded_resource = kept
    return kept[1]
