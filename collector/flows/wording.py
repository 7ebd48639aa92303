"""Numbers, durations and lists in sentences for people: short, with thin spaces where a line must not break."""

from collections.abc import Sequence
from typing import Final

_NARROW: Final = "\u202f"  # narrow no-break space, between a number and its unit


def duration(ms: float) -> str:
    """Three digits below a minute (`84 ms`, `2.01 s`), two units above (`4 h 12 m`); negative reads as 0."""
    ms = max(ms, 0.0)
    if ms < 999.5:
        return f"{_digits(ms)}{_NARROW}ms"
    seconds = ms / 1000
    if seconds < 59.95:
        return f"{_digits(seconds)}{_NARROW}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _two(minutes, "min", rest, "s")
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return _two(hours, "h", minutes, "m")
    days, hours = divmod(round(seconds / 3600), 24)
    return _two(days, "d", hours, "h")


def count(number: int) -> str:
    """Thousands by a narrow space."""
    return f"{number:,}".replace(",", _NARROW)


def counted(number: int, noun: str) -> str:
    """`1 event`, `12 events`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def rate(per_s: float) -> str:
    """`412/s`, `8.7/s`."""
    return f"{per_s:.0f}/s" if per_s >= 10 else f"{per_s:.2g}/s"


def share(part: float) -> str:
    """A share as percent with one decimal; `< 0.1 %` for what is not quite nothing."""
    if part <= 0:
        return f"0{_NARROW}%"
    return f"<{_NARROW}0.1{_NARROW}%" if part < 0.001 else f"{part * 100:.1f}".removesuffix(".0") + f"{_NARROW}%"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a`, `a and b`, `a, b and 4 more`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def times(number: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def clipped(text: str, most: int = 110) -> str:
    """The first line of a text, cut where it gets long."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _digits(number: float) -> str:
    text = f"{number:.0f}" if number >= 99.5 else f"{number:.1f}" if number >= 9.95 else f"{number:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    text = f"{large}{_NARROW}{large_unit}"
    return f"{text} {small}{_NARROW}{small_unit}" if small else text
