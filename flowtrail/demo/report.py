"""Holds what Flowtrail says against what happened."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from flowtrail import client as api
from flowtrail.collector.api import answers
from flowtrail.collector.api.answers import State
from flowtrail.demo.edge_delay import Sight, edge_delays_ms, percentile
from flowtrail.demo.options import Fault
from flowtrail.demo.truth import BROKEN, Expected, Flow, Place, Truth

# Until Flowtrail has what a service did: its spans are sent twice a second, the broker is asked once a second.
SETTLED_AFTER_MS: Final = 2000
_EXAMPLES: Final = 3
_PATIENCE_S: Final = 20
_ASKERS: Final = 2
_MOST_LISTED: Final = 200


@dataclass(frozen=True, slots=True)
class Judgement:
    """What Flowtrail said about one flow, and what was right at that time. `said` is None where it knew no flow."""

    order: str
    fault: str | None
    expected: Expected
    said: Expected | None
    flow_id: str | None = None
    events: frozenset[Place] = frozenset()
    handled: frozenset[tuple[Place, str]] = frozenset()

    @property
    def is_right(self) -> bool:
        """Same hop and same state."""
        return self.said == self.expected

    @property
    def is_unknown(self) -> bool:
        """Flowtrail did not know the flow, or said that it cannot know."""
        return self.said is None or self.said.state is State.UNKNOWN


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run. `as_json` has the shape that `--report` writes."""

    truth: Truth
    judgements: Sequence[Judgement]
    faults: Sequence[Fault]
    broker: str
    sights: Sequence[Sight] = field(default=())

    @property
    def is_right(self) -> bool:
        """Nothing is missing, every fault happened and was told, no healthy flow was blamed."""
        figures = self.as_json()
        return (
            figures["events"]["seen"] == figures["events"]["truth"]
            and figures["hops"]["seen"] == figures["hops"]["truth"]
            and figures["flows"]["false_alarms"] == 0
            and figures["flows"]["complete"] == figures["flows"]["truth"] - self._number_broken()
            and all(fault["flows"] > 0 and fault["right"] == fault["flows"] for fault in figures["faults"])
        )

    def wrong(self) -> list[Judgement]:
        """Return every flow on which Flowtrail is not right."""
        return [judgement for judgement in self.judgements if not judgement.is_right]

    def missing_events(self) -> list[Place]:
        """Return the events that were sent and that Flowtrail does not show."""
        seen = frozenset[Place]().union(*(judgement.events for judgement in self.judgements))
        return sorted(event.place for event in self.truth.events if event.place and event.place not in seen)

    def missing_hops(self) -> list[tuple[Place, str]]:
        """Return the hops that were handled and that Flowtrail does not show as handled."""
        seen = frozenset[tuple[Place, str]]().union(*(judgement.handled for judgement in self.judgements))
        return sorted(self.truth.handled - seen)

    def as_json(self) -> dict[str, Any]:
        """Return the figures; `edge_delay_ms` is null where no edge was seen."""
        number_of_events = sum(1 for event in self.truth.events if event.place is not None)
        delays_ms = edge_delays_ms(self.truth.events, self.sights)
        healthy = [judgement for judgement in self.judgements if judgement.expected.state is State.COMPLETE]
        return {
            "events": {"truth": number_of_events, "seen": number_of_events - len(self.missing_events())},
            "hops": {"truth": len(self.truth.handled), "seen": len(self.truth.handled) - len(self.missing_hops())},
            "flows": {
                "truth": len(self.judgements),
                "complete": sum(1 for judgement in healthy if judgement.is_right),
                "false_alarms": sum(1 for j in healthy if j.said is not None and j.said.state in _ALARMS),
            },
            "faults": [self._fault_as_json(fault) for fault in self.faults],
            "edge_delay_ms": {
                "p50": _rounded(percentile(delays_ms, 0.5)),
                "p99": _rounded(percentile(delays_ms, 0.99)),
            },
            "broker": self.broker,
        }

    def _number_broken(self) -> int:
        return sum(1 for judgement in self.judgements if judgement.expected.state is not State.COMPLETE)

    def _fault_as_json(self, fault: Fault) -> dict[str, Any]:
        of_fault = [judgement for judgement in self.judgements if judgement.fault == fault]
        unknown = [judgement for judgement in of_fault if judgement.is_unknown]
        right = [judgement for judgement in of_fault if judgement.is_right]
        wrong = [judgement for judgement in of_fault if not judgement.is_right and not judgement.is_unknown]
        return {
            "name": str(fault),
            "flows": len(of_fault),
            "right": len(right),
            "wrong": len(wrong),
            "unknown": len(unknown),
            "examples": [
                {
                    "flow": judgement.flow_id or judgement.order,
                    "expected": _as_json(judgement.expected),
                    "verdict": _as_json(judgement.said),
                }
                for judgement in [*wrong, *unknown, *right][:_EXAMPLES]
            ],
        }


