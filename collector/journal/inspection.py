"""A journal's file as another process sees it: what is in it, and asking for a rewind or another try.

The collector need not be stopped: SQLite lets others read while it writes. What is asked for is a row in the file,
which the reader does before it reads again: within a second or at the collector's next start.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Self

from . import layout
from .contract import Depth, JournalError, Position, SetAside
from .reading import LOG


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """A reader. `behind`: what lies before it; `set_aside`: how many requests for each reason, most first."""

    name: str
    cursor: Position
    behind: Depth
    skipped: int
    set_aside: dict[str, int]
    is_to_rewind: bool


@dataclass(frozen=True, slots=True)
class JournalInfo:
    """What a journal holds. `kept`: what all readers have passed; `waiting`: what one has not. `file_bytes` and
    `log_bytes` are the sizes of the file and of the write-ahead log beside it."""

    id: str
    last: Position
    kept: Depth
    waiting: Depth
    file_bytes: int
    log_bytes: int
    readers: tuple[ReaderInfo, ...]


class Kept(NamedTuple):
    """A request that lies in the log. `time_ms`: when it was appended, ms since the epoch."""

    position: Position
    time_ms: int
    body: bytes


class JournalFile:
    """A journal's file, read. Raises JournalError at the opening, and from every method. Not safe across threads."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise JournalError(f"there is no journal {path}")
        self._path = path
        self._opened = ExitStack()
        with self._errors():
            self._connection = layout.open_file(path, self._opened, is_read_only=True)
            [version] = self._connection.execute("PRAGMA user_version").fetchone()
        if version != layout.VERSION:
            self.close()
            raise JournalError(
                f"the journal {path} has layout {version}, and this Flowtrail reads {layout.VERSION}:"
                " a collector of this version brings an older one forward when it starts"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.close()

    def info(self) -> JournalInfo:
        with self._errors():
            # One snapshot, or the sums of a journal at work would not fit together.
            self._connection.execute("BEGIN")
            try:
                return self._info(self._connection)
            finally:
                self._connection.execute("ROLLBACK")

    def readers(self) -> list[str]:
        with self._errors():
            return [name for (name,) in self._connection.execute("SELECT name FROM readers ORDER BY name")]

    def behind(self, reader: str) -> Depth:
        """Return what lies before a reader. Raises KeyError for one that there is not."""
        with self._errors():
            row = self._connection.execute("SELECT cursor FROM readers WHERE name = ?", (reader,)).fetchone()
            if row is None:
                raise KeyError(reader)
            return Depth(*layout.extent(self._connection, row[0], layout.LAST_POSITION))

    def is_to_rewind(self, reader: str) -> bool:
        """Whether a rewind was asked for and not done yet."""
        with self._errors():
            return bool(self._connection.execute("SELECT 1 FROM rewinds WHERE reader = ?", (reader,)).fetchone())

    def last(self) -> int:
        """Return the position of the newest request; 0 when the log is empty."""
        with self._errors():
            return int(self._connection.execute("SELECT coalesce(max(last), 0) FROM groups").fetchone()[0])

    def before(self, time_ms: float) -> int:
        """Return the position after which everything lies that was appended at a time or later."""
        with self._errors():
            [before] = self._connection.execute(
                "SELECT coalesce(min(last - requests), (SELECT max(last) FROM groups), 0)"
                " FROM groups INDEXED BY extents WHERE time_ms >= ?",
                (time_ms,),
            ).fetchone()
            return int(before)

    def depth(self, after: int) -> Depth:
        """Return how much lies after a position."""
        with self._errors():
            return Depth(*layout.extent(self._connection, after, layout.LAST_POSITION))

    def requests(self, after: int) -> Iterator[Kept]:
        """Yield what lies after a position, oldest first, up to the end that it has when it is reached."""
        while True:
            with self._errors():
                # Group by group: a question left open would keep the collector from folding its write-ahead log.
                groups = layout.read_groups(self._connection, after)
                found = next(groups, None)
                groups.close()
                if found is None:
                    return
                group, body = found
                [time_ms] = self._connection.execute(
                    "SELECT time_ms FROM groups INDEXED BY extents WHERE last = ?", (group.last,)
                ).fetchone() or [0]
            cuts = [0, *accumulate(group.sizes_bytes)]
            for number in range(max(0, after + 1 - group.first), len(group.sizes_bytes)):
                yield Kept(Position(LOG, group.first + number), time_ms, body[cuts[number] : cuts[number + 1]])
            after = group.last

    def set_aside(self) -> list[SetAside]:
        """Return what was set aside, oldest first."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT position, reader, reason, time_ms, body FROM set_aside ORDER BY position, reader"
            )
            return [SetAside(Position(LOG, position), *rest) for position, *rest in rows]

    def ask_to_rewind(self, reader: str, position: int) -> int:
        """Ask that a reader read again what lies after a position; returns the position that it will go back to, which
        may be earlier: batches come again as they were. Nothing is asked for where the reader is not that far yet.

        Raises KeyError for a reader that there is not.
        """
        with self._errors():
            row = self._connection.execute("SELECT cursor FROM readers WHERE name = ?", (reader,)).fetchone()
            if row is None:
                raise KeyError(reader)
            if position >= row[0]:
                return int(row[0])
            before = layout.rewound_to(self._connection, reader, position)
        with self._writing() as writer:
            writer.execute("INSERT OR REPLACE INTO rewinds VALUES (?, ?)", (reader, position))
        return before

    def ask_to_retry(self, reader: str | None = None, positions: Sequence[int] = ()) -> int:
        """Ask that requests which were set aside be tried again: those of a reader and at positions, where given.
        Returns how many."""
        with self._writing() as writer:
            chosen = "is_retried = 0 AND (:reader IS NULL OR reader = :reader)"
            if positions:
                chosen += f" AND position IN ({','.join(map(str, map(int, positions)))})"
            return writer.execute(f"UPDATE set_aside SET is_retried = 1 WHERE {chosen}", {"reader": reader}).rowcount

    def _info(self, connection: sqlite3.Connection) -> JournalInfo:
        rows = connection.execute("SELECT name, cursor, skipped FROM readers ORDER BY name").fetchall()
        passed = min((cursor for _, cursor, _ in rows), default=0)
        log_file = self._path.with_name(self._path.name + "-wal")
        return JournalInfo(
            id=str(connection.execute("SELECT id FROM about").fetchone()[0]),
            last=Position(LOG, int(connection.execute("SELECT coalesce(max(last), 0) FROM groups").fetchone()[0])),
            kept=Depth(*layout.extent(connection, 0, passed)),
            waiting=Depth(*layout.extent(connection, passed, layout.LAST_POSITION)),
            file_bytes=self._path.stat().st_size,
            log_bytes=log_file.stat().st_size if log_file.exists() else 0,
            readers=tuple(
                ReaderInfo(
                    name=name,
                    cursor=Position(LOG, cursor),
                    behind=Depth(*layout.extent(connection, cursor, layout.LAST_POSITION)),
                    skipped=skipped,
                    set_aside=dict(
                        connection.execute(
                            "SELECT reason, count(*) FROM set_aside WHERE reader = ? GROUP BY reason ORDER BY 2 DESC",
                            (name,),
                        )
                    ),
                    is_to_rewind=self.is_to_rewind(name),
                )
                for name, cursor, skipped in rows
            ),
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the journal {self._path}: {layout.told(error)}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with ExitStack() as opened:
            try:
                writer = layout.open_file(self._path, opened)
                writer.execute("BEGIN IMMEDIATE")
                yield writer
                writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise JournalError(f"cannot write the journal {self._path}: {layout.told(error)}") from error
