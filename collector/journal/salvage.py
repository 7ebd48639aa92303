"""Takes what is whole out of a damaged journal into a new file.

A page that the disk lost costs the rows that lie on it, and no others: keys are taken from the table and from its
index, from both ends, and each row is read by its key.
"""

import sqlite3
import sys
import uuid
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from . import layout
from .contract import JournalError

DAMAGED: Final = "the disk has changed these bytes"

_OTHERS: Final = {
    "about": "id",
    "readers": "name, cursor, reserved, skipped",
    "batches": "reader, end",
    "rewinds": "reader, position",
    "seen": "last, hashes",
    "set_aside": "position, reader, reason, time_ms, body, is_retried",
}


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How many requests were whole, were set aside since their group was not, and are gone, as far as positions tell.
    `damaged`: the old file."""

    whole: int
    set_aside: int
    lost: int
    damaged: Path


def salvage(path: Path, now_ms: int) -> Salvaged:
    """Make a new journal of what can be read in a damaged one, under the same name and with the same id, cursors and
    reservations; the old file stays beside it. The journal must not be open anywhere.

    Requests whose group has changed are set aside for every reader that they lie before: most of them are whole, and
    can be tried again. Raises JournalError when not even the tables can be read; then nothing was changed.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with ExitStack() as opened:
        try:
            source = layout.open_file(path, opened, is_read_only=True)
            # Else a file that has lost its end is not read at all.
            source.execute("PRAGMA writable_schema = ON")
            [version] = source.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.Error as error:
            raise JournalError(f"nothing can be read of the journal {path}: {error}") from error
        if version != layout.VERSION or not {"groups", *_OTHERS} <= tables:
            raise JournalError(f"{path} is no journal of layout {layout.VERSION}")
        writer = layout.open_file(new, opened)
        layout.make_tables(writer, now_ms)
        writer.execute("BEGIN IMMEDIATE")
        for table, columns in _OTHERS.items():
            for row in _rows(source, f"SELECT {columns} FROM {table}"):
                writer.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({','.join('?' * len(row))})", row)
        if writer.execute("SELECT 1 FROM about").fetchone() is None:
            writer.execute("INSERT INTO about VALUES (?)", (uuid.uuid4().hex,))
        whole, set_aside, lost = _copy_groups(source, writer, now_ms)
        writer.execute("COMMIT")
    damaged = path.with_name(f"{path.name}.damaged-{now_ms}")
    for end in ("-wal", "-shm", ""):
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(damaged.with_name(damaged.name + end))
    new.rename(path)
    return Salvaged(whole, set_aside, lost, damaged)


def _copy_groups(source: sqlite3.Connection, writer: sqlite3.Connection, now_ms: int) -> tuple[int, int, int]:
    whole = set_aside = 0
    readers = writer.execute("SELECT name, cursor FROM readers").fetchall()
    first, newest = sys.maxsize, writer.execute("SELECT coalesce(max(last), 0) FROM seen").fetchone()[0]
    for last in sorted({*_keys(source, "NOT INDEXED"), *_keys(source, "INDEXED BY extents")}):
        newest = max(newest, last)
        try:
            row = source.execute("SELECT * FROM groups NOT INDEXED WHERE last = ?", (last,)).fetchone()
        except sqlite3.DatabaseError:
            continue  # counted below
        if row is None:
            continue
        _, count, _, _, sizes, checksum, body = row
        group = layout.Group(last, layout.read_sizes(sizes))
        first = min(first, group.first)
        if zlib.crc32(body) == checksum:
            writer.execute(f"INSERT INTO groups VALUES ({','.join('?' * len(row))})", row)
            whole += count
            continue
        for position, end, size_bytes in zip(
            range(group.first, last + 1), accumulate(group.sizes_bytes), group.sizes_bytes, strict=True
        ):
            for name, cursor in readers:
                if position > cursor:
                    writer.execute(
                        "INSERT OR IGNORE INTO set_aside (position, reader, reason, time_ms, body)"
                        " VALUES (?, ?, ?, ?, ?)",
                        (position, name, DAMAGED, now_ms, body[end - size_bytes : end]),
                    )
            set_aside += 1
    # Positions have no holes, but for those that an earlier salvage left.
    oldest = min([first - 1, newest, *(cursor for _, cursor in readers)])
    return whole, set_aside, newest - oldest - whole - set_aside


def _keys(source: sqlite3.Connection, way: str) -> Iterator[int]:
    """Keys from the first to the damage, and from the last back to it.

    One by one: the module looks for the row after before it gives one out, and would lose this one with it.
    """
    for comparison, order, key in ((">", "ASC", -1), ("<", "DESC", layout.LAST_POSITION)):
        query = f"SELECT last FROM groups {way} WHERE last {comparison} ? ORDER BY last {order} LIMIT 1"
        while True:
            try:
                found = source.execute(query, (key,)).fetchone()
            except sqlite3.DatabaseError:
                break  # what lies there is looked for from the other side
            if found is None:
                return
            [key] = found
            yield key


def _rows(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows up to the first that cannot be read."""
    try:
        yield from source.execute(query)
    except sqlite3.DatabaseError:
        return  # what stands in these tables follows from the log, or is of its last moments
