"""What a forwarded event's spans say of its past, whatever else is written there."""

import pytest
from hypothesis import given
from hypothesis import strategies as any_of

from flowtrail.collector.flows.past import Past, past_of
from flowtrail.collector.flows.rows import Place
from flowtrail.tracer import attributes as names

ORDER = {names.ORIGINAL_TOPIC: "orders", names.ORIGINAL_PARTITION: "2", names.ORIGINAL_OFFSET: "204"}
TOLD = (names.DELIVERY_ATTEMPT, names.LAST_ERROR_TYPE, names.FORWARDED, *ORDER)


def test_all_that_is_said_is_understood() -> None:
    said = {names.DELIVERY_ATTEMPT: "3", names.LAST_ERROR_TYPE: "GatewayTimeout", names.FORWARDED: "retry"}
    past = past_of(ORDER | said, Place("orders.retry", 0, 1))
    assert past == Past(Place("orders", 2, 204), 3, "GatewayTimeout", "retry")
    assert past.tried == 2


def test_an_event_that_says_nothing_was_not_forwarded() -> None:
    assert past_of({}, None) is None
    # A share group counts its deliveries.
    assert past_of({names.DELIVERY_ATTEMPT: "2"}, Place("orders", 2, 204)) is None


def test_an_event_is_not_its_own_past() -> None:
    assert past_of(ORDER, Place("orders", 2, 204)) is None


def test_what_was_forwarded_says_so_without_its_first_place_too() -> None:
    past = past_of({names.FORWARDED: "dead_letter"}, None)
    assert past == Past(forwarded="dead_letter")
    assert past.tried == 0


@pytest.mark.parametrize("wrong", ["", "-1", "two", "9" * 30, "²"])
def test_a_place_that_makes_no_sense_is_none(wrong: str) -> None:
    assert past_of(ORDER | {names.ORIGINAL_OFFSET: wrong}, None) is None


@given(any_of.dictionaries(any_of.sampled_from(TOLD), any_of.text()))
def test_whatever_another_program_wrote_raises_nothing(attributes: dict[str, str]) -> None:
    past = past_of(attributes, None)
    assert past is None or past.forwarded in ("", "retry", "dead_letter")
