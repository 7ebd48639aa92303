"""What the embedded journal may hold: who is waited for, who skips, and what stays once all have passed it.

oldest ───── kept ─────▶│ passed ───── waiting ─────▶ last
         keep_bytes                   max_bytes
"""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import layout
from .contract import JournalFull

log = logging.getLogger(__name__)


@dataclass(slots=True)
class State:
    """What is known without asking the file. A transaction changes a copy, which counts once it is committed."""

    last: int = 0  # position of the newest request
    next: int = 1
    size_bytes: int = 0  # of the whole log
    waiting_bytes: int = 0  # of what some reader has not passed
    cursors: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        """The position that all readers have passed."""
        return min(self.cursors.values(), default=0)


class Bounds:
    """Keeps to the bounds within a transaction: each method changes the file and the state alike."""

    def __init__(
        self, *, max_bytes: int, keep_bytes: int, max_age_ms: int, required: Sequence[str], optional: Sequence[str]
    ) -> None:
        self.required = tuple(required)
        self.optional = tuple(optional)
        self._max_bytes = max_bytes
        self._keep_bytes = keep_bytes
        self.max_age_ms = max_age_ms
        self._skipping: set[str] = set()  # readers that lost requests since they had caught up last

    def make_room(self, writer: sqlite3.Connection, state: State, new_bytes: int) -> None:
        """Let optional readers skip the oldest requests where new ones would not fit. Raises JournalFull when that is
        not enough: required readers skip nothing."""
        excess_bytes = state.waiting_bytes + new_bytes - self._max_bytes
        if excess_bytes <= 0:
            return
        newest = min((state.cursors[name] for name in self.required), default=state.last)
        until = state.passed
        for last, sizes in writer.execute("SELECT last, sizes FROM groups WHERE last > ? ORDER BY last", (until,)):
            group = layout.Group(last, layout.read_sizes(sizes))
            for position, body_bytes in enumerate(group.sizes_bytes, group.first):
                if until < position <= newest and excess_bytes > 0:
                    until = position
                    excess_bytes -= body_bytes
            if excess_bytes <= 0 or last >= newest:
                break
        if excess_bytes > 0:
            raise JournalFull("the journal is full: what was accepted before is not stored yet")
        self._skip(writer, state, until, "the journal is full")

    def skip_aged(self, writer: sqlite3.Connection, state: State, now_ms: int) -> None:
        """Let optional readers skip what is too old. A request is as old as the group that it was appended with."""
        late = min((state.cursors[name] for name in self.optional), default=state.last)
        if not self.max_age_ms or late >= state.last:
            return
        young = writer.execute(
            "SELECT last - requests FROM groups INDEXED BY extents WHERE last > ? AND time_ms >= ?"
            " ORDER BY last LIMIT 1",
            (late, now_ms - self.max_age_ms),
        ).fetchone()
        self._skip(writer, state, state.last if young is None else young[0], "requests get too old")

    def move(self, writer: sqlite3.Connection, state: State, reader: str, position: int) -> None:
        """Take account of a reader's cursor that moves forward, and remove what need not stay."""
        passed = state.passed
        state.cursors[reader] = position
        if position >= state.last:
            self._skipping.discard(reader)
        if state.passed > passed:
            state.waiting_bytes -= layout.extent(writer, passed, state.passed)[1]
            self.remove_passed(writer, state)

    @staticmethod
    def move_back(writer: sqlite3.Connection, state: State, reader: str, position: int) -> None:
        """Take account of a reader's cursor that moves back."""
        passed = state.passed
        state.cursors[reader] = position
        if state.passed < passed:
            state.waiting_bytes += layout.extent(writer, state.passed, passed)[1]

    def remove_passed(self, writer: sqlite3.Connection, state: State) -> None:
        """Remove what all have passed and what is not kept, oldest first and by whole groups."""
        removed = 0
        for last, size_bytes in writer.execute(
            "SELECT last, size_bytes FROM groups INDEXED BY extents WHERE last <= ? ORDER BY last", (state.passed,)
        ):
            if state.size_bytes - state.waiting_bytes <= self._keep_bytes:
                break
            removed = last
            state.size_bytes -= size_bytes
        if removed:
            writer.execute("DELETE FROM groups WHERE last <= ?", (removed,))
            # Where a batch ended that is gone, the next begins.
            writer.execute("DELETE FROM batches WHERE end < ?", (removed,))

    def _skip(self, writer: sqlite3.Connection, state: State, until: int, why: str) -> None:
        """Move optional readers that are before `until` there, and count what they lose."""
        for name in self.optional:
            if state.cursors[name] >= until:
                continue
            if name not in self._skipping:
                log.warning("%s: %s, and the oldest before this reader are skipped", name, why)
                self._skipping.add(name)
            lost, _, _ = layout.extent(writer, state.cursors[name], until)
            writer.execute(
                "UPDATE readers SET cursor = ?, reserved = NULL, skipped = skipped + ? WHERE name = ?",
                (until, lost, name),
            )
            self.move(writer, state, name, until)
