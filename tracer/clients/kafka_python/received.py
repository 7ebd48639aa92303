"""kafka-python's records as a traced consumer returns them: they know through which client they came."""

from collections.abc import Sequence
from typing import Any

from kafka.consumer.fetcher import ConsumerRecord as PlainRecord

from flowtrail.tracer.clients.consumer_record import RECEIVED_THROUGH, client_of, read_record
from flowtrail.tracer.record import Client, Received, received_of
from flowtrail.tracer.schema_ids import NO_SCHEMAS, SCHEMAS_END, schema_ids


class ConsumerRecord(PlainRecord):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's own ConsumerRecord that also knows through which client it came.

    A named tuple takes no attributes and no weak references, and two groups in one process poll records that are equal:
    so the record itself must say it. Copies and pickles are plain records, which need no Flowtrail to be read.
    """

    flowtrail_client: Client
    flowtrail_received: Received

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        return PlainRecord, tuple(self)

    def _replace(self, /, **changes: Any) -> Any:
        changed = super()._replace(**changes)
        setattr(changed, RECEIVED_THROUGH, client_of(self))
        return changed


def receive(client: Client, records: Sequence[Any], received: list[Received]) -> list[Any]:
    """Return records that know their client and their plain values, and append these to `received`.

    One of another shape (a fetcher of the program's own) stays as it is.
    """
    found: list[Any] = []
    make: Any = tuple.__new__
    for record in records:
        if type(record) is not PlainRecord:
            found.append(record)
            received.append(read_record(record))
            continue
        topic, partition, _, offset, timestamp_ms, _, key, value, headers, _, _, value_bytes, _ = record
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
        plain = received_of(
            (
                client,
                topic,
                partition,
                offset,
                key,
                timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None,
                tuple(headers or ()),  # the list is the program's, which may add to it
                value is None if value_bytes is None else value_bytes < 0,
                value_bytes if value_bytes is not None and value_bytes >= 0 else None,
                None,
                key_schema,
                value_schema,
            )
        )
        known = make(ConsumerRecord, record)
        known.flowtrail_client = client
        known.flowtrail_received = plain
        found.append(known)
        received.append(plain)
    return found
