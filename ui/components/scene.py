"""The collector's graph as the map draws it: boxes, ports, curves and labels. All geometry is made here.

A group is docked as a port on the service that runs it, and edges end at the port; without a known service it stands
alone. Widths depend on names only, never on figures, so that new numbers move nothing.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Final, TypedDict

from flowtrail.client import Edge, Graph, Node, Tone

from .format import THIN, count, duration, number, rate, share
from .layout import Heights, Layout, Point, curve, place
from .states import look_of

TOP: Final = 46.0  # height of a node's own two lines
PORT: Final = 36.0
PORT_STEP: Final = 40.0
LEAST_WIDTH: Final = {"service": 120.0, "topic": 120.0, "group": 156.0, "cluster": 146.0}
AROUND_NAME: Final = {"service": 44.0, "topic": 50.0, "group": 60.0, "cluster": 52.0}
GAP_X: Final = 30.0  # a chain of services and topics is long before it is high
LETTER: Final = 7.2  # mean width of a letter of a name, in pixels
LONGEST_NAME: Final = 36
FAILING_SHARE: Final = 0.001  # below it an edge with errors stays calm
ORDER_OF_TONES: Final = ("idle", "ok", "quiet", "slow", "stuck", "fail")

GLYPHS: Final = {Tone.FAIL: "✕", Tone.STUCK: "■"}


class Text(TypedDict):
    """A piece of a node's second line, in a tone of its own."""

    text: str
    tone: str


class Port(TypedDict):
    """A group on its service. `y` is the upper edge, from the node's own upper edge."""

    id: str
    name: str
    y: float
    h: float
    tone: str
    meta: str
    aria: str


class Shape(TypedDict):
    """A node. `x`, `y` its centre, `top` the height of its own lines, below which the ports begin."""

    id: str
    kind: str
    name: str
    x: float
    y: float
    w: float
    h: float
    top: float
    tone: str
    state: str
    meta: list[Text]
    ports: list[Port]
    aria: str


class Line(TypedDict):
    """An edge. `source` and `target` are shapes, `start` and `end` the nodes of the graph, ports among them."""

    id: str
    source: str
    target: str
    start: str
    end: str
    d: str
    tone: str
    width: float
    label: str
    always: bool
    lx: float
    ly: float
    lw: float


class Broken(TypedDict):
    """A node in trouble, as a line of the list: glyph and word of its state, what is wrong, and for how long."""

    id: str
    tone: str
    glyph: str
    word: str
    text: str
    lasts: str


class Scene(TypedDict):
    """What LiveMap draws; `x`, `y`, `w`, `h` is the box around everything."""

    x: float
    y: float
    w: float
    h: float
    nodes: list[Shape]
    edges: list[Line]
    broken: list[Broken]
    summary: str
    notice: str | None


def build(
    graph: Graph, now_ms: float, before: Mapping[Hashable, float] | None = None, notice: str | None = None
) -> tuple[Scene, Heights]:
    """The scene of a graph, and what to pass as `before` the next time. An empty graph makes an empty scene."""
    by_id = {node.id: node for node in graph.nodes}
    home = homes(graph)
    docked = defaultdict[str, list[Node]](list)
    for node in sorted(graph.nodes, key=lambda node: node.name):
        if node.id in home:
            docked[home[node.id]].append(node)
    free = [node for node in graph.nodes if node.id not in home]
    sizes = {node.id: (_width(node, docked[node.id]), _height(docked[node.id])) for node in free}
    edges = [e for e in graph.edges if home.get(e.source) != e.target and {e.source, e.target} <= by_id.keys()]
    links = [(home.get(e.source, e.source), home.get(e.target, e.target)) for e in edges]
    layout = place(sizes, links, before, gap_x=GAP_X, gap_y=46 if len(free) < 30 else 18)
    shapes = {node.id: _shape(node, docked[node.id], layout.centres[node.id], sizes[node.id], now_ms) for node in free}
    lines = _lines(edges, by_id, home, shapes, layout)
    x, y, w, h = _box(shapes.values(), layout)
    scene = Scene(
        x=x,
        y=y,
        w=w,
        h=h,
        nodes=list(shapes.values()),
        edges=lines,
        broken=[_broken(node, now_ms) for node in broken_nodes(graph)],
        summary=summary(graph),
        notice=notice,
    )
    return scene, layout.before


def homes(graph: Graph) -> dict[str, str]:
    """Group id to the id of the service node that it is docked on: its first service, where that is in the graph."""
    services = {node.id for node in graph.nodes if node.kind == "service"}
    runs = {e.source: e.target for e in reversed(graph.edges) if e.kind == "runs" and e.target in services}
    named = {n.id: f"service:{n.service}" for n in graph.nodes if n.kind == "group" and n.service}
    return runs | {group: service for group, service in named.items() if service in services}


