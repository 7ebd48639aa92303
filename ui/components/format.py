"""Numbers, shares, rates and durations for people.

Number and unit are joined by a narrow no-break space, which also groups digits. What is not known is `–`, never 0.
"""

from collections.abc import Iterable
from typing import Final

THIN: Final = "\u202f"
UNKNOWN: Final = "–"


def number(value: float | None) -> str:
    """`96`, `41 208`, `318 k`, `1.2 M`."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 999_500:
        return f"{_grouped(value / 1e6, 1)}{THIN}M"
    if abs(value) >= 99_999.5:
        return f"{value / 1e3:.0f}{THIN}k"
    return _grouped(value, 0)


def rate(per_s: float | None) -> str:
    """`412/s`, `8.7/s`, `0.05/s`, `0/s`; a rate that is too small for two decimals is given per hour."""
    if per_s is None:
        return UNKNOWN
    if per_s == 0 or per_s >= 9.95:
        return f"{number(per_s)}/s"
    if per_s >= 0.095:
        return f"{per_s:.1f}/s"
    if per_s >= 0.005:
        return f"{per_s:.2f}/s"
    return f"{_three_digits(per_s * 3600)}/h"


def time_span(points: Iterable[tuple[float, float | None]]) -> str:
    """How long ago the first known of `points` (ms, value) lies before the last: `last 2 min`, at most `last hour`."""
    points = list(points)
    known = [time_ms for time_ms, value in points if value is not None]
    if not known:
        return "last hour"
    minutes = round((points[-1][0] - known[0]) / 60_000)
    if minutes >= 55:
        return "last hour"
    return f"last {minutes}{THIN}min" if minutes > 1 else "last minute"


def share(value: float | None) -> str:
    """`0 %`, `< 0.1 %`, `6.2 %`: one decimal, and never 0 for something that happened."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return f"0{THIN}%"
    if value < 0.001:
        return f"<{THIN}0.1{THIN}%"
    return f"100{THIN}%" if value >= 0.9995 else f"{value * 100:.1f}{THIN}%"


def duration(ms: float | None) -> str:
    """Three digits below a minute (`840 µs`, `84 ms`, `2.01 s`), two units above (`38 min 30 s`, `4 h 12 m`)."""
    if ms is None:
        return UNKNOWN
    if abs(ms) < 1e-6:  # a clock ticks in nanoseconds
        return f"0{THIN}s"
    if ms < 0:
        return f"−{duration(-ms)}"
    for size_ms, unit, limit in ((1e-3, "µs", 1000), (1.0, "ms", 1000), (1e3, "s", 60)):
        rounded = float(f"{ms / size_ms:.3g}")
        if rounded < limit:
            return f"{rounded:g}{THIN}{unit}"
    seconds = round(ms / 1e3)
    if seconds < 3600:
        return _two_units(*divmod(seconds, 60), "min", "s")
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return _two_units(*divmod(minutes, 60), "h", "m")
    return _two_units(*divmod(round(seconds / 3600), 24), "d", "h")


def count(value: int, one: str, many: str | None = None) -> str:
    """`1 span`, `26 spans`; `many` where the plural is not made with an s."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def in_words(value: int) -> str:
    """A small count as a word that begins a sentence: `Three`; from thirteen on as digits."""
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
    return words[value] if 0 <= value < len(words) else number(value)


def _two_units(large: int, small: int, large_unit: str, small_unit: str) -> str:
    first = f"{large}{THIN}{large_unit}"
    return f"{first} {small}{THIN}{small_unit}" if small else first


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:.2f}".rstrip("0").rstrip(".") if rounded < 1_000 else _grouped(rounded, 0)


def _grouped(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace(",", THIN).replace("-", "−")
