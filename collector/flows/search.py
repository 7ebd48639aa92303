"""The search for flows: finds seeds by what was typed or chosen, stitches them, and filters what came out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowtrail.collector.api.answers import FlowList, FlowSummary, State, Tone
from flowtrail.collector.store.queries import Queries

from .lookup import Lookup
from .rows import Context, Place
from .stitching import Bounds, Trail
from .story import summarise

TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{32}")
PLACE: Final = re.compile(r"(?P<topic>[^/]+)/(?P<partition>\d{1,9})/(?P<offset>\d{1,18})")
ATTRIBUTE: Final = re.compile(r"(?P<name>[^=\s]+)=(?P<value>.*)")
# Names of the business key in a query, beside the bare value.
KEY_NAMES: Final = frozenset({"key", "messaging.kafka.message.key"})
# Seeds that are stitched for one search, and at a time.
MOST_SEEDS: Final = 300
SEEDS_AT_ONCE: Final = 60
# With a filter few of them may match; a round of look-ups costs the same for many.
SEEDS_AT_ONCE_FILTERED: Final = 150
# A line of the list needs no whole giant: a flow beyond this is shown by its beginning.
LINE_BOUNDS: Final = Bounds(spans=2_000, traces=200, rounds=32)
_ERROR_STATES: Final = {State.FAILED, State.NOT_SENT}
# The handler may have caught its error: then only what it sent tells of it.
_FORWARD_STATES: Final = {State.DEAD_LETTERED, State.RETRYING}


@dataclass(frozen=True)
class Search:
    """What is asked for. `state` is a state or a tone (`fail`, `stuck`, …); None means any."""

    from_ms: float
    to_ms: float
    q: str | None = None
    topic: str | None = None
    service: str | None = None
    state: str | None = None
    limit: int = 50


def search(queries: Queries, lookup: Lookup, asked: Search, now_ms: float) -> FlowList:
    """Return the flows that match, latest first."""
    seeds = _seeds(queries, asked)
    found: dict[str, FlowSummary] = {}
    examined: set[str] = set()
    done, is_whole = 0, True
    at_once = SEEDS_AT_ONCE_FILTERED if asked.state or asked.topic or asked.service else SEEDS_AT_ONCE
    for begin in range(0, min(len(seeds), MOST_SEEDS), at_once):
        chunk = seeds[begin : begin + at_once]
        done = begin + len(chunk)
        looked_up = lookup.find(chunk, LINE_BOUNDS)
        is_whole = is_whole and looked_up.is_whole
        fresh = [trail for trail in looked_up.trails if trail.id not in examined]
        for trail, facts in lookup.with_facts(fresh, now_ms):
            examined.add(trail.id)
            if not _is_flow(trail):
                continue
            summary = summarise(trail, facts)
            touched = {row.topic for row in trail.spans}
            if _matches(summary, touched, asked):
                found[summary.id] = summary
        if len(found) >= asked.limit:
            break
    flows = sorted(found.values(), key=lambda flow: (-flow.began_ms, flow.id))
    return FlowList(
        flows=flows[: asked.limit],
        examined=len(examined),
        truncated=len(flows) > asked.limit or done < len(seeds) or not is_whole,
        from_ms=asked.from_ms,
        to_ms=asked.to_ms,
    )


def _seeds(queries: Queries, asked: Search) -> Sequence[str | Context | Place]:
    """Traces (or the event) to begin at, latest first; one more than the most, so that a cut is noticed."""
    span = (asked.from_ms, asked.to_ms, MOST_SEEDS + 1)
    if asked.q:
        return _seeds_of_text(queries, asked.q.strip(), *span)
    if asked.topic:
        return queries.traces_of_topic(asked.topic, *span)
    if asked.state in _FORWARD_STATES:
        return queries.traces_with_errors_or_forwards(*span)
    if asked.state in _ERROR_STATES:
        return queries.traces_with_errors(*span)
    if asked.service:
        return queries.traces_of_service(asked.service, *span)
    return queries.first_traces(*span)


def _seeds_of_text(
    queries: Queries, text: str, from_ms: float, to_ms: float, limit: int
) -> Sequence[str | Context | Place]:
    if TRACE_ID.fullmatch(text):
        return [text.lower()]
    if place := PLACE.fullmatch(text):
        return [Place(place["topic"], int(place["partition"]), int(place["offset"]))]
    by_key = queries.traces_of_key(text, from_ms, to_ms, limit)
    if by_key:
        return by_key
    if pair := ATTRIBUTE.fullmatch(text):
        name, value = pair["name"], pair["value"]
        if name in KEY_NAMES:
            return queries.traces_of_key(value, from_ms, to_ms, limit)
        return queries.traces_of_attribute(name, value, from_ms, to_ms, limit)
    return []


def _is_flow(trail: Trail) -> bool:
    """A poll, a commit or a client's end alone is no flow, nor is a batch that sent nothing.

    That is a hop of its events' flows.
    """
    if trail.causes and not any(row.is_send for row in trail.spans):
        return False
    return any(row.operation not in ("receive", "settle") and not row.is_of_client for row in trail.spans)


def _matches(flow: FlowSummary, topics: set[str], asked: Search) -> bool:
    if asked.topic and asked.topic not in topics:
        return False
    if asked.service and asked.service not in flow.services:
        return False
    if asked.state is None:
        return True
    return asked.state in (flow.state.value, flow.tone.value)


STATES: Final = tuple(sorted({*(state.value for state in State), *(tone.value for tone in Tone)}))
