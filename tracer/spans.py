"""Records to what spans say of them, by the semantic conventions for messaging. Pure: nothing is started here.

https://opentelemetry.io/docs/specs/semconv/messaging/kafka/ (1.44)
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link

from . import attributes as names
from .capture import captured_headers, captured_key
from .configuration import CONFIGURATION
from .origin import origin_attributes
from .record import Appended, Client, Closed, Committed, Header, Received
from .traceparent import read_spans

Attributes: TypeAlias = dict[str, str | int | bool | Sequence[str]]

# What the span of processing says that the program does not speak of itself.
INFERRED: Final[Attributes] = {names.INFERRED: True}


def operation_attributes(operation: tuple[str, str], client: Client, topic: str | None) -> Attributes:
    """What every span of an operation says: which client did it, on which topic (None: on several, or none)."""
    found: Attributes = {
        names.SYSTEM: "kafka",
        names.OPERATION_NAME: operation[0],
    }
    if operation[1]:
        found[names.OPERATION_TYPE] = operation[1]
    known = {
        names.TOPIC: topic,
        names.CLIENT_ID: client.client_id,
        names.GROUP: client.group,
        names.MEMBER_ID: client.member_id,
        names.CLUSTER_ID: client.cluster_id,
        names.SERVER_ADDRESS: client.server_address,
        names.SERVER_PORT: client.server_port,
    }
    found.update((name, value) for name, value in known.items() if value is not None)
    return found


def sent_attributes(
    key: object, is_tombstone: bool, partition: int | None = None, headers: Sequence[Header] | None = None
) -> Attributes:
    """What a record itself says before it is sent; `headers` are those to capture from."""
    found: Attributes = {}
    if partition is not None:
        found[names.PARTITION] = str(partition)
    _add_key(found, key)
    if is_tombstone:
        found[names.TOMBSTONE] = True
    if headers:
        found |= captured_headers(headers, CONFIGURATION.now)
        if isinstance(headers, Appended):
            found[names.RECORD_TIMESTAMP_MS] = headers.timestamp_ms
    return found


def acknowledged_attributes(client: Client, partition: int | None, offset: int | None) -> Attributes:
    """What the acknowledgement adds: where the record lies.

    Its timestamp is `Sending.appended`'s to tell.
    """
    found: Attributes = {}
    if partition is not None:
        found[names.PARTITION] = str(partition)
    if offset is not None:
        found[names.OFFSET] = offset
    if client.cluster_id is not None:
        found[names.CLUSTER_ID] = client.cluster_id
    return found


def record_attributes(record: Received) -> Attributes:
    """A record's own facts but the topic: on its span when that is about one record, else on its link."""
    found: Attributes = {names.PARTITION: str(record.partition), names.OFFSET: record.offset}
    _add_key(found, record.key)
    if record.timestamp_ms is not None:
        found[names.RECORD_TIMESTAMP_MS] = record.timestamp_ms
    if record.is_tombstone:
        found[names.TOMBSTONE] = True
    return found | further_attributes(record)


def further_attributes(record: Received) -> Attributes:
    """What few records say of themselves: captured headers, a past of their own, schemas."""
    found: Attributes = {}
    if CONFIGURATION.now.capture_headers:
        found |= captured_headers(record.headers, CONFIGURATION.now)
    if record.headers or record.delivery_attempt is not None:
        found |= origin_attributes(record.headers, record.topic, record.delivery_attempt)
    if record.key_schema is not None or record.value_schema is not None:
        found |= schema_attributes(record.key_schema, record.value_schema)
    return found


def has_further_attributes(record: Received) -> bool:
    """Whether there may be such of a record whose only header is a trace context."""
    return (
        record.delivery_attempt is not None
        or record.key_schema is not None
        or record.value_schema is not None
        or bool(CONFIGURATION.now.capture_headers)
    )


def schema_attributes(key_schema: str | None, value_schema: str | None) -> Attributes:
    """Which schemas a record was written with, where that is known."""
    found = {names.KEY_SCHEMA: key_schema, names.VALUE_SCHEMA: value_schema}
    return {name: schema for name, schema in found.items() if schema is not None}


def consumed_attributes(records: Sequence[Received], *, count: int | None = None) -> Attributes:
    """What the span of a poll, or of processing, says of its records: those that it links, at least one.

    `count` is the batch's size, None when the call was not for a batch.
    """
    found = record_attributes(records[0]) if len(records) == 1 else {}
    if count is not None:
        found[names.MESSAGE_COUNT] = count
    return found


def closed_attributes(closed: Closed) -> Attributes:
    """What a close's span says beside its client."""
    return {} if closed.unanswered is None else {names.UNANSWERED: closed.unanswered}


def committed_attributes(committed: Committed) -> Attributes:
    """What a commit's span says of its positions; the partition when there is but one."""
    found: Attributes = {}
    if len(committed.offsets) == 1:
        ((_, partition),) = committed.offsets
        found[names.PARTITION] = str(partition)
    if committed.is_automatic:
        found[names.AUTOMATIC] = True
    return found


def committed_events(committed: Committed) -> list[Attributes]:
    """What the events of a commit's span say: one for each partition, with the position."""
    return [
        {names.TOPIC: topic, names.PARTITION: str(partition), names.COMMITTED_OFFSET: offset}
        for (topic, partition), offset in committed.offsets.items()
    ]


def committed_topic(committed: Committed) -> str | None:
    return one_topic(topic for topic, _ in committed.offsets)


def portions(
    records: Sequence[Received], most: int, *, with_attributes: bool
) -> Iterator[tuple[list[Received], list[Link]]]:
    """Divide records so that no span gets more than `most` links; none is cut off."""
    portion: list[Received] = []
    links: list[Link] = []
    for record in records:
        own = link(record, with_attributes=with_attributes)
        if portion and len(links) + len(own) > most:
            yield portion, links
            portion, links = [], []
        portion.append(record)
        links.extend(own)
    yield portion, links


def link(record: Received, *, with_attributes: bool) -> list[Link]:
    """Links to the contexts that came with a record: the last one first, then earlier attempts' (see `headers.read`).

    With attributes there is always a first link, even to no context: it says which record was there.
    """
    context, others = read_spans(record.headers)
    found: list[Link] = []
    if with_attributes:
        own = {names.TOPIC: record.topic} | record_attributes(record)
        found.append(Link(INVALID_SPAN_CONTEXT if context is None else context, own))
    elif context is not None:
        found.append(Link(context))
    if others:
        found.extend(Link(other) for other in others)
    return found


def span_name(operation: tuple[str, str], topic: str | None) -> str:
    """`process orders`; without a topic, the operation alone."""
    return operation[0] if topic is None else f"{operation[0]} {topic}"


def one_topic(topics: Iterable[str]) -> str | None:
    """Return the topic that all share; None when there are several, or none."""
    found = set(topics)
    return found.pop() if len(found) == 1 else None


def error_type(error: BaseException) -> str:
    """Return the value of `error.type`: the exception's full name, builtins without their module.

    librdkafka has one exception for all its errors; then it is the error's own name, as `_MSG_TIMED_OUT`.
    """
    kind = type(error)
    reason = error.args[0] if kind.__name__ == "KafkaException" and error.args else None
    if type(reason).__name__ == "KafkaError":
        return str(reason.name())  # type: ignore[union-attr]  # it is librdkafka's
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _add_key(found: Attributes, key: object) -> None:
    text = captured_key(key, CONFIGURATION.now)
    if text is not None:
        found[names.KEY] = text
