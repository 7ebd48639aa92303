"""From one cause to everything that it led to, over every trace id: the spans of a flow and their causal tree. Pure.

    any span ──find_start──▶ the first span ──follow──▶ Trail(spans, parents, gaps)

A message's reader is usually a trace of its own with a link back (the conventions' default), in other instrumentations
a child of the send; a hop that lost its headers is found by the event's coordinates. All three are walked, both ways.

A span that took several messages (a poll, a batch) does not merge their flows: a flow comes to it through its own
events only. Polls are leaves, but for spans that were made inside of them and have no message of their own.

Where rows are missing, `Wanted` says which; the caller loads them and asks again. With nothing wanted it is whole.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .material import Material
from .rows import Context, Place, SpanRow

# A reader may seem older than its event by the difference of two machines' clocks; more is another event with the same
# coordinates, of a topic that was deleted and made again.
CLOCK_SKEW_NS = 300 * 10**9


@dataclass(frozen=True)
class Bounds:
    """How far stitching goes. A flow that meets one is `truncated`."""

    spans: int = 20_000
    traces: int = 1_000
    rounds: int = 64
    causes: int = 100

    def __str__(self) -> str:
        return f"{self.spans} spans, {self.traces} traces, {self.rounds} rounds of look-ups, {self.causes} causes"


@dataclass
class Wanted:
    """Rows to load: the spans and back links of traces, and who speaks of events."""

    traces: set[str] = field(default_factory=set)
    places: set[Place] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.traces or self.places)

    def update(self, other: "Wanted") -> None:
        self.traces |= other.traces
        self.places |= other.places


@dataclass
class Start:
    """Where a flow begins. `context` is None while nothing of it is stored (or loaded: see `wanted`)."""

    context: Context | None
    gaps: list[str] = field(default_factory=list)
    wanted: Wanted = field(default_factory=Wanted)


@dataclass
class Trail:
    """The spans of one flow. `parents` maps every span to its causal parent in the flow, None for a first one."""

    start: Context
    spans: list[SpanRow]
    parents: dict[Context, Context | None]
    causes: list[Place]
    gaps: list[str]
    truncated: bool
    wanted: Wanted

    @property
    def id(self) -> str:
        """The flow's id: the trace id of its first span."""
        return self.start.trace_id

    @property
    def clusters(self) -> frozenset[str]:
        """The clusters that its spans name; empty where no client says its cluster."""
        return frozenset(row.cluster_id for row in self.spans if row.cluster_id)


def takes_many(row: SpanRow) -> bool:
    """Whether a span took messages without being about one of them: a poll, a receive call, a batch."""
    return row.operation in ("receive", "process") and row.place is None and len(row.links) != 1


def has_message(row: SpanRow) -> bool:
    """Whether a span reads messages that its links name. A send's link is only a remark on its origin."""
    return bool(row.links) and not row.is_send


# ── back to the cause ───────────────────────────────────────────────────────────────────────────────────────────


def find_start(material: Material, seed: str | Context) -> Start:
    """Walk from a trace id (its first span) or a span back to the first cause."""
    wanted, gaps = Wanted(), list[str]()
    trace_id = seed if isinstance(seed, str) else seed.trace_id
    if trace_id not in material.traces:
        return Start(None, wanted=Wanted(traces={trace_id}))
    row = first_span(material, trace_id) if isinstance(seed, str) else material.span(seed)
    if row is None:
        row = first_span(material, trace_id)
    if row is None:
        return Start(None)
    seen = {row.context}
    while True:
        earlier = _cause(material, row, wanted, gaps)
        if earlier is None or earlier.context in seen:
            return Start(row.context, gaps, wanted)
        seen.add(earlier.context)
        row = earlier


def first_span(material: Material, trace_id: str) -> SpanRow | None:
    """The root of a trace; without one the earliest span whose parent is not stored; None for an unknown trace."""
    rows = material.in_trace(trace_id)
    roots = [row for row in rows if row.parent is None]
    loose = [row for row in rows if row.parent is not None and material.span(row.parent) is None]
    return next(iter(roots or loose or rows), None)


