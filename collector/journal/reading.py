"""Puts the next batch of the embedded journal together from the groups that requests lie in."""

import sqlite3
import sys
from itertools import accumulate

from . import layout
from .contract import Batch, Position

# The log, and beside it what was set aside and is to be tried again: their offsets are those of the requests.
LOG = 0
RETRIED = 1


def next_batch(
    connection: sqlite3.Connection, journal_id: str, cursor: int, end: int | None, limit: int, max_bytes: int
) -> Batch:
    """Return the requests after `cursor`: all up to `end`, or as many as the limits allow, though one in any case.

    What lies before damaged requests is given first. Raises Damaged when they are next, or within a given end.
    """
    if end is not None:
        limit, max_bytes = sys.maxsize, sys.maxsize
    positions: list[Position] = []
    sizes_bytes: list[int] = []
    parts: list[bytes | memoryview] = []
    size_bytes = 0
    groups = layout.read_groups(connection, cursor)
    while True:
        try:
            group, body = next(groups)
        except StopIteration:
            break
        except (layout.Damaged, sqlite3.DatabaseError):
            if positions and end is None:
                break
            raise
        cuts = [0, *accumulate(group.sizes_bytes)]
        begin = max(0, cursor + 1 - group.first)
        most = min(len(group.sizes_bytes), begin + limit - len(positions))
        if end is not None:
            most = min(most, end + 1 - group.first)
        stop = begin
        while stop < most and (
            size_bytes + cuts[stop + 1] - cuts[begin] <= max_bytes or not (positions or stop > begin)
        ):
            stop += 1
        is_whole = stop - begin == len(group.sizes_bytes)
        parts.append(body if is_whole else memoryview(body)[cuts[begin] : cuts[stop]])
        size_bytes += cuts[stop] - cuts[begin]
        positions += [Position(LOG, group.first + n) for n in range(begin, stop)]
        sizes_bytes += group.sizes_bytes[begin:stop]
        if stop < len(group.sizes_bytes):
            break
    token = f"{journal_id}:{positions[0]}-{positions[-1]}" if positions else ""
    return Batch(b"".join(parts), positions, sizes_bytes, token)


def next_retried(connection: sqlite3.Connection, journal_id: str, reader: str) -> Batch | None:
    """Return the next request that was set aside and is to be tried again, alone in its batch; None without one."""
    row = connection.execute(
        "SELECT position, body FROM set_aside WHERE reader = ? AND is_retried ORDER BY position LIMIT 1", (reader,)
    ).fetchone()
    if row is None:
        return None
    position, body = row
    return Batch(body, [Position(RETRIED, position)], [len(body)], f"{journal_id}:again-{position}")
