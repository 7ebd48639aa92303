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
    """A record on its way into a producer, before serialization. `headers` are what will be sent."""

    client: Client
    topic: str
    key: object
    value: object
    headers: Sequence[Header]
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the broker (or the client on its way there) answered to an `Outgoing`.

    With an error, partition and offset may be None; without one they are where the record lies.
    """

    outgoing: Outgoing
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    error: BaseException | None = None


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
class Committed:
    """Positions that a group committed: for each (topic, partition) the next offset to read."""

    client: Client
    offsets: dict[tuple[str, int], int]
    error: BaseException | None = None
