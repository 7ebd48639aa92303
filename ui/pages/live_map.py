"""The live map: who talks to whom, what is broken, and one node's details beside it."""

import threading
from collections import OrderedDict
from typing import Final

from dash.development.base_component import Component

from flowtrail.client import Edge, Graph, Node, NodeDetail, NotFound, Series, Tone
from flowtrail.ui.address import Address
from flowtrail.ui.components.elements import LiveMap, MapSummary, Spark
from flowtrail.ui.components.format import count, duration, number, rate, share, time_span
from flowtrail.ui.components.layout import Heights
from flowtrail.ui.components.markup import badge, el, icon, link, moment, nothing, reference, tabs
from flowtrail.ui.components.scene import FAILING_SHARE, Scene, build, edge_tone, trouble
from flowtrail.ui.components.states import is_bad, look_of
from flowtrail.ui.source import Source

from .start import empty
from .view import View

VIEWS: Final = ("graph", "table")
MOST_NODES: Final = 400  # beyond it labels are too small and a browser slow: the neighbourhood of one node is shown
DEPTHS: Final = ("1", "2", "3", "4")
MOST_MAPS: Final = 64


class Map:
    """Makes scenes, and remembers where nodes stood, so that they stay there. One for the whole server."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._heights: OrderedDict[tuple[str | None, int | None], Heights] = OrderedDict()
        self._lock = threading.Lock()

    def graph(self, address: Address, now_ms: float) -> tuple[Graph, str | None]:
        """The graph that an address asks for, and a sentence where it is not the whole."""
        focus, depth = address.get("focus"), int(address.one_of("depth", DEPTHS, "1"))
        window = address.window(now_ms)
        if focus:
            graph = self._source.graph(window, focus, depth)
            return graph, "More nodes are there than are shown." if graph.truncated else None
        graph = self._source.graph(window)
        if len(graph.nodes) <= MOST_NODES:
            return graph, "More nodes are there than are shown." if graph.truncated else None
        busiest = max(graph.nodes, key=lambda node: node.messages)
        chosen = graph.broken[0] if graph.broken else busiest.id
        name = chosen.partition(":")[2]
        sentence = f"{count(len(graph.nodes), 'node')} are too many for one map: here is what {name} is connected with."
        return self._source.graph(window, chosen, 2), sentence

    def scene(self, address: Address, now_ms: float) -> Scene:
        """What the map draws for an address."""
        graph, notice = self.graph(address, now_ms)
        key = (address.get("focus"), int(address.one_of("depth", DEPTHS, "1")))
        with self._lock:
            scene, heights = build(graph, now_ms, self._heights.get(key), notice)
            # What is gone for now keeps its place.
            self._heights[key] = self._heights.get(key, {}) | heights if len(heights) < MOST_NODES else heights
            self._heights.move_to_end(key)
            while len(self._heights) > MOST_MAPS:
                self._heights.popitem(last=False)
        return scene


def page(address: Address, source: Source, live_map: Map, now_ms: float) -> View:
    """The map, or its table twin; first steps while nothing is known."""
    view = address.one_of("view", VIEWS, "graph")
    focus = address.get("focus")
    try:
        scene = live_map.scene(address, now_ms)
    except NotFound:
        return View("Map", _unknown(address, focus or ""))
    if not scene["nodes"]:
        return View("Map", empty(address, source))
    panel = _panel(address, source, now_ms)
    if view == "table":
        graph, _ = live_map.graph(address, now_ms)
        stage = el("div", _table(graph, address), cls="map-table")
    else:
        source_path = address.here(select=None, theme=None, view=None).replace("/map", "/_map", 1)
        stage = LiveMap(id="map", scene=scene, source=source_path, label="Live map; the table shows the same as text")
    bar = el(
        "div",
        el("h1", "Map"),
        tabs([(v.capitalize(), address.here(view=v if v == "table" else None), v == view) for v in VIEWS], "view"),
        _focus(address, focus) if focus else None,
        MapSummary(text=scene["summary"]),
        _key() if view == "graph" else None,
        cls="map-bar",
    )
    main = el("div", bar, el("div", stage, cls="map-stage"), cls="map-page")
    return View("Map", main, panel, refreshes_itself=view == "graph")


def _focus(address: Address, focus: str) -> Component:
    kind, _, name = focus.partition(":")
    depth = address.one_of("depth", DEPTHS, "1")
    return el(
        "span",
        reference(kind, name),
        tabs([(d, address.here(depth=d), d == depth) for d in DEPTHS], "steps away from it"),
        link("Whole map", href=address.here(focus=None, depth=None)),
        cls="map-focus",
    )


def _key() -> Component:
    kinds = [el("span", icon(f"kind-{kind}", 14, f"kind-{kind}"), kind) for kind in ("service", "topic", "group")]
    tones = [el("span", el("i", cls=f"key-{tone}"), word) for tone, word in (("fail", "failing"), ("stuck", "stuck"))]
    return el("div", *kinds, *tones, cls="map-key")


def _unknown(address: Address, focus: str) -> Component:
    return el(
        "div",
        el("h1", f"{focus} is not on the map"),
        el("p", "Nothing came from it or went to it in this time."),
        el("p", link("Whole map", href=address.here(focus=None, depth=None, select=None))),
        cls="page card calm",
    )


def _table(graph: Graph, address: Address) -> Component:
    by_id = {node.id: node for node in graph.nodes}
    edges = [e for e in graph.edges if e.source in by_id and e.target in by_id and e.kind != "runs"]
    head = el(
        "tr",
        *(el("th", word, scope="col") for word in ("From", "To")),
        *(el("th", word, cls="num", scope="col") for word in ("Rate", "Failed", "p95", "Lag")),
        el("th", "State", scope="col"),
    )
    rows = [_edge_row(edge, by_id, address) for edge in edges]
    return el("div", el("table", el("thead", head), el("tbody", *rows), cls="table"), cls="card scroll")


def _edge_row(edge: Edge, by_id: dict[str, Node], address: Address) -> Component:
    source, target = by_id[edge.source], by_id[edge.target]
    tone = edge_tone(edge, by_id)
    state = {"fail": "failing", "stuck": "stuck", "slow": "unread"}.get(tone, "ok")
    return el(
        "tr",
        *(el("td", reference(n.kind, n.name, address.here(select=n.id))) for n in (source, target)),
        el("td", rate(edge.rate_per_s), cls="num"),
        el("td", share(edge.error_share), cls="num"),
        el("td", duration(edge.p95_ms), cls="num"),
        el("td", number(target.lag) if target.kind == "group" else "", cls="num"),
        el("td", badge(state)),
    )


# ── the panel ───────────────────────────────────────────────────────────────────────────────────────────────

_MEASURES: Final = {
    "handled": ("Events", rate),
    "failed": ("Failed", share),
    "p95": ("p95", duration),
    "lag": ("Lag, committed", number),
}


def _panel(address: Address, source: Source, now_ms: float) -> Component | None:
    node_id = address.get("select")
    if not node_id:
        return None
    close = link(icon("close"), href=address.here(select=None), cls="panel-close", title="Close (Esc)")
    try:
        detail = source.node(node_id) or _from_graph(source.graph(address.window(now_ms)), node_id)
    except NotFound:
        detail = None
    if detail is None:
        return el("div", el("div", close, nothing(f"{node_id} is not known"), cls="panel-head"), cls="panel")
    node = detail.node
    return el(
        "div",
        el(
            "div",
            el("span", icon(f"kind-{node.kind}", 14, f"kind-{node.kind}"), " ", node.kind, cls="dimmed"),
            el("h2", node.name),
            badge(node.state, node.tone),
            close,
            cls="panel-head",
        ),
        _wrong(detail, address, now_ms),
        el(
            "section",
            el("h3", _time_span(detail)),
            *(_measure(s, node) for s in detail.series if s.name in _MEASURES),
            None if detail.series else el("p", "The collector reads it together …", cls="dimmed"),
        ),
        _neighbours(detail, address),
        el(
            "section",
            link("Flows through it", href=_flows_through(node, address), cls="btn btn-small"),
            link("Its lag", href=address.to("lag", node.name), cls="btn btn-small") if node.kind == "group" else None,
            link("Only its neighbours", href=address.here(focus=node.id, depth="1"), cls="btn btn-small"),
            cls="panel-ways",
        ),
        cls="panel",
    )


def _time_span(detail: NodeDetail) -> str:
    """How far back the longest of the series goes."""
    points = [(p.time_ms, p.value) for s in detail.series if s.name in _MEASURES for p in s.points]
    return time_span(sorted(points, key=lambda point: point[0])).capitalize()


def _from_graph(graph: Graph, node_id: str) -> NodeDetail | None:
    """What the map itself knows of a node, shown until the collector has told the rest."""
    node = next((node for node in graph.nodes if node.id == node_id), None)
    if node is None:
        return None
    edges = [edge for edge in graph.edges if node_id in (edge.source, edge.target)]
    ids = {end for edge in edges for end in (edge.source, edge.target)} - {node_id}
    return NodeDetail(node=node, edges=edges, neighbours=[n for n in graph.nodes if n.id in ids], series=[])


def _wrong(detail: NodeDetail, address: Address, now_ms: float) -> Component | None:
    node, example = detail.node, detail.example_flow
    if not is_bad(node.tone) and not node.reason:
        return None
    return el(
        "section",
        el("h3", "What is wrong" if is_bad(node.tone) else "Worth a look"),
        el("p", trouble(node), cls="strong"),
        el("p", detail.error, cls="mono why") if detail.error else None,
        el("p", "since ", moment(node.since_ms, now_ms), cls="dimmed") if node.since_ms is not None else None,
        el("p", "for example ", link(example.title, href=address.to("flow", example.id))) if example else None,
    )


def _measure(series: Series, node: Node) -> Component:
    name, words = _MEASURES[series.name]
    values = [point.value for point in series.points]
    last = next((value for value in reversed(values) if value is not None), None)
    loud = (series.name == "failed" and last) or (series.name == "lag" and node.tone is Tone.STUCK)
    tone = look_of(node.state, node.tone).tone if loud else "quiet"
    return el(
        "div",
        el("span", name),
        el("b", words(last)),
        Spark(values=values, width=96, height=24, tone=tone, label=name),
        cls="measure",
    )


def _neighbours(detail: NodeDetail, address: Address) -> Component | None:
    by_id = {node.id: node for node in detail.neighbours}
    lines = []
    for edge in detail.edges:
        other = by_id.get(edge.target if edge.source == detail.node.id else edge.source)
        if other is None:
            continue
        arrow = "to" if edge.source == detail.node.id else "from"
        failing = (edge.error_share or 0) >= FAILING_SHARE
        figures = rate(edge.rate_per_s) + (f" · {share(edge.error_share)}" if failing else "")
        if edge.kind == "runs":
            arrow, figures = "runs in" if edge.source == detail.node.id else "runs", ""
        lines.append(
            el(
                "li",
                el("span", arrow, cls="dimmed way"),
                reference(other.kind, other.name, address.here(select=other.id)),
                el("span", figures, cls="tone-fail" if failing else "dimmed"),
            )
        )
    return el("section", el("h3", "Connected"), el("ul", *lines)) if lines else None


def _flows_through(node: Node, address: Address) -> str:
    if node.kind == "topic":
        return address.to("flows", topic=node.name)
    return address.to("flows", service=node.service if node.kind == "group" and node.service else node.name)
