"""What really happened to every order, computed from the diaries alone: nothing here knows Flowtrail or a span.

An order is a flow. Its events are the records that were sent for it, its hops the groups that read their topics.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from flowtrail.collector.api.answers import State
from flowtrail.demo.diary import Line
from flowtrail.demo.topics import is_dead_letter, is_retry

BROKEN: Final = frozenset(
    {State.NOT_SENT, State.FAILED, State.DEAD_LETTERED, State.CRASHED, State.NO_MEMBER, State.UNCONSUMED}
)
SLOW: Final = frozenset({State.WAITING})
QUIET: Final = frozenset({State.IN_FLIGHT, State.RETRYING})


class Place(NamedTuple):
    """Where an event lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Expected(NamedTuple):
    """The right verdict. `hop` is `topic/partition/offset>group`, as much of it as there is; None if complete."""

    hop: str | None
    state: State


@dataclass(frozen=True, slots=True)
class Sent:
    """One event as its sender knows it; `place` is None when it was refused."""

    process: str
    topic: str
    place: Place | None
    orders: tuple[str, ...]
    began_ms: float
    cause: tuple[tuple[Place, str], ...]


@dataclass(frozen=True, slots=True)
class Hop:
    """One event and one group that reads its topic; `group` is None for an event that was refused or nobody reads."""

    event: Sent
    group: str | None
    state: State

    def __str__(self) -> str:
        where = str(self.event.place or self.event.topic)
        return where if self.group is None else f"{where}>{self.group}"


