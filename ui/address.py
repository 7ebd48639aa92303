"""The address of a page: everything that a person sees can be reached again by it.

`from` and `to` are ms since the epoch, or for `from` a time back such as `-15m`, which moves with the present.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from .components.format import duration

DEFAULT_RANGE: Final = "-15m"
SEARCH_RANGE: Final = "-24h"  # a search for one thing looks further back
RANGES: Final = (
    ("Last 15 min", "-15m"),
    ("Last hour", "-1h"),
    ("Last 12 h", "-12h"),
    ("Last 24 h", "-24h"),
    ("Last 7 d", "-7d"),
)
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BACK: Final = re.compile(r"-(\d{1,6})([smhd])")
_KEPT: Final = ("from", "to")  # what goes along to another page
_BESIDE: Final = ("select", "row", "theme")  # what changes nothing in the main part of a page


@dataclass(frozen=True, slots=True)
class Window:
    """A range of time. `key` names it as the address does; `is_fixed` when it does not move with the present."""

    from_ms: float
    to_ms: float
    key: str
    label: str
    is_fixed: bool


@dataclass(frozen=True, slots=True)
class Address:
    """`path` in its parts, decoded; `query` without empty values."""

    path: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, pathname: str | None, search: str | None) -> "Address":
        """From what a browser calls pathname and search; neither has to be there."""
        parts = tuple(unquote(part) for part in (pathname or "").split("/") if part)
        return cls(parts, dict(parse_qsl((search or "").removeprefix("?"))))

    @property
    def page(self) -> str:
        """The first part of the path; empty on the start page."""
        return self.path[0] if self.path else ""

    @property
    def main_key(self) -> str:
        """Two addresses with the same key show the same main part; panel and theme may differ."""
        query = sorted((k, v) for k, v in self.query.items() if k not in _BESIDE)
        return f"{'/'.join(map(_quoted, self.path))}?{urlencode(query)}"

    def get(self, name: str) -> str | None:
        """A parameter; None when it is not there."""
        return self.query.get(name)

    def one_of(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """A parameter that must be one of `choices`; anything else is the default."""
        value = self.query.get(name, default)
        return value if value in choices else default

    def to(self, *path: str, **query: str | None) -> str:
        """The address of another page; the range of time goes along."""
        kept = {name: self.query[name] for name in _KEPT if name in self.query}
        return _written(path, kept | {name.rstrip("_"): value for name, value in query.items()})

    def here(self, **query: str | None) -> str:
        """This page with other parameters; None takes one away."""
        return _written(self.path, {**self.query, **{name.rstrip("_"): value for name, value in query.items()}})

    def window(self, now_ms: float, default: str = DEFAULT_RANGE) -> Window:
        """The range of time that is asked for; what cannot be read is the default."""
        begin = self.query.get("from", default)
        end = _moment_ms(self.query.get("to"))
        back_ms = _back_ms(begin)
        if back_ms is not None and end is None:
            label = next((text for text, value in RANGES if value == begin), f"Last {duration(back_ms)}")
            return Window(now_ms - back_ms, now_ms, begin, label, is_fixed=False)
        to_ms = now_ms if end is None else end
        begin_ms = to_ms - back_ms if back_ms is not None else _moment_ms(begin)
        if begin_ms is None or begin_ms >= to_ms:
            begin_ms = to_ms - (_back_ms(default) or 0)
        key = f"{begin}..{self.query.get('to', '')}"
        return Window(begin_ms, to_ms, key, f"{duration(to_ms - begin_ms)}, chosen", is_fixed=end is not None)


def _written(path: tuple[str, ...], query: Mapping[str, str | None]) -> str:
    given = {name: value for name, value in query.items() if value}
    return "/" + "/".join(map(_quoted, path)) + (f"?{urlencode(given)}" if given else "")


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _back_ms(text: str) -> float | None:
    found = _BACK.fullmatch(text)
    return int(found[1]) * _UNITS_MS[found[2]] if found else None


def _moment_ms(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() and len(text) < 16 else None
