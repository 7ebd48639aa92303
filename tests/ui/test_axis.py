"""Time to share of the width: work keeps its proportions, long gaps become bands."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowtrail.ui.components.axis import (
    CLOCK_WIDTH,
    FOLD_WIDTH,
    MOST_FOLDS,
    OPEN_ROOM,
    SHORT_LABEL_WIDTH,
    make_axis,
)

INTERVALS = st.lists(
    st.tuples(st.floats(0, 1e7), st.floats(0.001, 1e4)).map(lambda p: (p[0], p[0] + p[1])), min_size=1, max_size=25
)


def test_a_long_gap_takes_a_narrow_band_however_long_it_was() -> None:
    for gap_ms in (30_000, 4 * 3_600_000):
        axis = make_axis([(0, 2_000), (2_000 + gap_ms, 4_000 + gap_ms)], 0, 4_000 + gap_ms)
        (fold,) = axis.folds
        assert round(fold.x1 - fold.x0, 6) == FOLD_WIDTH
        assert axis.at(2_000) == axis.at(4_000 + gap_ms) - axis.at(2_000 + gap_ms)


def test_a_gap_no_longer_than_the_work_is_drawn_as_it_was() -> None:
    assert make_axis([(0, 2_000), (3_500, 5_500)], 0, 5_500).folds == ()


def test_unfolded_a_gap_takes_its_true_share() -> None:
    axis = make_axis([(0, 100), (9_900, 10_000)], 0, 10_000, folded=False)
    assert axis.folds == ()
    assert axis.at(5_000) == 50


def test_what_has_no_end_yet_gets_room_at_the_right() -> None:
    assert make_axis([(0, 10)], 0, 10, has_open=True).at(10) == 100 - OPEN_ROOM


def test_a_flow_without_duration_has_an_axis() -> None:
    axis = make_axis([(5, 5)], 5, 5)
    assert axis.at(5) == 0
    assert axis.ticks()[0].clock_ms == 5


def test_labels_of_neighbouring_folds_do_not_lie_on_one_another() -> None:
    work = [(i * 10_000.0, i * 10_000.0 + 1) for i in range(6)]
    axis = make_axis(work, 0, 50_001)
    shown = [fold.middle for fold, label in zip(axis.folds, axis.fold_labels(), strict=True) if label]
    assert len(shown) > 1
    assert all(b - a >= SHORT_LABEL_WIDTH for a, b in pairwise(shown))
    clocks = [tick.x for tick in axis.clocks()]
    assert all(b - a >= CLOCK_WIDTH for a, b in pairwise(clocks))


def test_what_crosses_a_fold_says_its_length_beside() -> None:
    axis = make_axis([(0, 100), (60_000, 60_100)], 0, 60_100)
    assert axis.crosses_fold(100, 60_000)
    assert not axis.crosses_fold(0, 100)


@given(INTERVALS, st.booleans(), st.booleans())
def test_later_never_lies_further_left(work: list[tuple[float, float]], folded: bool, has_open: bool) -> None:
    begin, end = min(a for a, _ in work), max(b for _, b in work)
    axis = make_axis(work, begin, end, folded=folded, has_open=has_open)
    moments = sorted({t for interval in work for t in interval})
    shares = [axis.at(t) for t in moments]
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] <= 100.0001


@given(INTERVALS)
def test_folds_and_ticks_stay_within_the_width(work: list[tuple[float, float]]) -> None:
    axis = make_axis(work, min(a for a, _ in work), max(b for _, b in work))
    assert len(axis.folds) <= MOST_FOLDS
    assert all(-0.001 <= tick.x <= 100 for tick in axis.ticks())
    assert len(axis.ticks()) < 40
    for fold in axis.folds:
        assert not any(a < fold.end_ms - 1e-6 and b > fold.begin_ms + 1e-6 for a, b in work)
