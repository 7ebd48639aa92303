"""What a journal is: a log of request bodies that several readers follow, each at its own pace.

    append ─▶ 1 2 3 4 5 6 7 …
                  ▲     ▲
             exporter  loader        each reader has read up to its cursor

Positions rise and are never used twice. An entry goes once every reader has passed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class JournalFull(Exception):
    """A required reader is too far behind: nothing was appended. Trying again later helps."""

    retry_after_s = 5


class JournalError(Exception):
    """The journal could not be read or written (a full or broken disk): nothing was appended. Retryable."""

    retry_after_s = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One request body and its place."""

    position: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a body lies. `is_duplicate`: it was there already, and was not written again."""

    position: int
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Depth:
    """What lies before a reader, or in the whole journal."""

    requests: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """An entry that a reader's destination refused for good: its bytes and the reason are kept."""

    position: int
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

    def read(self, reader: str, limit: int, max_bytes: int) -> list[Entry]:
        """Return the next entries after the reader's cursor, oldest first; empty when there are none.

        At most `limit`, and at most `max_bytes` unless the first alone is larger. After `reserve`: all entries up to
        the reserved position, whatever the limits.
        """

    def reserve(self, reader: str, position: int) -> None:
        """Fix the end of the reader's next batch, durably: a crash and a new start read the same batch again."""

    def reserved(self, reader: str) -> tuple[int, int] | None:
        """Return the fixed batch as (cursor, end): positions after the cursor up to the end. None: nothing is fixed."""

    def commit(self, reader: str, position: int) -> None:
        """Move the reader's cursor forward, durably; what all have passed goes, a reservation that was reached too."""

    def set_aside(self, reader: str, position: int, reason: str, now_ms: int) -> None:
        """Keep the entry right after the reader's cursor apart, with the reason, and move the cursor past it.

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
