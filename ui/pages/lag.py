"""How far each group lags: all groups, worst first."""

from typing import Final

from dash.development.base_component import Component

from flowtrail.client import GroupLag, LagList, Tone
from flowtrail.ui.address import Address
from flowtrail.ui.components.elements import Spark
from flowtrail.ui.components.format import count, duration, in_words, number, time_span
from flowtrail.ui.components.markup import badge, el, link, moment, nothing, notice, page_head, reference, tabs
from flowtrail.ui.components.states import is_bad, look_of
from flowtrail.ui.source import Source

from .view import View

SHOWN: Final = ("all", "care", "quiet")


def page(address: Address, source: Source, now_ms: float) -> View:
    """The groups that are asked for with `show`: all, those that need care, or the quiet ones."""
    lags = source.lag()
    show = address.one_of("show", SHOWN, "all")
    of = {
        "all": lags.groups,
        "care": [group for group in lags.groups if needs_care(group)],
        "quiet": [group for group in lags.groups if not needs_care(group)],
    }
    words = {"all": "All", "care": "Need care", "quiet": "Quiet"}
    choices = [
        (f"{words[name]} {len(of[name])}", address.here(show=None if name == "all" else name), name == show)
        for name in SHOWN
    ]
    return View(
        "Lag",
        el(
            "div",
            page_head("Lag", _sentence(lags), tabs(choices, "groups")),
            notice(lags.note) if lags.note else None,
            _list(of[show], address) if of[show] else _none(lags, show),
            el("p", "The broker was asked ", moment(lags.polled_at_ms, now_ms), ".", cls="foot")
            if lags.polled_at_ms is not None
            else None,
            cls="page",
        ),
    )


def needs_care(group: GroupLag) -> bool:
    """Whether a group is worth a look now."""
    return group.tone in (Tone.FAIL, Tone.STUCK, Tone.SLOW)


def waiting_without_commit(group: GroupLag) -> int:
    """The events in partitions where the group has committed nothing yet; its lag does not count them."""
    ends = ((p.log_start or 0, p.log_end) for p in group.partitions if p.committed is None)
    return sum(end - start for start, end in ends if end is not None)


def to_drain(group: GroupLag) -> str:
    """The time until the group has caught up; `never` while it only grows."""
    if group.time_to_drain_ms is None and group.lag and group.state in ("growing", "stuck", "no_member"):
        return "never"
    if group.time_to_drain_ms is None and group.lag == 0 and not waiting_without_commit(group):
        return duration(0)
    return duration(group.time_to_drain_ms)


def _sentence(lags: LagList) -> str:
    bad = sum(is_bad(group.tone) for group in lags.groups)
    oldest = "Oldest: age of the oldest event that the group has not processed."
    if not lags.groups:
        return oldest
    fall = "falls" if bad == 1 else "fall"
    return f"{in_words(bad)} of {count(len(lags.groups), 'group')} {fall} behind. {oldest}"


def _list(groups: list[GroupLag], address: Address) -> Component:
    points = [(point.time_ms, point.value) for group in groups for point in group.trend.points]
    head = el(
        "div",
        *(el("span", word) for word in ("State", "Group", "Why")),
        *(el("span", word, cls="num") for word in ("Lag", "Oldest", "To drain")),
        el("span", time_span(sorted(points, key=lambda point: point[0])).capitalize()),
        cls="lag-row list-head",
    )
    return el("div", head, *(_row(group, address) for group in groups), cls="card rows")


def _row(group: GroupLag, address: Address) -> Component:
    look = look_of(group.state, group.tone)
    calm = not needs_care(group)
    drain = to_drain(group)
    waiting = waiting_without_commit(group)
    title = f"{count(waiting, 'event')} in partitions where it has committed nothing"
    uncommitted = el("small", f"+{number(waiting)} no commit", cls="dimmed", title=title) if waiting else None
    values = [point.value for point in group.trend.points]
    tone = look.tone if is_bad(group.tone) else "quiet"
    return link(
        badge(group.state, group.tone),
        el(
            "span",
            reference("group", group.group),
            el("span", ", ".join(group.topics), cls="dimmed"),
            cls="lag-group",
        ),
        el("span", group.reason, cls="reason"),
        el("span", number(group.lag), uncommitted, cls="num", data_label="lag"),
        el("span", duration(group.oldest_ms), cls="num", data_label="oldest"),
        el("span", drain, cls="num hide-small" + (" tone-stuck" if drain == "never" else "")),
        el("span", Spark(values=values, width=120, height=24, tone=tone, label=f"lag of {group.group}"), cls="trend"),
        href=address.to("lag", group.group),
        cls="lag-row" + (" calm-row" if calm else ""),
    )


def _none(lags: LagList, show: str) -> Component:
    if lags.groups:
        return nothing("No group needs care" if show == "care" else "No group is quiet")
    return nothing(
        "No consumer group is known",
        el("p", "A group appears with its first span, or when the collector asks a broker:"),
        el("p", el("code", "flowtrail collect --bootstrap-servers HOST:PORT", cls="mono")),
    )
