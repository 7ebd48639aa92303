"""Requests of realistic Kafka spans for load: encoded once, and given new ids at every send.

`template` and `with_ids` number their requests, so that one can be made again byte for byte. `Renewable` draws what
changes at random, as real spans do: counted ids would compress to a third of their bytes.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import numpy
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

Bytes = NDArray[numpy.uint8]

# The half of every trace id that changes from request to request; as bytes it occurs nowhere else.
SALT: Final = b"\xfe\xed\xfa\xce\xca\xfe\xbe\xef"
HEADERS: Final = {"content-type": "application/x-protobuf"}
SERVICES: Final = ("orders", "payments", "shipping", "inventory", "notifications", "fraud")
# Varints of four bytes hold these offsets, whatever is drawn: a request keeps its length.
FIRST_OFFSET: Final = 1 << 21
LAST_OFFSET: Final = (1 << 28) - 1
KEY_DIGITS: Final = 7
# A block of this many spans is renewed by a dozen calls, whether it is one request or sixty-four.
BLOCK_SPANS: Final = 512


def template(spans: int, now_ns: int, service: str = "orders") -> bytes:
    """Return a request of Kafka spans, half sends and half processes, whose trace ids begin with SALT."""
    return _request([_counted(number, now_ns) for number in range(spans)], service)


def with_ids(encoded: bytes, number: int) -> bytes:
    """Return the request with trace ids that no other number gives."""
    return encoded.replace(SALT, number.to_bytes(8, "big"))


class Renewable:
    """Requests that lie in a row, each after `head` (of HTTP, say, with `%d` for the body's length).

    `renew` draws anew: trace and span ids (links and parents follow), starts just before now, durations, keys;
    offsets rise. Services take turns. 120 µs for a block of 512 spans.
    """

    def __init__(self, spans: int, head: bytes = b"", seed: int | None = None) -> None:
        self.spans = spans
        self._random = numpy.random.default_rng(seed)
        self._blocks = [_Block(spans, service, head, self._random) for service in SERVICES]
        self._offset = FIRST_OFFSET
        self.body_bytes = self._blocks[0].body_bytes

    def __iter__(self) -> Iterator[memoryview]:
        """Yield requests without end. One that was yielded changes after the others of its block: send it at once."""
        while True:
            for block in self._blocks:
                block.renew(self._random, time.time_ns(), self._offset)
                self._offset += block.count
                if self._offset + block.count > LAST_OFFSET:
                    self._offset = FIRST_OFFSET
                yield from block.requests


class _Places:
    """Where values of one width stand in a buffer; a value may stand in several places."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._at: list[int] = []
        self._which: list[int] = []

    def add(self, position: int, value: int) -> None:
        self._at.append(position)
        self._which.append(value)

    def fix(self) -> None:
        self._target = (numpy.array(self._at, numpy.int64)[:, None] + numpy.arange(self._width)).ravel()
        self._source = numpy.array(self._which, numpy.int64)

    def write(self, buffer: Bytes, values: NDArray[Any]) -> None:
        """Write value rows of any type whose row has this width in bytes."""
        buffer[self._target] = values.view(numpy.uint8).reshape(-1, self._width)[self._source].ravel()


class _Block:
    """`BLOCK_SPANS` spans of one service in as many requests as it takes."""

    def __init__(self, spans: int, service: str, head: bytes, random: numpy.random.Generator) -> None:
        self.count = max(1, BLOCK_SPANS // spans) * spans
        self._number_in_request = numpy.arange(self.count) % spans
        self._spans = spans
        self._traces, self._ids, self._parents = _Places(16), _Places(8), _Places(8)
        self._starts, self._ends, self._offsets, self._keys = _Places(8), _Places(8), _Places(4), _Places(KEY_DIGITS)
        joined = bytearray()
        bounds: list[tuple[int, int]] = []
        for first in range(0, self.count, spans):
            marked = [_marked(first + first % 2 + number, random) for number in range(spans)]  # a send comes first
            body = _request(marked, service)
            self.body_bytes = len(body)
            begin = len(joined)
            joined += head.replace(b"%d", str(len(body)).encode())
            self._find(body, len(joined), marked, first)
            joined += body
            bounds.append((begin, len(joined)))
        for places in self._all():
            places.fix()
        self._buffer = numpy.frombuffer(joined, numpy.uint8)
        self.requests = [memoryview(joined)[begin:end] for begin, end in bounds]

    def _all(self) -> tuple[_Places, ...]:
        return (self._traces, self._ids, self._parents, self._starts, self._ends, self._offsets, self._keys)

    def _find(self, body: bytes, base: int, marked: list[Span], first: int) -> None:
        """Note where the marks of each span stand. Every mark is random, so it occurs where it was put alone."""
        begin = 0
        for number, span in enumerate(marked, first):
            pair = number - (number - first) % 2
            at = body.index(span.trace_id, begin)
            begin = at
            self._traces.add(base + at, pair)
            self._ids.add(base + body.index(span.span_id, begin), number)
            if span.parent_span_id:
                self._parents.add(base + body.index(span.parent_span_id, begin), number)
            self._starts.add(base + body.index(span.start_time_unix_nano.to_bytes(8, "little"), begin), number)
            self._ends.add(base + body.index(span.end_time_unix_nano.to_bytes(8, "little"), begin), number)
            values = {attribute.key: attribute.value for attribute in span.attributes}
            offset = values["messaging.kafka.offset"].SerializeToString()
            self._offsets.add(base + body.index(offset, begin) + 1, number)
            key = values["messaging.kafka.message.key"].string_value.encode()
            self._keys.add(base + body.index(key, begin) + len(key) - KEY_DIGITS, number)
            for link in span.links:
                self._traces.add(base + body.index(link.trace_id, begin), pair)
                self._ids.add(base + body.index(link.span_id, begin), number - 1)

    def renew(self, random: numpy.random.Generator, now_ns: int, first_offset: int) -> None:
        count = self.count
        self._traces.write(self._buffer, numpy.frombuffer(random.bytes(16 * count), numpy.uint8))
        ids = numpy.frombuffer(random.bytes(8 * count), numpy.uint8)
        self._ids.write(self._buffer, ids)
        self._parents.write(self._buffer, ids[::-1].copy())
        before_ns = (self._spans - self._number_in_request) * 1_000_000 - random.integers(0, 1_000_000, count)
        starts = now_ns - before_ns
        self._starts.write(self._buffer, starts)
        self._ends.write(self._buffer, starts + random.lognormal(14, 1, count).astype(numpy.int64))
        offsets = first_offset + numpy.arange(count)
        shifted = (offsets[:, None] >> numpy.array([0, 7, 14, 21])) & 0x7F
        self._offsets.write(self._buffer, (shifted | numpy.array([0x80, 0x80, 0x80, 0])).astype(numpy.uint8))
        digits = random.integers(ord("0"), ord("9") + 1, (count, KEY_DIGITS), numpy.uint8)
        self._keys.write(self._buffer, digits)


def _request(spans: list[Span], service: str) -> bytes:
    attributes = [
        _text("service.name", service),
        _text("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
        _text("telemetry.sdk.language", "python"),
        _text("telemetry.sdk.name", "opentelemetry"),
    ]
    scope = InstrumentationScope(name="flowtrail", version="1")
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=Resource(attributes=attributes), scope_spans=[ScopeSpans(scope=scope, spans=spans)])
        ]
    ).SerializeToString()


