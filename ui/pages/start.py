"""The start page: what is broken now. Before the first span: how to connect a service."""

from urllib.parse import urlsplit

from dash.development.base_component import Component

from flowtrail.client import CollectorError, Graph, Node, NodeDetail, Series, State
from flowtrail.ui.address import Address
from flowtrail.ui.components.elements import Spark
from flowtrail.ui.components.format import count, duration, in_words, number, rate, share, time_span
from flowtrail.ui.components.markup import (
    badge,
    copy_button,
    el,
    icon,
    link,
    moment,
    notice,
    page_head,
    reference,
)
from flowtrail.ui.components.scene import broken_nodes, trouble
from flowtrail.ui.components.states import is_bad, look_of
from flowtrail.ui.source import Source

from .view import View

MOST_CARDS = 8


def page(address: Address, source: Source, now_ms: float) -> View:
    """What is broken, worst first; "Nothing is broken"; or the first steps."""
    window = address.window(now_ms)
    graph = source.graph(window)
    if not graph.nodes:
        return View("Start", empty(address, source))
    broken = broken_nodes(graph)
    if not broken:
        return View("Nothing is broken", el("div", _calm(graph, address), cls="page"))
    cards = [_problem(node, _detail(source, node.id), address, now_ms) for node in broken[:MOST_CARDS]]
    things = "thing is" if len(broken) == 1 else "things are"
    more = len(broken) - len(cards)
    return View(
        f"{number(len(broken))} broken",
        el(
            "div",
            page_head(
                f"{in_words(len(broken))} {things} broken",
                f"Worst first. {window.label}.",
                link("All flows that failed", href=address.to("flows", state=State.FAILED), cls="btn"),
            ),
            *cards,
            notice(f"{number(more)} more are marked on the map.") if more > 0 else None,
            _quiet(graph, address),
            cls="page",
        ),
    )


def empty(address: Address, source: Source) -> Component:
    """No node is known: nothing ever came, or not within the time that is asked for."""
    health = source.health()
    if health.stored_spans == 0:
        return _first_steps(source.api_url, health.received_requests)
    return el(
        "div",
        el(
            "div",
            el("h1", "Nothing happened in this time"),
            el("p", f"{number(health.stored_spans)} spans are stored; none of them falls into it."),
            el("p", link("Look at the last 24 h", href=address.here(from_="-24h", to=None))),
            cls="card calm",
        ),
        cls="page",
    )


def _detail(source: Source, node_id: str) -> NodeDetail | None:
    """The node's series and example; the card does without them while, or where, the collector cannot tell them."""
    try:
        return source.node(node_id)
    except CollectorError:
        return None


def _problem(node: Node, detail: NodeDetail | None, address: Address, now_ms: float) -> Component:
    look = look_of(node.state, node.tone)
    on_map = address.to("map", select=node.id)
    since = None
    if node.since_ms is not None:
        since = el("span", "since ", moment(node.since_ms), f" · {duration(max(0.0, now_ms - node.since_ms))}")
    series = _telling(detail.series, node) if detail else None
    example = detail.example_flow if detail else None
    return el(
        "article",
        el(
            "div",
            el("div", badge(node.state, node.tone), since, reference(node.kind, node.name), cls="problem-line"),
            el("h2", link(trouble(node), href=on_map, cls="")),
            el("p", detail.error, cls="cause mono") if detail and detail.error else None,
        ),
        el("dl", *_facts(node), cls="facts"),
        el(
            "div",
            el(
                "div",
                Spark(values=[p.value for p in series.points], width=212, height=54, tone=look.tone, label=series.name),
                el(
                    "div",
                    el("span", f"{series.name}, {series.unit}"),
                    el("span", time_span((p.time_ms, p.value) for p in series.points)),
                    cls="cap",
                ),
            )
            if series
            else None,
            link(el("span", "for example"), example.title, icon("next", 12), href=address.to("flow", example.id))
            if example
            else None,
            cls="problem-side",
        ),
        cls=f"card problem tone-{look.tone}",
    )


