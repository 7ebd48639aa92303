"""One flow: the verdict first, then the way it took, the failing path hop by hop, and the timeline."""

from typing import Any, Final

import dash_ag_grid
from dash.development.base_component import Component

from flowtrail.client import Flow, Hop, NotFound, State, Tone, Verdict
from flowtrail.ui.address import Address
from flowtrail.ui.components.axis import Axis
from flowtrail.ui.components.elements import Plan
from flowtrail.ui.components.format import count, duration, number
from flowtrail.ui.components.markup import (
    badge,
    card_head,
    copy_button,
    el,
    icon,
    link,
    moment,
    notice,
    place,
    reference,
    tabs,
)
from flowtrail.ui.components.plan import PlanScene
from flowtrail.ui.components.plan import build as build_plan
from flowtrail.ui.components.states import look_of
from flowtrail.ui.components.timeline import ROWS, Timeline, kafka_id, make_timeline, was_in_kafka
from flowtrail.ui.source import LARGE_FLOW_SPANS, Source

from .flow_panel import panel
from .view import View

MOST_HOPS: Final = 6
ROW_PX: Final = 30
LONG_PLAN_PX: Final = 800  # a longer plan gets the whole width, below the verdict
HEAD_PX: Final = 46
MOST_ROWS_WHOLE: Final = 150  # a longer timeline scrolls in itself
SETTLED_MS: Final = 60_000  # after this long without a new span a flow is not asked for again
_UNDER_WAY: Final = frozenset(
    {State.IN_FLIGHT, State.WAITING, State.RETRYING, State.STALLED, State.NO_MEMBER, State.UNKNOWN}
)


def page(address: Address, source: Source, now_ms: float) -> View:
    """The flow that the address names by its id or by any of its trace ids."""
    flow_id = address.path[1] if len(address.path) > 1 else ""
    try:
        flow = source.flow(flow_id)
    except NotFound as error:
        return View("Unknown flow", _unknown(flow_id, str(error), address))
    last_ms = flow.ended_ms or max((s.start_ms + s.duration_ms for s in flow.spans), default=flow.began_ms)
    moves = flow.verdict.state in _UNDER_WAY or now_ms - last_ms < SETTLED_MS
    return View(
        flow.title,
        lambda: _main(flow, address, now_ms),
        panel(flow, address, now_ms),
        is_live=moves and len(flow.spans) < LARGE_FLOW_SPANS,
    )


def _main(flow: Flow, address: Address, now_ms: float) -> Component:
    default = "path" if any(hop.on_failing_path for hop in flow.hops) else "all"
    show = address.one_of("rows", ROWS, default)
    timeline = make_timeline(flow, show, folded=address.get("gaps") != "unfolded")
    plan = build_plan(flow)
    return el(
        "div",
        _crumbs(flow, address, now_ms),
        *_notices(flow),
        el(
            "div",
            _verdict(flow, address, now_ms),
            _plan(flow, plan, address),
            cls="flow-top flow-top-long" if plan["w"] > LONG_PLAN_PX else "flow-top",
        ),
        _story(flow, address),
        _timeline(flow, timeline, show, address),
        cls="page page-wide",
    )


def _unknown(flow_id: str, reason: str, address: Address) -> Component:
    return el(
        "div",
        el(
            "div",
            el("h1", "This flow is not known"),
            el("p", f"{flow_id}: no span of it is stored.", cls="break"),
            el("p", reason, cls="dimmed"),
            el(
                "p",
                "It may still be on its way (a service sends its spans every few seconds), its spans may have been "
                "removed by the retention time, or the id is incomplete: a trace id has 32 hexadecimal digits.",
            ),
            el(
                "p", link("Search for it", href=address.to("flows", q=flow_id)), " · ", link("All flows", href="/flows")
            ),
            cls="card calm",
        ),
        cls="page",
    )


def _crumbs(flow: Flow, address: Address, now_ms: float) -> Component:
    facts = [count(len(flow.spans), "span"), count(len(flow.events), "event"), count(len(flow.trace_ids), "trace id")]
    return el(
        "nav",
        link("Flows", href=address.to("flows"), cls=""),
        el("span", "/"),
        el("span", flow.title),
        el("span", f"· {', '.join(facts)} · began "),
        moment(flow.began_ms, now_ms),
        copy_button(flow.id, "Flow id"),
        cls="crumbs",
        aria_label="where you are",
    )


