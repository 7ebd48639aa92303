"""A consumer's records, as kafka-python and aiokafka shape them: attributes topic, partition, offset, key, ….

Traced consumers return records that know the client which they came through (`RECEIVED_THROUGH`); any other record of
that shape can be processed too, only its group is not known. confluent-kafka's messages have another shape
(`message.py`).
"""

from collections.abc import Sequence
from typing import Any, Final

from flowtrail.tracer.record import Client, Header, Received

from .message import client_of_message, read_message

# The attribute of a record that says through which client it came.
RECEIVED_THROUGH: Final = "flowtrail_client"
# The attribute of a record that has its plain values, where the client's wrapper keeps them: it saw more of it.
RECEIVED: Final = "flowtrail_received"

_UNKNOWN: Final = Client()


def client_of(record: object) -> Client:
    """Return the client that a record came through; an empty one when it does not say."""
    found = getattr(record, RECEIVED_THROUGH, None)
    return found if isinstance(found, Client) else client_of_message(record) or _UNKNOWN


def read_record(record: Any) -> Received:
    """Return a record's plain values. Raises AttributeError or TypeError when it is no consumer record."""
    received = getattr(record, RECEIVED, None)
    if type(received) is Received:
        return received
    topic, partition, offset = record.topic, record.partition, record.offset
    if callable(topic):
        return read_message(record, client_of(record))
    if not isinstance(topic, str) or not isinstance(partition, int) or not isinstance(offset, int):
        raise TypeError(f"{type(record).__qualname__} is not a consumer record")
    timestamp = getattr(record, "timestamp", None)
    size = getattr(record, "serialized_value_size", None)
    return Received(
        client=client_of(record),
        topic=topic,
        partition=partition,
        offset=offset,
        key=record.key,
        timestamp_ms=timestamp if isinstance(timestamp, int) and timestamp >= 0 else None,
        headers=_headers(getattr(record, "headers", None)),
        is_tombstone=size < 0 if isinstance(size, int) else record.value is None,
        value_bytes=size if isinstance(size, int) and size >= 0 else None,
    )


def _headers(headers: Sequence[Any] | None) -> list[Header]:
    """Return the headers that are pairs of text and bytes (or None), in order; anything else is passed over."""
    return [
        (header[0], header[1])
        for header in headers or ()
        if isinstance(header, tuple)
        and len(header) == 2
        and isinstance(header[0], str)
        and (header[1] is None or isinstance(header[1], bytes))
    ]
