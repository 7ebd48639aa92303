"""A flow's spans, and its events' times in Kafka as rows of their own, in causal order. Pure.

    send span ── in Kafka, for each group ── process span ── …

The grid that shows the rows has no tree: a row carries its depth.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NotRequired, TypedDict

from flowtrail.client import Flow, Hop, Span, State, Tone

from .axis import Axis, make_axis
from .format import count, duration
from .states import look_of

ROWS: Final = ("path", "all", "failed")
_KINDS: Final = {"send": "send", "receive": "poll", "process": "work", "settle": "poll"}
_ROOTS: Final = ""
# The tracer's word for a processing that nobody was seen to end: the span's end is none.
_UNFINISHED: Final = "flowtrail.process.unfinished"
# In percent of the axis: a bar that is wider has room for words.
_WIDE: Final = 15


class Row(TypedDict):
    """A row of the grid. `x0` and `x1` in percent of the axis; fields that would be empty are left out."""

    id: str
    depth: int
    kind: str
    name: str
    took: str
    x0: float
    x1: float
    where: NotRequired[str]
    where_kind: NotRequired[str]
    tone: NotRequired[str]
    glyph: NotRequired[str]
    word: NotRequired[str]
    attempt: NotRequired[int]
    note: NotRequired[str]
    trace: NotRequired[str]
    open: NotRequired[bool]
    unfinished: NotRequired[bool]
    aside: NotRequired[str]


@dataclass(slots=True)
class Item:
    """A span, or an event's time in Kafka for one group. `end_ms` is None while it is still there."""

    id: str
    kind: str
    name: str
    parent: str
    begin_ms: float
    end_ms: float | None
    where: str
    where_kind: str
    trace_id: str | None = None
    state: str | None = None
    tone: Tone = Tone.OK
    attempt: int | None = None
    notes: list[str] = field(default_factory=list)
    on_path: bool = False
    is_unfinished: bool = False
    depth: int = 0
    left_trace: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether the row is one of those that "only failed" shows; a send to a dead-letter topic did not fail."""
        return self.tone in (Tone.FAIL, Tone.STUCK) and not (self.kind == "send" and self.state == State.DEAD_LETTERED)


@dataclass(frozen=True, slots=True)
class Timeline:
    """`rows` of `total` that there are; `failed` of them; `on_path` on the failing path."""

    rows: list[Row]
    axis: Axis
    total: int
    failed: int
    on_path: int


def make_timeline(flow: Flow, show: str = "all", *, folded: bool = True) -> Timeline:
    """The rows of a flow: `all`, the failing `path` with other branches folded into a line, or those that `failed`."""
    items = _items(flow)
    ordered = list(_in_order(items, _children(items)))
    bars = [i for i in ordered if i.kind != "poll"] or ordered
    begin_ms = min((i.begin_ms for i in bars), default=flow.began_ms)
    end_ms = max((i.end_ms for i in ordered if i.end_ms is not None), default=begin_ms)
    work = ((i.begin_ms, i.end_ms) for i in ordered if i.kind not in ("kafka", "poll") and i.end_ms is not None)
    axis = make_axis(
        work,
        begin_ms,
        max(end_ms, *(i.begin_ms for i in ordered)) if ordered else end_ms,
        folded=folded,
        has_open=any(i.end_ms is None for i in ordered),
    )
    on_path = sum(i.on_path for i in ordered)
    if show == "failed":
        rows = [_row(i, axis) for i in ordered if i.is_bad]
    elif show == "path" and on_path:
        rows = list(_with_branches_folded(ordered, items, axis))
    else:
        rows = [_row(i, axis) for i in ordered]
    return Timeline(rows, axis, len(ordered), sum(i.is_bad for i in ordered), on_path)


def kafka_id(hop: Hop) -> str:
    """The row of a hop's time in Kafka."""
    return f"in:{hop.id}"


def is_unfinished(span: Span) -> bool:
    """Whether a processing was not seen to end: how long it took is not known."""
    return span.attributes.get(_UNFINISHED) == "true"


def was_in_kafka(hop: Hop) -> bool:
    """Whether the event came there at all; what is aborted before it has an offset did not."""
    return hop.state is not State.NOT_SENT and not (hop.state is State.ABORTED and hop.coordinates.offset is None)


def aborted_sends(flow: Flow) -> set[str]:
    """The ids of spans whose event is aborted. Where such a send failed, it was for no reason of its own."""
    return {
        event.span_id
        for event in flow.events
        if event.span_id and any(hop.state is State.ABORTED for hop in event.groups)
    }


