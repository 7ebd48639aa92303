"""A confluent-kafka Message: a record whose facts are methods, topic(), partition(), offset(), key(), ….

It takes no attributes and no weak references, so it cannot say through which client it came. Traced consumers note
that here, by the message's identity, for the last thousands of messages. Nothing here imports the library.
"""

from typing import Any, Final

from flowtrail.tracer.record import Client, Header, Received
from flowtrail.tracer.schema_ids import schema_ids

# Of so many messages at least it is known through which client they came; of twice as many at most.
REMEMBERED: Final = 8192

# By the message's id: its client and coordinates, since an id is soon another's. When the first is full it becomes
# the second, and that is forgotten.
_recent: dict[int, tuple[Client, str, int, int]] = {}
_older: dict[int, tuple[Client, str, int, int]] = {}


def remember(message: object, received: Received) -> None:
    """Note through which client a message came."""
    global _recent, _older
    if len(_recent) >= REMEMBERED:
        _recent, _older = {}, _recent
    client, topic, partition, offset = received[:4]
    _recent[id(message)] = (client, topic, partition, offset)


def client_of_message(message: Any) -> Client | None:
    """Return the client that a message came through; None when it is not known, or this is no message."""
    number = id(message)
    found = _recent.get(number) or _older.get(number)
    if found is None:
        return None
    client, *coordinates = found
    try:
        is_same = [message.topic(), message.partition(), message.offset()] == coordinates
    except Exception:  # another object, at the place of a message that is gone
        return None
    return client if is_same else None


def read_message(message: Any, client: Client) -> Received:
    """Return a message's plain values. Raises AttributeError or TypeError for what is no record: an error, an event.

    Key and value are deserialized already when a deserializer of the client's has seen them; the size is then not
    known.
    """
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if message.error() is not None or not isinstance(topic, str) or not isinstance(offset, int):
        raise TypeError("a message that is an error or an event is not a consumer record")
    key, value, headers = message.key(), message.value(), message.headers()
    kind, timestamp_ms = message.timestamp()
    key_schema, value_schema = schema_ids(key, value, headers)
    return Received(
        client,
        topic,
        partition,
        offset,
        key,
        timestamp_ms if kind != 0 and timestamp_ms >= 0 else None,
        headers if type(headers) is list else _pairs(headers),
        value is None,
        len(value) if type(value) is bytes else None,
        _delivery_attempt(message),
        key_schema,
        value_schema,
    )


def _delivery_attempt(message: Any) -> int | None:
    """The delivery that this is, from 1. Only share groups count; messages of older clients cannot say."""
    try:
        count = message.delivery_count()
    except AttributeError:
        return None
    return count if isinstance(count, int) and count > 0 else None


def _pairs(headers: Any) -> list[Header]:
    """Headers of a message that the program made itself may be a mapping; of any other none."""
    return list(headers.items()) if isinstance(headers, dict) else []
