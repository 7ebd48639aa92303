"""Limits on what a request holds: what is over them is dropped or cut and counted, the span stays.

Most requests are far within. To see that, nothing is counted: an outline of the request tells how many spans there are
and how many bytes each takes, and one of few bytes cannot hold too many of anything. Only what is larger is looked at.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

# An element of a repeated field takes a tag and a length at least.
_LEAST_BYTES: Final = 2
# dropped_*_count are uint32.
_MOST_DROPPED: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """0 is no limit. Attributes are those of a span, link, event, scope or resource, each for itself; the bytes of a
    value are those of a text in UTF-8 or of bytes, also within lists and maps."""

    spans: int = 0
    attributes: int = 0
    links: int = 0
    events: int = 0
    value_bytes: int = 0

    def may_be_over(self, body: bytes) -> bool:
        """Return whether a valid request may be over a limit; False is certain."""
        few = self._few_bytes()
        if len(body) <= few and (not self.spans or len(body) <= _LEAST_BYTES * self.spans):
            return False
        outline = _Outline.FromString(body)
        spans = 0
        for resource in outline.resource_spans:
            if _longest(resource.resource) > few:
                return True
            for scope in resource.scope_spans:
                spans += len(scope.spans)
                if _longest(scope.spans) > few or _longest(scope.scope) > few:
                    return True
        return 0 < self.spans < spans

    def apply(self, request: ExportTraceServiceRequest) -> Counter[str]:
        """Drop and cut what is over the limits; return how much of it there was, by kind: `spans`, `attributes`,
        `links`, `events`, `values`. OTLP's own counts of what was dropped rise with it."""
        over: Counter[str] = Counter()
        few, left = self._few_bytes(), self.spans
        for resource in request.resource_spans:
            self._cut_attributes(resource.resource, over)
            for scope in resource.scope_spans:
                self._cut_attributes(scope.scope, over)
                if self.spans:
                    over["spans"] += _drop_after(scope.spans, left)
                    left -= len(scope.spans)
                for span in scope.spans:
                    if span.ByteSize() > few:
                        self._cut_span(span, over)
        return +over

    def _few_bytes(self) -> int:
        """The most bytes that a span can take and be within every limit for certain."""
        counts = [limit for limit in (self.attributes, self.links, self.events) if limit]
        bounds = [_LEAST_BYTES * limit for limit in counts] + ([self.value_bytes] if self.value_bytes else [])
        return min(bounds, default=_MOST_DROPPED)

    def _cut_span(self, span: Any, over: Counter[str]) -> None:
        self._cut_attributes(span, over)
        for kind, limit in (("links", self.links), ("events", self.events)):
            items = getattr(span, kind)
            if limit and (dropped := _drop_after(items, limit)):
                over[kind] += dropped
                _raise_count(span, f"dropped_{kind}_count", dropped)
            for item in items:
                self._cut_attributes(item, over)

    def _cut_attributes(self, holder: Any, over: Counter[str]) -> None:
        if self.attributes and (dropped := _drop_after(holder.attributes, self.attributes)):
            over["attributes"] += dropped
            _raise_count(holder, "dropped_attributes_count", dropped)
        if self.value_bytes:
            for attribute in holder.attributes:
                if attribute.ByteSize() > self.value_bytes:
                    over["values"] += _cut_value(attribute.value, self.value_bytes)


def _drop_after(items: Any, most: int) -> int:
    """Leave the first `most` of a repeated field; return how many went."""
    dropped = max(0, len(items) - max(0, most))
    if dropped:
        del items[len(items) - dropped :]
    return dropped


def _raise_count(holder: Any, name: str, by: int) -> None:
    setattr(holder, name, min(getattr(holder, name) + by, _MOST_DROPPED))


def _cut_value(value: AnyValue, most_bytes: int) -> int:
    """Cut every text and bytes in a value; return how many were cut."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text = value.string_value.encode()
        if len(text) > most_bytes:
            value.string_value = text[:most_bytes].decode(errors="ignore")  # no half of a character
            return 1
    elif kind == "bytes_value" and len(value.bytes_value) > most_bytes:
        value.bytes_value = value.bytes_value[:most_bytes]
        return 1
    elif kind == "array_value":
        return sum(_cut_value(item, most_bytes) for item in value.array_value.values)
    elif kind == "kvlist_value":
        return sum(_cut_value(item.value, most_bytes) for item in value.kvlist_value.values)
    return 0


def _longest(parts: Any) -> int:
    return max(map(len, parts), default=0)


def _outline() -> Any:
    """The message class of a request whose resources, scopes and spans are not looked into."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="outline.proto", package="outline", syntax="proto3")
    for name, first, second, below in (
        ("Request", "", "resource_spans", "Resource"),
        ("Resource", "resource", "scope_spans", "Scope"),
        ("Scope", "scope", "spans", ""),
    ):
        message = file.message_type.add(name=name)
        kinds = {"label": field.LABEL_REPEATED}
        if first:
            message.field.add(name=first, number=1, type=field.TYPE_BYTES, **kinds)
        if below:
            number = 2 if first else 1
            message.field.add(
                name=second, number=number, type=field.TYPE_MESSAGE, type_name=f".outline.{below}", **kinds
            )
        else:
            message.field.add(name=second, number=2, type=field.TYPE_BYTES, **kinds)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("outline.Request"))


_Outline: Final = _outline()
