"""Committed lag of groups: numbers, a state with its reason, and a trend. Pure; `now_ms` is an argument.

Lag is log end − max(committed, log start), never negative: commits are read before ends, and a commit ahead of the
snapshot counts as caught up. Without a commit lag is not known (null), and stays out of every sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowtrail.collector.api.answers import GroupLag, PartitionLag, Point, Series, Tone
from flowtrail.collector.flows.rows import CommitRow, Lane, LogRow, MembersRow, Place
from flowtrail.collector.flows.wording import count, counted, duration, rate

# A group that still moves is `growing` only if its lag grew by this share, and this much, over the trend.
GROWING_BY: Final = 0.2
GROWING_EVENTS: Final = 20
# A commit interval (5 s by default) and a poll of ours must lie between "behind" and "does not move".
STUCK_AFTER_MS: Final = 30_000
TONES: Final[Mapping[str, Tone]] = {
    "no_member": Tone.STUCK,
    "stuck": Tone.STUCK,
    "growing": Tone.STUCK,
    "lagging": Tone.QUIET,
    "no_commit": Tone.QUIET,
    "unknown": Tone.QUIET,
    "ok": Tone.OK,
}
_ORDER: Final = ("stuck", "no_member", "growing", "lagging", "no_commit", "unknown", "ok")


@dataclass(frozen=True)
class Observed:
    """What is known of one group. Histories are (time_ms, position), oldest first; `starts` and `ends` are of logs.

    A point of a history is the position at the end of a step of `step_ms` that begins at its time.
    """

    group: str
    commits: Sequence[CommitRow]
    logs: Mapping[Lane, LogRow]
    members: MembersRow | None = None
    service: str | None = None
    topics: Sequence[str] = ()
    cluster_id: str | None = None
    history: Mapping[Lane, Sequence[tuple[float, int]]] | None = None
    ends: Mapping[Lane, Sequence[tuple[float, int]]] | None = None
    starts: Mapping[Lane, Sequence[tuple[float, int]]] | None = None
    sent_ms: Mapping[Place, float] | None = None
    first_sign_ms: float | None = None
    last_span_ms: float | None = None
    step_ms: float = 0.0


def partition_lag(commit: CommitRow, log: LogRow | None) -> PartitionLag:
    """One partition's lag; null without a commit or without a log end."""
    lag = lost = None
    if commit.committed is not None and log is not None:
        lag = max(0, log.log_end - max(commit.committed, log.log_start))
        lost = max(0, log.log_start - commit.committed)
    return PartitionLag(
        topic=commit.topic,
        partition=commit.partition,
        committed=commit.committed,
        log_start=log.log_start if log else None,
        log_end=log.log_end if log else None,
        lag=lag,
        lost=lost,
        committed_at_ms=commit.moved_ms,
    )


def next_places(commits: Sequence[CommitRow], logs: Mapping[Lane, LogRow]) -> list[Place]:
    """The first unread event of every partition that is behind: whose age is the group's oldest."""
    found = []
    for row in commits:
        log = logs.get((row.topic, row.partition))
        if row.committed is not None and log is not None and max(row.committed, log.log_start) < log.log_end:
            found.append(Place(row.topic, row.partition, max(row.committed, log.log_start)))
    return found


def group_lag(seen: Observed, now_ms: float, silent_after_ms: float = STUCK_AFTER_MS) -> GroupLag:
    """Return a group's lag with its state: the first that the evidence supports, stuck ones before growing ones."""
    partitions = [partition_lag(row, seen.logs.get((row.topic, row.partition))) for row in _ordered(seen.commits)]
    known = [row for row in partitions if row.lag is not None]
    lag = sum(row.lag or 0 for row in known) if known else None
    trend = trend_of(seen)
    consumed, produced = rate_of(seen.history or {}), rate_of(_of_lanes(seen))
    oldest_ms = _oldest(seen, now_ms)
    state, reason = _state(seen, partitions, lag, trend, consumed, produced, oldest_ms, now_ms, silent_after_ms)
    drain_ms = None
    if lag is not None and consumed is not None and produced is not None and state not in ("stuck", "no_member"):
        drain_ms = 0.0 if lag == 0 else lag / (consumed - produced) * 1000 if consumed > produced * 1.01 else None
    return GroupLag(
        group=seen.group,
        cluster_id=seen.cluster_id,
        service=seen.service,
        state=state,
        tone=TONES[state],
        reason=reason,
        members=len(seen.members.members) if seen.members is not None and seen.members.is_listed else None,
        topics=sorted({row.topic for row in seen.commits} | set(seen.topics)),
        lag=lag,
        no_commit=sum(1 for row in partitions if row.committed is None),
        consumed_per_s=consumed,
        produced_per_s=produced,
        time_to_drain_ms=drain_ms,
        oldest_ms=oldest_ms,
        partitions=partitions,
        trend=trend,
    )


