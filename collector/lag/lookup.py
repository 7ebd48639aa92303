"""Lag out of the store: loads what the poller wrote and has it evaluated."""

from collections.abc import Sequence
from typing import Final

from flowtrail.collector.api.answers import GroupLag, LagList
from flowtrail.collector.flows.rows import CommitRow, Lane, MembersRow
from flowtrail.collector.store.queries import Queries

from .evaluation import Observed, group_lag, next_places, order_of

TREND_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
# Points of a trend: enough for a sparkline.
POINTS: Final = 60


def all_lag(queries: Queries, now_ms: float, silent_after_ms: float, only: str | None = None) -> LagList:
    """Return every group's lag, worst first; with `only` that group's alone (none when it is unknown)."""
    since_ms = now_ms - DAY_MS
    commits: dict[str, list[CommitRow]] = {}
    for row in queries.commits(None, since_ms):
        commits.setdefault(row.group, []).append(row)
    logs = {(row.topic, row.partition): row for row in queries.logs(None, since_ms)}
    members = {row.group: row for row in queries.members(since_ms)}
    spans = [row for row in queries.groups(since_ms, now_ms) if row.group]
    first_ms = min((row.first_ms for rows in commits.values() for row in rows), default=now_ms)
    step_ms = max(1000.0, min(TREND_MS, now_ms - first_ms) / POINTS)
    history: dict[str, dict[Lane, list[tuple[float, int]]]] = {}
    for group, topic, partition, time_ms, committed in queries.lag_history(now_ms - TREND_MS, step_ms, only):
        history.setdefault(group, {}).setdefault((topic, partition), []).append((time_ms, committed))
    starts: dict[Lane, list[tuple[float, int]]] = {}
    ends: dict[Lane, list[tuple[float, int]]] = {}
    for topic, partition, time_ms, log_start, log_end in queries.end_history(now_ms - TREND_MS, step_ms):
        starts.setdefault((topic, partition), []).append((time_ms, log_start))
        ends.setdefault((topic, partition), []).append((time_ms, log_end))
    sent_ms = queries.event_times(place for rows in commits.values() for place in next_places(rows, logs))
    found: list[GroupLag] = []
    for group in sorted({*commits, *members, *(row.group for row in spans)}):
        if only is not None and group != only:
            continue
        own = [row for row in spans if row.group == group]
        latest = max(own, key=lambda row: row.last_ms, default=None)
        seen = Observed(
            group=group,
            commits=commits.get(group, []),
            logs=logs,
            members=members.get(group),
            service=latest.service if latest else None,
            cluster_id=(members[group].cluster_id or None) if group in members else None,
            topics=sorted({row.topic for row in own}),
            history=history.get(group),
            ends=ends,
            starts=starts,
            sent_ms=sent_ms,
            first_sign_ms=min(
                [row.first_ms for row in own] + [row.first_ms for row in commits.get(group, [])], default=None
            ),
            last_span_ms=latest.last_ms if latest else None,
            step_ms=step_ms,
        )
        found.append(group_lag(seen, now_ms, silent_after_ms))
    polled_ms = queries.last_poll_ms()
    return LagList(
        groups=sorted(found, key=order_of), polled_at_ms=polled_ms, note=_note(polled_ms, [*members.values()])
    )


def _note(polled_ms: float | None, members: Sequence[MembersRow]) -> str | None:
    if polled_ms is None:
        return "No broker is polled: start the collector with bootstrap_servers to see lag."
    if members and not any(row.is_listed for row in members):
        return "This broker does not list the members of groups."
    return None
