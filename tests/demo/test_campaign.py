"""A run is planned before it starts, and the plan keeps one fault out of another's way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.demo.campaign import CYCLE_S, EXTRAS, Kill, Order, Start, Step, Stop, steps
from flowtrail.demo.options import Fault, Options, faults_named

options = st.builds(
    Options,
    for_s=st.floats(5, 120),
    rate_per_s=st.floats(0.1, 20),
    seed=st.integers(0, 1000),
    faults=st.sets(st.sampled_from(Fault)).map(tuple),
)


def orders(planned: list[Step]) -> list[tuple[float, Order]]:
    return [(step.at_s, step.what) for step in planned if isinstance(step.what, Order)]


@given(options)
def test_the_same_options_plan_the_same_run(given_: Options) -> None:
    assert list(steps(given_)) == list(steps(given_))


@given(options)
def test_every_fault_befalls_an_order_and_no_other_fault_does(given_: Options) -> None:
    assert {order.fault for _, order in orders(list(steps(given_)))} - {None} == set(given_.faults)


@given(options)
def test_steps_come_in_the_order_of_their_time_and_within_the_run(given_: Options) -> None:
    times = [step.at_s for step in steps(given_)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= (given_.for_s or 0)


@given(options)
def test_order_ids_are_unique(given_: Options) -> None:
    ids = [order.form["order"] for _, order in orders(list(steps(given_)))]
    assert len(ids) == len(set(ids))


@given(options)
def test_a_healthy_order_asks_for_nothing_of_a_desk_that_will_break(given_: Options) -> None:
    fragile = {Fault.SLOW_CONSUMER: "gift", Fault.GROUP_DOWN: "invoice", Fault.CONSUMER_KILLED: "label"}
    broken = {fragile[fault] for fault in given_.faults if fault in fragile}
    later = [order for at_s, order in orders(list(steps(given_))) if order.fault is None and at_s > 0]
    assert not any(order.form.keys() & broken for order in later)


@given(options)
def test_every_desk_is_seen_at_work_before_anything_breaks(given_: Options) -> None:
    first = [order for at_s, order in orders(list(steps(given_))) if at_s == 0]
    assert set(EXTRAS) <= set().union(*(order.form for order in first))


def test_without_an_end_everything_breaks_in_each_cycle_and_is_mended_again() -> None:
    first = list(itertools.takewhile(lambda step: step.at_s < CYCLE_S, steps(Options())))
    assert {order.fault for _, order in orders(first)} == {None, *Fault}
    ended = {step.what.process for step in first if isinstance(step.what, Stop | Kill)}
    assert {step.what.process for step in first if isinstance(step.what, Start)} == ended


def test_faults_are_named_once_each_and_all_means_every_one() -> None:
    assert faults_named(["group-down", "group-down"]) == (Fault.GROUP_DOWN,)
    assert faults_named(["all"]) == tuple(Fault)
    with pytest.raises(ValueError, match=r"no fault called fire; choose from handler-raises, .* or all"):
        faults_named(["fire"])


def test_a_run_that_is_too_short_to_be_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5 seconds"):
        Options(for_s=1)
