"""What an interceptor sees, whatever the Kafka client: plain values, none of the client's own types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way into a producer, before serialization. `headers` are what will be sent.

    `sequence` numbers the sends of this process: the same on the acknowledgement, so that an interceptor can
    bring the two together.
    """

    client: Client
    topic: str
    key: object
    value: object
    headers: Sequence[Header]
    partition: int | None = None
    timestamp_ms: int | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledged:
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


@dataclass(frozen=True, slots=True)
class Received:
    """A record that a poll returned."""

    client: Client
    topic: str
    partition: int
    offset: int
    key: object
    timestamp_ms: int | None
    headers: Sequence[Header]
    is_tombstone: bool = False
    value_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll returned: at least one record. `started_ns` is when it was called, ns since the epoch."""

    client: Client
    records: Sequence[Received]
    started_ns: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Positions that a group committed, or tried to: for each (topic, partition) the next offset to read.

    `started_ns` is when the commit was called, ns since the epoch.
    """

    client: Client
    offsets: dict[tuple[str, int], int]
    started_ns: int
    error: BaseException | None = None
