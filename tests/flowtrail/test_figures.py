"""Figures are short, say their unit, and never pretend to know."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.cli import figures

times_ms = st.floats(0, 1e12, allow_nan=False)


@pytest.mark.parametrize(("ms", "text"), [(-250, "−250 ms"), (None, "–")])
def test_a_duration_may_be_negative_or_unknown(ms: float | None, text: str) -> None:
    assert figures.duration(ms) == text


@given(times_ms)
def test_any_duration_is_short_and_has_a_unit(ms: float) -> None:
    text = figures.duration(ms)
    assert text.split()[1] in {"µs", "ms", "s", "min", "h", "d"}
    assert ms > 1e11 or len(text) <= 12


@given(times_ms)
def test_a_printed_duration_is_close_to_the_true_one(ms: float) -> None:
    text = figures.duration(ms)
    printed = float(text.split()[0]) / 1e3 if text.endswith("µs") else figures.parse_duration_ms(text)
    assert printed == pytest.approx(ms, rel=0.03, abs=1e-3)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (41_208, "41 208"),
        (318_200, "318 k"),
        (999_600, "1 M"),
        (1_240_000, "1.24 M"),
        (5e12, "5000 G"),
        (None, "–"),
    ],
)
def test_a_count_is_grouped_then_rounded(number: float | None, text: str) -> None:
    assert figures.count(number) == text


@pytest.mark.parametrize(("per_s", "text"), [(0, "0/s"), (8.72, "8.7/s"), (412.3, "412/s"), (None, "–")])
def test_a_rate_is_per_second(per_s: float | None, text: str) -> None:
    assert figures.rate(per_s) == text


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0 %"), (0.0002, "< 0.1 %"), (0.034, "3.4 %"), (1, "100.0 %"), (None, "–")]
)
def test_a_share_is_in_percent(part: float | None, text: str) -> None:
    assert figures.share(part) == text


@pytest.mark.parametrize(
    ("text", "ms"),
    [("500ms", 500), ("30s", 30_000), ("30", 30_000), ("1.5m", 90_000), ("1h30m", 5_400_000), ("2 d", 172_800_000)],
)
def test_a_duration_is_read_as_it_is_typed(text: str, ms: float) -> None:
    assert figures.parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "s", "10x", "-5s", "5s later", "1e3"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        figures.parse_duration_ms(text)


def test_a_time_of_day_is_in_the_zone_that_was_asked_for() -> None:
    assert figures.clock(1_795_388_046_101, UTC) == "22:54:06.101"
    assert figures.day_and_clock(1_795_388_046_101, UTC) == "2026-11-22 22:54:06"
    assert figures.clock(None) == "–"


@given(st.text())
def test_no_text_of_a_record_can_steer_the_terminal(text: str) -> None:
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in figures.printable(text))


def test_a_colour_code_in_a_key_is_shown_and_does_nothing() -> None:
    assert figures.printable("red\x1b[31m\nkey") == "red�[31m key"
