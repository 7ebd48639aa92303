"""Finished spans as OTLP bytes, without making SDK spans and protobuf objects first.

    ExportTraceServiceRequest
    └ 1 resource_spans
      ├ 1 resource                      once for a request, kept
      └ 2 scope_spans
        ├ 1 scope                       kept
        └ 2 span                        for each: ids, times, and what differs; name, kind and the client's attributes
                                        are kept with its shape

What is parsed from these bytes equals, field by field, what is parsed from the stock encoder's for the same spans.
https://opentelemetry.io/docs/specs/otlp/, https://protobuf.dev/programming-guides/encoding/
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common._internal import _encode_instrumentation_scope, _encode_resource
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind

from .attributes import PARTITION
from .counts import COUNTS
from .sdk_span import Described
from .shapes import Shape

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
_MOST: Final = (1 << 63) - 1
_LOW: Final = (1 << 64) - 1
# Fields 7 and 8 of Span, start and end, and 16, flags.
_TIMES: Final = Struct("<BQBQ6s").pack
_FIXED64: Final = Struct("<BQ").pack
_DOUBLE: Final = Struct("<Bd").pack
# A text of fewer bytes has a length of one byte, and so have the messages around it but the outermost.
_SHORT: Final = 100
# Each seven bits as the last byte of a varint, and as one that is followed by more.
_ONE: Final = [bytes((group,)) for group in range(0x80)]
_MORE: Final = [bytes((group | 0x80,)) for group in range(0x80)]
# Field 15, an empty status (unset), and 16, flags: whether the parent is remote is known, and whether it is.
_STATUS: Final = b"\x7a\x00"
_FLAGS: Final = b"\x85\x01\x00\x01\x00\x00"
_FLAGS_REMOTE: Final = b"\x85\x01\x00\x03\x00\x00"
# Field 6 of Link.
_LINK_FLAGS: Final = b"\x35\x00\x01\x00\x00"
_LINK_FLAGS_REMOTE: Final = b"\x35\x00\x03\x00\x00"


def template_of(exporter: Any) -> Callable[[Sequence[Described], Sequence[ReadableSpan]], bool] | None:
    """Return what sends noted spans, and the SDK's own beside them, through an OTLP/HTTP exporter in one request.

    It says whether that went well. None for any other exporter, and for one whose inside is not as it is known here.
    """
    if type(exporter) is not OTLPSpanExporter:
        return None
    client: Any = getattr(exporter, "_client", None)
    if not callable(getattr(client, "export", None)):
        return None

    def send(noted: Sequence[Described], ready: Sequence[ReadableSpan]) -> bool:
        if exporter._shutdown:
            return False
        deferring = noted[0].deferring
        if deferring is None:
            return False
        # Requests one after the other are one request: repeated fields add up.
        data = encode(noted, deferring.resource, deferring.scope)
        if ready:
            data += encode_spans(ready).SerializePartialToString()
        return bool(client.export(data).success)

    return send


def encode(spans: Iterable[Described], resource: Resource, scope: InstrumentationScope) -> bytes:
    """Return an ExportTraceServiceRequest; without spans it is empty, and no bytes at all. Spans must be described."""
    encoded = b"".join([_field(0x12, _span(span)) for span in spans])
    if not encoded:
        return b""
    return _field(0x0A, _resource(resource) + _field(0x12, _scope(scope) + encoded))


def _span(span: Described) -> bytes:
    shape, trace_id, parent = span.shape, span.trace_id, span.parent
    if parent is None:
        parts = [
            _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", span.span_id),
            shape.encoded or _encode_shape(shape),
            _TIMES(0x39, span.start_ns, 0x41, span.end_ns, _FLAGS),
        ]
    else:
        parts = [
            _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", span.span_id),
            shape.encoded or _encode_shape(shape),
            _TIMES(0x39, span.start_ns, 0x41, span.end_ns, _FLAGS_REMOTE if parent.is_remote else _FLAGS),
            b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
        ]
        if parent.trace_state:
            state = ",".join([f"{name}={value}" for name, value in parent.trace_state.items()])
            parts.append(_text(0x1A, state))
    parts.append(_attributes(0x4A, span.own))
    for event, attributes, at_ns in span.events:
        parts.append(_field(0x5A, _FIXED64(0x09, at_ns) + _text(0x12, event) + _attributes(0x1A, attributes)))
    for link in span.links:
        parts.append(_field(0x6A, _link(link)))
    return b"".join(parts)


def _encode_shape(shape: Shape) -> bytes:
    shape.encoded = (
        _text(0x2A, shape.name) + _ONE[0x30] + _ONE[_KINDS[shape.kind]] + _STATUS + _attributes(0x4A, shape.attributes)
    )
    return shape.encoded


def _link(link: Link) -> bytes:
    context: SpanContext = link.context
    trace_id = context.trace_id
    return (
        _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", context.span_id)
        + (_attributes(0x22, link.attributes) if link.attributes else b"")
        + (_LINK_FLAGS_REMOTE if context.is_remote else _LINK_FLAGS)
    )


def _attributes(tag: int, attributes: Mapping[str, Any]) -> bytes:
    """KeyValues as fields `tag`; what cannot be encoded is left out and counted, as the rest is worth having."""
    encoded = []
    for name, value in attributes.items():
        try:
            if type(value) is int:
                number = _varint(value) if 0 <= value <= _MOST else _negative(value)
                body = b"%b\x12%b\x18%b" % (_name(name), _ONE[len(number) + 1], number)
            elif name == PARTITION:
                encoded.append(_partition(tag, value))
                continue
            elif type(value) is str and len(text := value.encode()) < _SHORT:
                body = b"%b\x12%b\x0a%b%b" % (_name(name), _ONE[len(text) + 2], _ONE[len(text)], text)
            else:
                body = _name(name) + _field(0x12, _value(value))
            encoded.append(_field(tag, body))
        except (TypeError, ValueError) as error:
            COUNTS.fail("attribute", name, error)
    return b"".join(encoded)


# Of the attributes that differ from record to record, only this one has few values.
@functools.lru_cache(maxsize=1024)
def _partition(tag: int, value: str) -> bytes:
    return _field(tag, _name(PARTITION) + _field(0x12, _value(value)))


@functools.lru_cache(maxsize=512)
def _name(name: str) -> bytes:
    return _text(0x0A, name)


def _value(value: Any) -> bytes:
    """An AnyValue. Raises TypeError or ValueError for what is no attribute's value."""
    match value:
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case str():
            return _text(0x0A, value)
        case int():
            return b"\x18" + (_varint(value) if 0 <= value <= _MOST else _negative(value))
        case float():
            return _DOUBLE(0x21, value)
        case bytes():
            return _field(0x3A, value)
        case Sequence():
            return _field(0x2A, b"".join([_field(0x0A, _value(each)) for each in value]))
    raise TypeError(f"{type(value).__name__} is no attribute's value")


