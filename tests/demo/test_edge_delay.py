"""The delay from an event to its edge is read off counts alone."""

from hypothesis import given
from hypothesis import strategies as st

from flowtrail.demo.edge_delay import Sight, edge_delays_ms, percentile
from flowtrail.demo.truth import Place, Sent

EDGE = ("shop", "orders")


def sent(began_ms: float, *, is_refused: bool = False) -> Sent:
    return Sent("shop-window", "orders", None if is_refused else Place("orders", 0, 0), ("o-1",), began_ms, ())


def test_an_event_is_counted_by_the_first_sight_that_has_as_many() -> None:
    sights = [Sight(100, {}), Sight(200, {EDGE: 1}), Sight(300, {EDGE: 3})]
    assert edge_delays_ms([sent(10), sent(20), sent(250)], sights) == [190, 280, 50]


def test_an_event_that_was_never_counted_has_no_delay() -> None:
    assert edge_delays_ms([sent(10), sent(20)], [Sight(100, {EDGE: 1})]) == [90]


def test_a_refused_send_keeps_its_place_in_the_line_but_has_no_delay() -> None:
    assert edge_delays_ms([sent(10, is_refused=True), sent(20)], [Sight(100, {EDGE: 2})]) == [80]


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.5) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], share: float) -> None:
    assert percentile(values, share) in values
