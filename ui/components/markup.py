"""The pieces that every page is put together from: elements, badges, references, tabs, heads."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from dash import dcc, html
from dash.development.base_component import Component

from flowtrail.client import Coordinates, Tone

from .elements import Clock, Copy, Icon
from .format import duration
from .states import Look, look_of

Child: TypeAlias = Component | str | None


def el(tag: str, *children: Child, cls: str | None = None, **attributes: Any) -> Component:
    """An HTML element. None among the children is left out; `aria_label` becomes `aria-label`, likewise data_…"""
    named = {
        name.replace("_", "-") if name.startswith(("aria_", "data_")) else name: value
        for name, value in attributes.items()
        if value is not None
    }
    if cls is not None:
        named["className"] = cls
    kind: Callable[..., Component] = getattr(html, tag.capitalize())
    return kind([child for child in children if child is not None], **named)


def icon(name: str, size: int = 14, cls: str = "") -> Component:
    """A glyph of assets/icons.js."""
    return Icon(name=name, size=size, className=cls)


def link(*children: Child, href: str, cls: str = "link", title: str | None = None) -> Component:
    """A link inside the app: no page load."""
    return dcc.Link([child for child in children if child is not None], href=href, className=cls, title=title)


def badge(state: str, tone: Tone | None = None, word: str | None = None) -> Component:
    """A state as glyph and word on its tone's ground."""
    look = look_of(state, tone)
    return badge_of(look, word)


def badge_of(look: Look, word: str | None = None) -> Component:
    """The badge of a look."""
    return el("span", icon(look.glyph, 12), word or look.word, cls=f"badge tone-{look.tone}")


def reference(kind: str, name: str, href: str | None = None) -> Component:
    """A node's name after its kind's shape in its kind's colour."""
    inner = (icon(f"kind-{kind}", 14, f"kind-{kind}"), el("span", name))
    return link(*inner, href=href, cls="ref") if href else el("span", *inner, cls="ref")


def place(coordinates: Coordinates, href: str | None = None) -> Component:
    """An event as `topic/partition/offset`."""
    return reference("topic", str(coordinates), href)


def moment(ms: float, now_ms: float | None = None, precise: bool = False) -> Component:
    """The time of day at the reader's; with `now_ms` also how long ago that was."""
    ago = None if now_ms is None else f", {since(ms, now_ms)}"
    return el("span", Clock(ms=ms, precise=precise), ago, cls="moment")


def since(ms: float, now_ms: float) -> str:
    """`4 h 12 m ago`; nobody needs an age's milliseconds."""
    seconds = int((now_ms - ms) // 1_000)
    return f"{duration(seconds * 1_000)} ago" if seconds > 0 else "just now"


def copy_button(text: str, label: str) -> Component:
    """A button that puts `text` on the clipboard."""
    return Copy(text=text, label=label)


def page_head(title: str, sub: Child, *right: Child) -> Component:
    """A page's heading with a line below and controls beside it."""
    return el(
        "header",
        el("div", el("h1", title), el("p", sub, cls="sub")),
        el("div", *right, cls="head-right"),
        cls="page-head",
    )


def tabs(choices: Iterable[tuple[str, str, bool]], label: str) -> Component:
    """Links of which one is chosen: (text, address, chosen)."""
    return el(
        "nav",
        *(link(text, href=href, cls="here" if here else "") for text, href, here in choices),
        cls="tabs",
        aria_label=label,
    )


def card_head(title: str, *right: Child) -> Component:
    """The head of a card."""
    return el("div", el("h2", title), *right, cls="card-head")


def notice(*text: Child, tone: str = "quiet") -> Component:
    """A line that must not be overlooked: what is missing, bounded or old."""
    return el("p", icon("warn", 14), el("span", *text), cls=f"notice tone-{tone}", role="note")


def nothing(title: str, *ways_on: Child) -> Component:
    """An empty list: says what that means and what to do next."""
    return el("div", el("h2", title), *ways_on, cls="card nothing")
