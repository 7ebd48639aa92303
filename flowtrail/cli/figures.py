"""Numbers, durations and times as text for a terminal, and durations back from text."""

import re
import unicodedata
from datetime import datetime, tzinfo
from typing import Final

UNKNOWN: Final = "–"

_UNIT_MS: Final = {"ms": 1.0, "s": 1e3, "m": 60e3, "min": 60e3, "h": 3600e3, "d": 86400e3}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")


def duration(ms: float | None) -> str:
    """Three digits below a minute, two units above: `840 µs`, `2.01 s`, `38 min 30 s`, `4 h 12 m`; None → `–`."""
    if ms is None:
        return UNKNOWN
    if abs(ms) < 1e-6:  # a clock ticks in nanoseconds
        return "0 s"
    if ms < 0:
        return f"−{duration(-ms)}"
    for size_ms, unit, limit in ((1e-3, "µs", 1000), (1.0, "ms", 1000), (1e3, "s", 60)):
        value = float(f"{ms / size_ms:.3g}")
        if value < limit:
            return f"{value:g} {unit}"
    seconds = round(ms / 1e3)
    if seconds < 3600:
        return _two_units(*divmod(seconds, 60), "min", "s")
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return _two_units(*divmod(minutes, 60), "h", "m")
    return _two_units(*divmod(round(seconds / 3600), 24), "d", "h")


def count(number: float | None) -> str:
    """A whole number: `41 208`, from a hundred thousand `318 k`, `1.2 M`; None → `–`."""
    if number is None:
        return UNKNOWN
    if abs(number) < 100_000:
        return f"{round(number):,}".replace(",", " ")
    for size, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if abs(number) < 999.5 * size or unit == "G":
            return f"{_three_digits(number / size)} {unit}"
    raise AssertionError("G has no upper bound")


def rate(per_s: float | None) -> str:
    """`412/s`, `8.7/s`; None → `–`."""
    if per_s is None:
        return UNKNOWN
    return f"{per_s:.2g}/s" if abs(per_s) < 10 else f"{count(per_s)}/s"


def share(part: float | None) -> str:
    """A share of one in percent: `0 %`, `< 0.1 %`, `3.4 %`; None → `–`."""
    if part is None:
        return UNKNOWN
    if part == 0:
        return "0 %"
    return "< 0.1 %" if part < 0.001 else f"{part * 100:.1f} %"


def clock(ms: float | None, zone: tzinfo | None = None) -> str:
    """Time of day with milliseconds, `22:54:08.183`, in `zone` (default: here); None → `–`."""
    if ms is None:
        return UNKNOWN
    return datetime.fromtimestamp(ms / 1e3, zone).strftime("%H:%M:%S.%f")[:-3]


def day_and_clock(ms: float, zone: tzinfo | None = None) -> str:
    """Date and time of day to the second, `2026-11-22 22:54:08`."""
    return datetime.fromtimestamp(ms / 1e3, zone).strftime("%Y-%m-%d %H:%M:%S")


def parse_duration_ms(text: str) -> float:
    """Milliseconds of `500ms`, `30s`, `5m`, `1h30m`, `2d`; a bare number is seconds. Raises ValueError otherwise."""
    text = text.strip().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text) * 1e3
    found = _DURATION.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"{text!r} is no duration; write it like 500ms, 30s, 5m, 2h or 1d")
    return float(sum(float(number) * _UNIT_MS[unit] for number, unit in found))


def printable(text: str) -> str:
    """`text` on one line without control characters: what a record brought must not steer the terminal."""
    return "".join("�" if unicodedata.category(char) in {"Cc", "Cf", "Cs"} else char for char in " ".join(text.split()))


def _two_units(large: int, small: int, large_unit: str, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def _three_digits(value: float) -> str:
    text = f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    return str(float(text)).removesuffix(".0") if "e" in text else text
