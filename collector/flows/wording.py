"""Numbers, durations and lists in sentences for people: short, with thin spaces where a line must not break."""

from collections.abc import Sequence
from typing import Final

_NARROW: Final = "\u202f"  # narrow no-break space, between a number and its unit


def duration(ms: float) -> str:
    """Three digits below a minute (`840 µs`, `2.01 s`), two units above (`38 min 30 s`, `4 h 12 m`); negative is 0."""
    if ms < 1e-6:  # a clock ticks in nanoseconds
        return f"0{_NARROW}s"
    for size_ms, unit, limit in ((1e-3, "µs", 1000), (1.0, "ms", 1000), (1e3, "s", 60)):
        value = float(f"{ms / size_ms:.3g}")
        if value < limit:
            return f"{value:g}{_NARROW}{unit}"
    seconds = round(ms / 1000)
    if seconds < 3600:
        return _two(*divmod(seconds, 60), "min", "s")
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return _two(*divmod(minutes, 60), "h", "m")
    return _two(*divmod(round(seconds / 3600), 24), "d", "h")


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


def _two(large: int, small: int, large_unit: str, small_unit: str) -> str:
    text = f"{large}{_NARROW}{large_unit}"
    return f"{text} {small}{_NARROW}{small_unit}" if small else text
