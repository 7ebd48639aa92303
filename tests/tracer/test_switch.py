"""A switch may be turned on by the first look at it, and what is to be done before that is done once."""

import threading

from flowtrail.tracer.clients.switch import Switch


def test_a_switch_is_off_until_it_is_turned_on() -> None:
    switch = Switch()
    assert not switch.is_on
    switch.is_on = True
    assert switch.is_on


def test_the_first_look_turns_it_on_after_what_is_to_be_done_before() -> None:
    switch, done = Switch(), []
    switch.turn_on_at_first_use(lambda: done.append(switch.is_on))
    assert done == []
    assert switch.is_on
    assert switch.is_on
    assert done == [True]


def test_threads_that_look_at_once_all_find_it_on_and_it_is_done_once() -> None:
    switch, done, seen = Switch(), [], []
    together = threading.Barrier(8)
    switch.turn_on_at_first_use(lambda: done.append(1))

    def look() -> None:
        together.wait()
        seen.append(switch.is_on)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, seen) == ([1], [True] * 8)


def test_turned_off_before_its_first_use_it_stays_off() -> None:
    switch, done = Switch(), []
    switch.turn_on_at_first_use(lambda: done.append(1))
    switch.is_on = False
    assert not switch.is_on
    assert done == []


def test_one_that_is_on_needs_no_first_use() -> None:
    switch, done = Switch(), []
    switch.is_on = True
    switch.turn_on_at_first_use(lambda: done.append(1))
    assert switch.is_on
    assert done == []