def _counted(number: int, now_ns: int) -> Span:
    start_ns = now_ns - number * 1_000_003
    span = _span(number, 1_000_000 + number, f"order-{number * 7919 % 100_000}")
    span.trace_id = SALT + (number // 2 + 1).to_bytes(8, "big")
    span.span_id = (number + 1).to_bytes(8, "big")
    span.start_time_unix_nano = start_ns
    span.end_time_unix_nano = start_ns + 500_000 + number * 4_001 % 3_000_000
    for link in span.links:
        link.trace_id, link.span_id = span.trace_id, number.to_bytes(8, "big")
    return span


def _marked(number: int, random: numpy.random.Generator) -> Span:
    """A span whose changing values are random marks of the length that they will have. One in four has a parent."""
    offset = int(random.integers(FIRST_OFFSET, LAST_OFFSET))
    span = _span(number, offset, f"order-{int(random.integers(10**KEY_DIGITS)):0{KEY_DIGITS}d}")
    span.trace_id, span.span_id = random.bytes(16), random.bytes(8)
    span.parent_span_id = random.bytes(8) if number % 4 == 0 else b""
    span.start_time_unix_nano = int.from_bytes(random.bytes(8), "little")
    span.end_time_unix_nano = int.from_bytes(random.bytes(8), "little")
    for link in span.links:
        link.trace_id, link.span_id = random.bytes(16), random.bytes(8)
    return span


def _span(number: int, offset: int, key: str) -> Span:
    is_send = number % 2 == 0
    operation = "send" if is_send else "process"
    attributes = [
        _text("messaging.system", "kafka"),
        _text("messaging.operation.name", operation),
        _text("messaging.operation.type", operation),
        _text("messaging.destination.name", "orders" if is_send else "payments"),
        _text("messaging.destination.partition.id", str(number % 12)),
        KeyValue(key="messaging.kafka.offset", value=AnyValue(int_value=offset)),
        _text("messaging.kafka.message.key", key),
        _text("messaging.client.id", "orders-1"),
        _text("messaging.kafka.cluster.id", "sBx9L1TqQ1mgn_Gzxm78ZA"),
        _text("server.address", "kafka-1.internal"),
        KeyValue(key="messaging.message.body.size", value=AnyValue(int_value=300 + number % 200)),
    ]
    if not is_send:
        attributes.append(_text("messaging.consumer.group.name", "payments-workers"))
    return Span(
        name=f"{operation} {'orders' if is_send else 'payments'}",
        kind=Span.SPAN_KIND_PRODUCER if is_send else Span.SPAN_KIND_CONSUMER,
        attributes=attributes,
        links=[] if is_send else [Span.Link()],
        flags=0x101,
    )


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
