"""A switch may be turned on by the first look at it, and what is to be done before that is done once."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from flowtrail.tracer.clients import switch as switches
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


def test_a_thread_that_looks_in_the_midst_waits_until_what_comes_first_is_done() -> None:
    switch, done, came = Switch(), threading.Event(), threading.Event()
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((switch.is_on, done.is_set()))
        came.set()

    other = threading.Thread(target=look)

    def before() -> None:
        switch._lock = Knocking(switch._lock, came.set)  # type: ignore[assignment]
        other.start()
        assert came.wait(20)
        done.set()

    switch.turn_on_at_first_use(before)
    assert switch.is_on
    other.join()
    assert seen == [(True, True)]


class Knocking:
    """A lock that tells when somebody comes to it."""

    def __init__(self, lock: threading.RLock, tell: Callable[[], None]) -> None:
        self._lock, self._tell = lock, tell
        self.release = lock.release

    def acquire(self, timeout: float) -> bool:
        self._tell()
        return self._lock.acquire(timeout=timeout)


def test_a_thread_that_waited_for_too_long_finds_it_off_that_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "WAIT_S", 0)
    switch, seen = Switch(), []

    def before() -> None:
        other = threading.Thread(target=lambda: seen.append(switch.is_on))
        other.start()
        other.join()

    switch.turn_on_at_first_use(before)
    assert switch.is_on
    assert seen == [False]


def test_turned_off_by_what_is_to_be_done_before_it_stays_off() -> None:
    switch = Switch()

    def before() -> None:
        switch.is_on = False

    switch.turn_on_at_first_use(before)
    assert not switch.is_on


def test_what_failed_before_is_tried_again_at_the_next_look() -> None:
    switch, attempts = Switch(), [KeyboardInterrupt()]

    def before() -> None:
        if attempts:
            raise attempts.pop()

    switch.turn_on_at_first_use(before)
    with pytest.raises(KeyboardInterrupt):
        assert switch.is_on
    assert switch.is_on


@pytest.mark.parametrize("is_own", [True, False], ids=["by the thread that begins", "by another thread"])
def test_a_child_that_is_forked_in_the_midst_is_on_only_when_it_is_done_there_too(is_own: bool) -> None:
    switch, parent = Switch(), os.getpid()
    done: list[int] = []
    begun, forked = threading.Event(), threading.Event()

    def fork() -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a child that waits for ever would leave this test waiting, too
        return child

    def before() -> None:
        if os.getpid() == parent:
            begun.set()
            if is_own:
                children.append(fork())
            else:
                assert forked.wait(20)
        done.append(os.getpid())

    children: list[int] = []
    switch.turn_on_at_first_use(before)
    looking = threading.Thread(target=lambda: switch.is_on)
    if is_own:
        is_on = switch.is_on
    else:
        looking.start()
        assert begun.wait(20)
        children.append(fork())
        is_on = switch.is_on if children == [0] else True
    if children == [0]:
        os._exit(0 if is_on and done == [os.getpid()] else 1)
    forked.set()
    if not is_own:
        looking.join()
    assert os.waitpid(children[0], 0)[1] == 0
    assert switch.is_on
    assert done == [parent]