def _items(flow: Flow) -> dict[str, Item]:
    """Every row by its id; a span's is its span id."""
    sent_by = {str(e.coordinates): e.span_id for e in flow.events if e.span_id}
    hops = {hop.id: hop for hop in flow.hops}
    attempts = {a.span_id: a.number for hop in flow.hops for a in hop.attempts if a.span_id and len(hop.attempts) > 1}
    dead = [hop for hop in flow.hops if hop.on_failing_path and hop.state is State.DEAD_LETTERED]
    tries = {hop.id: n for n, hop in enumerate(dead, 1)}
    items = {span.span_id: _span_item(span, hops, attempts, tries) for span in flow.spans}
    for span_id in aborted_sends(flow) & items.keys():
        if items[span_id].state == State.NOT_SENT:
            items[span_id].state, items[span_id].tone = State.ABORTED, look_of(State.ABORTED).tone
    if dead:
        _mark_last_send(flow.hops[flow.hops.index(dead[-1]) + 1 :], sent_by, items)
    worked = {span.hop for span in flow.spans if span.hop and span.operation == "process"}
    for hop in flow.hops:
        if not was_in_kafka(hop):
            continue  # its send span says why
        item = _kafka_item(hop, sent_by.get(str(hop.coordinates)), hop.id in worked)
        if item is not None:
            items[item.id] = item
    for item in items.values():
        if item.parent not in items or item.parent == item.id:
            item.parent = _ROOTS
        elif item.trace_id:
            above = items[item.parent]
            if above.kind == "kafka" and above.parent in items:
                above = items[above.parent]
            item.left_trace = above.trace_id is not None and above.trace_id != item.trace_id
    return items


def _mark_last_send(after: list[Hop], sent_by: dict[str, str], items: dict[str, Item]) -> None:
    """The send to the dead-letter topic says that it is one."""
    for hop in after:
        item = items.get(sent_by.get(str(hop.coordinates), "")) if hop.on_failing_path else None
        if item is not None and item.state is None:
            item.state, item.tone = State.DEAD_LETTERED, Tone.FAIL


def _span_item(span: Span, hops: dict[str, Hop], attempts: dict[str, int], tries: dict[str, int]) -> Item:
    """A span's row. `tries` numbers the hops of an event that was sent again until it was given up."""
    kind = _KINDS.get(span.operation or "", "call" if span.kind == "client" else "work")
    hop = hops.get(span.hop or "")
    parent = span.parent or span.parent_span_id or _ROOTS
    state: str | None = State.FAILED if span.is_error else None
    tone = Tone.FAIL if span.is_error else Tone.OK
    if hop is not None and span.operation == "process":
        parent = kafka_id(hop)
        last = not hop.attempts or hop.attempts[-1].span_id in (span.span_id, None)
        if tries.get(hop.id, 1) > 1 and hop.state is State.DEAD_LETTERED:
            state, tone = State.FAILED, hop.tone  # the first failing hop and the last send say what became of it
        elif last and hop.state not in (State.PROCESSED, State.COMPLETE):
            state, tone = hop.state, hop.tone
    elif span.operation == "send" and span.is_error:
        state = State.NOT_SENT
    again = tries.get(hop.id, 1) if hop is not None and span.operation == "process" else 1
    attempt = attempts.get(span.span_id, again if again > 1 else None)
    if kind == "send" and span.topic:
        parts = [span.topic] if span.offset is None else [span.topic, str(span.partition), str(span.offset)]
        where, where_kind = "/".join(parts), "topic"
    else:
        where, where_kind = span.service, "service"
    return Item(
        id=span.span_id,
        kind=kind,
        name=span.name,
        parent=parent,
        begin_ms=span.start_ms,
        end_ms=span.start_ms + span.duration_ms,
        where=where,
        where_kind=where_kind,
        trace_id=span.trace_id,
        state=state,
        tone=tone,
        attempt=attempt,
        notes=[span.error] if span.error else [],
        on_path=span.on_failing_path,
        is_unfinished=is_unfinished(span),
    )


def _kafka_item(hop: Hop, sent_by: str | None, is_worked: bool) -> Item | None:
    """None where neither the time of sending nor of reading is known: there is nothing to draw."""
    begin_ms = hop.sent_ms
    if begin_ms is None:
        return None
    ended = hop.in_kafka_ms is not None
    look = look_of(hop.state, hop.tone)
    shown = not is_worked and hop.tone is not Tone.OK
    return Item(
        id=kafka_id(hop),
        kind="kafka",
        name=f"in {hop.coordinates.topic}",
        parent=sent_by or _ROOTS,
        begin_ms=begin_ms,
        end_ms=begin_ms + hop.in_kafka_ms if hop.in_kafka_ms is not None else None,
        where=hop.group or "no group",
        where_kind="group" if hop.group else "",
        state=hop.state if shown else None,
        tone=look.tone if shown else Tone.OK,
        notes=[] if ended or is_worked else [hop.error] if hop.error else [],
        on_path=hop.on_failing_path,
    )