def order_of(lag: GroupLag) -> tuple[int, int, str]:
    """Sort key: worst first."""
    return _ORDER.index(lag.state), -(lag.lag or 0), lag.group


def trend_of(seen: Observed) -> Series:
    """Lag over time: at every step of the group's history its known partitions' lag, summed; null before any commit."""
    history, ends, starts = seen.history or {}, seen.ends or {}, seen.starts or {}
    steps = sorted({time for rows in (*history.values(), *_of_lanes(seen).values()) for time, _ in rows})
    points = []
    for step in steps:
        lags = []
        for lane, rows in history.items():
            committed, end = _at(rows, step), _at(ends.get(lane, ()), step)
            if committed is not None and end is not None and committed >= 0:
                lags.append(max(0, end - max(committed, _at(starts.get(lane, ()), step) or 0)))
        points.append(Point(time_ms=step, value=float(sum(lags)) if lags else None))
    return Series(name="lag", unit="events", points=points)


def rate_of(positions: Mapping[Lane, Sequence[tuple[float, int]]]) -> float | None:
    """Events a second that positions moved by, over their common time; None with less than two points in time."""
    moved, first, last = 0, None, None
    for rows in positions.values():
        valid = [(time, position) for time, position in rows if position >= 0]
        if len(valid) < 2:
            continue
        moved += max(0, valid[-1][1] - valid[0][1])
        first = valid[0][0] if first is None else min(first, valid[0][0])
        last = valid[-1][0] if last is None else max(last, valid[-1][0])
    if first is None or last is None or last <= first:
        return None
    return moved / (last - first) * 1000


