"""Takes what is whole out of a damaged journal into a new file.

A page that the disk lost costs the rows that lie on it, and no others: keys are taken from the table and from its
index, from both ends, and each row is read by its key.
"""

import sqlite3
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
    """How many requests were whole, were set aside since their group was not, and are gone. `damaged`: the old file."""

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
    whole = set_aside = lost = 0
    readers = writer.execute("SELECT name, cursor FROM readers").fetchall()
    requests = dict(_both_ways(source, "SELECT last, requests FROM groups INDEXED BY extents ORDER BY last"))
    lasts = {last for (last,) in _both_ways(source, "SELECT last FROM groups NOT INDEXED ORDER BY last")}
    for last in sorted({*requests, *lasts}):
        [*row] = next(_rows(source, f"SELECT * FROM groups NOT INDEXED WHERE last = {last}"), ())
        if not row:
            lost += requests[last]
            continue
        _, count, _, _, sizes, checksum, body = row
        if zlib.crc32(body) == checksum:
            writer.execute(f"INSERT INTO groups VALUES ({','.join('?' * len(row))})", row)
            whole += count
            continue
        group = layout.Group(last, layout.read_sizes(sizes))
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
    return whole, set_aside, lost


def _both_ways(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows from the first to the damage, and from the last back to it."""
    yield from _rows(source, query)
    yield from _rows(source, f"{query} DESC")


def _rows(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows up to the first that cannot be read."""
    try:
        yield from source.execute(query)
    except sqlite3.DatabaseError:
        return  # what follows is lost to this query, and is counted by its key
