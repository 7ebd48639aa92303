"""The flow search: by business key, attribute, trace id or coordinates; by topic, service and state."""

from dash.development.base_component import Component

from flowtrail.client import CollectorError, FlowList, FlowSummary, State
from flowtrail.ui.address import DEFAULT_RANGE, SEARCH_RANGE, Address, Window
from flowtrail.ui.components.elements import Choice
from flowtrail.ui.components.format import count, duration, number
from flowtrail.ui.components.markup import badge, el, link, moment, nothing, notice, page_head
from flowtrail.ui.components.states import look_of
from flowtrail.ui.source import Source

from .view import View

STATES = (
    State.FAILED,
    State.DEAD_LETTERED,
    State.CRASHED,
    State.NOT_SENT,
    State.NO_MEMBER,
    State.STALLED,
    State.RETRYING,
    State.WAITING,
    State.IN_FLIGHT,
    State.UNCONSUMED,
    State.ABORTED,
    State.SKIPPED,
    State.EXPIRED,
    State.UNINSTRUMENTED,
    State.UNKNOWN,
    State.COMPLETE,
)


def page(address: Address, source: Source, now_ms: float) -> View:
    """The flows that match, latest first."""
    q = address.get("q")
    window = address.window(now_ms, SEARCH_RANGE if q else DEFAULT_RANGE)
    found = source.flows(q, address.get("topic"), address.get("service"), address.get("state"), window)
    title = f"Flows with {q}" if q else "Flows"
    return View(
        title,
        el(
            "div",
            page_head(title, _examined(found, window), _filters(address, source, window)),
            notice("More flows may match than were looked at: narrow the time or the filters.")
            if found.truncated
            else None,
            _list(found, address, now_ms) if found.flows else _none(address, q, window),
            cls="page",
        ),
    )


def _examined(found: FlowList, window: Window) -> str:
    words = f"{count(len(found.flows), 'flow')}, latest first. {window.label}"
    return f"{words}; {number(found.examined)} were looked at." if found.examined else f"{words}."


def _filters(address: Address, source: Source, window: Window) -> Component:
    """Choices of what is known; what the address asks for is always among them."""
    try:
        nodes = source.graph(window).nodes
    except CollectorError:
        nodes = []
    choices = []
    for name, label in (("topic", "Topic"), ("service", "Service")):
        chosen = address.get(name)
        names = {node.name for node in nodes if node.kind == name} | ({chosen} if chosen else set())
        options = [["", f"every {name}"], *([n, n] for n in sorted(names))]
        choices.append(Choice(id=f"choose-{name}", name=name, label=label, value=chosen or "", options=options))
    states = [["", "every state"], *([s, look_of(s).word] for s in STATES)]
    chosen = address.get("state")
    choices.append(Choice(id="choose-state", name="state", label="State", value=chosen or "", options=states))
    return el("div", *choices, cls="filters")


def _list(found: FlowList, address: Address, now_ms: float) -> Component:
    head = el(
        "div",
        *(el("span", word) for word in ("State", "Flow", "What happened", "Way")),
        *(el("span", word, cls="num") for word in ("Took", "Began")),
        cls="flow-row list-head",
    )
    return el("div", head, *(_row(flow, address, now_ms) for flow in found.flows), cls="card rows")


def _row(flow: FlowSummary, address: Address, now_ms: float) -> Component:
    calm = flow.state in (State.COMPLETE, State.PROCESSED)
    services = f"{count(flow.events, 'event')} · {', '.join(flow.services)}"
    return link(
        badge(flow.state, flow.tone),
        el("span", el("b", flow.title), cls="flow-title", title=flow.title),
        el("span", flow.sentence, cls="reason", title=flow.sentence),
        el("span", services, cls="dimmed way", title=services),
        el("span", duration(flow.duration_ms), cls="num"),
        el("span", moment(flow.began_ms, now_ms), cls="num began"),
        href=address.to("flow", flow.id),
        cls="flow-row" + (" calm-row" if calm else ""),
    )


def _none(address: Address, q: str | None, window: Window) -> Component:
    wider = [("Look at the last 24 h", "-24h"), ("Look at the last 7 d", "-7d")]
    ways = [link(text, href=address.here(from_=back, to=None)) for text, back in wider if back != window.key]
    forms = "A search finds a record key, attribute=value, a trace id, or topic/partition/offset, each written in full."
    filtered = any(address.get(name) for name in ("topic", "service", "state"))
    if filtered:
        ways.append(link("Without the filters", href=address.here(topic=None, service=None, state=None)))
    what = f"No flow with {q}" if q else "No flow matches" if filtered else "No flow"
    return nothing(
        f"{what} in this time",
        el("p", forms) if q else None,
        el("p", *(el("span", way, cls="way-on") for way in ways)),
    )