def _text(tag: int, text: str) -> bytes:
    return _field(tag, text.encode())


def _field(tag: int, body: bytes) -> bytes:
    """A length-delimited field; `tag` is its number and wire type, below 128."""
    length = len(body)
    return b"%b%b%b" % (_ONE[tag], _ONE[length] if length < 0x80 else _varint(length), body)


def _varint(number: int) -> bytes:
    """Little-endian groups of seven bits; 0 ≤ number < 2⁶⁴."""
    if number < 0x80:
        return _ONE[number]
    if number < 0x4000:
        return _MORE[number & 0x7F] + _ONE[number >> 7]
    if number < 0x200000:
        return b"%b%b%b" % (_MORE[number & 0x7F], _MORE[number >> 7 & 0x7F], _ONE[number >> 14])
    if number < 0x10000000:
        return b"%b%b%b%b" % (
            _MORE[number & 0x7F],
            _MORE[number >> 7 & 0x7F],
            _MORE[number >> 14 & 0x7F],
            _ONE[number >> 21],
        )
    return _long_varint(number)


# Timestamps: the records of a poll share them.
@functools.lru_cache(maxsize=256)
def _long_varint(number: int) -> bytes:
    groups = []
    while number >= 0x80:
        groups.append(_MORE[number & 0x7F])
        number >>= 7
    groups.append(_ONE[number])
    return b"".join(groups)


def _negative(number: int) -> bytes:
    """A negative number in two's complement. Raises ValueError for what has no 64 bits."""
    if -(1 << 63) <= number < 0:
        return _long_varint(number + (1 << 64))
    raise ValueError(f"{number} is no 64-bit number")


@functools.lru_cache(maxsize=8)
def _scope(scope: InstrumentationScope) -> bytes:
    return _field(0x0A, _encode_instrumentation_scope(scope).SerializeToString()) + _schema(scope.schema_url)


def _schema(url: str | None) -> bytes:
    """The address of the conventions that were followed, field 3 of both ResourceSpans and ScopeSpans."""
    return _text(0x1A, url) if url else b""


_encoded_resource: tuple[Resource, bytes] | None = None


def _resource(resource: Resource) -> bytes:
    """The resource's field; the last one is kept, since a process has one (and after a fork another)."""
    global _encoded_resource
    kept = _encoded_resource
    if kept is None or kept[0] is not resource:
        encoded = _field(0x0A, _encode_resource(resource).SerializeToString())
        kept = resource, encoded + _schema(resource.schema_url)
        _encoded_resource = kept
    return kept[1]
