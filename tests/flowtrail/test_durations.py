"""Durations read the same wherever they stand: in the collector's sentences, in a terminal, and on the pages."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.cli import figures
from flowtrail.collector.flows import wording
from flowtrail.ui.components import format as pages

WRITERS: dict[str, Callable[[float], str]] = {
    "sentences": wording.duration,
    "terminal": figures.duration,
    "pages": pages.duration,
}
EXAMPLES = [
    (0, "0 s"),
    (0.000_000_1, "0 s"),
    (0.00084, "0.84 µs"),
    (0.84, "840 µs"),
    (0.9999, "1 ms"),
    (84, "84 ms"),
    (999.4, "999 ms"),
    (999.9, "1 s"),
    (2_014, "2.01 s"),
    (31_000, "31 s"),
    (59_940, "59.9 s"),
    (59_990, "1 min"),
    (60_000, "1 min"),
    (61_400, "1 min 1 s"),
    (2_310_000, "38 min 30 s"),
    (3_599_900, "1 h"),
    (15_120_000, "4 h 12 m"),
    (86_399_900, "1 d"),
    (586_800_000, "6 d 19 h"),
    (864_000_000, "10 d"),
]


def plain(text: str) -> str:
    return text.replace(pages.THIN, " ")


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize(("ms", "text"), EXAMPLES)
def test_a_duration_has_three_digits_below_a_minute_and_two_units_above(
    writer: Callable[[float], str], ms: float, text: str
) -> None:
    assert plain(writer(ms)) == text


@given(st.floats(0, 1e12, allow_nan=False))
def test_any_duration_reads_the_same_everywhere(ms: float) -> None:
    assert len({plain(write(ms)) for write in WRITERS.values()}) == 1
