"""The embedded journal: one SQLite file, whose tables `layout` describes.

One connection writes, another reads; each has a lock, since a connection answers one thread at a time. Other processes
may read the file meanwhile, and ask for a rewind or a retry by a row in it: that is done at the reader's next `read`.
"""

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from . import layout
from .bounds import Bounds, State
from .contract import Appended, Batch, Depth, End, JournalError, Position, SetAside
from .reading import LOG, RETRIED, next_batch, next_retried
from .repeats import HASH_BYTES, LastSeen, hash_of

log = logging.getLogger(__name__)

# A sender repeats a request within seconds or minutes; this many are an hour at thirty requests a second.
SEEN_REQUESTS: Final = 100_000
# An exporter's endpoint that refuses everything must not fill the disk.
SET_ASIDE_BY_OPTIONAL: Final = 1000


class SqliteJournal:
    """A `Journal` (see `contract`) in a file.

    `max_bytes` bounds the bodies that wait, and `keep_bytes` those that all readers have passed and that stay for
    `rewind`; the file is a little larger than both. An optional reader passes over what is older than `max_age_ms`
    (0: however old it is), counted as skipped.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        required: Sequence[str],
        optional: Sequence[str] = (),
        max_age_ms: int = 0,
        keep_bytes: int = 0,
        seen_requests: int = SEEN_REQUESTS,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """Open or make the journal. A reader that is new begins at the oldest request that waits; one that is no longer
        named is forgotten, so that it holds up nothing. Raises JournalError."""
        self._bounds = Bounds(
            max_bytes=max_bytes, keep_bytes=keep_bytes, max_age_ms=max_age_ms, required=required, optional=optional
        )
        self._now_ms = now_ms
        self._is_closed = False
        self._state = State()
        self._seen = LastSeen(seen_requests)
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._grown = threading.Condition()
        with ExitStack() as opened:
            try:
                self._writer = layout.open_file(path, opened)
                layout.make_tables(self._writer, now_ms())
                self._reader = layout.open_file(path, opened)
                with self._transaction() as (writer, state):
                    self._id = self._begin(writer, state)
            except (sqlite3.Error, JournalError) as error:
                raise JournalError(f"cannot open the journal {path}: {layout.told(error)}") from error
            opened.pop_all()

    @property
    def id(self) -> str:
        return self._id

    def append(self, bodies: Sequence[bytes]) -> list[Appended]:
        hashes = list(map(hash_of, bodies))
        with self._write_lock:
            appended: list[Appended] = []
            new: dict[bytes, int] = {}
            new_bodies: list[bytes] = []
            following = self._state.next
            for body, body_hash in zip(bodies, hashes, strict=True):
                known = self._seen.position(body_hash) or new.get(body_hash)
                if known is None:
                    new[body_hash] = following
                    new_bodies.append(body)
                    appended.append(Appended(Position(LOG, following), is_duplicate=False))
                    following += 1
                else:
                    appended.append(Appended(Position(LOG, known), is_duplicate=True))
            if new:
                with self._transaction() as (writer, state):
                    self._write(writer, state, new_bodies, b"".join(new))
                self._seen.add(new.items())
            elif self._is_closed:
                raise JournalError("the journal is closed")
            return appended

    def read(self, reader: str, limit: int, max_bytes: int) -> Batch:
        self._do_what_was_asked(reader)
        self._skip_aged(reader)
        with self._reading() as connection:
            cursor, reserved = _place(connection, reader)
            if reserved is None:
                if retried := next_retried(connection, self._id, reader):
                    return retried
                # What was read before is read in the same batches: a store knows those by their tokens.
                [reserved] = connection.execute(
                    "SELECT min(end) FROM batches WHERE reader = ? AND end > ?", (reader, cursor)
                ).fetchone()
            return next_batch(connection, self._id, cursor, reserved, limit, max_bytes)

    def reserve(self, reader: str, end: End) -> None:
        [position] = end
        if position.partition == RETRIED:
            return  # it is alone in its batch for good
        with self._transaction() as (writer, _):
            cursor, _ = _place(writer, reader)
            writer.execute("INSERT OR IGNORE INTO batches VALUES (?, ?)", (reader, cursor))
            writer.execute("UPDATE readers SET reserved = ? WHERE name = ?", (position.offset, reader))

    def reserved(self, reader: str) -> End | None:
        with self._reading() as connection:
            _, reserved = _place(connection, reader)
            return None if reserved is None else (Position(LOG, reserved),)

    def commit(self, reader: str, end: End) -> None:
        [position] = end
        with self._transaction() as (writer, state):
            if position.partition == RETRIED:
                _place(writer, reader)
                writer.execute("DELETE FROM set_aside WHERE reader = ? AND position = ?", (reader, position.offset))
            else:
                self._move(writer, state, reader, position.offset)

    def set_aside(self, reader: str, batch: Batch, reason: str, now_ms: int) -> None:
        [position] = batch.positions
        with self._transaction() as (writer, state):
            # One that was tried again and is refused again keeps its place, with the newer reason.
            writer.execute(
                "INSERT INTO set_aside (position, reader, reason, time_ms, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET reason = excluded.reason, time_ms = excluded.time_ms, is_retried = 0",
                (position.offset, reader, reason, now_ms, batch.body),
            )
            if reader in self._bounds.optional:
                writer.execute(
                    "DELETE FROM set_aside WHERE reader = :reader AND position <="
                    " (SELECT position FROM set_aside WHERE reader = :reader"
                    " ORDER BY position DESC LIMIT 1 OFFSET :kept)",
                    {"reader": reader, "kept": SET_ASIDE_BY_OPTIONAL},
                )
            if position.partition == LOG:
                self._move(writer, state, reader, position.offset)

    def those_set_aside(self) -> list[SetAside]:
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT position, reader, reason, time_ms, body FROM set_aside ORDER BY position, reader"
            )
            return [SetAside(Position(LOG, position), *rest) for position, *rest in rows]

    def count_set_aside(self, reader: str) -> int:
        with self._reading() as connection:
            _place(connection, reader)
            return int(connection.execute("SELECT count(*) FROM set_aside WHERE reader = ?", (reader,)).fetchone()[0])

    def depth(self, reader: str | None = None) -> Depth:
        with self._reading() as connection:
            cursor = self._state.passed if reader is None else _place(connection, reader)[0]
            return Depth(*layout.extent(connection, cursor, layout.LAST_POSITION))

    def skipped(self, reader: str) -> int:
        with self._reading() as connection:
            _place(connection, reader)
            return int(connection.execute("SELECT skipped FROM readers WHERE name = ?", (reader,)).fetchone()[0])

    def wait(self, reader: str, timeout_s: float) -> bool:
        def is_there() -> bool:
            return self._state.last > self._state.cursors[reader]

        with self._grown:
            self._grown.wait_for(lambda: self._is_closed or is_there(), timeout_s)
            return not self._is_closed and is_there()

    def close(self) -> None:
        """Close the file. A thread that waits is woken; later calls raise JournalError."""
        with self._grown:
            self._is_closed = True
            self._grown.notify_all()
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _begin(self, writer: sqlite3.Connection, state: State) -> str:
        """Take the readers and the sums up as the file has them; returns the journal's id."""
        if writer.execute("SELECT id FROM about").fetchone() is None:
            writer.execute("INSERT INTO about VALUES (?)", (uuid.uuid4().hex,))
        names = (*self._bounds.required, *self._bounds.optional)
        [last] = writer.execute("SELECT coalesce(max(last), 0) FROM groups").fetchone()
        [seen, cursor, passed] = writer.execute(
            "SELECT (SELECT max(last) FROM seen), max(cursor), min(cursor) FROM readers"
        ).fetchone()
        if passed is None:
            [passed] = writer.execute("SELECT coalesce(min(last - requests), ?) FROM groups", (last,)).fetchone()
        state.last, state.next = last, max(last, seen or 0, cursor or 0) + 1
        for table, column in (("readers", "name"), ("batches", "reader"), ("rewinds", "reader")):
            writer.execute(f"DELETE FROM {table} WHERE {column} NOT IN ({','.join('?' * len(names))})", names)
        for name in names:
            if writer.execute("SELECT 1 FROM readers WHERE name = ?", (name,)).fetchone() is None:
                writer.execute("INSERT INTO readers (name, cursor) VALUES (?, ?)", (name, passed))
        state.cursors = dict(writer.execute("SELECT name, cursor FROM readers"))
        _, state.size_bytes, _ = layout.extent(writer, 0, layout.LAST_POSITION)
        _, state.waiting_bytes, _ = layout.extent(writer, state.passed, layout.LAST_POSITION)
        for group_last, hashes in writer.execute("SELECT last, hashes FROM seen ORDER BY last"):
            parts = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
            self._seen.add(zip(parts, range(group_last - len(parts) + 1, group_last + 1), strict=True))
        self._bounds.remove_passed(writer, state)
        return str(writer.execute("SELECT id FROM about").fetchone()[0])

    def _write(self, writer: sqlite3.Connection, state: State, bodies: Sequence[bytes], hashes: bytes) -> None:
        now_ms = self._now_ms()
        size_bytes = sum(map(len, bodies))
        self._bounds.skip_aged(writer, state, now_ms)
        self._bounds.make_room(writer, state, size_bytes)
        for row in layout.pack(bodies):
            state.last = state.next + len(row) - 1
            layout.write_group(writer, state.last, row, now_ms)
            state.next = state.last + 1
        state.size_bytes += size_bytes
        state.waiting_bytes += size_bytes
        writer.execute("INSERT INTO seen VALUES (?, ?)", (state.last, hashes))
        writer.execute("DELETE FROM seen WHERE last <= ?", (state.last - self._seen.most,))

    def _move(self, writer: sqlite3.Connection, state: State, reader: str, position: int) -> None:
        """Move a cursor forward."""
        cursor, reserved = _place(writer, reader)
        if position <= cursor:
            return
        if reserved is not None:
            writer.execute("INSERT OR IGNORE INTO batches VALUES (?, ?)", (reader, position))
        still_reserved = reserved if reserved is not None and reserved > position else None
        writer.execute("UPDATE readers SET cursor = ?, reserved = ? WHERE name = ?", (position, still_reserved, reader))
        self._bounds.move(writer, state, reader, position)

    def _do_what_was_asked(self, reader: str) -> None:
        """Set a reader's cursor back if another process has asked for it."""
        with self._reading() as connection:
            if not connection.execute("SELECT 1 FROM rewinds WHERE reader = ?", (reader,)).fetchone():
                return
        with self._transaction() as (writer, state):
            asked = writer.execute("SELECT position FROM rewinds WHERE reader = ?", (reader,)).fetchone()
            writer.execute("DELETE FROM rewinds WHERE reader = ?", (reader,))
            cursor, reserved = _place(writer, reader)
            if asked is None or asked[0] >= cursor:
                return
            if reserved is not None:
                # It may be in the store already, in part: it has to come again as it is.
                writer.execute("INSERT OR IGNORE INTO batches VALUES (?, ?)", (reader, reserved))
            before = layout.rewound_to(writer, reader, asked[0])
            writer.execute("UPDATE readers SET cursor = ?, reserved = NULL WHERE name = ?", (before, reader))
            log.info("%s: reads again what lies after position %d, as it was asked to", reader, before)
            self._bounds.move_back(writer, state, reader, before)

    def _skip_aged(self, reader: str) -> None:
        """Let an optional reader skip what got too old since the last append."""
        if reader not in self._bounds.optional or self._bounds.max_age_ms == 0:
            return
        with self._reading() as connection:
            cursor, _ = _place(connection, reader)
            next_up = connection.execute(
                "SELECT time_ms FROM groups INDEXED BY extents WHERE last > ? ORDER BY last LIMIT 1", (cursor,)
            ).fetchone()
        if next_up is not None and next_up[0] < self._now_ms() - self._bounds.max_age_ms:
            with self._transaction() as (writer, state):
                self._bounds.skip_aged(writer, state, self._now_ms())

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            if self._is_closed:
                raise JournalError("the journal is closed")
            try:
                yield self._reader
            except sqlite3.Error as error:
                raise JournalError(f"cannot read the journal: {layout.told(error)}") from error

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        """Everything or nothing, durable when the block ends; then readers that wait are told."""
        with self._write_lock:
            if self._is_closed:
                raise JournalError("the journal is closed")
            state = replace(self._state, cursors=dict(self._state.cursors))
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer, state
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise JournalError(f"cannot write the journal: {layout.told(error)}") from error
            with self._grown:
                self._state = state
                self._grown.notify_all()


def _place(connection: sqlite3.Connection, reader: str) -> tuple[int, int | None]:
    row = connection.execute("SELECT cursor, reserved FROM readers WHERE name = ?", (reader,)).fetchone()
    if row is None:
        raise KeyError(reader)
    return row[0], row[1]
