"""One group's lag, partition by partition."""

from dash.development.base_component import Component

from flowtrail.client import GroupLag, NotFound, PartitionLag
from flowtrail.ui.address import Address
from flowtrail.ui.components.elements import Chart
from flowtrail.ui.components.format import THIN, count, duration, number, rate, time_span
from flowtrail.ui.components.markup import badge, card_head, el, link, moment, reference
from flowtrail.ui.components.states import is_bad, look_of
from flowtrail.ui.source import Source

from .lag import to_drain
from .view import View


def page(address: Address, source: Source, now_ms: float) -> View:
    """The group that the address names."""
    name = address.path[1]
    try:
        group = source.group_lag(name)
    except NotFound as error:
        return View("Unknown group", _unknown(name, str(error), address))
    look = look_of(group.state, group.tone)
    return View(
        name,
        el(
            "div",
            el(
                "nav",
                link("Lag", href=address.to("lag"), cls=""),
                el("span", "/"),
                reference("group", name),
                cls="crumbs",
                aria_label="where you are",
            ),
            el(
                "article",
                el("div", badge(group.state, group.tone), cls="verdict-line"),
                el(
                    "h1",
                    f"{name}: {group.reason[:1].lower()}{group.reason[1:]}"
                    if group.reason
                    else f"{name} is {look.word}",
                ),
                el("p", _reads(group), cls="lead"),
                cls=f"card verdict tone-{look.tone}",
            ),
            el("div", *_tiles(group), cls="card tiles"),
            el(
                "div",
                el("div", _chart(group, now_ms), _partitions(group, now_ms)),
                el("aside", _drain(group), _event(group, address), _ways(group, address), cls="side"),
                cls="group-grid",
            ),
            cls="page",
        ),
    )


def _unknown(name: str, reason: str, address: Address) -> Component:
    return el(
        "div",
        el(
            "div",
            el("h1", f"No group {name}"),
            el("p", reason, cls="dimmed"),
            el("p", link("All groups", href=address.to("lag"))),
            cls="card calm",
        ),
        cls="page",
    )


def _reads(group: GroupLag) -> str:
    members = "the broker lists no members" if group.members is None else count(group.members, "member")
    by = f" for {group.service}" if group.service else ""
    return f"It reads {', '.join(group.topics) or 'no known topic'}{by}; {members}."


def _tiles(group: GroupLag) -> list[Component]:
    without = f"; {count(group.no_commit, 'partition')} without a commit" if group.no_commit else ""
    tiles = [
        ("Committed lag", number(group.lag), f"end of log − last commit{without}"),
        ("Oldest unprocessed", duration(group.oldest_ms), "where a span tells when it was sent"),
        ("Consumed", rate(group.consumed_per_s), "commits that moved on"),
        ("Produced", rate(group.produced_per_s), "to the topics that it reads"),
    ]
    return [
        el(
            "div",
            el("div", label, cls="tile-label"),
            el("div", value, cls="tile-value"),
            el("div", note, cls="tile-note"),
            cls="tile",
        )
        for label, value, note in tiles
    ]


def _chart(group: GroupLag, now_ms: float) -> Component:
    points = [[point.time_ms, point.value] for point in group.trend.points]
    behind = [p for p in group.partitions if p.lag and p.committed_at_ms is not None]
    moved = max(behind, key=lambda p: p.lag or 0).committed_at_ms if behind else None
    tone = look_of(group.state, group.tone).tone if is_bad(group.tone) else "quiet"
    marks = [{"ms": moved, "label": "last commit", "tone": tone}] if moved is not None and is_bad(group.tone) else []
    seen = [point for point in group.trend.points if point.value is not None]
    body: Component = (
        Chart(points=points, height=228, tone=tone, label=f"committed lag of {group.group}", marks=marks)
        if seen
        else el("p", "The lag was not seen yet; the poller looks every few seconds.", cls="none")
    )
    return el(
        "section",
        card_head(
            f"Lag, {time_span((p.time_ms, p.value) for p in group.trend.points)}", el("span", "in events", cls="dimmed")
        ),
        body,
        cls="card gap-below",
    )


def _partitions(group: GroupLag, now_ms: float) -> Component:
    most = max((p.lag or 0 for p in group.partitions), default=0)
    head = [el("th", word, scope="col") for word in ("Partition",)]
    head += [el("th", word, cls="num", scope="col") for word in ("Committed", "End of log", "Lag", "Lost")]
    head += [el("th", word, scope="col") for word in ("Last moved", "Share of the lag")]
    rows = [_partition(p, group, most, now_ms) for p in group.partitions]
    table = el("table", el("thead", el("tr", *head)), el("tbody", *rows), cls="table")
    body = el("div", table, cls="scroll") if rows else el("p", "No partition is known.", cls="none")
    return el("section", card_head("Partitions"), body, cls="card")


def _partition(p: PartitionLag, group: GroupLag, most: int, now_ms: float) -> Component:
    tone = look_of(group.state, group.tone).tone if is_bad(group.tone) and p.lag == most and most else "quiet"
    bar = el("span", cls=f"lagbar tone-{tone}", style={"width": f"{(p.lag or 0) / most * 140:.0f}px"}) if most else None
    moved = moment(p.committed_at_ms, now_ms) if p.committed_at_ms is not None else "–"
    return el(
        "tr",
        el("td", f"{p.topic}/{p.partition}"),
        el("td", number_whole(p.committed), cls="num"),
        el("td", number_whole(p.log_end), cls="num"),
        el("td", number(p.lag), cls="num"),
        el("td", number(p.lost), cls="num" + (" tone-fail" if p.lost else "")),
        el("td", moved),
        el("td", bar),
    )


def number_whole(offset: int | None) -> str:
    """An offset: all its digits, grouped; never `1.9 M`."""
    return number(None) if offset is None else f"{offset:,}".replace(",", THIN)


def _drain(group: GroupLag) -> Component:
    drain = to_drain(group)
    words = f"It consumes {rate(group.consumed_per_s)} and {rate(group.produced_per_s)} arrive."
    if group.time_to_drain_ms is None and drain != "never":
        words += " That is not enough to tell when it will have caught up."
    big = "never, as it stands" if drain == "never" else drain
    return el("section", card_head("Time to drain"), el("div", big, cls="big"), el("p", words), cls="card")


def _event(group: GroupLag, address: Address) -> Component | None:
    """The next event of the partition that lags most: the one that a stuck group stands on."""
    behind = [p for p in group.partitions if p.lag and p.committed is not None]
    if not behind or not is_bad(group.tone):
        return None
    worst = max(behind, key=lambda p: p.lag or 0)
    at = f"{worst.topic}/{worst.partition}/{worst.committed}"
    return el(
        "section",
        card_head("The event it stands on"),
        el("p", link(at, href=address.to("flows", q=at, from_="-7d")), " is the next that it has to process."),
        cls="card",
    )


def _ways(group: GroupLag, address: Address) -> Component:
    topic = group.topics[0] if group.topics else None
    return el(
        "section",
        card_head("Ways on"),
        el(
            "p",
            link("On the map", href=address.to("map", select=f"group:{group.group}"), cls="btn btn-small"),
            link("Flows over its topic", href=address.to("flows", topic=topic), cls="btn btn-small") if topic else None,
            cls="panel-ways",
        ),
        cls="card",
    )
