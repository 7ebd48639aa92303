"""What a journal is: a log of request bodies that several readers follow, each at its own pace.

    append ─▶ 1 2 3 4 5 6 7 …
                  ▲     ▲
             exporter  loader        each reader has read up to its cursor

Positions rise within a partition and are never used twice; an embedded journal has one partition, a topic has several.
An entry goes once every reader has passed it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeAlias


class JournalFull(Exception):
    """A required reader is too far behind: nothing was appended. Trying again later helps."""

    retry_after_s = 5


class JournalError(Exception):
    """The journal could not be read or written (a full or broken disk): nothing was appended. Retryable."""

    retry_after_s = 5


class Position(NamedTuple):
    """The place of a request. Only positions of one partition have an order that means something."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """`17`, and outside the first partition `2:17`."""
        return f"{self.partition}:{self.offset}" if self.partition else str(self.offset)


# How far someone has read: one position a partition, in the partitions' order; where nothing was read there is none.
End: TypeAlias = tuple[Position, ...]


def end_of(positions: Iterable[Position]) -> End:
    """Return the last position of each partition."""
    return tuple({position.partition: position for position in sorted(positions)}.values())


class Entry(NamedTuple):
    """One request body and its place."""

    position: Position
    body: bytes


@dataclass(frozen=True)
class Batch:
    """Requests that go together: joined as one body, which is one valid request again.

    `sizes_bytes` are those of the requests, in their order. `token` stands for these very requests: whenever a batch
    holds the same ones, after a crash too, it has the same. Of the empty batch nothing but its length is of use.
    """

    body: bytes
    positions: Sequence[Position]
    sizes_bytes: Sequence[int]
    token: str

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def end(self) -> End:
        return end_of(self.positions)

    def end_of_first(self, count: int) -> End:
        """Where a batch of only the first `count` requests ends."""
        return end_of(self.positions[:count])

    @cached_property
    def entries(self) -> list[Entry]:
        """The requests one by one. Copies the bytes: for people and tests."""
        ends = accumulate(self.sizes_bytes)
        return [
            Entry(position, self.body[end - size_bytes : end])
            for position, size_bytes, end in zip(self.positions, self.sizes_bytes, ends, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a body lies. `is_duplicate`: it was there already, and was not written again."""

    position: Position
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Depth:
    """What lies before a reader, or in the whole journal. `oldest_ms`: when the oldest of it was appended, ms since the
    epoch; None when there is nothing."""

    requests: int
    size_bytes: int
    oldest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """An entry that a reader's destination refused for good: its bytes and the reason are kept."""

    position: Position
    reader: str
    reason: str
    time_ms: int
    body: bytes


class Journal(Protocol):
    """Safe to use from any thread. Readers are named when a journal is opened; a method raises KeyError for others.

    A required reader is waited for: a full journal refuses. An optional one is not: when the journal is full its oldest
    entries are skipped and counted. Every method may raise JournalError.
    """

    @property
    def id(self) -> str:
        """A name that no other journal has, for as long as this one's positions mean what they mean."""

    def append(self, bodies: Sequence[bytes]) -> list[Appended]:
        """Write bodies, in order; durable when this returns, and all of them or none. No bodies: nothing happens.

        A body that was appended within the last 100 000 is not written again. Raises JournalFull.
        """

    def read(self, reader: str, limit: int, max_bytes: int) -> Batch:
        """Return the next requests after the reader's cursor, oldest first; an empty batch when there are none.

        At most `limit`, and at most `max_bytes` unless the first alone is larger. After `reserve`: all up to the
        reserved end, whatever the limits.
        """

    def reserve(self, reader: str, end: End) -> None:
        """Fix the end of the reader's next batch, durably: a crash and a new start read the same batch again.

        A batch that is too much for the destination is reserved anew with an earlier end.
        """

    def reserved(self, reader: str) -> End | None:
        """Return the fixed end of the reader's next batch. None: nothing is fixed."""

    def commit(self, reader: str, end: End) -> None:
        """Move the reader's cursor forward, durably; what all have passed goes, a reservation that was reached too.

        An end that lies before the cursor changes nothing.
        """

    def set_aside(self, reader: str, batch: Batch, reason: str, now_ms: int) -> None:
        """Keep a batch of one request, the next that `read` gives, apart with the reason, and move the cursor past it.

        What required readers set aside is kept for good, of an optional one the last thousand.
        """

    def those_set_aside(self) -> list[SetAside]:
        """Return what was set aside, oldest first."""

    def count_set_aside(self, reader: str) -> int:
        """Return how many of `those_set_aside` are this reader's."""

    def depth(self, reader: str | None = None) -> Depth:
        """Return what lies before a reader; without one, in the whole journal."""

    def skipped(self, reader: str) -> int:
        """Return how many entries an optional reader lost to a full journal."""

    def wait(self, reader: str, timeout_s: float) -> bool:
        """Wait until something lies before the reader. False: nothing came in time, or the journal was closed."""

    def close(self) -> None: ...
