"""What a broker said at one time, and which of it is worth writing down. Pure."""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowtrail.collector.flows.rows import Lane

Member: TypeAlias = tuple[str, str, str]  # member id, client id, host

NO_COMMIT: Final = -1
# What did not change is written again only so often: enough to say that it was still so.
POSITIONS_AGAIN_MS: Final = 60_000
STATES_AGAIN_MS: Final = 10_000


@dataclass(frozen=True)
class GroupState:
    """A group's state in Kafka's words and its members. `is_listed` false: this broker does not tell."""

    state: str
    is_listed: bool
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """One poll of a broker. Positions are the next offset; `logs` has (start, end), taken after all commits."""

    cluster_id: str
    commits: dict[tuple[str, str, int], int] = field(default_factory=dict)
    logs: dict[Lane, tuple[int, int]] = field(default_factory=dict)
    states: dict[str, GroupState] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Rows of the poller's three tables, without their time and cluster."""

    group_offsets: list[tuple[str, str, int, int]]
    topic_offsets: list[tuple[str, int, int, int]]
    group_states: list[tuple[str, str, bool, list[Member]]]


class Changes:
    """Picks what to write of each snapshot: changes at once, the rest now and then."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, object], tuple[object, float]] = {}

    def pick(self, snapshot: Snapshot, now_ms: float) -> Rows:
        """Return the rows to write, and take them for written."""
        return Rows(
            group_offsets=[
                (group, topic, partition, committed)
                for (group, topic, partition), committed in sorted(snapshot.commits.items())
                if self._is_due("commit", (group, topic, partition), committed, now_ms, POSITIONS_AGAIN_MS)
            ],
            topic_offsets=[
                (topic, partition, *ends)
                for (topic, partition), ends in sorted(snapshot.logs.items())
                if self._is_due("log", (topic, partition), ends, now_ms, POSITIONS_AGAIN_MS)
            ],
            group_states=[
                (group, state.state, state.is_listed, list(state.members))
                for group, state in sorted(snapshot.states.items())
                if self._is_due("state", group, state, now_ms, STATES_AGAIN_MS)
            ],
        )

    def forget(self) -> None:
        """Write everything again: what was picked last did not reach the store."""
        self._written.clear()

    def _is_due(self, table: str, key: object, value: object, now_ms: float, again_ms: float) -> bool:
        before = self._written.get((table, key))
        if before is not None and before[0] == value and now_ms - before[1] < again_ms:
            return False
        self._written[table, key] = (value, now_ms)
        return True