def _facts(node: Node) -> list[Component]:
    facts = [("events", rate(node.rate_per_s))]
    if node.errors:
        facts.append(("failed", f"{number(node.errors)} ({share(node.error_share)})"))
    if node.lag is not None:
        facts.append(("lag", number(node.lag)))
    if node.p95_ms is not None and len(facts) < 3:
        facts.append(("p95", duration(node.p95_ms)))
    return [part for name, value in facts for part in (el("dt", name), el("dd", value))]


def _telling(series: list[Series], node: Node) -> Series | None:
    """The series that shows the trouble: failures of what fails, the lag of what stands, else the events."""
    order = ("failed", "handled", "lag") if node.errors else ("lag", "handled")
    by_name = {s.name: s for s in series if sum(p.value is not None for p in s.points) > 1}
    return next((by_name[name] for name in order if name in by_name), None)


def _calm(graph: Graph, address: Address) -> Component:
    kinds = [node.kind for node in graph.nodes]
    seen = ", ".join(count(kinds.count(kind), kind) for kind in ("service", "topic", "group") if kind in kinds)
    return el(
        "div",
        el("div", icon("check", 22), cls="calm-mark"),
        el("h1", "Nothing is broken"),
        el("p", f"{seen}: all of them work."),
        el("p", link("See them on the map", href=address.to("map"))),
        cls="card calm",
    )


def _quiet(graph: Graph, address: Address) -> Component:
    parts = []
    for kind in ("service", "topic", "group"):
        nodes = [node for node in graph.nodes if node.kind == kind]
        well = sum(not is_bad(node.tone) for node in nodes)
        if nodes:
            parts.append(f"{number(well)} of {count(len(nodes), kind)}")
    return el(
        "div",
        icon("check", 14, "tone-ok"),
        el("span", el("b", "Quiet: "), f"{', '.join(parts)} neither fail nor stand still."),
        link("See them on the map", href=address.to("map")),
        cls="card quiet-line",
    )


_PROGRAM = """\
from kafka import KafkaConsumer
import flowtrail

flowtrail.instrument(service="payments")        # clients that exist are traced too
consumer = KafkaConsumer("orders", group_id="payments-workers")

for record in flowtrail.processing(consumer):   # one span for each event
    charge(record.value)"""


def _first_steps(api_url: str, received_requests: int) -> Component:
    endpoint = f"http://{urlsplit(api_url).hostname or '127.0.0.1'}:4318"
    waiting = "Waiting for the first span."
    if received_requests:
        waiting = f"{count(received_requests, 'request')} arrived; waiting for the first span to be stored."
    return el(
        "div",
        el("h1", "No events yet"),
        el("p", "Flowtrail listens. Connect one service and its events appear here within a few seconds.", cls="sub"),
        el(
            "div",
            _step(
                1,
                "Install the tracer in a service",
                el("p", "In a clone of Flowtrail, with the Python of the service:"),
                _code("pip install ."),
            ),
            _step(
                2,
                "Wrap its Kafka clients",
                el("p", "Clients stay what they are; each record that is sent gets a header, traceparent."),
                _code(_PROGRAM),
            ),
            _step(
                3,
                "Point it here and start it",
                _code(f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint} python payments.py"),
                el(
                    "p", "4318 is the collector's usual port for OTLP over HTTP; the collector prints its own at start."
                ),
                el("div", el("i"), el("span", el("b", waiting)), cls="wait", role="status"),
            ),
            cls="card",
        ),
        el(
            "div",
            el("span", "Just looking?"),
            el("code", "flowtrail demo", cls="mono"),
            el("span", "starts six services on an embedded broker, with faults."),
            cls="card quiet-line",
        ),
        cls="page first",
    )


def _step(n: int, title: str, *parts: Component) -> Component:
    return el("section", el("div", str(n), cls="step-n"), el("div", el("h2", title), *parts), cls="step")


def _code(text: str) -> Component:
    return el("div", el("pre", el("code", text)), copy_button(text, ""), cls="code")
