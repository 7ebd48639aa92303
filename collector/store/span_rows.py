"""Rows of the table `spans` as the pure parts take them."""

from collections.abc import Mapping
from typing import Any, Final

from flowtrail.collector.flows.rows import Context, LinkRow, Place, SpanEventRow, SpanRow
from flowtrail.tracer import attributes as names

from .marked_values import readable

# The columns of a SELECT whose rows `span_row` takes, in its order.
SPAN_COLUMNS: Final = """lower(hex(trace_id)), lower(hex(span_id)), lower(hex(parent_span_id)), name, service,
    toUnixTimestamp64Nano(start), duration_ns, kind, instance, scope, status_code, status_message, operation, topic,
    group_name, partition, offset, key, client_id, cluster_id, attributes,
    arrayMap(l -> (lower(hex(l.1)), lower(hex(l.2)), l.3), links), arrayMap(e -> (e.1, e.2, e.3), events)"""
_NO_PARENT: Final = "0" * 16
_OLDER_OFFSET: Final = "messaging.kafka.message.offset"


def span_row(row: tuple[Any, ...]) -> SpanRow:
    attributes = readable(row[20])
    return SpanRow(
        context=Context(row[0], row[1]),
        parent_span_id="" if row[2] == _NO_PARENT else row[2],
        name=row[3],
        service=row[4],
        start_ns=row[5],
        duration_ns=row[6],
        kind=row[7],
        instance=row[8],
        scope=row[9],
        status_code=row[10],
        status_message=row[11],
        operation=row[12],
        topic=row[13],
        group=row[14],
        partition=position(row[15]),
        offset=position(row[16]),
        key=row[17],
        client_id=row[18],
        member_id=attributes.get(names.MEMBER_ID, ""),
        cluster_id=row[19],
        attributes=attributes,
        links=tuple(_link_row(link, row[13], row[15]) for link in row[21]),
        events=tuple(SpanEventRow(event[0], event[1], readable(event[2])) for event in row[22]),
    )


def _link_row(link: tuple[str, str, Mapping[str, str]], topic: str, partition: int) -> LinkRow:
    attributes = readable(link[2])
    return LinkRow(
        Context(link[0], link[1]),
        attributes,
        _link_place(attributes, topic, partition),
        attributes.get(names.KEY, ""),
    )


def _link_place(attributes: Mapping[str, str], topic: str, partition: int) -> Place | None:
    """The coordinates that a link names; topic and partition are the span's own where the link leaves them out."""
    topic = attributes.get(names.TOPIC, topic)
    try:
        partition = int(attributes.get(names.PARTITION, partition))
        offset = int(attributes.get(names.OFFSET, attributes.get(_OLDER_OFFSET, -1)))
    except ValueError:
        return None
    return Place(topic, partition, offset) if topic and partition >= 0 and offset >= 0 else None


def position(number: int) -> int | None:
    """A partition, offset or commit; None for Kafka's own 'none', -1."""
    return number if number >= 0 else None