@dataclass(frozen=True, slots=True)
class Flow:
    """One order's way through the shop. `moved_ms`: when anything last happened that could change the verdict."""

    order: str
    fault: str | None
    events: tuple[Sent, ...]
    hops: tuple[Hop, ...]
    expected: Expected
    moved_ms: float


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything that happened so far. `handled` are the hops whose handling came to an end, well or not."""

    events: tuple[Sent, ...] = ()
    handled: frozenset[tuple[Place, str]] = frozenset()
    flows: Mapping[str, Flow] = field(default_factory=dict)


@dataclass(slots=True)
class _Attempt:
    """One delivery of an event to one run of a process."""

    run: tuple[str, int]
    end: str | None = None


@dataclass(slots=True)
class _History:
    """The lines, sorted into what is asked of them."""

    faults: dict[str, str | None] = field(default_factory=dict)
    events: list[Sent] = field(default_factory=list)
    by_place: dict[Place, Sent] = field(default_factory=dict)
    attempts: defaultdict[tuple[Place, str], list[_Attempt]] = field(default_factory=lambda: defaultdict(list))
    alive: dict[tuple[str, int], str] = field(default_factory=dict)
    groups: dict[tuple[str, int], str] = field(default_factory=dict)
    caused: defaultdict[tuple[Place, str], list[Sent]] = field(default_factory=lambda: defaultdict(list))
    hop_moved_ms: dict[tuple[Place, str], float] = field(default_factory=dict)
    group_moved_ms: dict[str, float] = field(default_factory=dict)


def evaluate(lines: Sequence[Line], readers: Mapping[str, Iterable[str]]) -> Truth:
    """Return the truth that `lines` (in the order of their time) tell; no lines tell an empty truth.

    `readers` names the groups of each topic.
    """
    history = _read(lines)
    by_order: defaultdict[str, list[Sent]] = defaultdict(list)
    for event in history.events:
        for order in event.orders:
            by_order[order].append(event)
    flows = {order: _flow(order, fault, by_order[order], history, readers) for order, fault in history.faults.items()}
    handled = frozenset(hop for hop, attempts in history.attempts.items() if any(a.end for a in attempts))
    return Truth(tuple(history.events), handled, flows)


def _read(lines: Iterable[Line]) -> _History:
    history = _History()
    for line in lines:
        kind, time_ms = line["kind"], line["time_ms"]
        run = (line["process"], line["pid"])
        if kind == "ordered":
            history.faults[line["order"]] = line["fault"]
        elif kind == "started":
            history.alive[run] = history.groups[run] = line["group"]
            history.group_moved_ms[line["group"]] = time_ms
        elif kind in ("closed", "stopped"):
            ended = run if kind == "closed" else (line["of"], line["of_pid"])
            if history.alive.pop(ended, None) is not None:
                history.group_moved_ms[history.groups[ended]] = time_ms
        elif kind in ("sent", "not_sent"):
            cause = tuple((_place(before), before["group"]) for before in line["cause"])
            place = _place(line) if kind == "sent" else None
            event = Sent(run[0], line["topic"], place, tuple(line["orders"]), line["began_ms"], cause)
            history.events.append(event)
            if place is not None:
                history.by_place[place] = event
            for before in cause:
                history.caused[before].append(event)
        elif kind in ("polled", "begun", "handled", "failed"):
            hop = (_place(line), line["group"])
            history.hop_moved_ms[hop] = time_ms
            attempts = history.attempts[hop]
            if not attempts or attempts[-1].end is not None or attempts[-1].run != run:
                attempts.append(_Attempt(run))
            if kind in ("handled", "failed"):
                attempts[-1].end = kind
    return history


def _flow(
    order: str, fault: str | None, events: list[Sent], history: _History, readers: Mapping[str, Iterable[str]]
) -> Flow:
    in_causal_order = sorted(events, key=lambda event: (_depth(event, history.by_place), event.began_ms))
    hops: list[Hop] = []
    moved_ms = max((event.began_ms for event in events), default=0.0)
    for event in in_causal_order:
        if event.place is None:
            hops.append(Hop(event, None, State.NOT_SENT))
            continue
        groups = tuple(readers.get(event.topic, ()))
        if not groups and not is_dead_letter(event.topic):
            hops.append(Hop(event, None, State.UNCONSUMED))
        for group in groups:
            state = _hop_state(event.place, group, history)
            hops.append(Hop(event, group, state))
            moved_ms = max(moved_ms, history.hop_moved_ms.get((event.place, group), 0))
            if state in BROKEN | SLOW | QUIET:
                moved_ms = max(moved_ms, history.group_moved_ms.get(group, 0))
    return Flow(order, fault, tuple(in_causal_order), tuple(hops), _verdict(hops), moved_ms)


def _depth(event: Sent, by_place: Mapping[Place, Sent]) -> int:
    """Return how many events lie before it on the longest way from the cause.

    Asked once every line is read: a reader may have sent on before the sender heard of its acknowledgement.
    """
    before = [by_place[place] for place, _ in event.cause if place in by_place]
    return 1 + max((_depth(cause, by_place) for cause in before), default=-1)


def _verdict(hops: Sequence[Hop]) -> Expected:
    """The first hop in causal order that broke; if none did, the first that waits; if none does, that is under way."""
    if not hops:
        return Expected(None, State.IN_FLIGHT)  # the storefront has not come to it yet
    for states in (BROKEN, SLOW, QUIET):
        for hop in hops:
            if hop.state in states:
                return Expected(str(hop), hop.state)
    return Expected(None, State.COMPLETE)


def _hop_state(place: Place, group: str, history: _History) -> State:
    attempts = history.attempts.get((place, group), [])
    has_member = group in history.alive.values()
    if not attempts:
        return State.WAITING if has_member else State.NO_MEMBER
    last = attempts[-1]
    if last.end == "handled":
        return State.PROCESSED
    if last.end == "failed":
        return _failed_state(place, group, history)
    if last.run in history.alive:
        return State.IN_FLIGHT
    return State.WAITING if has_member else State.CRASHED


def _failed_state(place: Place, group: str, history: _History) -> State:
    """A failure that was sent on is what came of that: another attempt, or the dead-letter topic."""
    for event in history.caused.get((place, group), []):
        if event.place is None:
            continue
        if is_dead_letter(event.topic):
            return State.DEAD_LETTERED
        if is_retry(event.topic):
            later = _hop_state(event.place, group, history)
            return later if later in (State.PROCESSED, State.DEAD_LETTERED, State.FAILED) else State.RETRYING
    return State.FAILED


def _place(line: Line) -> Place:
    return Place(line["topic"], line["partition"], line["offset"])