def broken_nodes(graph: Graph) -> list[Node]:
    """What is broken, worst first; a service and its group that say the same of the same trouble count once."""
    by_id = {node.id: node for node in graph.nodes}
    distinct: dict[str, Node] = {}
    for node in (by_id[i] for i in graph.broken if i in by_id):
        distinct.setdefault(trouble(node), node)
    return list(distinct.values())


def trouble(node: Node) -> str:
    """What is wrong with a node, as a sentence that names it."""
    if not node.reason:
        return f"{node.name} is {look_of(node.state, node.tone).word}"
    if node.name in node.reason:
        return node.reason
    return f"{node.name}: {node.reason[:1].lower()}{node.reason[1:]}"


def summary(graph: Graph) -> str:
    """`6 services · 7 topics · 9 groups · 1 812 events/s`."""
    kinds = [node.kind for node in graph.nodes]
    words = [count(kinds.count(kind), kind) for kind in ("service", "topic", "group", "cluster") if kind in kinds]
    sent = [edge.rate_per_s for edge in graph.edges if edge.kind == "send" and edge.rate_per_s is not None]
    return " · ".join([*words, f"{rate(sum(sent)).replace('/', ' events/')}"] if sent else words)


def edge_tone(edge: Edge, by_id: Mapping[str, Node]) -> str:
    """How loud an edge is: it fails with its own errors, and stands or is unread with the node that it leads to."""
    target = by_id[edge.target]
    if edge.errors and (edge.error_share or 0) >= FAILING_SHARE:
        return Tone.FAIL if Tone.FAIL in (target.tone, by_id[edge.source].tone) else Tone.OK
    if target.tone is Tone.STUCK and target.kind == "group":
        return Tone.STUCK
    if target.tone is Tone.SLOW and target.kind == "topic":
        return Tone.SLOW
    return Tone.OK if edge.messages else "idle"


