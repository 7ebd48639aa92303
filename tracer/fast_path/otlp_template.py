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
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.exporter.otlp.proto.common._internal import _encode_instrumentation_scope, _encode_resource
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from flowtrail.tracer.attributes import MESSAGE_COUNT, OFFSET, SEND, TOPIC
from flowtrail.tracer.shapes import Shape, shape_of
from flowtrail.tracer.spans import INFERRED
from flowtrail.tracer.under_way import Sending, SpanEvent

from .deferred_span import DeferredProcess, PollNote
from .otlp_bytes import encode_attributes, field, int_attribute, text_attribute, text_field, varint
from .otlp_records import EncodedRecord, add_key, encode_link, encode_polled, encode_processed, partition_attribute
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
_INFERRED: Final = encode_attributes(b"\x4a", INFERRED)


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
        result = client.export(data)
        if result.success:
            return len(encoded) + len(ready)
        if isinstance(getattr(result, "error", None), Exception):
            raise result.error  # what the exporter logs does not say it
        return 0

    return send


def encode_noted(noted: Noted, encoded: list[bytes]) -> None:
    """Append the spans that a note stands for, each as the field of a request that `request` takes."""
    if isinstance(noted, Sending):
        encoded.append(field(0x12, _sent(noted)))
        return
    said = None
    if isinstance(noted, DeferredProcess):
        said = _processed(noted)
    elif isinstance(noted, PollNote):
        said = _polled(noted)
    if said is None:
        encoded += map(encode_span, noted.described())
        return
    for span in said:
        encoded.append(field(0x12, span))


def encode_span(span: Described) -> bytes:
    """Return a span that is described, as the field of a request."""
    return field(0x12, _span(span))


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
    attributes = [b""]
    if sending.partition is not None:
        attributes.append(partition_attribute(sending.partition))
    if sending.key is not None:
        add_key(attributes, sending.key)
    if sending.offset is not None:
        attributes.append(int_attribute(OFFSET, sending.offset))
    shape = client.shapes.get((SEND[0], topic)) or shape_of(SEND, client, topic)
    return _head(sending, shape) + b"\x4a".join(attributes)


def _processed(span: DeferredProcess) -> list[bytes] | None:
    """What `DeferredProcess.described` says; None when a record brought several contexts."""
    also = _INFERRED if span.also is INFERRED else encode_attributes(b"\x4a", span.also)
    if not span.is_batch:
        encoded = encode_processed(span.records[0])
        if encoded is None:
            return None
        _, has_context, link, attributes = encoded
        said = b"%b%b%b" % (_head(span, span.shape), b"\x4a".join(attributes), also)
        return [said + field(0x6A, link) if has_context else said]
    portions = _portions(map(encode_processed, span.records), span.deferring.most_links)
    if portions is None:
        return None
    parts = zip(span.parts([[record[0] for record in portion] for portion in portions]), portions, strict=True)
    return [_head(part, part.shape) + _of_batch(portion) + also for part, portion in parts if part is not None]


def _polled(note: PollNote) -> list[bytes] | None:
    """What `PollNote.described` says; None when a record brought several contexts."""
    portions = _portions(map(encode_polled, note.records), note.deferring.most_links)
    if portions is None:
        return None
    found = []
    for portion in portions:
        span = note.start([record[0] for record in portion])
        if span is not None:
            events = b"".join(map(_event, span.own_events)) if span.own_events else b""
            found.append(b"%b%b%b" % (_head(span, span.shape), _of_batch(portion), events))
    return found


def _portions(encoded: Iterable[EncodedRecord | None], most: int) -> Sequence[Sequence[EncodedRecord]] | None:
    """As `spans.portions`, where each record has one link."""
    records = []
    for record in encoded:
        if record is None:
            return None
        records.append(record)
    return [records[first : first + most] for first in range(0, len(records), most)]


def _of_batch(records: Sequence[EncodedRecord]) -> bytes:
    """A batch's size, the own attributes of an only record, and a link for each, which says which record was there."""
    parts = [] if len(records) > 1 else [b"\x4a".join(records[0][-1])]
    parts += (b"\x4a", _count_attribute(len(records)))
    for record, _, link, attributes in records:
        topic = b"\x22" + _topic_attribute(record.topic)
        parts.append(field(0x6A, b"%b%b%b" % (link, topic, b"\x22".join(attributes))))
    return b"".join(parts)


@functools.lru_cache(maxsize=64)
def _topic_attribute(topic: str) -> bytes:
    return text_attribute(TOPIC, topic)


@functools.lru_cache(maxsize=512)
def _count_attribute(count: int) -> bytes:
    return int_attribute(MESSAGE_COUNT, count)


# Any span


def _span(span: Described) -> bytes:
    parts = [_head(span, span.shape), encode_attributes(b"\x4a", span.own), *map(_event, span.own_events)]
    for link in span.own_links:
        own = encode_attributes(b"\x22", link.attributes) if link.attributes else b""
        parts.append(field(0x6A, encode_link(link.context) + own))
    return b"".join(parts)


def _event(event: SpanEvent) -> bytes:
    name, attributes, at_ns = event
    return field(0x5A, _FIXED64(0x09, at_ns) + text_field(0x12, name) + encode_attributes(b"\x1a", attributes))


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
        + encode_attributes(b"\x4a", shape.attributes)
    )
    return shape.encoded


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
