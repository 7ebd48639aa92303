"""Bodies that no SDK sends: kept ones with damage done to them, and messages made of what is odd at each place."""

import gzip
import json
import random
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

CORPUS: Final = Path(__file__).parent.parent / "tests" / "data" / "fuzz"

# What the store keeps: starts from 2000 to 2100, in ns since the epoch.
FIRST_NS: Final = 946_684_800_000_000_000
LAST_NS: Final = 4_102_444_800_000_000_000 - 1

_NAMES: Final = (
    "service.name",
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.operation",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.kafka.message.offset",
    "messaging.kafka.message.key",
    "messaging.consumer.group.name",
    "messaging.client.id",
    "messaging.kafka.cluster.id",
    "server.address",
)
_WORDS: Final = ("", "kafka", "send", "process", "receive", "orders", "7", "-1", "99999999999999999999", "nan", "0x1")
_FIELDS: Final = ("resourceSpans", "scopeSpans", "spans", "traceId", "attributes", "value", "stringValue")
_NUMBERS: Final = (0, 1, -1, 127, 128, 2**31 - 1, 2**31, -(2**31), 2**53, 2**56, 2**63 - 1, -(2**63))

texts = st.one_of(st.sampled_from(_WORDS), st.text(st.characters(codec="utf-8"), max_size=12), st.just("x" * 70_000))
names = st.one_of(st.sampled_from(_NAMES), st.text(st.characters(codec="utf-8"), max_size=8))
times = st.one_of(
    st.integers(FIRST_NS, LAST_NS),
    st.sampled_from((0, 1, FIRST_NS - 1, FIRST_NS, LAST_NS, LAST_NS + 1, 2**63 - 1, 2**63, 2**64 - 1)),
)


def _ids(length: int) -> st.SearchStrategy[bytes]:
    right = st.binary(min_size=length, max_size=length)
    return st.one_of(right, right, right, st.just(bytes(length)), st.binary(max_size=40))


def _nested(depth: int) -> AnyValue:
    """Lists in maps in lists; protobuf's parsers give up at a hundred messages, some ninety are reached by 35."""
    value = AnyValue(string_value="deep")
    for level in range(depth):
        held = ArrayValue(values=[value])
        value = AnyValue(array_value=held) if level % 2 else AnyValue(kvlist_value=_list([("", value)]))
    return value


def _list(pairs: list[tuple[str, AnyValue]]) -> KeyValueList:
    return KeyValueList(values=_key_values(pairs))


def _key_values(pairs: list[tuple[str, AnyValue]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in pairs]


_plain = st.one_of(
    st.just(AnyValue()),
    texts.map(lambda value: AnyValue(string_value=value)),
    st.one_of(st.sampled_from(_NUMBERS), st.integers(-(2**63), 2**63 - 1)).map(lambda n: AnyValue(int_value=n)),
    st.floats().map(lambda value: AnyValue(double_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.binary(max_size=20).map(lambda value: AnyValue(bytes_value=value)),
)
values = st.one_of(
    _plain,
    _plain,
    st.lists(_plain, max_size=4).map(lambda held: AnyValue(array_value=ArrayValue(values=held))),
    st.lists(st.tuples(names, _plain), max_size=3).map(lambda held: AnyValue(kvlist_value=_list(held))),
    st.integers(1, 35).map(_nested),
)
attributes = st.lists(st.tuples(names, values), max_size=8).map(_key_values)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start_ns = draw(times)
    is_forward = draw(st.booleans())
    return Span(
        trace_id=draw(_ids(16)),
        span_id=draw(_ids(8)),
        parent_span_id=draw(_ids(8)),
        trace_state=draw(texts),
        name=draw(texts),
        kind=Span.SpanKind.ValueType(draw(st.sampled_from((0, 1, 4, 5, 6, 1000, -1)))),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=min(start_ns + 1_000_000, 2**64 - 1) if is_forward else draw(times),
        attributes=draw(attributes),
        events=[
            Span.Event(time_unix_nano=draw(times), name=draw(texts), attributes=draw(attributes))
            for _ in range(draw(st.integers(0, 2)))
        ],
        links=[
            Span.Link(trace_id=draw(_ids(16)), span_id=draw(_ids(8)), attributes=draw(attributes))
            for _ in range(draw(st.integers(0, 3)))
        ],
        status=Status(message=draw(texts), code=Status.StatusCode.ValueType(draw(st.sampled_from((0, 1, 2, 3, -7))))),
        flags=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def messages(draw: st.DrawFn) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=draw(attributes)),
                scope_spans=[
                    ScopeSpans(
                        scope=InstrumentationScope(name=draw(texts), version=draw(texts)),
                        spans=draw(st.lists(spans(), max_size=3)),
                    )
                    for _ in range(draw(st.integers(0, 2)))
                ],
            )
            for _ in range(draw(st.integers(0, 2)))
        ]
    )


# Lengths that are too long, do not end, or are larger than any memory.
_VARINTS: Final = (b"\xff" * 9 + b"\x01", b"\xff" * 12, b"\x80" * 5 + b"\x00", b"\xff\xff\xff\xff\x07", b"\x0a\x00")


def damaged(body: bytes, randomness: random.Random) -> bytes:
    """Return the body with a few places changed, cut out, doubled or filled with something else."""
    changed = bytearray(body)
    for _ in range(randomness.randint(1, 6)):
        at = randomness.randint(0, len(changed))
        length = randomness.randint(1, 16)
        match randomness.choice(("flip", "flip", "flip", "cut", "double", "put", "varint", "end")):
            case "flip" if at < len(changed):
                changed[at] ^= 1 << randomness.randrange(8)
            case "cut":
                del changed[at : at + length]
            case "double":
                changed[at:at] = changed[at : at + length]
            case "put":
                changed[at:at] = randomness.randbytes(length)
            case "varint":
                changed[at : at + 1] = randomness.choice(_VARINTS)
            case "end":
                del changed[at:]
    return bytes(changed)


def _json(message: ExportTraceServiceRequest) -> bytes:
    said: dict[str, Any] = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass")


def kept(suffix: str) -> list[bytes]:
    """Return the bodies of the corpus whose files end so."""
    return [path.read_bytes() for path in sorted(CORPUS.glob(f"*{suffix}"))]


protobuf_bodies = st.one_of(
    messages().map(ExportTraceServiceRequest.SerializeToString),
    st.sampled_from(kept(".pb")),
    st.binary(max_size=64),
)
_any_json = st.recursive(
    st.none() | st.booleans() | st.floats() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_FIELDS), inner),
    max_leaves=8,
)
json_bodies = st.one_of(
    messages().map(_json),
    st.sampled_from(kept(".json")),
    _any_json.map(lambda value: json.dumps(value).encode()),
)
# A body and its Content-Encoding, which may lie.
folded = st.sampled_from(("", "", "", "gzip", "gzip", "cut", "lie", "zstd"))


def fold(body: bytes, how: str) -> tuple[bytes, str]:
    """Return what is sent of a body, and the encoding that is said."""
    if how == "gzip":
        return gzip.compress(body, 1, mtime=0), "gzip"
    if how == "cut":
        return gzip.compress(body, 1, mtime=0)[:-9], "gzip"
    if how == "lie":
        return body, "gzip"
    return body, how