def _cause(material: Material, row: SpanRow, wanted: Wanted, gaps: list[str]) -> SpanRow | None:
    """The span that led to this one; None at a flow's start, or where rows are wanted first."""
    parent = material.span(row.parent) if row.parent else None
    if row.is_send and parent is not None:
        return parent
    if row.place is not None and not row.is_send:
        producer = _producer(material, row, row.place, wanted)
        if producer is not None:
            return producer
    if row.links and not takes_many(row):
        for link in row.links:
            if link.to.trace_id not in material.traces:
                wanted.traces.add(link.to.trace_id)
            linked = material.span(link.to)
            if linked is not None:
                return linked
        if not wanted:
            gaps.append(
                f"The span that {row.name!r} of {row.service} links to is not stored: its sender was not sampled, "
                "or has not exported it yet."
            )
    if takes_many(row) and row.links:
        return None
    if row.parent is not None and parent is None and not wanted:
        gaps.append(f"The parent of {row.name!r} of {row.service} is not stored: it has not ended, or was not sampled.")
    if parent is None and row.place is not None and not row.is_send and not wanted:
        return _earliest_reader(material, row, row.place, wanted)
    return parent


def _producer(material: Material, row: SpanRow, place: Place, wanted: Wanted) -> SpanRow | None:
    found = _speakers(material, row, place, wanted, lambda operation: operation == "send")
    earlier = [other for other in found if other.start_ns <= row.start_ns + CLOCK_SKEW_NS]
    linked = [other for other in earlier if any(link.to == other.context for link in row.links)]
    return max(linked or earlier, key=lambda other: (other.start_ns, other.context), default=None)


def _earliest_reader(material: Material, row: SpanRow, place: Place, wanted: Wanted) -> SpanRow | None:
    """Where no producer is known, the first to read an event begins the flow, whoever was asked for."""
    found = _speakers(material, row, place, wanted, lambda operation: operation != "send")
    ones = [other for other in found if other.place == place and not other.parent_span_id]
    first = min([row, *ones], key=lambda other: (other.start_ns, other.context))
    return None if first is row else first


def _speakers(
    material: Material, row: SpanRow, place: Place, wanted: Wanted, is_meant: Callable[[str], bool]
) -> list[SpanRow]:
    if place not in material.places:
        wanted.places.add(place)
    rows = []
    for context, operation in material.speakers(place):
        if not is_meant(operation):
            continue
        if context.trace_id not in material.traces:
            wanted.traces.add(context.trace_id)
        other = material.span(context)
        if other is not None and _same_cluster(row, other):
            rows.append(other)
    return rows


def _same_cluster(one: SpanRow, other: SpanRow) -> bool:
    return not one.cluster_id or not other.cluster_id or one.cluster_id == other.cluster_id


# ── forward to all that it led to ───────────────────────────────────────────────────────────────────────────────


def follow(material: Material, start: Context, bounds: Bounds | None = None) -> Trail:
    """Collect what the span `start` led to. It must be loaded."""
    walk = _Walk(material, bounds or Bounds())
    first = material.span(start)
    if first is None:
        raise ValueError(f"{start} is not loaded")
    walk.join(first, None)
    if first.place is not None and not first.is_send:
        walk.join_speakers(first, first.place, None)
    walk.run()
    walk.join_loose(start.trace_id, start)
    walk.run()
    spans = _in_causal_order(walk)
    return Trail(
        start=start,
        spans=spans,
        parents={row.context: walk.parents[row.context] for row in spans},
        causes=_causes(first, walk.bounds),
        gaps=walk.gaps,
        truncated=walk.truncated or (takes_many(first) and len(first.links) > walk.bounds.causes),
        wanted=walk.wanted,
    )


