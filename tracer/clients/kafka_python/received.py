"""kafka-python's records as a traced consumer returns them: they know through which client they came."""

from typing import Any

from kafka.consumer.fetcher import ConsumerRecord as PlainRecord

from flowtrail.tracer.clients.consumer_record import RECEIVED_THROUGH, client_of, read_record
from flowtrail.tracer.record import Client, Received
from flowtrail.tracer.schema_ids import schema_ids


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


def receive(client: Client, record: Any) -> Any:
    """Return a record that knows its client and its plain values (`received_of`). Another shape stays as it is."""
    if type(record) is not PlainRecord:
        return record  # a fetcher of the program's own
    topic, partition, _, offset, timestamp_ms, _, key, value, headers, _, _, value_bytes, _ = record
    key_schema, value_schema = schema_ids(key, value, headers)
    found = tuple.__new__(ConsumerRecord, record)
    found.flowtrail_client = client
    found.flowtrail_received = Received(
        client,
        topic,
        partition,
        offset,
        key,
        timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None,
        headers,
        value is None if value_bytes is None else value_bytes < 0,
        value_bytes if value_bytes is not None and value_bytes >= 0 else None,
        None,
        key_schema,
        value_schema,
    )
    return found


def received_of(record: Any) -> Received:
    """Return a record's plain values. Raises AttributeError or TypeError when it is no consumer record."""
    found = getattr(record, "flowtrail_received", None)
    return found if found is not None else read_record(record)
