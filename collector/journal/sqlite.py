"""The embedded journal: one SQLite file.

    entries     position, body, body_bytes          the log
    seen        position, hash                      of the last bodies, to know one that is sent twice
    readers     name, cursor, reserved, skipped
    set_aside   position, reader, reason, time_ms, body
    about       id

The index `sizes` lets sums and bounds be told without reading bodies.

WAL with synchronous=FULL: a commit is on the disk when it returns. Pages of 64 kB: bodies are large, and with pages of
4 kB a body is a chain of eighty. One connection writes, another reads; each has a lock, since a connection answers one
thread at a time.
"""

import hashlib
import logging
import sqlite3
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

from .contract import Appended, Batch, Depth, End, JournalError, JournalFull, Position, SetAside

log = logging.getLogger(__name__)

# A sender repeats a request within seconds or minutes; this many are an hour at thirty requests a second.
SEEN_REQUESTS: Final = 100_000
# An exporter's endpoint that refuses everything must not fill the disk.
SET_ASIDE_BY_OPTIONAL: Final = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT, body_bytes INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS sizes ON entries (position, body_bytes);
CREATE TABLE IF NOT EXISTS seen (position INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS readers (
    name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, reserved INTEGER, skipped INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS set_aside (
    position INTEGER, reader TEXT, reason TEXT, time_ms INTEGER, body BLOB, PRIMARY KEY (position, reader));
CREATE TABLE IF NOT EXISTS about (id TEXT NOT NULL);
"""

LAST_POSITION: Final = 2**63 - 1

_SIZES = "FROM entries INDEXED BY sizes WHERE position"


class SqliteJournal:
    """A `Journal` (see `contract`) in a file. Its bound counts the bodies that wait, not the file."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        required: Sequence[str],
        optional: Sequence[str] = (),
        seen_requests: int = SEEN_REQUESTS,
    ) -> None:
        """Open or make the journal. A reader that is new begins at the oldest entry; one that is no longer named is
        forgotten, so that it holds up nothing. Raises JournalError."""
        self._max_bytes = max_bytes
        self._required = tuple(required)
        self._optional = tuple(optional)
        self._seen_requests = seen_requests
        self._is_closed = False
        self._cursors: dict[str, int] = {}
        self._skipping: set[str] = set()  # readers that lost entries since they had caught up last
        self._last = 0
        self._size_bytes = 0
        self._size_change_bytes = 0  # of the transaction under way
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._grown = threading.Condition()
        with ExitStack() as opened:
            try:
                self._writer = _connect(path, opened)
                self._reader = _connect(path, opened)
                self._writer.executescript(_SCHEMA)
            except sqlite3.Error as error:
                raise JournalError(f"cannot open the journal {path}: {error}") from error
            opened.pop_all()
        with self._transaction() as writer:
            if writer.execute("SELECT id FROM about").fetchone() is None:
                writer.execute("INSERT INTO about VALUES (?)", (uuid.uuid4().hex,))
            self._id = str(writer.execute("SELECT id FROM about").fetchone()[0])
            names = (*self._required, *self._optional)
            writer.execute(f"DELETE FROM readers WHERE name NOT IN ({','.join('?' * len(names))})", names)
            [before_oldest] = writer.execute(
                "SELECT coalesce(min(position) - 1, (SELECT max(position) FROM seen), 0) FROM entries"
            ).fetchone()
            writer.executemany(
                "INSERT OR IGNORE INTO readers (name, cursor) VALUES (?, ?)", [(name, before_oldest) for name in names]
            )
            [self._size_bytes] = writer.execute(f"SELECT coalesce(sum(body_bytes), 0) {_SIZES} > 0").fetchone()
            self._remove_read(writer)

    @property
    def id(self) -> str:
        return self._id

    def append(self, bodies: Sequence[bytes]) -> list[Appended]:
        if not bodies:
            return []
        hashes = [hashlib.blake2b(body, digest_size=16).digest() for body in bodies]
        with self._transaction() as writer:
            appended: list[Appended] = []
            last = self._last
            for body, body_hash in zip(bodies, hashes, strict=True):
                known = writer.execute("SELECT position FROM seen WHERE hash = ?", (body_hash,)).fetchone()
                if known:
                    appended.append(Appended(Position(0, known[0]), is_duplicate=True))
                    continue
                writer.execute("INSERT INTO entries (body_bytes, body) VALUES (?, ?)", (len(body), body))
                [last] = writer.execute("SELECT last_insert_rowid()").fetchone()
                writer.execute("INSERT INTO seen VALUES (?, ?)", (last, body_hash))
                self._size_change_bytes += len(body)
                appended.append(Appended(Position(0, last), is_duplicate=False))
            excess_bytes = self._size_bytes + self._size_change_bytes - self._max_bytes
            if excess_bytes > 0 and last != self._last:
                self._make_room(writer, excess_bytes, newest=self._last)
            writer.execute("DELETE FROM seen WHERE position <= ?", (last - self._seen_requests,))
        return appended

    def read(self, reader: str, limit: int, max_bytes: int) -> Batch:
        with self._reading() as connection:
            cursor, reserved = self._place(connection, reader)
            if reserved is not None:
                limit, max_bytes = -1, sys.maxsize
            positions: list[Position] = []
            sizes_bytes: list[int] = []
            joined = BytesIO()  # its value is handed over without a copy
            for position, body in connection.execute(
                "SELECT position, body FROM entries WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
                (cursor, LAST_POSITION if reserved is None else reserved, limit),
            ):
                if positions and joined.tell() + len(body) > max_bytes:
                    break
                joined.write(body)
                positions.append(Position(0, position))
                sizes_bytes.append(len(body))
            token = f"{self._id}:{positions[0]}-{positions[-1]}" if positions else ""
            return Batch(joined.getvalue(), positions, sizes_bytes, token)

    def reserve(self, reader: str, end: End) -> None:
        [position] = end
        with self._transaction() as writer:
            self._place(writer, reader)
            writer.execute("UPDATE readers SET reserved = ? WHERE name = ?", (position.offset, reader))

    def reserved(self, reader: str) -> End | None:
        with self._reading() as connection:
            _, reserved = self._place(connection, reader)
            return None if reserved is None else (Position(0, reserved),)

    def commit(self, reader: str, end: End) -> None:
        [position] = end
        with self._transaction() as writer:
            self._move(writer, reader, position.offset)
            self._remove_read(writer)

    def set_aside(self, reader: str, batch: Batch, reason: str, now_ms: int) -> None:
        [(_, position)] = batch.positions
        with self._transaction() as writer:
            writer.execute(
                "INSERT OR IGNORE INTO set_aside (position, reader, reason, time_ms, body)"
                " SELECT position, ?, ?, ?, body FROM entries WHERE position = ?",
                (reader, reason, now_ms, position),
            )
            if reader in self._optional:
                writer.execute(
                    "DELETE FROM set_aside WHERE reader = :reader AND position <="
                    " (SELECT position FROM set_aside WHERE reader = :reader"
                    " ORDER BY position DESC LIMIT 1 OFFSET :kept)",
                    {"reader": reader, "kept": SET_ASIDE_BY_OPTIONAL},
                )
            self._move(writer, reader, position)
            self._remove_read(writer)

    def those_set_aside(self) -> list[SetAside]:
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT position, reader, reason, time_ms, body FROM set_aside ORDER BY position, reader"
            )
            return [SetAside(Position(0, position), *rest) for position, *rest in rows]

    def count_set_aside(self, reader: str) -> int:
        with self._reading() as connection:
            self._place(connection, reader)
            return int(connection.execute("SELECT count(*) FROM set_aside WHERE reader = ?", (reader,)).fetchone()[0])

    def depth(self, reader: str | None = None) -> Depth:
        with self._reading() as connection:
            cursor = 0 if reader is None else self._place(connection, reader)[0]
            counted = connection.execute(
                f"SELECT count(*), coalesce(sum(body_bytes), 0) {_SIZES} > ?", (cursor,)
            ).fetchone()
            return Depth(*counted)

    def skipped(self, reader: str) -> int:
        with self._reading() as connection:
            self._place(connection, reader)
            return int(connection.execute("SELECT skipped FROM readers WHERE name = ?", (reader,)).fetchone()[0])

    def wait(self, reader: str, timeout_s: float) -> bool:
        with self._grown:
            self._grown.wait_for(lambda: self._is_closed or self._last > self._cursors[reader], timeout_s)
            return not self._is_closed and self._last > self._cursors[reader]

    def close(self) -> None:
        """Close the file. A thread that waits is woken; later calls raise JournalError."""
        with self._grown:
            self._is_closed = True
            self._grown.notify_all()
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _make_room(self, writer: sqlite3.Connection, excess_bytes: int, newest: int) -> None:
        """Let optional readers skip the oldest entries, up to `newest`. Raises JournalFull when that is not enough:
        required readers skip nothing."""
        [read_by_required] = writer.execute(
            f"SELECT min(cursor) FROM readers WHERE name IN ({','.join('?' * len(self._required))})", self._required
        ).fetchone()
        newest = newest if read_by_required is None else min(newest, read_by_required)
        until = 0
        for position, body_bytes in writer.execute(
            f"SELECT position, body_bytes {_SIZES} > 0 AND position <= ? ORDER BY position", (newest,)
        ):
            until = position
            excess_bytes -= body_bytes
            if excess_bytes <= 0:
                break
        if excess_bytes > 0:
            raise JournalFull("the journal is full: what was accepted before is not stored yet")
        late = writer.execute("SELECT name FROM readers WHERE cursor < ?", (until,)).fetchall()
        for name in {name for (name,) in late} - self._skipping:
            log.warning("%s: the journal is full, and the oldest requests before this reader are skipped", name)
            self._skipping.add(name)
        writer.execute(
            "UPDATE readers SET cursor = :until, reserved = NULL, skipped = skipped +"
            " (SELECT count(*) FROM entries WHERE position > readers.cursor AND position <= :until)"
            " WHERE cursor < :until",
            {"until": until},
        )
        self._remove_read(writer)

    @staticmethod
    def _place(connection: sqlite3.Connection, reader: str) -> tuple[int, int | None]:
        row = connection.execute("SELECT cursor, reserved FROM readers WHERE name = ?", (reader,)).fetchone()
        if row is None:
            raise KeyError(reader)
        return row[0], row[1]

    def _move(self, writer: sqlite3.Connection, reader: str, position: int) -> None:
        self._place(writer, reader)
        writer.execute(
            "UPDATE readers SET cursor = :position, reserved = CASE WHEN reserved > :position THEN reserved END"
            " WHERE name = :reader AND cursor < :position",
            {"position": position, "reader": reader},
        )
        if position >= self._last:
            self._skipping.discard(reader)

    def _remove_read(self, writer: sqlite3.Connection) -> None:
        [passed] = writer.execute("SELECT min(cursor) FROM readers").fetchone()
        if passed is None:
            return
        [body_bytes] = writer.execute(
            f"SELECT coalesce(sum(body_bytes), 0) {_SIZES} > 0 AND position <= ?", (passed,)
        ).fetchone()
        writer.execute("DELETE FROM entries WHERE position <= ?", (passed,))
        self._size_change_bytes -= body_bytes

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            if self._is_closed:
                raise JournalError("the journal is closed")
            try:
                yield self._reader
            except sqlite3.Error as error:
                raise JournalError(f"cannot read the journal: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing, durable when the block ends; then readers that wait are told."""
        with self._write_lock:
            if self._is_closed:
                raise JournalError("the journal is closed")
            self._size_change_bytes = 0
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    cursors = dict(self._writer.execute("SELECT name, cursor FROM readers"))
                    [last] = self._writer.execute("SELECT coalesce(max(position), 0) FROM seen").fetchone()
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise JournalError(f"cannot write the journal: {error}") from error
            self._size_bytes += self._size_change_bytes
            with self._grown:
                self._cursors, self._last = cursors, last
                self._grown.notify_all()


def _connect(path: Path, opened: ExitStack) -> sqlite3.Connection:
    """Transactions are begun and ended by hand; locks see to one thread at a time. Closed with `opened`."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    opened.callback(connection.close)
    connection.execute("PRAGMA page_size = 65536")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # 16 MB of log, then it is folded into the file: small enough that a restart replays it in no time.
    connection.execute("PRAGMA wal_autocheckpoint = 256")
    return connection
