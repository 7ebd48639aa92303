"""aiokafka's records as a traced consumer returns them: they know through which client they came."""

from typing import Any

from aiokafka.structs import ConsumerRecord as PlainRecord

from flowtrail.tracer.clients.consumer_record import RECEIVED_THROUGH, read_record
from flowtrail.tracer.record import Client, Received, received_of
from flowtrail.tracer.schema_ids import NO_SCHEMAS, SCHEMAS_END, schema_ids


class ConsumerRecord(PlainRecord):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's own ConsumerRecord that also knows through which client it came.

    It equals a plain one of the same values. Copies and pickles are plain records, which need no Flowtrail to be read.
    """

    flowtrail_client: Client

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlainRecord):
            return NotImplemented
        return _values(self) == _values(other)

    __hash__ = None  # type: ignore[assignment]  # as the plain one

    def __reduce__(self) -> tuple[Any, ...]:
        # What the program put on it goes along.
        more = vars(self).keys() - PlainRecord.__dataclass_fields__.keys() - {RECEIVED_THROUGH}
        return PlainRecord, _values(self), {name: vars(self)[name] for name in more} or None


def receive(client: Client, record: Any) -> Received:
    """Let a record know its client, and return its plain values. One of another shape stays as it is.

    Raises AttributeError or TypeError for what is no record.
    """
    if type(record) is not PlainRecord:
        return read_record(record)  # made by a fetcher of the program's own
    record.__class__ = ConsumerRecord
    record.flowtrail_client = client
    key, value, headers = record.key, record.value, record.headers
    timestamp_ms, value_bytes = record.timestamp, record.serialized_value_size
    # Most have none: that is seen without a call.
    is_plain = (
        type(value) is bytes
        and value >= SCHEMAS_END
        and (key is None or (type(key) is bytes and key >= SCHEMAS_END))
        and headers
        and len(headers) == 1
        and headers[0][0] == "traceparent"
    )
    key_schema, value_schema = NO_SCHEMAS if is_plain else schema_ids(key, value, headers)
    return received_of(
        (
            client,
            record.topic,
            record.partition,
            record.offset,
            key,
            timestamp_ms if timestamp_ms >= 0 else None,
            headers,
            value_bytes < 0,
            value_bytes if value_bytes >= 0 else None,
            None,
            key_schema,
            value_schema,
        )
    )


def _values(record: Any) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in PlainRecord.__dataclass_fields__)
