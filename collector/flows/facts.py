"""What is known of the readers of a flow's topics, beside its own spans: commits, log ends, members, signs of life.

All of it may be missing: without a poller there are no commits, some brokers list no members. `Facts` answers with
None then, and the states say what they could not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .deliveries import Reader
from .rows import CommitRow, GroupRow, Lane, LogRow, MembersRow, Place
from .topics import TopicRoles

# A group that was known by spans alone and fell silent this long before an event is not expected to read it.
FORGOTTEN_AFTER_MS: Final = 3_600_000
# Spans travel for a while: exporters batch for five seconds by default, and retry.
SPANS_ARRIVE_WITHIN_MS: Final = 10_000
# An event that was sent just now has had no chance to be read; a new topic's first group takes seconds to join.
READ_WITHIN_MS: Final = 10_000
# A processing may take this many times the longest one that was seen before silence means anything.
PATIENCE: Final = 3


@dataclass(frozen=True)
class Facts:
    """The facts at `now_ms`. `last_span_ms` is by (service, instance): when the last span of that process ended."""

    now_ms: float
    groups: Sequence[GroupRow] = ()
    commits: Sequence[CommitRow] = ()
    passed_ms: Mapping[tuple[str, Place], float] = field(default_factory=dict)
    logs: Mapping[Lane, LogRow] = field(default_factory=dict)
    members: Mapping[str, MembersRow] = field(default_factory=dict)
    last_span_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    processed_until: Mapping[tuple[str, Lane], int] = field(default_factory=dict)
    is_broker_polled: bool = False
    silent_after_ms: float = 30_000
    roles: TopicRoles = field(default_factory=TopicRoles)

    def readers(self, topic: str, sent_ms: float) -> list[Reader]:
        """Who is expected to read an event that was sent to `topic` at that time, by name."""
        found: dict[tuple[str, str], Reader] = {}
        for row in self.groups:
            if row.topic == topic and row.group and row.last_ms >= sent_ms - FORGOTTEN_AFTER_MS:
                reader = Reader(row.group, row.service)
                found.setdefault(reader.key, reader)
        for commit in self.commits:
            if commit.topic == topic and commit.committed is not None:
                reader = Reader(commit.group, self.service_of(commit.group))
                found.setdefault(reader.key, reader)
        return [found[key] for key in sorted(found)]

    def is_read(self, topic: str) -> bool:
        """Whether anybody at all reads a topic, traced or not."""
        return any(row.topic == topic for row in self.groups) or any(
            commit.topic == topic and commit.committed is not None for commit in self.commits
        )

    def service_of(self, group: str) -> str:
        """The service whose spans name the group; '' when none does."""
        rows = [row for row in self.groups if row.group == group]
        return max(rows, key=lambda row: row.last_ms).service if rows else ""

    def reports_spans(self, group: str) -> bool:
        return any(row.group == group for row in self.groups)

    def reports_processing(self, reader: Reader, topic: str) -> bool:
        """Whether this reader's client makes process spans at all."""
        return any(row.processes and _is_of(row, reader) for row in self.groups)

    def commit(self, group: str, topic: str, partition: int) -> CommitRow | None:
        rows = [row for row in self.commits if (row.group, row.topic, row.partition) == (group, topic, partition)]
        return rows[0] if rows else None

    def has_commits(self, group: str) -> bool:
        return any(row.group == group and row.committed is not None for row in self.commits)

    def first_sign_ms(self, reader: Reader, topic: str) -> float | None:
        """When anything of this reader was seen on the topic for the first time."""
        signs = [row.first_ms for row in self.groups if row.topic == topic and _is_of(row, reader)]
        signs += [row.first_ms for row in self.commits if row.topic == topic and row.group == reader.group]
        return min(signs, default=None)

    def last_sign_ms(self, reader: Reader) -> float | None:
        """When the reader was last seen to live: a span of it, or a commit that moved."""
        signs = [row.last_ms for row in self.groups if _is_of(row, reader)]
        signs += [row.moved_ms for row in self.commits if row.group == reader.group and row.moved_ms is not None]
        return max(signs, default=None)

    def rate_per_s(self, reader: Reader, topic: str) -> float:
        return sum(row.per_s for row in self.groups if row.topic == topic and _is_of(row, reader))

    def patience_ms(self, reader: Reader) -> float:
        """How long silence of this reader says nothing: the setting, or a few of its longest processings."""
        longest = max((row.longest_ms for row in self.groups if _is_of(row, reader)), default=0.0)
        return max(self.silent_after_ms, PATIENCE * longest)

    def members_of(self, group: str) -> MembersRow | None:
        """The group's members; None where the broker lists none, or none was asked."""
        row = self.members.get(group)
        return row if row is not None and row.is_listed else None


def _is_of(row: GroupRow, reader: Reader) -> bool:
    return row.group == reader.group if reader.group else (not row.group and row.service == reader.service)
