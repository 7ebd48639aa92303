"""What can be learned from the exception of a serializer or a deserializer: which schema, and which record.

A client lets such an exception through and forgets the bytes; they are still in the frames of its traceback. So nothing
is in the way of records that fare well. What is not found there is not known; nothing here raises.
"""

from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from .record import Client, Received
from .schema_ids import schema_ids

# Where kafka-python and aiokafka unpack a record and call the deserializers: it is `record`, of the partition `tp`.
_UNPACKING: Final = frozenset({"_unpack_records", "_consumer_record"})
_CLIENTS: Final = ("kafka.", "aiokafka.")
_CONFLUENTS_SERIALIZERS: Final = ("confluent_kafka.schema_registry.",)
# Where the clients call serializers and deserializers, beside all that Confluent's do.
_CALLING: Final = _UNPACKING | {"_serialize", "_deserialize"}
_ERRORS: Final = (*_CLIENTS, "confluent_kafka.")
# An exception, what it was raised from, and so on: further down it is about something else.
_DEEPEST: Final = 5


def schemas_of(error: BaseException) -> tuple[str | None, str | None]:
    """Return the schema ids of key and value with which one of Confluent's serializers failed; None when not known."""
    for frame in _frames(error, _CONFLUENTS_SERIALIZERS):
        seen = frame.f_locals
        schema = seen.get("schema_id") or getattr(seen.get("self"), "_schema_id", None)
        number, guid = getattr(schema, "id", None), getattr(schema, "guid", None)
        if isinstance(number, int) or guid is not None:
            found = str(number if isinstance(number, int) else guid)
            is_key = getattr(getattr(seen.get("ctx"), "field", None), "value", None) == "key"
            return (found, None) if is_key else (None, found)
    return None, None


def may_hold_data(error: BaseException) -> bool:
    """Whether a serializer or a deserializer raised this: its text often says the very key or value.

    What the clients themselves say (too large, the registry knows no such schema) does not.
    """
    kind = type(error)
    for each in kind.__mro__:
        if each.__name__ == "SerializationError" and each.__module__.startswith(_ERRORS):
            return True
    if kind.__module__.startswith(_ERRORS):
        return False
    return any(
        frame.f_code.co_name in _CALLING or str(frame.f_globals["__name__"]).startswith(_CONFLUENTS_SERIALIZERS)
        for frame in _own_frames(error, _CLIENTS + _CONFLUENTS_SERIALIZERS)
    )


def may_lead_to_data(error: BaseException) -> bool:
    """Whether it was raised from such an exception, or while one was handled: a stack trace says the texts of all."""
    return any(map(may_hold_data, _chain(error)))


def undeserialized(error: BaseException, client: Client) -> Received | None:
    """Return the record that a deserializer failed on, with its key and value as they came; None when it is no such.

    For kafka-python and aiokafka; confluent-kafka's exception has the message itself.
    """
    for frame in _frames(error, _CLIENTS):
        if frame.f_code.co_name in _UNPACKING:
            try:
                return _received(frame.f_locals["record"], frame.f_locals["tp"], client)
            except (AttributeError, KeyError, TypeError):
                return None  # failed there, but not at a record
    return None


def _received(record: Any, partition: Any, client: Client) -> Received:
    headers = [header for header in record.headers or () if isinstance(header, tuple) and len(header) == 2]
    key_schema, value_schema = schema_ids(record.key, record.value, headers)
    timestamp_ms = record.timestamp
    return Received(
        client=client,
        topic=partition.topic,
        partition=partition.partition,
        offset=record.offset,
        key=record.key,
        timestamp_ms=timestamp_ms if isinstance(timestamp_ms, int) and timestamp_ms >= 0 else None,
        headers=headers,
        is_tombstone=record.value is None,
        value_bytes=None if record.value is None else len(record.value),
        key_schema=key_schema,
        value_schema=value_schema,
    )


def _frames(error: BaseException, modules: tuple[str, ...]) -> Iterator[FrameType]:
    """The frames of these modules that an exception went through, and those of what it was raised from."""
    for each in _chain(error):
        yield from _own_frames(each, modules)


def _own_frames(error: BaseException, modules: tuple[str, ...]) -> Iterator[FrameType]:
    """No frames but of these modules: to look at what is the program's own could run its code."""
    step = error.__traceback__
    while step is not None:
        if str(step.tb_frame.f_globals.get("__name__")).startswith(modules):
            yield step.tb_frame
        step = step.tb_next


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(_DEEPEST):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__