def _notices(flow: Flow) -> list[Component]:
    notices = [notice(f"The flow goes on beyond what is shown. {flow.bounds}", tone="slow")] if flow.truncated else []
    notices.extend(notice("The trail is broken: ", gap, tone="slow") for gap in flow.gaps)
    if flow.causes:
        events = ", ".join(str(cause) for cause in flow.causes[:5])
        notices.append(notice(f"A batch led here together with events of other flows: {events}."))
    return notices


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────────


def _verdict(flow: Flow, address: Address, now_ms: float) -> Component:
    verdict = flow.verdict
    when = moment(verdict.time_ms, now_ms) if verdict.time_ms is not None else None
    return el(
        "article",
        el("div", badge(verdict.state, verdict.tone), when, cls="verdict-line"),
        el("h1", verdict.sentence),
        el("p", verdict.consequence, cls="lead") if verdict.consequence else None,
        el("dl", *_proof(verdict, address), cls="proof"),
        _next(verdict) if verdict.next_step else None,
        _evidence(verdict),
        cls=f"card verdict tone-{verdict.tone}",
    )


def _proof(verdict: Verdict, address: Address) -> list[Component]:
    lines: list[tuple[str, list[Component | str | None]]] = []
    at = verdict.coordinates
    if at is not None and verdict.state is not State.COMPLETE:
        group = verdict.hop_group
        lines.append(
            (
                "First failure" if verdict.tone is Tone.FAIL else "Where",
                [
                    place(at, address.to("map", select=f"topic:{at.topic}")),
                    icon("next", 12, "dimmed") if group else None,
                    reference("group", group, address.to("lag", group)) if group else None,
                    el("span", f"attempt {verdict.attempt}", cls="dimmed") if (verdict.attempt or 1) > 1 else None,
                ],
            )
        )
    if verdict.error:
        lines.append(("Error", [el("span", verdict.error, cls="mono break")]))
    if verdict.last_good is not None:
        service = verdict.last_good_service
        lines.append(
            (
                "Last good hop",
                [
                    reference("service", service, address.to("map", select=f"service:{service}")) if service else None,
                    icon("next", 12, "dimmed") if service else None,
                    place(verdict.last_good),
                ],
            )
        )
    lines.extend(("Not known", [missing]) for missing in verdict.missing)
    return [part for name, value in lines for part in (el("dt", name), el("dd", *value))]


def _next(verdict: Verdict) -> Component:
    at = verdict.coordinates
    copied = copy_button(str(at), "Coordinates") if at is not None and at.offset is not None else None
    return el("div", el("b", "Next"), el("p", verdict.next_step), copied, cls="do")


def _evidence(verdict: Verdict) -> Component | None:
    if not verdict.evidence:
        return None
    facts = [
        el(
            "li",
            el("span", fact.kind, cls="evidence-kind"),
            el("span", fact.text),
            moment(fact.time_ms) if fact.time_ms is not None else None,
        )
        for fact in verdict.evidence
    ]
    return el("details", el("summary", f"Evidence ({len(facts)})"), el("ul", *facts, cls="evidence"), cls="more")


# ── the way ─────────────────────────────────────────────────────────────────────────────────────────────────


def _plan(flow: Flow, scene: PlanScene, address: Address) -> Component:
    first = flow.hops[0].coordinates.topic if flow.hops else None
    broken = f"topic:{flow.verdict.hop_topic}" if flow.verdict.hop_topic else f"topic:{first}" if first else None
    on_map = link("On the map", href=address.to("map", focus=broken, depth="2")) if broken else None
    return el(
        "section",
        card_head("The way it took", on_map),
        Plan(scene=scene, label=f"the way of this flow over {', '.join(flow.services)}"),
        notice(f"{number(scene['left_out'])} more places are left out.") if scene["left_out"] else None,
        cls="card flow-map",
    )


def _story(flow: Flow, address: Address) -> Component | None:
    path = [hop for hop in flow.hops if hop.on_failing_path]
    if not path:
        return None
    shown = path if len(path) <= MOST_HOPS else [*path[: MOST_HOPS - 2], path[-1]]
    given_up = [hop.id for hop in path if hop.state is State.DEAD_LETTERED]
    tries = {hop_id: n for n, hop_id in enumerate(given_up, 1) if n > 1}
    cards = [_hop(hop, address, tries.get(hop.id)) for hop in shown]
    if len(shown) < len(path):
        left_out = f"{number(len(path) - len(shown))} more hops of the failing path"
        cards.insert(-1, el("div", link(left_out, href=address.here(rows="path")), cls="hop hop-more"))
    return el("section", *cards, cls="card story", aria_label="the failing path, hop by hop")


