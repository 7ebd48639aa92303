"""Committed lag: never negative, null without a commit, and a state that says why."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.collector.flows.rows import CommitRow, LogRow, MembersRow, Place
from flowtrail.collector.lag.evaluation import TONES, Observed, group_lag, order_of, partition_lag, trend_of
from flowtrail.collector.lag.snapshot import NO_COMMIT, Changes, GroupState, Snapshot

NOW_MS = 1_000_000.0
MINUTE_MS = 60_000.0


def commit(committed: int | None, moved_ms: float | None = NOW_MS - 1000, partition: int = 0) -> CommitRow:
    return CommitRow("workers", "orders", partition, committed, NOW_MS, moved_ms, NOW_MS - 10 * MINUTE_MS, 0)


def log(start: int, end: int, partition: int = 0) -> LogRow:
    return LogRow("orders", partition, start, end, NOW_MS)


def observed(
    *commits: CommitRow, end: int = 10, start: int = 0, members: MembersRow | None = None, **more: object
) -> Observed:
    logs = {("orders", row.partition): log(start, end, row.partition) for row in commits}
    return Observed("workers", commits, logs, members, **more)  # type: ignore[arg-type]


def crew(*members: str) -> MembersRow:
    return MembersRow("workers", "Stable" if members else "Empty", True, frozenset(members), NOW_MS)


positions = st.integers(0, 2**62)


@given(st.one_of(st.none(), positions), positions, positions)
def test_lag_and_loss_are_never_negative_whatever_the_order_of_reads(
    committed: int | None, start: int, end: int
) -> None:
    found = partition_lag(commit(committed), log(start, end))
    assert (found.lag is None) == (committed is None)
    assert found.lag is None or found.lag >= 0
    assert found.lost is None or found.lost >= 0


@given(
    st.lists(st.tuples(st.one_of(st.none(), positions), positions, positions), max_size=4),
    st.one_of(st.none(), st.lists(st.text(), max_size=2)),
    st.lists(st.tuples(st.floats(0, NOW_MS), st.integers(-1, 2**40)), max_size=8),
)
def test_any_observation_gets_a_state_and_figures_that_make_sense(
    rows: list[tuple[int | None, int, int]], members: list[str] | None, history: list[tuple[float, int]]
) -> None:
    commits = [commit(committed, partition=number) for number, (committed, _, _) in enumerate(rows)]
    seen = Observed(
        "workers",
        commits,
        {("orders", number): log(start, end, number) for number, (_, start, end) in enumerate(rows)},
        None if members is None else crew(*members),
        history={("orders", 0): sorted(history)},
        ends={("orders", 0): sorted(history)},
    )
    found = group_lag(seen, NOW_MS)
    assert found.state in TONES
    assert order_of(found)
    assert found.no_commit == sum(1 for committed, _, _ in rows if committed is None)
    assert found.time_to_drain_ms is None or found.time_to_drain_ms >= 0
    assert found.consumed_per_s is None or found.consumed_per_s >= 0
    assert all(point.value is None or point.value >= 0 for point in found.trend.points)


def test_a_group_without_a_commit_has_no_lag_and_says_so() -> None:
    found = group_lag(observed(commit(None)), NOW_MS)
    assert (found.lag, found.no_commit, found.state) == (None, 1, "no_commit")


def test_a_partition_without_a_commit_stays_out_of_the_sum() -> None:
    found = group_lag(observed(commit(4), commit(None, partition=1)), NOW_MS)
    assert (found.lag, found.no_commit) == (6, 1)


def test_a_group_that_has_caught_up_is_ok_however_long_ago() -> None:
    found = group_lag(observed(commit(10, moved_ms=0)), NOW_MS)
    assert (found.lag, found.state) == (0, "ok")


def test_records_that_retention_removed_are_lost_and_not_lag() -> None:
    found = group_lag(observed(commit(2), start=6), NOW_MS)
    assert (found.lag, found.partitions[0].lost) == (4, 4)


def test_a_group_that_is_listed_as_empty_has_no_member() -> None:
    found = group_lag(observed(commit(4, moved_ms=NOW_MS - MINUTE_MS), members=crew()), NOW_MS)
    assert (found.state, found.members) == ("no_member", 0)


def test_a_group_with_members_whose_commits_stand_still_is_stuck() -> None:
    found = group_lag(observed(commit(4, moved_ms=NOW_MS - MINUTE_MS), members=crew("a")), NOW_MS)
    assert found.state == "stuck"
    assert "1 member listed" in found.reason


@pytest.mark.parametrize("members", [crew("a"), crew(), None])
def test_an_idle_group_that_just_got_work_has_not_stood_still(members: MembersRow | None) -> None:
    """The log grew five seconds ago, after ten minutes without a commit since there was nothing to do."""
    lane = ("orders", 0)
    idle = commit(4, moved_ms=NOW_MS - 10 * MINUTE_MS)
    grown = {lane: [(NOW_MS - 10 * MINUTE_MS, 4), (NOW_MS - 5_000, 10)]}
    assert group_lag(observed(idle, members=members, ends=grown), NOW_MS).state == "ok"
    sent = {Place("orders", 0, 4): NOW_MS - 5_000}
    assert group_lag(observed(idle, members=members, sent_ms=sent), NOW_MS).state == "ok"
    later = group_lag(observed(idle, members=members, ends=grown), NOW_MS + MINUTE_MS)
    assert later.state in ("stuck", "no_member")
    assert members == crew() or "1\u202fmin 5\u202fs" in later.reason


def test_members_that_the_broker_does_not_list_are_unknown_and_not_none() -> None:
    unlisted = MembersRow("workers", "", False, frozenset(), NOW_MS)
    found = group_lag(observed(commit(4, moved_ms=NOW_MS - MINUTE_MS), members=unlisted), NOW_MS)
    assert (found.state, found.members) == ("stuck", None)
    assert "not listed" in found.reason


def test_a_group_known_from_spans_alone_is_unknown() -> None:
    found = group_lag(Observed("workers", [], {}), NOW_MS)
    assert (found.state, found.lag) == ("unknown", None)


def test_a_group_that_falls_behind_while_it_works_is_growing_and_never_drains() -> None:
    lane = ("orders", 0)
    history = [(NOW_MS - MINUTE_MS * (10 - step), 10 * step) for step in range(11)]
    ends = [(NOW_MS - MINUTE_MS * (10 - step), 50 * step) for step in range(11)]
    found = group_lag(observed(commit(100), end=500, history={lane: history}, ends={lane: ends}), NOW_MS)
    assert (found.state, found.lag, found.time_to_drain_ms) == ("growing", 400, None)
    assert [point.value for point in found.trend.points][::5] == [0, 200, 400]


def test_the_trend_leaves_out_what_was_removed_as_the_lag_of_now_does() -> None:
    lane = ("orders", 0)
    positions: dict[str, Any] = {
        "history": {lane: [(0.0, 2)]},
        "starts": {lane: [(0.0, 0), (60.0, 6)]},
        "ends": {lane: [(0.0, 10)]},
    }
    found = group_lag(observed(commit(2), start=6, end=10, **positions), NOW_MS)
    assert found.lag == 4
    assert [point.value for point in trend_of(observed(**positions)).points] == [8]
    moved = {**positions, "history": {lane: [(0.0, 2), (90.0, 2)]}}
    assert [point.value for point in trend_of(observed(**moved)).points] == [8, 4]


def test_a_group_that_catches_up_tells_when_it_will_have() -> None:
    lane = ("orders", 0)
    history = [(NOW_MS - 10_000, 0), (NOW_MS, 100)]
    ends = [(NOW_MS - 10_000, 150), (NOW_MS, 200)]
    found = group_lag(observed(commit(100), end=200, history={lane: history}, ends={lane: ends}), NOW_MS)
    assert (found.consumed_per_s, found.produced_per_s) == (10, 5)
    assert found.time_to_drain_ms == 20_000


def test_changes_are_written_at_once_and_the_rest_once_a_minute() -> None:
    changes = Changes()
    first = Snapshot(
        "c", {("g", "t", 0): 5, ("g", "t", 1): NO_COMMIT}, {("t", 0): (0, 9)}, {"g": GroupState("", False)}
    )
    assert len(changes.pick(first, 0).group_offsets) == 2
    assert changes.pick(first, 1000).group_offsets == []
    moved = Snapshot(
        "c", {("g", "t", 0): 6, ("g", "t", 1): NO_COMMIT}, {("t", 0): (0, 9)}, {"g": GroupState("", False)}
    )
    assert changes.pick(moved, 2000).group_offsets == [("g", "t", 0, 6)]
    assert len(changes.pick(moved, 61_000).group_offsets) == 1
    assert len(changes.pick(moved, 62_000).group_offsets) == 1
    changes.forget()
    assert len(changes.pick(moved, 62_001).group_offsets) == 2


def test_events_that_came_to_partitions_without_a_commit_make_a_silent_group_stuck() -> None:
    ends = {("orders", 0): [(NOW_MS - 5 * MINUTE_MS, 2), (NOW_MS - 3 * MINUTE_MS, 5)]}
    seen = Observed(
        "workers",
        [commit(None, moved_ms=None)],
        {("orders", 0): log(0, 5)},
        ends=ends,
        first_sign_ms=NOW_MS - 4 * MINUTE_MS,
        last_span_ms=NOW_MS - 2 * MINUTE_MS,
    )
    found = group_lag(seen, NOW_MS)
    assert (found.lag, found.state) == (None, "stuck")
    assert "3 events wait" in found.reason
    assert group_lag(replace(seen, last_span_ms=NOW_MS - 1000), NOW_MS).state == "ok"
