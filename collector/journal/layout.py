"""The embedded journal's file: its tables, how it is opened, and how requests lie in it.

    groups      last, requests, size_bytes, time_ms, sizes, checksum, body      the log
    seen        last, hashes                        of the last requests, to know one that is sent twice
    readers     name, cursor, reserved, skipped
    batches     reader, end                         where kept batches end, to read them again as they were
    rewinds     reader, position                    asked for by another process, done at the next read
    set_aside   reader, position, reason, time_ms, body, is_retried
    about       id

A row of `groups` holds requests that were appended together, so that a small request costs no row of its own: `last` is
the position of the last one, and those before it count down. The index `extents` lets sums and bounds be told without
reading bodies.

WAL with synchronous=FULL: a commit is on the disk when it returns. Pages of 64 kB: bodies are large, and with pages of
4 kB a body is a chain of eighty.
"""

import sqlite3
import sys
import zlib
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from .contract import JournalError
from .repeats import HASH_BYTES, hash_of

VERSION: Final = 2

LAST_POSITION: Final = 2**63 - 1

# A reader that stops in the middle of a row reads the whole of it again.
ROW_BYTES: Final = 4 * 1024 * 1024

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS groups (
    last INTEGER PRIMARY KEY, requests INTEGER NOT NULL, size_bytes INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    sizes BLOB NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS extents ON groups (last, requests, size_bytes, time_ms);
CREATE TABLE IF NOT EXISTS seen (last INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS readers (
    name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, reserved INTEGER, skipped INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS batches (reader TEXT, end INTEGER, PRIMARY KEY (reader, end)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rewinds (reader TEXT PRIMARY KEY, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS set_aside (
    position INTEGER, reader TEXT, reason TEXT, time_ms INTEGER, body BLOB, is_retried INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (position, reader));
CREATE INDEX IF NOT EXISTS retried ON set_aside (reader, position) WHERE is_retried;
CREATE TABLE IF NOT EXISTS about (id TEXT NOT NULL);
"""

# What the first layout had: a row for each request.
_FIRST_ENTRIES: Final = "entries"
_MOVED_AT_ONCE: Final = 64


WAY_OUT: Final = "`flowtrail journal salvage` takes what is whole into a new file"


def told(error: Exception) -> str:
    """What an error of SQLite says, and what helps where waiting does not."""
    code = getattr(error, "sqlite_errorcode", 0)
    # The lower byte is the kind (https://sqlite.org/rescode.html, "Extended Result Codes").
    return f"{error}; {WAY_OUT}" if code & 0xFF == sqlite3.SQLITE_CORRUPT else str(error)


class Damaged(JournalError):
    """The disk has changed what was written. Waiting does not help."""


class Group(NamedTuple):
    """A row of the log, without its body."""

    last: int
    sizes_bytes: Sequence[int]

    @property
    def first(self) -> int:
        return self.last - len(self.sizes_bytes) + 1

    def until(self, position: int) -> tuple[int, int]:
        """How many requests, and of how many bytes, lie up to and with a position."""
        requests = min(max(position - self.first + 1, 0), len(self.sizes_bytes))
        return requests, sum(self.sizes_bytes[:requests])


def open_file(path: Path, opened: ExitStack, *, is_read_only: bool = False) -> sqlite3.Connection:
    """Open a journal's file; closed with `opened`. Transactions are begun and ended by hand, and whoever holds the
    connection sees to one thread at a time. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if is_read_only else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    opened.callback(connection.close)
    if not is_read_only:
        connection.execute("PRAGMA page_size = 65536")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # 16 MB of log, then it is folded into the file: small enough that a restart replays it in no time.
        connection.execute("PRAGMA wal_autocheckpoint = 256")
    return connection


def make_tables(writer: sqlite3.Connection, now_ms: int) -> None:
    """Make the tables of a new file, or bring those of an older version forward. Raises JournalError for a newer one.

    The requests of the first layout become groups of one, appended now, in steps that a crash may end anywhere.
    """
    [version] = writer.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(f"its layout is version {version}, and this Flowtrail knows those up to {VERSION}")
    if version == VERSION:
        return
    tables = {name for (name,) in writer.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if _FIRST_ENTRIES in tables:
        _move_entries(writer, tables, now_ms)
    writer.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


def pack(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Part bodies into the rows that they will lie in: at least one body each, and no more than `ROW_BYTES` of them."""
    row: list[bytes] = []
    size_bytes = 0
    for body in bodies:
        if row and size_bytes + len(body) > ROW_BYTES:
            yield row
            row, size_bytes = [], 0
        row.append(body)
        size_bytes += len(body)
    if row:
        yield row


def write_group(writer: sqlite3.Connection, last: int, bodies: Sequence[bytes], time_ms: int) -> None:
    """Write one row: the last of its bodies is at `last`."""
    body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
    writer.execute(
        "INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)",
        (last, len(bodies), len(body), time_ms, _write_sizes(list(map(len, bodies))), zlib.crc32(body), body),
    )


def read_groups(connection: sqlite3.Connection, after: int) -> Generator[tuple[Group, bytes], None, None]:
    """Yield the rows that hold something after a position. Raises Damaged for one whose bytes have changed."""
    query = "SELECT last, sizes, checksum, body FROM groups WHERE last > ? ORDER BY last"
    rows: sqlite3.Cursor | None = None
    while True:
        try:
            if rows is None:
                rows = connection.execute(query, (after,))
            row = next(rows, None)
        except sqlite3.DatabaseError:
            # The module looks for the row after before it gives one out: the damage may lie behind this one.
            row = connection.execute(f"{query} LIMIT 1", (after,)).fetchone()
            rows = None
        if row is None:
            return
        after, sizes, checksum, body = row
        group = Group(after, read_sizes(sizes))
        if zlib.crc32(body) != checksum:
            raise Damaged(
                f"the requests {group.first} to {after} are not what was written: the disk has changed them; {WAY_OUT}"
            )
        yield group, body


def extent(connection: sqlite3.Connection, after: int, until: int) -> tuple[int, int, int | None]:
    """Return how many requests lie after a position and up to another, their bytes, and when the oldest came."""
    requests, size_bytes, oldest_ms = connection.execute(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(size_bytes), 0), min(time_ms) FROM groups INDEXED BY extents"
        " WHERE last > ? AND last <= ?",
        (after, until),
    ).fetchone()
    for position, sign in ((until, 1), (after, -1)):
        row = connection.execute(
            "SELECT last, sizes, time_ms FROM groups WHERE last >= ? ORDER BY last LIMIT 1", (position,)
        ).fetchone()
        if row is not None and row[0] > position:
            group = Group(row[0], read_sizes(row[1]))
            part_requests, part_bytes = group.until(position)
            requests += sign * part_requests
            size_bytes += sign * part_bytes
            if sign > 0 and part_requests and oldest_ms is None:
                oldest_ms = row[2]
    return requests, size_bytes, oldest_ms if requests else None


def _write_sizes(sizes_bytes: Sequence[int]) -> bytes:
    """Four bytes a request, little-endian."""
    sizes = array("I", sizes_bytes)
    if sys.byteorder == "big":
        sizes.byteswap()
    return sizes.tobytes()


def read_sizes(data: bytes) -> Sequence[int]:
    sizes = array("I", data)
    if sys.byteorder == "big":
        sizes.byteswap()
    return sizes


def _move_entries(writer: sqlite3.Connection, tables: set[str], now_ms: int) -> None:
    """Bring the first layout's requests over. Of what was seen, only those that still wait are known again later: its
    hashes were of another kind."""
    if "is_retried" not in {row[1] for row in writer.execute("PRAGMA table_info(set_aside)")}:
        writer.execute("ALTER TABLE set_aside ADD COLUMN is_retried INTEGER NOT NULL DEFAULT 0")
    if "groups" not in tables:
        # A position is never used twice, so the last one stays known, though its request may be gone.
        writer.executescript(
            "BEGIN IMMEDIATE; CREATE TABLE last_seen AS SELECT coalesce(max(position), 0) AS last FROM seen;"
            f" DROP TABLE seen; {SCHEMA} COMMIT;"
        )
    while rows := writer.execute(
        f"SELECT position, body FROM {_FIRST_ENTRIES} ORDER BY position LIMIT ?", (_MOVED_AT_ONCE,)
    ).fetchall():
        writer.execute("BEGIN IMMEDIATE")
        for position, body in rows:
            write_group(writer, position, [body], now_ms)
            writer.execute("INSERT INTO seen VALUES (?, ?)", (position, hash_of(body)))
        writer.execute(f"DELETE FROM {_FIRST_ENTRIES} WHERE position <= ?", (rows[-1][0],))
        writer.execute("COMMIT")
    writer.executescript(
        "BEGIN IMMEDIATE;"
        f" INSERT OR IGNORE INTO seen SELECT last, zeroblob({HASH_BYTES}) FROM last_seen WHERE last > 0;"
        f" DROP TABLE last_seen; DROP TABLE {_FIRST_ENTRIES}; COMMIT;"
    )


def rewound_to(connection: sqlite3.Connection, reader: str, position: int) -> int:
    """Return the position that a reader's cursor is set back to so that it reads at least what lies after `position`.

    That is the end of a batch, so that the same batches come again; where none that early is kept, of the oldest one
    that is. A reader that reserves none goes where it is asked to, or to the oldest that is kept.
    """
    [oldest] = connection.execute("SELECT coalesce(min(last - requests), 0) FROM groups").fetchone()
    if not connection.execute("SELECT 1 FROM batches WHERE reader = ?", (reader,)).fetchone():
        return max(int(oldest), position)
    [before] = connection.execute(
        "SELECT coalesce(max(CASE WHEN end <= :position THEN end END), min(end)) FROM batches"
        " WHERE reader = :reader AND end >= :oldest",
        {"position": position, "reader": reader, "oldest": oldest},
    ).fetchone()
    return int(before if before is not None else position)