def shortened(name: str) -> str:
    """A name for the map: the middle of a long one is left out."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _width(node: Node, ports: list[Node]) -> float:
    longest = max(len(shortened(n.name)) for n in (node, *ports))
    least = max(LEAST_WIDTH.get(n.kind, 150.0) for n in (node, *ports))
    return max(least, longest * LETTER + AROUND_NAME.get(node.kind, 52.0))


def _height(ports: list[Node]) -> float:
    return TOP + (len(ports) * PORT_STEP + 6 if ports else 0)


def _shape(node: Node, groups: list[Node], centre: Point, size: tuple[float, float], now_ms: float) -> Shape:
    return Shape(
        id=node.id,
        kind=node.kind,
        name=shortened(node.name),
        x=centre[0],
        y=centre[1],
        w=size[0],
        h=size[1],
        top=TOP - 2,
        tone=node.tone,
        state=node.state,
        meta=_meta(node, now_ms),
        ports=[
            Port(
                id=group.id,
                name=shortened(group.name),
                y=TOP + i * PORT_STEP,
                h=PORT,
                tone=group.tone,
                meta=_port_meta(group, now_ms),
                aria=_aria(group),
            )
            for i, group in enumerate(groups)
        ],
        aria=_aria(node),
    )


def _meta(node: Node, now_ms: float) -> list[Text]:
    if node.kind == "group":
        return [Text(text=_port_meta(node, now_ms), tone="")]
    texts = [Text(text=rate(node.rate_per_s), tone="")]
    if node.kind == "service":
        if (node.error_share or 0) >= FAILING_SHARE:
            bad = node.tone is Tone.FAIL
            texts.append(
                Text(text=f"{share(node.error_share)} {'fail' if bad else 'err'}", tone="fail" if bad else "quiet")
            )
        elif node.p95_ms is not None:
            texts.append(Text(text=duration(node.p95_ms), tone="quiet"))
    elif node.state == "unread":
        texts.append(Text(text="unread", tone="slow"))
    elif node.partitions is not None:
        texts.append(Text(text=f"{node.partitions} part.", tone="quiet"))
    return texts


def _port_meta(group: Node, now_ms: float) -> str:
    """The second line of a group: its state and since when, then its lag; a calm one its lag and p95."""
    lag = None if group.lag is None else f"lag {number(group.lag)}"
    if group.tone in GLYPHS:
        since = "" if group.since_ms is None else f" {duration(now_ms - group.since_ms).split(' ')[0]}"
        failing = group.tone is Tone.FAIL and group.error_share is not None
        words = share(group.error_share) if failing else look_of(group.state, group.tone).word + since
        figures = [] if group.lag is None else [number(group.lag)] if not failing else [f"lag {number(group.lag)}"]
        return " · ".join([f"{GLYPHS[group.tone]} {words}", *figures])
    parts = [lag or rate(group.rate_per_s), *([duration(group.p95_ms)] if group.p95_ms is not None else [])]
    return " · ".join(parts)


def _aria(node: Node) -> str:
    words = [f"{node.kind} {node.name}", look_of(node.state, node.tone).word]
    if node.lag is not None:
        words.append(f"lag {node.lag}")
    return ", ".join(words)


def _broken(node: Node, now_ms: float) -> Broken:
    look = look_of(node.state, node.tone)
    return Broken(
        id=node.id,
        tone=look.tone,
        glyph=look.glyph,
        word=look.word,
        text=trouble(node),
        lasts="" if node.since_ms is None else duration(max(0.0, now_ms - node.since_ms)),
    )


def _lines(
    edges: list[Edge],
    by_id: Mapping[str, Node],
    home: Mapping[str, str],
    shapes: Mapping[str, Shape],
    layout: Layout,
) -> list[Line]:
    """The curves, calm ones first, so that loud ones lie on top."""

    def touch(node_id: str, side: int) -> Point:
        """Where an edge touches a node: left (-1), right (1) or at its middle (0)."""
        shape = shapes[home.get(node_id, node_id)]
        port = next((port for port in shape["ports"] if port["id"] == node_id), None)
        y = shape["y"] - shape["h"] / 2 + (port["y"] + port["h"] / 2 if port else shape["top"] / 2)
        return shape["x"] + side * shape["w"] / 2 + (-7 if port and side else 0), y

    def fans(of: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """How far each edge's end is moved, so that several ends at one node do not lie on one another."""
        ends = defaultdict[str, list[tuple[str, str]]](list)
        for end, other in of:
            ends[end].append((end, other))
        moved: dict[tuple[str, str], float] = {}
        for group in ends.values():
            group.sort(key=lambda pair: (touch(pair[1], 0)[1], pair))
            step = min(9.0, 26 / len(group))
            moved.update((pair, (i - (len(group) - 1) / 2) * step) for i, pair in enumerate(group))
        return moved

    leaving = fans([(e.source, e.target) for e in edges])
    arriving = fans([(e.target, e.source) for e in edges])
    lines = []
    beside = defaultdict[tuple[str, float], float](float)  # how much of a topic's side labels take already
    for e in edges:
        a, b = home.get(e.source, e.source), home.get(e.target, e.target)
        if a == b:
            continue
        forward = shapes[a]["x"] < shapes[b]["x"]
        start, end = touch(e.source, 1 if forward else -1), touch(e.target, -1 if forward else 1)
        start = (start[0], start[1] + leaving[e.source, e.target])
        end = (end[0] + (-1 if forward else 8), end[1] + (0 if e.target in home else arriving[e.target, e.source]))
        chain = layout.bends.get((a, b)) or layout.bends.get((b, a)) or []
        points = [start, *(chain if forward else reversed(chain)), end]
        tone = edge_tone(e, by_id)
        label = _edge_label(e, tone)
        middle = points[len(points) // 2] if chain else ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        label_px = len(label) * 6.2 + 12
        if topic := next((end for end in (a, b) if by_id[end].kind == "topic"), None):
            # Above the topic's end that the edge reaches, or below the one that it leaves: there lies no line.
            shape, leaves, at = shapes[topic], topic == a, start if topic == a else end
            inwards = 1 if at[0] < shape["x"] else -1
            room = (topic, inwards * (2 if leaves else 1))
            middle = (
                shape["x"] - inwards * shape["w"] / 2 + inwards * (beside[room] + label_px / 2),
                shape["y"] + (1 if leaves else -1) * (shape["h"] / 2 + 12),
            )
            beside[room] += label_px + 4
        elif not chain and abs(start[1] - end[1]) < 30:
            middle = (middle[0], middle[1] - 19)  # beside a short straight edge, not on it
        lines.append(
            Line(
                id=f"{e.source}>{e.target}>{e.kind}",
                source=a,
                target=b,
                start=e.source,
                end=e.target,
                d=curve(points),
                tone=tone,
                width=round(1 + math.log10(1 + (e.rate_per_s or 0)) / 2, 2),
                label=label,
                always=tone == Tone.FAIL,
                lx=middle[0],
                ly=middle[1],
                lw=label_px,
            )
        )
    return sorted(lines, key=lambda line: (ORDER_OF_TONES.index(line["tone"]), line["id"]))


def _edge_label(edge: Edge, tone: str) -> str:
    if tone == Tone.FAIL:
        return f"✕ {share(edge.error_share)}".replace(" ", THIN)
    errors = f" · {share(edge.error_share)}" if (edge.error_share or 0) >= FAILING_SHARE else ""
    return rate(edge.rate_per_s) + errors


def _box(shapes: Iterable[Shape], layout: Layout) -> tuple[float, float, float, float]:
    corners = [
        (s["x"] + side * (s["w"] / 2 + 8), s["y"] + side * (s["h"] / 2 + 8)) for s in shapes for side in (-1, 1)
    ] + [bend for chain in layout.bends.values() for bend in chain]
    if not corners:
        return 0.0, 0.0, 0.0, 0.0
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
