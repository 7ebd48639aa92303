"""A consumed record in OTLP's bytes, made once: its poll's link, and the span of its processing, say the same of it.

The drain sees a record's poll before its processing, most often within the same second.
"""

import functools
import re
from binascii import unhexlify
from struct import Struct
from typing import Final, TypeAlias

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext

from flowtrail.tracer.attributes import KEY, OFFSET, PARTITION, RECORD_TIMESTAMP_MS, TOMBSTONE
from flowtrail.tracer.capture import captured_key
from flowtrail.tracer.configuration import CONFIGURATION
from flowtrail.tracer.propagation import is_w3c
from flowtrail.tracer.record import Header, Received
from flowtrail.tracer.spans import further_attributes, has_further_attributes
from flowtrail.tracer.traceparent import read_spans

from .otlp_bytes import SHORT, attributes_of, int_attribute, short_attribute, text_attribute

# Field 1 and 2 of Link, both ids, and 6, flags: whether it is known to be remote, and whether it is.
_LINK: Final = Struct(">2sQQ2sQ5s").pack
_LOW: Final = (1 << 64) - 1
_LINK_FLAGS: Final = b"\x35\x00\x01\x00\x00"
_LINK_FLAGS_REMOTE: Final = b"\x35\x00\x03\x00\x00"
# A valid context of the version that there is. https://www.w3.org/TR/trace-context/#traceparent-header
_PLAIN: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}").fullmatch
# Records whose processing has not come yet; some are never processed. At some 600 bytes each, two thousand at most.
_MOST_KEPT: Final = 4096
_SMALL_BYTES: Final = 1024


# The record; whether it brought a context; ids and flags of a link to that, or to nowhere; its own attributes but for
# the topic. `tag.join(attributes)` makes fields of these, of a span or a link: the first one is empty.
EncodedRecord: TypeAlias = tuple[Received, bool, bytes, list[bytes]]

# By the record's id; the record is held, so that its id stays its own.
_kept: dict[int, EncodedRecord] = {}


def encode_polled(record: Received) -> EncodedRecord | None:
    """Encode a record, and keep that for its processing; None for one that brought several contexts."""
    encoded = _encode(record)
    if encoded is not None and _is_small(record):
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[id(record)] = encoded
    return encoded


def encode_processed(record: Received) -> EncodedRecord | None:
    """The same, of a record whose poll may have been encoded before."""
    return _kept.pop(id(record), None) or _encode(record)


def _is_small(record: Received) -> bool:
    """Whether keeping the record is cheap: it has one header, as most have, and neither that nor its key is large."""
    key, headers = record.key, record.headers
    return (
        (key is None or (type(key) in (bytes, str) and len(key) < _SMALL_BYTES))  # type: ignore[arg-type]
        and len(headers) == 1
        and len(headers[0][1] or b"") < _SMALL_BYTES
    )


def encode_link(context: SpanContext) -> bytes:
    """Return ids and flags of a link."""
    trace_id = context.trace_id
    flags = _LINK_FLAGS_REMOTE if context.is_remote else _LINK_FLAGS
    return _LINK(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", context.span_id, flags)


def add_key(parts: list[bytes], key: object) -> None:
    """Append what is noted of a key: nothing, or an attribute without its tag."""
    now = CONFIGURATION.now
    # What `captured_key` makes of most keys, without making a text of the bytes and bytes of the text.
    if type(key) is bytes and now.captures_keys_as_they_are and len(key) < SHORT and key.isascii():
        parts.append(short_attribute(KEY, key))
        return
    text = captured_key(key, now)
    if text is not None:
        parts.append(text_attribute(KEY, text))


# Few differ from record to record.
@functools.lru_cache(maxsize=1024)
def partition_attribute(partition: int) -> bytes:
    return text_attribute(PARTITION, str(partition))


# The records of a poll share them.
@functools.lru_cache(maxsize=256)
def _timestamp_attribute(timestamp_ms: int) -> bytes:
    return int_attribute(RECORD_TIMESTAMP_MS, timestamp_ms)


def _encode(record: Received) -> EncodedRecord | None:
    """What `spans.record_attributes` says, in the same order, and the context that it brought."""
    headers = record.headers
    link = _plain_link(headers[0]) if len(headers) == 1 else None
    has_context, is_plain = True, link is not None
    if link is None:
        context, others = read_spans(headers)
        if others:
            return None
        has_context = context is not None
        link = _NOWHERE if context is None else encode_link(context)
    attributes = [b"", partition_attribute(record.partition), int_attribute(OFFSET, record.offset)]
    if record.key is not None:
        add_key(attributes, record.key)
    if record.timestamp_ms is not None:
        attributes.append(_timestamp_attribute(record.timestamp_ms))
    if record.is_tombstone:
        attributes.append(_TOMBSTONE)
    if not is_plain or has_further_attributes(record):
        attributes += attributes_of(further_attributes(record))
    return record, has_context, link, attributes


def _plain_link(header: Header) -> bytes | None:
    """Return the link to what most records bring alone, a valid `traceparent`; None for anything else."""
    name, value = header
    if name != "traceparent" or value is None or not is_w3c():
        return None
    found = _PLAIN(value)
    if found is None:
        return None
    return b"\x0a\x10%b\x12\x08%b%b" % (unhexlify(found[1]), unhexlify(found[2]), _LINK_FLAGS_REMOTE)


_NOWHERE: Final = encode_link(INVALID_SPAN_CONTEXT)
(_TOMBSTONE,) = attributes_of({TOMBSTONE: True})