def _children(items: dict[str, Item]) -> dict[str, list[Item]]:
    children = defaultdict[str, list[Item]](list)
    for item in items.values():
        children[item.parent].append(item)
    for siblings in children.values():
        siblings.sort(key=lambda item: (item.begin_ms, item.id))
    return children


def _in_order(items: dict[str, Item], children: dict[str, list[Item]]) -> Iterator[Item]:
    """A walk in depth. Spans whose parents go round in a circle come last, each as a root."""
    seen: set[str] = set()

    def walk(roots: Iterable[Item]) -> Iterator[Item]:
        stack = [(item, 0) for item in reversed(list(roots))]
        while stack:
            item, depth = stack.pop()
            if item.id in seen:
                continue
            seen.add(item.id)
            item.depth = depth
            yield item
            stack.extend((child, depth + 1) for child in reversed(children.get(item.id, [])))

    yield from walk(children.get(_ROOTS, []))
    for item in items.values():
        if item.id not in seen:
            yield from walk([item])


def _with_branches_folded(ordered: list[Item], items: dict[str, Item], axis: Axis) -> Iterator[Row]:
    """The failing path and what leads to it; everything else below one parent becomes one line."""
    kept: set[str] = set()
    for item in ordered:
        walker: Item | None = item if item.on_path else None
        while walker is not None and walker.id not in kept:
            kept.add(walker.id)
            walker = items.get(walker.parent)
    i = 0
    folded: dict[str, list[list[Item]]] = defaultdict(list)
    lines: list[Item | str] = []
    while i < len(ordered):
        item = ordered[i]
        if item.id in kept:
            lines.append(item)
            i += 1
            continue
        branch = [item]
        i += 1
        while i < len(ordered) and ordered[i].depth > item.depth:
            branch.append(ordered[i])
            i += 1
        if item.parent not in folded:
            lines.append(item.parent)
        folded[item.parent].append(branch)
    for line in lines:
        yield _row(line, axis) if isinstance(line, Item) else _branches_row(line, folded[line], axis)


def _branches_row(parent: str, branches: list[list[Item]], axis: Axis) -> Row:
    hidden = [item for branch in branches for item in branch]
    bad = sum(item.is_bad for item in hidden)
    begin_ms = min(item.begin_ms for item in hidden)
    end_ms = max(item.end_ms or item.begin_ms for item in hidden)
    went = f", {bad} of them failed" if bad else " went well"
    places = sorted({item.where for item in hidden if item.where_kind == "service"})
    row = Row(
        id=f"folded:{parent}",
        depth=hidden[0].depth,
        kind="folded",
        name=f"{count(len(hidden), 'row')} in {count(len(branches), 'branch', 'branches')}{went}",
        took=duration(end_ms - begin_ms),
        x0=round(axis.at(begin_ms), 3),
        x1=round(axis.at(end_ms), 3),
    )
    if places:
        row["where"] = ", ".join(places)
    if bad:
        row["tone"] = Tone.FAIL
    return row


def _row(item: Item, axis: Axis) -> Row:
    is_open = item.end_ms is None
    end_ms = axis.times[-1] if item.end_ms is None else item.end_ms
    row = Row(
        id=item.id,
        depth=item.depth,
        kind=item.kind,
        name=item.name,
        took="unread" if is_open else duration(end_ms - item.begin_ms),
        x0=round(axis.at(item.begin_ms), 3),
        x1=100.0 if is_open else round(axis.at(end_ms), 3),
    )
    if item.where:
        row["where"] = item.where
    if item.where_kind:
        row["where_kind"] = item.where_kind
    if item.state is not None and item.tone is not Tone.OK:
        look = look_of(item.state, item.tone)
        row["tone"], row["glyph"], row["word"] = look.tone, look.glyph, look.word
    if item.attempt is not None:
        row["attempt"] = item.attempt
    if item.notes:
        row["note"] = " · ".join(item.notes)
    if item.left_trace and item.trace_id:
        row["trace"] = item.trace_id[:6]
    if is_open:
        row["open"] = True
        row["aside"] = look_of(item.state).word if item.state else "still there"
    elif item.is_unfinished:
        row["unfinished"], row["took"] = True, "not finished"
        if row["x1"] - row["x0"] < _WIDE:
            row["aside"] = row["took"]
    elif axis.crosses_fold(item.begin_ms, end_ms):
        row["aside"] = duration(end_ms - item.begin_ms) + (" in Kafka" if item.kind == "kafka" else "")
    return row
