"""What is known of the readers of a flow's topics, beside its own spans: commits, log ends, members, signs of life.

All of it may be missing: without a poller there are no commits, some brokers list no members. `Facts` answers with
None then, and the states say what they could not know.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeVar

from .deliveries import Reader
from .rows import CloseRow, CommitRow, GroupRow, Lane, LogRow, MembersRow, Place, SpanRow
from .topics import TopicRoles

# A group that was known by spans alone and fell silent this long before an event is not expected to read it.
FORGOTTEN_AFTER_MS: Final = 3_600_000
# Spans travel for a while: exporters batch for five seconds by default, and retry.
SPANS_ARRIVE_WITHIN_MS: Final = 10_000
# An event that was sent just now has had no chance to be read; a new topic's first group takes seconds to join.
READ_WITHIN_MS: Final = 10_000
# A processing may take this many times the longest one that was seen before silence means anything.
PATIENCE: Final = 3

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Facts:
    """The facts at `now_ms`. `last_span_ms` is by (service, instance): when the last span of that process ended.

    `closes` are the ends of the consumers that polled, as far as their programs closed them.
    """

    now_ms: float
    groups: Sequence[GroupRow] = ()
    commits: Sequence[CommitRow] = ()
    passed_ms: Mapping[tuple[str, Place], float] = field(default_factory=dict)
    logs: Mapping[Lane, LogRow] = field(default_factory=dict)
    members: Mapping[str, MembersRow] = field(default_factory=dict)
    last_span_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    processed_until: Mapping[tuple[str, Lane], int] = field(default_factory=dict)
    closes: Sequence[CloseRow] = ()
    is_broker_polled: bool = False
    silent_after_ms: float = 30_000
    roles: TopicRoles = field(default_factory=TopicRoles)

    def readers(self, topic: str, sent_ms: float) -> list[Reader]:
        """Who is expected to read an event that was sent to `topic` at that time, by name."""
        found: dict[tuple[str, str], Reader] = {}
        for row in self._groups_by_topic.get(topic, ()):
            if row.group and row.last_ms >= sent_ms - FORGOTTEN_AFTER_MS:
                reader = Reader(row.group, row.service)
                found.setdefault(reader.key, reader)
        for commit in self._commits_by_topic.get(topic, ()):
            if commit.committed is not None:
                reader = Reader(commit.group, self.service_of(commit.group))
                found.setdefault(reader.key, reader)
        return [found[key] for key in sorted(found)]

    def service_of(self, group: str) -> str:
        """The service whose spans name the group; '' when none does."""
        rows = self._groups_by_name.get(group, ()) if group else ()
        return max(rows, key=lambda row: row.last_ms).service if rows else ""

    def reports_spans(self, group: str) -> bool:
        """Whether any span names this group; '' is none."""
        return bool(group) and group in self._groups_by_name

    def reports_processing(self, reader: Reader, at_ms: float) -> bool:
        """Whether this reader's client made process spans at that time: it had made one, or was about to."""
        began = [row.processes_from_ms for row in self._rows_of(reader)]
        return any(one is not None and one <= at_ms + SPANS_ARRIVE_WITHIN_MS for one in began)

    def commit(self, group: str, topic: str, partition: int) -> CommitRow | None:
        """The group's position in a partition; None where the poller saw none."""
        return self._commit_at.get((group, topic, partition))

    def first_sign_ms(self, reader: Reader, topic: str) -> float | None:
        """When anything of this reader was seen on the topic for the first time."""
        signs = [row.first_ms for row in self._rows_of(reader) if row.topic == topic]
        signs += [row.first_ms for row in self._commits_by_group.get(reader.group, ()) if row.topic == topic]
        return min(signs, default=None)

    def last_sign_ms(self, reader: Reader) -> float | None:
        """When the reader was last seen to live: a span of it, or a commit that moved."""
        signs = [row.last_ms for row in self._rows_of(reader)]
        moved = [row.moved_ms for row in self._commits_by_group.get(reader.group, ())]
        signs += [time_ms for time_ms in moved if time_ms is not None]
        return max(signs, default=None)

    def rate_per_s(self, reader: Reader, topic: str) -> float:
        """Events a second that the reader lately handled of a topic; 0 where no span tells."""
        return sum(row.per_s for row in self._rows_of(reader) if row.topic == topic)

    def patience_ms(self, reader: Reader) -> float:
        """How long silence of this reader says nothing: the setting, or a few of its longest processings."""
        longest = max((row.longest_ms for row in self._rows_of(reader)), default=0.0)
        return max(self.silent_after_ms, PATIENCE * longest)

    def members_of(self, group: str) -> MembersRow | None:
        """The group's members; None where the broker lists none, or none was asked."""
        row = self.members.get(group)
        return row if row is not None and row.is_listed else None

    def close_of(self, span: SpanRow) -> CloseRow | None:
        """The close of the consumer that polled or processed; None while it is open, or where nobody told of one.

        A member's id tells consumers of one process apart, else the id of the client does.
        """
        for row in self._closes_of.get((span.service, span.instance, span.group), ()):
            is_same = row.client_id == span.client_id
            if row.member_id and span.member_id:
                is_same = row.member_id == span.member_id
            if is_same and row.end_ms >= span.start_ms:
                return row
        return None

    def _rows_of(self, reader: Reader) -> Sequence[GroupRow]:
        if reader.group:
            return self._groups_by_name.get(reader.group, ())
        return [row for row in self._groups_by_name.get("", ()) if row.service == reader.service]

    # Facts are asked for every hop of many flows: what they are asked by is sorted once.

    @cached_property
    def _closes_of(self) -> dict[tuple[str, str, str], list[CloseRow]]:
        found: dict[tuple[str, str, str], list[CloseRow]] = {}
        for row in sorted(self.closes, key=lambda row: (row.end_ms, row.context)):
            found.setdefault((row.service, row.instance, row.group), []).append(row)
        return found

    @cached_property
    def _groups_by_topic(self) -> dict[str, list[GroupRow]]:
        return _by(self.groups, lambda row: row.topic)

    @cached_property
    def _groups_by_name(self) -> dict[str, list[GroupRow]]:
        return _by(self.groups, lambda row: row.group)

    @cached_property
    def _commits_by_topic(self) -> dict[str, list[CommitRow]]:
        return _by(self.commits, lambda row: row.topic)

    @cached_property
    def _commits_by_group(self) -> dict[str, list[CommitRow]]:
        return _by(self.commits, lambda row: row.group)

    @cached_property
    def _commit_at(self) -> dict[tuple[str, str, int], CommitRow]:
        return {(row.group, row.topic, row.partition): row for row in self.commits}


def _by(rows: Iterable[_Row], key: Callable[[_Row], str]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
