"""Numbers, rates, shares and durations as people read them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.ui.components.format import THIN, count, duration, in_words, number, rate, share, time_span


@pytest.mark.parametrize(("ms", "text"), [(-84, "−84 ms"), (None, "–")])
def test_a_duration_may_be_negative_or_unknown(ms: float | None, text: str) -> None:
    assert duration(ms).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (96, "96"), (41_208, "41 208"), (318_400, "318 k"), (1_234_567, "1.2 M")]
)
def test_a_large_number_is_grouped_then_shortened(value: float | None, text: str) -> None:
    assert number(value).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0/s"), (412, "412/s"), (8.74, "8.7/s"), (0.05, "0.05/s"), (0.001, "3.6/h")]
)
def test_a_rate_keeps_what_tells_something(value: float | None, text: str) -> None:
    assert rate(value).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0 %"), (0.0003, "< 0.1 %"), (0.062, "6.2 %"), (1, "100 %")]
)
def test_a_share_is_never_zero_for_what_happened(value: float | None, text: str) -> None:
    assert share(value).replace(THIN, " ") == text


@given(st.floats(min_value=0, max_value=1e12))
def test_every_duration_reads_as_one_or_two_figures_with_units(ms: float) -> None:
    unit = r"(µs|ms|s|min|h|m|d)"
    assert re.fullmatch(rf"[\d.{THIN}]+{THIN}{unit}( \d+{THIN}{unit})?", duration(ms))


@given(st.floats(min_value=0.001, max_value=1e10), st.floats(min_value=1.02, max_value=50))
def test_a_clearly_longer_duration_never_reads_as_a_shorter_one(ms: float, factor: float) -> None:
    assert _ms(duration(ms * factor)) >= _ms(duration(ms))


@given(st.floats(min_value=0.001, max_value=1e10))
def test_a_duration_is_true_to_three_percent(ms: float) -> None:
    assert _ms(duration(ms)) == pytest.approx(ms, rel=0.034)


@given(st.floats(min_value=1e-9, max_value=1))
def test_what_failed_at_all_never_reads_as_zero(value: float) -> None:
    assert not share(value).startswith(f"0{THIN}")


def test_counts_agree_with_their_noun() -> None:
    assert [count(1, "span"), count(2, "span"), count(2, "branch", "branches")] == ["1 span", "2 spans", "2 branches"]
    assert [in_words(3), in_words(40)] == ["Three", "40"]


def _ms(text: str) -> float:
    factors = {"µs": 0.001, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "m": 60_000, "d": 86_400_000}
    return sum(float(n) * factors[unit] for n, unit in re.findall(rf"([\d.]+){THIN}(\w+)", text))


def test_a_series_is_named_after_the_time_that_is_known() -> None:
    def spoken(*minutes: int) -> str:
        return time_span([(0, None), *((minute * 60_000, 1.0) for minute in minutes)]).replace(THIN, " ")

    assert spoken(2, 3, 4) == "last 2 min"
    assert spoken(3, 4) == "last minute"
    assert spoken(1, 60) == "last hour"
    assert spoken() == "last hour"