class _Walk:
    """The state of one walk forward: who belongs to the flow so far, and whom to visit next."""

    def __init__(self, material: Material, bounds: Bounds) -> None:
        self.material = material
        self.bounds = bounds
        self.parents: dict[Context, Context | None] = {}
        self.rows: dict[Context, SpanRow] = {}
        self.wanted = Wanted()
        self.gaps: list[str] = []
        self.truncated = False
        self._queue: deque[SpanRow] = deque()
        self._traces: set[str] = set()

    def join(self, row: SpanRow, parent: Context | None) -> None:
        if row.context in self.rows:
            return
        is_new_trace = row.context.trace_id not in self._traces
        if len(self.rows) >= self.bounds.spans or (is_new_trace and len(self._traces) >= self.bounds.traces):
            self.truncated = True
            return
        self._traces.add(row.context.trace_id)
        self.rows[row.context] = row
        self.parents[row.context] = parent
        self._queue.append(row)

    def run(self) -> None:
        while self._queue:
            self._visit(self._queue.popleft())

    def join_speakers(self, row: SpanRow, place: Place, parent: Context | None) -> None:
        """Join the readers of the event at `place`."""
        senders = {context for context, operation in self.material.speakers(place) if operation == "send"}
        for other in _speakers(self.material, row, place, self.wanted, lambda operation: operation != "send"):
            linked = {link.to for link in other.links} & senders
            if other.start_ns >= row.start_ns - CLOCK_SKEW_NS and (not linked or row.context in linked):
                self.join(other, parent)

    def join_loose(self, trace_id: str, under: Context) -> None:
        """Join spans of the first trace whose parent is not stored (it has not ended, or was not sampled)."""
        loose = [
            row
            for row in self.material.in_trace(trace_id)
            if row.context not in self.rows
            and row.parent is not None
            and self.material.span(row.parent) is None
            and not has_message(row)
        ]
        for row in loose:
            self.join(row, under)
        if loose:
            self.gaps.append(
                f"The parents of {len(loose)} spans of the first trace are not stored: they hang under its first span."
            )

    def _visit(self, row: SpanRow) -> None:
        self._want(row.context.trace_id)
        is_gathering = row.is_receive and takes_many(row)
        for child in self.material.children(row.context):
            if not has_message(child) or (not is_gathering and self._is_all_there_is(child)):
                self.join(child, row.context)
        if is_gathering:
            return
        for context in self.material.linked_from(row.context):
            self._want(context.trace_id)
            other = self.material.span(context)
            if other is not None:
                self._join_reader(other, row)
        if row.is_send and row.place is not None:
            self.join_speakers(row, row.place, row.context)

    def _join_reader(self, reader: SpanRow, sender: SpanRow) -> None:
        self.join(reader, sender.context)
        around = self.material.span(reader.parent) if reader.parent else None
        if reader.is_process and around is not None and around.is_receive:
            self.join(around, sender.context)

    def _is_all_there_is(self, child: SpanRow) -> bool:
        """Whether a reader's parent is the only way to it: the messages that it links to are not stored."""
        for link in child.links:
            self._want(link.to.trace_id)
        return not self.wanted and all(self.material.span(link.to) is None for link in child.links)

    def _want(self, trace_id: str) -> None:
        if trace_id in self.material.traces or trace_id in self.wanted.traces:
            return
        if len(self._traces | self.wanted.traces) >= self.bounds.traces:
            self.truncated = True
            return
        self.wanted.traces.add(trace_id)


def _in_causal_order(walk: _Walk) -> list[SpanRow]:
    """Spans by start, parents before children whatever the clocks say. Settles each span's parent on the way."""
    for context, row in walk.rows.items():
        if row.parent in walk.rows and not has_message(row) and walk.parents[context] is not None:
            walk.parents[context] = row.parent
    _break_cycles(walk.parents)
    earliest: dict[Context, tuple[int, int]] = {}

    def order(context: Context) -> tuple[int, int]:
        way = []
        at: Context | None = context
        while at is not None and at not in earliest:
            way.append(at)
            at = walk.parents[at]
        start_ns, depth = earliest[at] if at is not None else (0, -1)
        for step in reversed(way):
            start_ns, depth = max(start_ns, walk.rows[step].start_ns), depth + 1
            earliest[step] = (start_ns, depth)
        return earliest[context]

    return sorted(walk.rows.values(), key=lambda row: (*order(row.context), row.context))


def _break_cycles(parents: dict[Context, Context | None]) -> None:
    """Make a tree of what broken clients may have made a circle: the first span of a circle loses its parent."""
    safe: set[Context] = set()
    for context in sorted(parents):
        way: list[Context] = []
        at: Context | None = context
        while at is not None and at not in safe:
            if at in way:
                parents[at] = None
                break
            way.append(at)
            at = parents[at]
        safe.update(way)


def _causes(first: SpanRow, bounds: Bounds) -> list[Place]:
    if not takes_many(first):
        return []
    return sorted({link.place for link in first.links if link.place is not None})[: bounds.causes]
