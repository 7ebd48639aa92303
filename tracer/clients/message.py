"""A confluent-kafka Message: a record whose facts are methods, topic(), partition(), offset(), key(), ….

It takes no attributes and no weak references, so it cannot say through which client it came. Traced consumers note
that here, by the message's identity, for the last thousands of messages. Nothing here imports the library.
"""

from typing import Any, Final

from flowtrail.tracer.record import Client, Header, Received, received_of
from flowtrail.tracer.schema_ids import KEY_HEADER, VALUE_HEADER, schema_ids

# Of so many messages at least it is known through which client they came; of twice as many at most.
REMEMBERED: Final = 8192

# What schema ids begin with, and where else they are: most records have neither.
_MAGIC: Final = (b"\0", b"\1")
_SCHEMA_HEADERS: Final = (KEY_HEADER, VALUE_HEADER)

# By the message's id: its client and coordinates, since an id is soon another's. When the first is full it becomes
# the second, and that is forgotten.
_recent: dict[int, tuple[Client, str, int, int]] = {}
_older: dict[int, tuple[Client, str, int, int]] = {}


def remember(message: object, received: Received) -> None:
    """Note through which client a message came."""
    global _recent, _older
    if len(_recent) >= REMEMBERED:
        _recent, _older = {}, _recent
    _recent[id(message)] = received[:4]


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
    known, nor their schemas.
    """
    topic, offset = message.topic(), message.offset()
    if message.error() is not None or not isinstance(topic, str) or not isinstance(offset, int):
        raise TypeError("a message that is an error or an event is not a consumer record")
    received = read_record_of(message, client)
    try:
        count = message.delivery_count()
    except AttributeError:  # a message of an older client
        return received
    # Only share groups count.
    return received._replace(delivery_attempt=count) if count else received


def read_record_of(message: Any, client: Client) -> Received:
    """The same for a message that is known to be a record, but for the delivery attempt. It is at every record."""
    key, value, headers = message.key(), message.value(), message.headers()
    kind, timestamp_ms = message.timestamp()
    # Not the list itself: the message hands that out each time, and the program may add to it.
    headers = tuple(headers) if type(headers) is list else _pairs(headers)
    has_schema = (type(value) is bytes and value[:1] in _MAGIC) or (type(key) is bytes and key[:1] in _MAGIC)
    for header in headers:
        if header[0] in _SCHEMA_HEADERS:
            has_schema = True
    key_schema, value_schema = schema_ids(key, value, headers) if has_schema else (None, None)
    return received_of(
        (
            client,
            message.topic(),
            message.partition(),
            message.offset(),
            key,
            timestamp_ms if kind and timestamp_ms >= 0 else None,
            headers,
            value is None,
            len(value) if type(value) is bytes else None,
            None,
            key_schema,
            value_schema,
        )
    )


def _pairs(headers: Any) -> tuple[Header, ...]:
    """Headers of a message that the program made itself may be a mapping; of any other none."""
    return tuple(headers.items()) if isinstance(headers, dict) else ()