def _hop(hop: Hop, address: Address, again: int | None) -> Component:
    """A hop's card. `again`: the number of this attempt of an event that was sent again until it was given up."""
    loud = "fail" if hop.tone is Tone.FAIL else "work"
    working = None
    if hop.processing_ms is not None:
        working = el("span", el("i", cls=f"i-{loud}"), duration(hop.processing_ms))
    waited = "still there" if hop.in_kafka_ms is None else duration(hop.in_kafka_ms)
    in_kafka = el("span", el("i", cls="i-kafka"), waited, title="in Kafka") if was_in_kafka(hop) else None
    attempt = hop.attempts[-1].number if len(hop.attempts) > 1 else again
    tries = f"attempt {attempt}" if attempt else None
    return link(
        el(
            "span",
            reference("topic", hop.coordinates.topic),
            badge(State.FAILED if again else hop.state, hop.tone),
            cls="hop-who",
        ),
        reference("group", hop.group) if hop.group else el("span", "no group", cls="ref dimmed"),
        el("span", hop.error or hop.sentence, cls="hop-what"),
        el("span", in_kafka, working, el("span", tries) if tries else None, cls="hop-times"),
        href=address.here(row=kafka_id(hop)),
        cls=f"hop tone-{look_of(hop.state, hop.tone).tone}",
    )


# ── the timeline ────────────────────────────────────────────────────────────────────────────────────────────


def _timeline(flow: Flow, timeline: Timeline, show: str, address: Address) -> Component:
    choices = [(f"All {number(timeline.total)}", "all")]
    if timeline.on_path:
        choices.insert(0, ("Failing path", "path"))
    if timeline.failed:
        choices.append((f"Only failed {number(timeline.failed)}", "failed"))
    legend = [("kafka", "in Kafka"), ("work", "processing"), ("send", "send"), ("call", "call"), ("fail", "failed")]
    unfolded = address.get("gaps") == "unfolded"
    fold = link(
        "Fold gaps" if unfolded else "Unfold gaps",
        href=address.here(gaps=None if unfolded else "unfolded"),
        cls="btn btn-small",
    )
    tools = el(
        "div",
        el("h2", "Timeline"),
        tabs([(text, address.here(rows=value), value == show) for text, value in choices], "rows"),
        el("div", *(el("span", el("i", cls=f"i-{k}"), w, cls="legend-item") for k, w in legend), cls="legend"),
        el("span", el("kbd", "e"), " next error", cls="dimmed wide push") if timeline.failed else None,
        fold if unfolded or timeline.axis.folds else None,
        cls="card-head wf-tools",
    )
    whole = len(timeline.rows) <= MOST_ROWS_WHOLE
    body = _grid(timeline, whole) if timeline.rows else el("p", "No row failed.", cls="none")
    return el("section", tools, body, cls="card wf" + (" wf-whole" if whole else ""), aria_label="timeline")


def _grid(timeline: Timeline, whole: bool) -> Component:
    height = f"{HEAD_PX + ROW_PX * len(timeline.rows) + 4}px" if whole else "calc(100vh - 150px)"
    columns = [
        {"field": "name", "headerName": "What happened", "cellRenderer": "FtName", "width": 432},
        {"field": "where", "headerName": "Where", "cellRenderer": "FtWhere", "width": 200},
        {"field": "took", "headerName": "Took", "width": 92, "cellClass": "cell-took", "headerClass": "head-took"},
        {
            "field": "x0",
            "headerName": "",
            "cellRenderer": "FtBar",
            "flex": 1,
            "minWidth": 420,
            "cellClass": "cell-bar",
            "headerClass": "head-bar",
            "headerComponent": "FtAxis",
            "cellRendererParams": _axis(timeline.axis),
        },
    ]
    grid: Component = dash_ag_grid.AgGrid(
        id="timeline",
        rowData=timeline.rows,
        columnDefs=columns,
        getRowId="params.data.id",
        style={"height": height},
        defaultColDef={"sortable": False, "suppressMovable": True, "resizable": True},
        rowClassRules={"row-failed": "params.data.tone === 'fail'"},
        dashGridOptions={
            "rowHeight": ROW_PX,
            "headerHeight": HEAD_PX,
            "suppressCellFocus": True,
            "animateRows": False,
            "rowBuffer": 20,
            "suppressColumnVirtualisation": True,
        },
    )
    return grid


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "folds": [
            {"x0": f.x0, "x1": f.x1, "label": text} for f, text in zip(axis.folds, axis.fold_labels(), strict=True)
        ],
        "ticks": [{"x": round(t.x, 3), "label": t.label} for t in axis.ticks() if t.label],
        "clocks": [{"x": round(t.x, 3), "ms": t.clock_ms} for t in axis.clocks()],
    }
