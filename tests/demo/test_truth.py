"""The ground truth of a run follows from what its processes wrote down."""

from hypothesis import given
from hypothesis import strategies as st

from flowtrail.collector.api.answers import State
from flowtrail.demo.truth import BROKEN, QUIET, SLOW, Expected, Place, Truth, evaluate

from .histories import READERS, History

ORDER = Place("orders", 0, 7)
RETRY = Place("orders.retry", 0, 1)
AGAIN = Place("orders.retry", 0, 2)
DEAD = Place("orders.dlq", 0, 0)
PARCEL = Place("parcels", 0, 3)


def expected(history: History) -> Expected:
    return history.truth().flows["o-1"].expected


def open_shop() -> History:
    return History("packers", "drivers").ordered().sent(ORDER)


def test_nothing_written_is_an_empty_truth() -> None:
    assert evaluate([], READERS) == Truth()


def test_an_order_that_the_storefront_has_not_come_to_is_under_way() -> None:
    assert expected(History("packers").ordered()) == (None, State.IN_FLIGHT)


def test_an_order_whose_every_hop_was_handled_is_complete() -> None:
    history = open_shop().did(ORDER, "polled", "begun").sent(PARCEL, "packers", cause=ORDER).did(ORDER, "handled")
    assert expected(history.did(PARCEL, "polled", "begun", "handled", by="drivers")) == (None, State.COMPLETE)
    assert history.truth().handled == {(ORDER, "packers"), (PARCEL, "drivers")}


def test_a_failure_that_nobody_followed_up_is_failed() -> None:
    assert expected(open_shop().did(ORDER, "polled", "begun", "failed")) == ("orders/0/7>packers", State.FAILED)


def test_a_failure_whose_retry_succeeds_is_no_failure() -> None:
    history = open_shop().did(ORDER, "polled", "begun").sent(RETRY, "packers", cause=ORDER).did(ORDER, "failed")
    assert expected(history) == ("orders.retry/0/1>packers", State.WAITING)
    assert expected(history.did(RETRY, "polled", "begun", "handled")) == (None, State.COMPLETE)


def test_a_dead_letter_is_laid_at_the_first_attempts_door() -> None:
    history = open_shop().did(ORDER, "begun").sent(RETRY, "packers", cause=ORDER).did(ORDER, "failed")
    history.did(RETRY, "begun").sent(AGAIN, "packers", cause=RETRY).did(RETRY, "failed")
    history.did(AGAIN, "begun").sent(DEAD, "packers", cause=AGAIN).did(AGAIN, "failed")
    assert expected(history) == ("orders/0/7>packers", State.DEAD_LETTERED)


def test_a_record_in_hand_is_in_flight_until_its_process_dies() -> None:
    history = open_shop().did(ORDER, "polled", "begun")
    assert expected(history) == ("orders/0/7>packers", State.IN_FLIGHT)
    assert expected(history.stopped("packers")) == ("orders/0/7>packers", State.CRASHED)


def test_a_record_that_nobody_polled_waits_as_long_as_somebody_could() -> None:
    history = open_shop()
    assert expected(history) == ("orders/0/7>packers", State.WAITING)
    assert expected(history.stopped("packers")) == ("orders/0/7>packers", State.NO_MEMBER)


def test_a_restarted_process_takes_up_what_the_dead_one_had_in_hand() -> None:
    history = open_shop().did(ORDER, "polled", "begun").stopped("packers")
    history.lines.append({**history.lines[0], "time_ms": 1e6, "pid": 2})
    assert expected(history) == ("orders/0/7>packers", State.WAITING)


def test_a_topic_without_a_reader_leaves_the_event_unconsumed() -> None:
    assert expected(open_shop().did(ORDER, "handled").sent(Place("wishes", 0, 0), cause=ORDER)) == (
        "wishes/0/0",
        State.UNCONSUMED,
    )


def test_a_refused_send_is_not_sent() -> None:
    assert expected(History("packers").ordered().not_sent("orders")) == ("orders", State.NOT_SENT)


def test_the_first_broken_hop_in_causal_order_is_the_verdict_not_the_first_in_time() -> None:
    history = open_shop().did(ORDER, "polled", "begun").sent(PARCEL, "packers", cause=ORDER)
    history.did(PARCEL, "begun", "failed", by="drivers").did(ORDER, "failed")
    assert expected(history) == ("orders/0/7>packers", State.FAILED)


def test_causal_order_holds_where_a_reader_was_faster_than_the_senders_acknowledgement() -> None:
    first = Place("orders", 1, 0)
    history = History("packers", "drivers").ordered().sent(first).did(first, "begun", "handled")
    history.did(ORDER, "begun").sent(RETRY, "packers", cause=ORDER).did(ORDER, "failed")
    history.did(RETRY, "begun").sent(DEAD, "packers", cause=RETRY).did(RETRY, "failed")
    history.sent(ORDER, "packers", cause=first)
    assert expected(history) == ("orders/0/7>packers", State.DEAD_LETTERED)


def test_what_broke_counts_before_what_waits() -> None:
    waiting = Place("orders", 1, 0)
    history = open_shop().did(ORDER, "begun").sent(waiting, "packers", cause=ORDER).sent(PARCEL, "packers", cause=ORDER)
    history.did(ORDER, "handled").did(PARCEL, "begun", "failed", by="drivers")
    assert expected(history) == ("parcels/0/3>drivers", State.FAILED)


def test_an_event_of_several_orders_belongs_to_each_of_them() -> None:
    history = open_shop().ordered("o-2")
    history.tell("shop", "sent", **PARCEL._asdict(), orders=["o-1", "o-2"], began_ms=9e3, cause=[])
    assert [len(flow.events) for flow in history.truth().flows.values()] == [2, 1]


def test_a_flow_has_moved_when_its_group_lost_its_process() -> None:
    history = open_shop()
    before_ms = history.truth().flows["o-1"].moved_ms
    assert history.stopped("packers").truth().flows["o-1"].moved_ms > before_ms


deeds = st.lists(
    st.tuples(st.sampled_from(["polled", "begun", "handled", "failed", "stopped"]), st.sampled_from([ORDER, PARCEL])),
    max_size=20,
)


@given(deeds)
def test_a_verdict_names_a_hop_exactly_when_a_hop_is_in_that_state(acts: list[tuple[str, Place]]) -> None:
    history = open_shop().sent(PARCEL, "packers", cause=ORDER)
    for kind, place in acts:
        by = "packers" if place is ORDER else "drivers"
        history.stopped(by) if kind == "stopped" else history.did(place, kind, by=by)
    flow = history.truth().flows["o-1"]
    unfinished = [hop for hop in flow.hops if hop.state in BROKEN | SLOW | QUIET]
    if unfinished:
        assert flow.expected in [(str(hop), hop.state) for hop in unfinished]
    else:
        assert flow.expected == (None, State.COMPLETE)


@given(deeds)
def test_a_hop_counts_as_handled_exactly_when_somebody_came_to_an_end_with_it(acts: list[tuple[str, Place]]) -> None:
    history = History("packers").ordered().sent(ORDER)
    for kind, _ in acts:
        if kind != "stopped":
            history.did(ORDER, kind)
    ended = any(kind in ("handled", "failed") for kind, _ in acts)
    assert ((ORDER, "packers") in history.truth().handled) == ended