def _state(
    seen: Observed,
    partitions: Sequence[PartitionLag],
    lag: int | None,
    trend: Series,
    consumed: float | None,
    produced: float | None,
    oldest_ms: float | None,
    now_ms: float,
    silent_after_ms: float,
) -> tuple[str, str]:
    if not partitions:
        return "unknown", "Known from spans alone: no commit of it was read from a broker."
    unread = _unread_without_commit(seen, partitions)
    if all(row.committed is None for row in partitions) and not unread:
        return "no_commit", "It has not committed anything yet."
    if lag is None and not unread:
        return "unknown", "The log ends of its partitions are not known."
    if not lag and not unread:
        return "ok", "It has caught up."
    members = seen.members if seen.members is not None and seen.members.is_listed else None
    moved_ms = max((row.moved_ms or row.first_ms for row in seen.commits), default=now_ms)
    sign_ms = max(moved_ms, seen.last_span_ms or 0)
    # An idle group that just got work has not stood still: silence counts from when events began to wait.
    waiting_ms = _waiting_since_ms(seen, partitions, now_ms) or 0.0
    silent_ms = now_ms - max(sign_ms, waiting_ms)
    quiet = duration(now_ms - max(moved_ms, waiting_ms))
    lag = (lag or 0) + unread
    behind = counted(lag, "event")
    waits = "waits" if lag == 1 else "wait"
    if members is not None and not members.members and silent_ms > min(silent_after_ms, 10_000):
        return "no_member", f"It has no members; {behind} {waits}."
    if silent_ms > silent_after_ms:
        if members is None:
            return "stuck", f"No commit moved and no span came for {quiet}; {behind} {waits}. Members are not listed."
        crew = counted(len(members.members), "member")
        return "stuck", f"{crew} listed, no commit moved for {quiet}; {behind} {waits}."
    standing = _standing(seen, partitions, now_ms, silent_after_ms)
    if standing is not None:
        return "stuck", standing
    values = [point.value for point in trend.points if point.value is not None]
    speed = ""
    if consumed is not None and produced is not None:
        speed = f"; it consumes {rate(consumed)}, {rate(produced)} arrive"
    if len(values) >= 5:
        before = sum(values[: len(values) // 2]) / (len(values) // 2)
        after = sum(values[-(len(values) // 4 + 1) :]) / (len(values) // 4 + 1)
        if after > before * (1 + GROWING_BY) and after - before > GROWING_EVENTS and lag >= after / 2:
            return "growing", f"Lag grew from {count(round(before))} to {count(lag)}{speed}."
    if oldest_ms is not None and oldest_ms > silent_after_ms:
        return "lagging", f"{behind} behind, the oldest for {duration(oldest_ms)}{speed}."
    return "ok", f"{behind} behind, and it moves{speed}."


def _standing(seen: Observed, partitions: Sequence[PartitionLag], now_ms: float, silent_after_ms: float) -> str | None:
    """A partition that stands still while the group goes on elsewhere, and for long enough to be no accident."""
    for row, lag in zip(_ordered(seen.commits), partitions, strict=True):
        since_ms = row.moved_ms or row.first_ms
        place = Place(row.topic, row.partition, row.committed or 0)
        sent_ms = (seen.sent_ms or {}).get(place)
        waited_ms = now_ms - max(since_ms, sent_ms or since_ms)
        if lag.lag and sent_ms is not None and waited_ms > 10 * silent_after_ms:
            return f"{row.topic}/{row.partition} stands at {row.committed} for {duration(waited_ms)}."
    return None


def _unread_without_commit(seen: Observed, partitions: Sequence[PartitionLag]) -> int:
    """Events that came to partitions without a commit since the group is known: nobody can have meant to skip them."""
    unread = 0
    for row in partitions:
        first = _read_until(seen, row)
        if row.committed is None and row.log_end is not None and first is not None:
            unread += max(0, row.log_end - first)
    return unread


def _read_until(seen: Observed, row: PartitionLag) -> int | None:
    """The position that a partition was read to: its commit, else where it stood when the group was first seen. None:
    nothing is claimed."""
    if row.committed is not None:
        return max(row.committed, row.log_start or 0)
    ends = (seen.ends or {}).get((row.topic, row.partition), ())
    if seen.first_sign_ms is None or row.log_end is None or not ends:
        return None
    before = _at(ends, seen.first_sign_ms)
    # A partition that is first seen later began empty, or its beginning is not known: then nothing is claimed.
    return max(before if before is not None else min(ends[0][1], row.log_end), row.log_start or 0)


def _waiting_since_ms(seen: Observed, partitions: Sequence[PartitionLag], now_ms: float) -> float | None:
    """When the first of the events that wait now came: by its send, else by the step in which the log grew past what
    was read. None when neither is known."""
    since: list[float] = []
    for row in partitions:
        read_until = _read_until(seen, row)
        if read_until is None or row.log_end is None or row.log_end <= read_until:
            continue
        sent_ms = (seen.sent_ms or {}).get(Place(row.topic, row.partition, read_until))
        grown = ((seen.ends or {}).get((row.topic, row.partition), ())) if sent_ms is None else ()
        came_ms = next((time + seen.step_ms for time, end in grown if end > read_until), sent_ms)
        if came_ms is not None:
            since.append(min(came_ms, now_ms))
    return min(since, default=None)


def _oldest(seen: Observed, now_ms: float) -> float | None:
    """Age of the oldest unread event, where a span tells when it was sent."""
    times = [
        (seen.sent_ms or {})[place] for place in next_places(seen.commits, seen.logs) if place in (seen.sent_ms or {})
    ]
    return max(0.0, now_ms - min(times)) if times else None


def _of_lanes(seen: Observed) -> dict[Lane, Sequence[tuple[float, int]]]:
    lanes = {(row.topic, row.partition) for row in seen.commits if row.committed is not None}
    return {lane: rows for lane, rows in (seen.ends or {}).items() if lane in lanes}


def _at(rows: Sequence[tuple[float, int]], step: float) -> int | None:
    found = None
    for time, position in rows:
        if time > step:
            break
        found = position
    return found


def _ordered(commits: Sequence[CommitRow]) -> list[CommitRow]:
    return sorted(commits, key=lambda row: (row.topic, row.partition))
