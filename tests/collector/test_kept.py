"""What is kept for some seconds: made once, never waited for where an old value or another key will do."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowtrail.collector.graph.kept import STANDS_IN_S, Kept

WITHIN_S = 20


class Slow:
    """Makes a value that takes until `go` is set; counts how often it was begun."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.begun = threading.Semaphore(0)
        self.times = 0
        self.go = threading.Event()

    def __call__(self) -> str:
        self.times += 1
        self.begun.release()
        assert self.go.wait(WITHIN_S)
        return self.value


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def never() -> str:
    raise AssertionError("made although it was kept")


def made(value: str) -> Callable[[], str]:
    return lambda: value


def test_a_value_is_kept_for_its_time_and_made_anew_after_it() -> None:
    clock = Clock()
    kept: Kept[str, str] = Kept(1, clock)
    assert kept.get("lag", made("old")) == "old"
    assert kept.get("lag", never) == "old"
    clock.now_s = 1
    assert kept.get("lag", made("new")) == "new"


def test_while_one_makes_a_value_anew_others_get_the_old_one_and_other_keys_do_not_wait() -> None:
    clock = Clock()
    kept: Kept[str, str] = Kept(1, clock)
    kept.get("lag", made("old"))
    clock.now_s = 2
    slow = Slow("new")
    with ThreadPoolExecutor(1) as threads:
        refresh = threads.submit(kept.get, "lag", slow)
        assert slow.begun.acquire(timeout=WITHIN_S)
        try:
            assert kept.get("lag", never) == "old"
            assert kept.get("calls", made("other")) == "other"
        finally:
            slow.go.set()
        assert refresh.result(WITHIN_S) == "new"
    assert kept.get("lag", never) == "new"


def test_without_an_old_value_all_wait_for_the_one_that_is_made() -> None:
    kept: Kept[str, str] = Kept(1, Clock())
    slow = Slow("first")
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(kept.get, "lag", slow) for _ in range(4)]
        assert slow.begun.acquire(timeout=WITHIN_S)
        slow.go.set()
        assert {one.result(WITHIN_S) for one in waiting} == {"first"}
    assert slow.times == 1


def test_an_error_is_raised_and_not_kept() -> None:
    kept: Kept[str, str] = Kept(1, Clock())
    with pytest.raises(AssertionError, match="although"):
        kept.get("lag", never)
    assert kept.get("lag", made("after all")) == "after all"


def test_an_old_value_stands_in_for_a_while_only() -> None:
    clock = Clock()
    kept: Kept[str, str] = Kept(1, clock)
    kept.get("lag", made("old"))
    clock.now_s = 1 + STANDS_IN_S
    slow = Slow("new")
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(kept.get, "lag", slow) for _ in range(2)]
        assert slow.begun.acquire(timeout=WITHIN_S)
        slow.go.set()
        assert [one.result(WITHIN_S) for one in both] == ["new", "new"]
