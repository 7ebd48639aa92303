"""What an interceptor sees, whatever the Kafka client: plain values, none of the client's own types.

Named tuples where one is made for every record: a frozen dataclass takes four times as long to make.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .shapes import Shape

Header: TypeAlias = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Client:
    """The client that a record went through. A fact that is not known (yet) is None.

    `cluster_id` is known once the client has metadata, `member_id` once the group has assigned one.
    """

    client_id: str | None = None
    group: str | None = None
    member_id: str | None = None
    cluster_id: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    # What its spans have in common, by operation and topic (shapes.py); no part of what the client is.
    shapes: "dict[tuple[str, str | None], Shape]" = field(default_factory=dict, init=False, repr=False, compare=False)


class Appended(tuple[Header, ...]):
    """Headers to capture from, of a record to which the broker gave its own time, in ms since the epoch."""

    timestamp_ms: int

    def __new__(cls, headers: Iterable[Header], timestamp_ms: int) -> "Appended":
        made = super().__new__(cls, headers)
        made.timestamp_ms = timestamp_ms
        return made

    def __bool__(self) -> bool:
        return True  # there is something to say, even without headers


class Outgoing(NamedTuple):
    """A record on its way into a producer, before serialization.

    `headers` are what will be sent, but for the trace context: that is written last. `topic` is None for a record that
    is appended to a batch of aiokafka's, whose topic is only named when the batch is sent.

    `sequence` numbers the sends of this process: the same on the acknowledgement, so that an interceptor can
    bring the two together.
    """

    client: Client
    topic: str | None
    key: object
    value: object
    headers: Sequence[Header]
    partition: int | None = None
    timestamp_ms: int | None = None
    sequence: int = 0


class Acknowledged(NamedTuple):
    """What the broker (or the client on its way there) answered to an `Outgoing`.

    With an error, partition and offset may be None; without one they are where the record lies. A producer that
    asks for no acknowledgement (acks=0) never learns the offset: None without an error.
    """

    outgoing: Outgoing
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    error: BaseException | None = None


class Unacknowledged(Exception):
    """The producer closed, or the process ended, before an answer came: the record is stored, or it is not."""


class Received(NamedTuple):
    """A record that a poll returned.

    `delivery_attempt` counts from 1, None where nobody counts (only share groups do). The schemas are the ids in
    Confluent's wire format (a number or a GUID, as text), None where there is none.
    """

    client: Client
    topic: str
    partition: int
    offset: int
    key: object
    timestamp_ms: int | None
    headers: Sequence[Header]
    is_tombstone: bool = False
    value_bytes: int | None = None
    delivery_attempt: int | None = None
    key_schema: str | None = None
    value_schema: str | None = None


# A Received of its fields, all of them and in order: what the class's own call does, in half the time.
received_of: Final[Callable[[tuple[Any, ...]], Received]] = partial(tuple.__new__, Received)


class Event(NamedTuple):
    """Something that happened to a consumer between two polls: a seek, a rebalance. `at_ns` since the epoch."""

    name: str
    attributes: Mapping[str, str | int | bool | Sequence[str]]
    at_ns: int


class Polled(NamedTuple):
    """What one poll returned: at least one record. `started_ns` is when it was called, ns since the epoch.

    `events` happened to the consumer since the last poll that returned records.
    """

    client: Client
    records: Sequence[Received]
    started_ns: int
    events: Sequence[Event] = ()


# The same of a Polled.
polled_of: Final[Callable[[tuple[Any, ...]], Polled]] = partial(tuple.__new__, Polled)


class Closed(NamedTuple):
    """The end of a client: its close returned, or raised `error`. `started_ns` is when it was called, since the epoch.

    `events` happened to a consumer since the last poll that returned records. `unanswered` counts a producer's sends
    that have no answer now; None for a consumer.
    """

    client: Client
    started_ns: int
    events: Sequence[Event] = ()
    unanswered: int | None = None
    error: BaseException | None = None


class Committed(NamedTuple):
    """Positions that a group committed, or tried to: for each (topic, partition) the next offset to read.

    `started_ns` is when the commit was called, ns since the epoch. `is_automatic`: the client did it by itself, in a
    poll or while it was closed.
    """

    client: Client
    offsets: dict[tuple[str, int], int]
    started_ns: int
    error: BaseException | None = None
    is_automatic: bool = False
