"""Spans, commits and members as evidence of a state, and the words for them. Pure."""

from flowtrail.collector.api.answers import Evidence

from .deliveries import Reader, Try
from .facts import Facts
from .rows import CloseRow, CommitRow, Place
from .wording import count


def span_evidence(who: str, text: str, one: Try) -> Evidence:
    """What a try's span says of `who`."""
    span = one.span
    context = span.context
    return Evidence(
        kind="span", text=f"{who}: {text}", time_ms=span.end_ms, trace_id=context.trace_id, span_id=context.span_id
    )


def close_evidence(who: str, close: CloseRow) -> Evidence:
    """What the end of a consumer says."""
    return Evidence(
        kind="span",
        text=f"{who}: its program closed the consumer, and gave its partitions back",
        time_ms=close.end_ms,
        trace_id=close.context.trace_id,
        span_id=close.context.span_id,
    )


def commit_of(facts: Facts, reader: Reader, place: Place | None) -> CommitRow | None:
    """Where a reader stands in an event's partition; None where nobody says."""
    return facts.commit(reader.group, place.topic, place.partition) if reader.group and place else None


def commit_evidence(facts: Facts, reader: Reader, place: Place | None) -> list[Evidence]:
    """The same as evidence; empty where nobody says."""
    commit = commit_of(facts, reader, place)
    if commit is None or place is None:
        return []
    if commit.committed is None:
        text = f"{reader.group} has no commit in {place.topic}/{place.partition}"
    else:
        side = "past it" if commit.committed > place.offset else "not past it"
        text = f"{reader.group} stands at {place.topic}/{place.partition}/{commit.committed}, {side}"
    return [Evidence(kind="commit", text=text, time_ms=commit.seen_ms)]


def queue_position(place: Place, commit: CommitRow | None) -> str:
    """How far behind the group's position an event waits, as an addition to a sentence; '' where nobody says."""
    if commit is None or commit.committed is None:
        return ""
    ahead = place.offset - commit.committed
    return ", next in line" if ahead <= 0 else f", {count(ahead)} events before it"


def is_overtaken(facts: Facts, reader: Reader, place: Place | None) -> bool:
    """Whether the group processed a later event of the partition."""
    if place is None:
        return False
    return facts.processed_until.get((reader.group, (place.topic, place.partition)), -1) > place.offset


def no_members(facts: Facts, reader: Reader) -> str:
    """Why no list of this reader's members stands behind a state."""
    if not facts.is_broker_polled:
        return "No broker is polled, so this rests on spans alone."
    if not reader.group:
        return "The client does not say its group, so this rests on spans alone."
    if facts.members_of(reader.group) is not None:
        return "Which of its members had it is not known, so this rests on commits and spans."
    if any(row.is_listed for row in facts.members.values()):
        return (
            f"The broker does not list {reader.group}: it has no members and no commits left, or may not be seen. "
            "So this rests on commits and spans."
        )
    if facts.members:
        return "The broker lists no members, so this rests on commits and spans."
    return "The broker has not said who its members are, so this rests on commits and spans."