# On a healthy flow these are wrong and alarming; a flow that is only called slow or under way is not complete.
_ALARMS: Final = BROKEN | {State.STALLED, State.SKIPPED, State.EXPIRED, State.UNINSTRUMENTED}


def judge(
    api_url: str, truth_now: Callable[[], Truth], now_ms: Callable[[], float], on_judged: Callable[[int], None]
) -> list[Judgement]:
    """Ask Flowtrail about every flow. `on_judged` is told after each how many were judged.

    Flows that may still change come first. A flow whose truth moves while it is being asked about is asked about
    again, so both answers speak of the same moment.
    """
    flows = sorted(truth_now().flows.values(), key=lambda flow: (_is_final(flow), flow.order))
    judgements: list[Judgement] = []
    with ThreadPoolExecutor(_ASKERS) as askers, api.Client(api_url) as client:
        listed = _listed(client, flows)

        def judge_one(flow: Flow) -> Judgement:
            return _judge(client, flow.order, listed.get(flow.order), truth_now, now_ms)

        for judgement in askers.map(judge_one, flows):
            judgements.append(judgement)
            on_judged(len(judgements))
    return judgements


def _listed(client: api.Client, flows: Sequence[Flow]) -> dict[str, str]:
    """Return the flow id of each healthy order that one look at the first topic's flows shows.

    That spares a search for each. Orders that a fault befell are searched for by their key, as a person would.
    """
    topics = {flow.events[0].topic for flow in flows if flow.events}
    found = [summary for topic in topics for summary in client.flows(topic=topic, limit=_MOST_LISTED).flows]
    healthy = {flow.order for flow in flows if flow.fault is None}
    return {summary.key: summary.id for summary in found if summary.key in healthy}


def _judge(
    client: api.Client, order: str, flow_id: str | None, truth_now: Callable[[], Truth], now_ms: Callable[[], float]
) -> Judgement:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        before = truth_now().flows[order]
        is_settled = now_ms() - before.moved_ms >= SETTLED_AFTER_MS
        if not is_settled and time.monotonic() < deadline_s:
            time.sleep(0.1)
            continue
        judgement = _ask(client, before, flow_id)
        after = truth_now().flows[order]
        if after.moved_ms == before.moved_ms or time.monotonic() >= deadline_s:
            return judgement


def _ask(client: api.Client, flow: Flow, flow_id: str | None) -> Judgement:
    """Return what Flowtrail says about an order; without a flow id it is searched for by its key."""
    if flow_id is None:
        found = client.flows(flow.order).flows
        if not found:
            return Judgement(flow.order, flow.fault, flow.expected, None)
        flow_id = min(found, key=lambda summary: summary.began_ms).id
    try:
        answer = client.flow(flow_id)
        verdict = answer.verdict if flow.fault is None else client.why(flow_id)
    except api.NotFound:
        return Judgement(flow.order, flow.fault, flow.expected, None, flow_id)
    events = frozenset(place for event in answer.events if (place := _place(event.coordinates)) is not None)
    handled = frozenset(
        (place, hop.group)
        for hop in answer.hops
        if (place := _place(hop.coordinates)) is not None
        and hop.group is not None
        and any(attempt.ended_ms is not None for attempt in hop.attempts)
    )
    return Judgement(flow.order, flow.fault, flow.expected, _said(verdict), flow_id, events, handled)


def _said(verdict: answers.Verdict) -> Expected:
    """Return a verdict in the truth's words: the hop only where something is the matter with one."""
    if verdict.state is State.COMPLETE:
        return Expected(None, verdict.state)
    hop = str(verdict.coordinates) if verdict.coordinates else (verdict.hop_topic or "?")
    return Expected(hop if verdict.hop_group is None else f"{hop}>{verdict.hop_group}", verdict.state)


def _is_final(flow: Flow) -> bool:
    return flow.expected.state not in (State.WAITING, State.IN_FLIGHT, State.RETRYING)


def _place(coordinates: answers.Coordinates) -> Place | None:
    if coordinates.partition is None or coordinates.offset is None:
        return None
    return Place(coordinates.topic, coordinates.partition, coordinates.offset)


def _as_json(expected: Expected | None) -> dict[str, str | None]:
    if expected is None:
        return {"hop": None, "state": State.UNKNOWN}
    return {"hop": expected.hop, "state": expected.state}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
