"""What a row of a flow's timeline says when it is chosen: a span's attributes, events and links, a hop's evidence."""

from dash.development.base_component import Component

from flowtrail.client import Attempt, Flow, Hop, Span, SpanEvent, SpanLink, State
from flowtrail.ui.address import Address
from flowtrail.ui.components.format import duration
from flowtrail.ui.components.markup import badge, copy_button, el, icon, link, moment, nothing, reference
from flowtrail.ui.components.timeline import aborted_sends, is_unfinished, kafka_id, was_in_kafka


def panel(flow: Flow, address: Address, now_ms: float) -> Component | None:
    """The details of the row that the address names; None when it names none."""
    row = address.get("row")
    if not row:
        return None
    close = link(icon("close"), href=address.here(row=None), cls="panel-close", title="Close (Esc)")
    span = next((span for span in flow.spans if span.span_id == row), None)
    if span is not None:
        return _span(span, flow, address, close)
    hop = next((hop for hop in flow.hops if kafka_id(hop) == row), None)
    if hop is not None:
        return _hop(hop, flow, address, now_ms, close)
    return el("div", el("div", close, nothing("This row is not in the flow"), cls="panel-head"), cls="panel")


def _span(span: Span, flow: Flow, address: Address, close: Component) -> Component:
    facts: list[tuple[str, Component | str]] = [
        ("Service", reference("service", span.service, address.to("map", select=f"service:{span.service}"))),
        ("Began", moment(span.start_ms, precise=True)),
        ("Took", "not finished" if is_unfinished(span) else duration(span.duration_ms)),
    ]
    if span.group:
        facts.append(("Group", reference("group", span.group, address.to("lag", span.group))))
    above = next((s for s in flow.spans if s.span_id == span.parent), None) if span.parent else None
    if above is not None:
        facts.append(("Caused by", link(above.name, href=address.here(row=above.span_id))))
    return el(
        "div",
        el(
            "div",
            el("span", f"{span.operation or span.kind} span", cls="dimmed"),
            el("h2", span.name, cls="break"),
            badge(State.ABORTED if span.span_id in aborted_sends(flow) else State.FAILED) if span.is_error else None,
            close,
            cls="panel-head",
        ),
        el("section", el("p", span.error, cls="mono why")) if span.error else None,
        _facts(facts),
        _links("Links to", span.links, flow, address),
        _links("Linked from", span.linked_from, flow, address),
        _events(span.events),
        _attributes(span.attributes),
        el("section", copy_button(span.trace_id, "Trace id"), copy_button(span.span_id, "Span id"), cls="panel-ways"),
        cls="panel",
    )


def _hop(hop: Hop, flow: Flow, address: Address, now_ms: float, close: Component) -> Component:
    sender = next((e for e in flow.events if e.coordinates == hop.coordinates), None)
    facts: list[tuple[str, Component | str]] = [("Event", str(hop.coordinates))]
    if sender is not None and sender.producer:
        said = link(sender.producer, href=address.here(row=sender.span_id)) if sender.span_id else sender.producer
        facts.append(("Sent by", said))
    if sender is not None and sender.key:
        facts.append(("Key", sender.key))
    if hop.sent_ms is not None:
        facts.append(("Sent", moment(hop.sent_ms, precise=True)))
    if hop.sent_ms is not None and was_in_kafka(hop):
        waits = duration(max(0.0, now_ms - hop.sent_ms)) if hop.in_kafka_ms is None else duration(hop.in_kafka_ms)
        facts.append(("Lies in Kafka for" if hop.in_kafka_ms is None else "Was in Kafka for", waits))
    if hop.group:
        facts.append(("Group", reference("group", hop.group, address.to("lag", hop.group))))
    if hop.processing_ms is not None:
        facts.append(("Processing", duration(hop.processing_ms)))
    evidence = [el("li", el("span", fact.kind, cls="evidence-kind"), el("span", fact.text)) for fact in hop.evidence]
    return el(
        "div",
        el(
            "div",
            el("span", "event and group", cls="dimmed"),
            el("h2", f"{hop.coordinates} → {hop.group or 'no group'}", cls="break"),
            badge(hop.state, hop.tone),
            close,
            cls="panel-head",
        ),
        el("section", el("p", hop.sentence), el("p", hop.error, cls="mono why") if hop.error else None),
        _facts(facts),
        el("section", el("h3", "Attempts"), el("ul", *(_attempt(a, flow, address) for a in hop.attempts)))
        if hop.attempts
        else None,
        el("section", el("h3", "Evidence"), el("ul", *evidence, cls="evidence")) if evidence else None,
        el("section", el("h3", "Not known"), el("ul", *(el("li", text) for text in hop.missing), cls="evidence"))
        if hop.missing
        else None,
        el("section", copy_button(str(hop.coordinates), "Coordinates"), cls="panel-ways"),
        cls="panel",
    )


def _attempt(attempt: Attempt, flow: Flow, address: Address) -> Component:
    took = None
    if attempt.started_ms is not None and attempt.ended_ms is not None:
        took = duration(attempt.ended_ms - attempt.started_ms)
    words = f"{attempt.number}. {attempt.service or 'a member'}"
    known = attempt.span_id is not None and any(span.span_id == attempt.span_id for span in flow.spans)
    return el(
        "li",
        link(words, href=address.here(row=attempt.span_id)) if known else el("span", words),
        el("span", attempt.error or took or "not ended", cls="tone-fail break" if attempt.error else "dimmed"),
    )


def _facts(facts: list[tuple[str, Component | str]]) -> Component:
    return el("section", el("dl", *(p for name, value in facts for p in (el("dt", name), el("dd", value))), cls="kv"))


def _links(title: str, links: list[SpanLink], flow: Flow, address: Address) -> Component | None:
    """Links within the flow choose the span; those that lead out open the other flow."""
    if not links:
        return None
    names = {span.span_id: span.name for span in flow.spans}
    lines = []
    for to in links:
        inside = to.span_id in names
        text = names[to.span_id] if inside else f"another flow, trace {to.trace_id[:8]}…"
        href = address.here(row=to.span_id) if inside else address.to("flow", to.trace_id, row=to.span_id)
        what = to.attributes.get("messaging.destination.name")
        lines.append(el("li", link(text, href=href), el("span", what, cls="dimmed") if what else None))
    return el("section", el("h3", title), el("ul", *lines))


def _events(events: list[SpanEvent]) -> Component | None:
    if not events:
        return None
    lines = [
        el("div", el("p", el("b", event.name), " ", moment(event.time_ms, precise=True)), _table(event.attributes))
        for event in events
    ]
    return el("section", el("h3", "Events"), *lines)


def _attributes(attributes: dict[str, str]) -> Component | None:
    return el("section", el("h3", "Attributes"), _table(attributes)) if attributes else None


def _table(attributes: dict[str, str]) -> Component | None:
    if not attributes:
        return None
    pairs = sorted(attributes.items())
    return el("dl", *(p for name, value in pairs for p in (el("dt", name), el("dd", value))), cls="attributes")
