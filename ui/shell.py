"""What stands around every page: top bar, banner, main part, panel."""

from typing import Final

from dash import dcc
from dash.development.base_component import Component

from .address import RANGES, SEARCH_RANGE, Address
from .components.elements import Live, Search, ThemeSwitch, TimeRange
from .components.markup import el, icon, link, moment
from .source import Away

PULSE_MS: Final = 3_000

# Page, address, icon, and the first parts of the paths that belong to it.
_PAGES: Final = (
    ("Problems", "", "problems", ("",)),
    ("Map", "map", "map", ("map",)),
    ("Flows", "flows", "flows", ("flows", "flow")),
    ("Lag", "lag", "lag", ("lag",)),
)


def layout() -> Component:
    """The frame; pages come into it by one callback."""
    return el(
        "div",
        dcc.Location(id="url", refresh=False),
        dcc.Interval(id="pulse", interval=PULSE_MS),
        dcc.Store(id="tick", data=0),
        dcc.Store(id="shown"),
        dcc.Store(id="title"),
        el("a", "To the content", href="#main", cls="skip"),
        el("div", id="top"),
        el("div", id="banner", role="status"),
        el("div", el("main", el("p", "Loading …", cls="loading"), id="main"), el("aside", id="panel"), cls="body"),
        id="app",
    )


def top_bar(address: Address, broken: int, now_ms: float, is_away: bool = False) -> Component:
    """The pages, with how many things are broken, the search, the range of time, live or paused, light or dark."""
    searching = address.page == "flows" and address.get("q")
    window = address.window(now_ms, SEARCH_RANGE) if searching else address.window(now_ms)
    pages = [
        link(
            icon(glyph, 18),
            label,
            el("span", str(broken), cls="count", title=f"{broken} broken") if path == "" and broken else None,
            href=address.to(*([path] if path else [])),
            cls="here" if address.page in members else "",
        )
        for label, path, glyph, members in _PAGES
    ]
    return el(
        "header",
        link(
            el("span", cls="brand-mark"),
            el("span", "Flowtrail", cls="brand-name"),
            href=address.to(),
            cls="brand",
            title="Flowtrail",
        ),
        el("nav", *pages, cls="nav", aria_label="pages"),
        Search(id="search-form", value=address.get("q") or "" if address.page == "flows" else ""),
        TimeRange(
            id="time-range",
            begin=address.get("from") or (SEARCH_RANGE if searching else ""),
            end=address.get("to") or "",
            choices=[list(choice) for choice in RANGES],
            label=window.label,
        ),
        Live(id="live", fixed=window.is_fixed, away=is_away),
        ThemeSwitch(id="theme"),
        cls="top",
    )


def away_banner(away: Away | None) -> Component | None:
    """While the collector does not answer: since when, and how old what is shown is."""
    if away is None:
        return None
    old = el("span", " You see the last data from ", moment(away.last_good_ms), ".") if away.last_good_ms else None
    return el(
        "div",
        icon("warn"),
        el("span", el("b", "The collector does not answer since "), moment(away.since_ms), ".", old),
        el("span", away.reason, cls="dimmed break") if away.reason else None,
        cls="away",
    )


def away_page(api_url: str) -> Component:
    """Instead of a page for which nothing is kept."""
    return el(
        "div",
        el(
            "div",
            el("h1", "Nothing of this page is known yet"),
            el("p", f"It comes from the collector at {api_url} and is asked for again every few seconds.", cls="break"),
            cls="card calm",
        ),
        cls="page",
    )


def unknown_page(address: Address) -> Component:
    """An address that leads nowhere."""
    return el(
        "div",
        el(
            "div",
            el("h1", "There is no such page"),
            el("p", f"/{'/'.join(address.path)}", cls="mono break"),
            el("p", link("What is broken now", href=address.to()), " · ", link("Map", href=address.to("map"))),
            cls="card calm",
        ),
        cls="page",
    )
