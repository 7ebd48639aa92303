"""A batch that cannot be delivered waits; a request that never can is set aside; nothing else is lost or held up."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowtrail.collector.journal.delivery import Delivery, Pace, Refused, Unavailable
from flowtrail.collector.journal.sqlite import SqliteJournal

PATIENCE_S = 20


class Destination:
    """Keeps what it is given, once for each token; refuses a batch with a bad request in it; can be away, or break
    when it has taken a batch."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.tokens: dict[str, bytes] = {}
        self.is_away = False
        self.breaks_after_taking = False

    def deliver(self, body: bytes, token: str) -> None:
        if self.is_away:
            raise Unavailable("away", retry_after_s=0.01)
        if b"bad" in body:
            raise Refused("bad bytes")
        if token not in self.tokens:
            self.tokens[token] = body
            self.taken.append(body)
        assert self.tokens[token] == body, "one token must always stand for the same bytes"
        if self.breaks_after_taking:
            raise Unavailable("broke in the middle")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with closing(SqliteJournal(tmp_path / "journal", max_bytes=10**6, required=["store"])) as journal:
        yield journal


def delivery(journal: SqliteJournal, destination: Destination, most_requests: int = 8) -> Delivery:
    return Delivery(
        journal, "store", destination.deliver, Pace(most_requests, 10**6), is_reserving=True, now_ms=lambda: 7
    )


def test_requests_are_joined_into_batches(journal: SqliteJournal) -> None:
    destination = Destination()
    journal.append([b"%d," % n for n in range(10)])
    loading = delivery(journal, destination)
    assert loading.step()
    assert loading.step()
    assert not loading.step()
    assert destination.taken == [b"0,1,2,3,4,5,6,7,", b"8,9,"]
    assert (loading.progress.batches, loading.progress.requests) == (2, 10)


def test_a_batch_that_was_not_committed_comes_again_with_its_token_and_bytes(journal: SqliteJournal) -> None:
    destination = Destination()
    destination.breaks_after_taking = True
    journal.append([b"1,", b"2,"])
    with pytest.raises(Unavailable):
        delivery(journal, destination).step()
    journal.append([b"3,"])
    destination.breaks_after_taking = False
    after_the_crash = delivery(journal, destination)
    assert after_the_crash.step()
    assert after_the_crash.step()
    assert destination.taken == [b"1,2,", b"3,"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(are_bad=st.lists(st.booleans(), min_size=1, max_size=20), most_requests=st.integers(1, 16))
def test_exactly_the_bad_requests_are_set_aside(
    tmp_path_factory: pytest.TempPathFactory, are_bad: list[bool], most_requests: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    with closing(SqliteJournal(path, max_bytes=10**6, required=["store"])) as journal:
        bodies = [b"%s%d," % (b"bad" if is_bad else b"good", n) for n, is_bad in enumerate(are_bad)]
        journal.append(bodies)
        destination = Destination()
        loading = delivery(journal, destination, most_requests)
        while loading.step():
            pass
        assert b"".join(destination.taken) == b"".join(body for body in bodies if b"bad" not in body)
        assert [kept.body for kept in journal.those_set_aside()] == [body for body in bodies if b"bad" in body]
        assert loading.progress.set_aside == sum(are_bad)


class Crash(BaseException):
    """The process ends here."""


@settings(max_examples=15, deadline=None)
@given(
    runs=st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 5), st.sampled_from(["before taking", "after taking", "no crash"])),
        min_size=1,
        max_size=6,
    )
)
def test_wherever_it_crashes_everything_arrives_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int, str]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    destination = Destination()
    bodies: list[bytes] = []
    for new_requests, most_requests, crash in [*runs, (0, 3, "no crash")]:
        with closing(SqliteJournal(path, max_bytes=10**6, required=["store"])) as journal:
            new = [b"%d," % (len(bodies) + n) for n in range(new_requests)]
            bodies += new
            journal.append(new)

            def deliver(body: bytes, token: str, crash: str = crash) -> None:
                if crash == "before taking":
                    raise Crash
                destination.deliver(body, token)
                if crash == "after taking":
                    raise Crash

            loading = Delivery(journal, "store", deliver, Pace(most_requests, 10**6), is_reserving=True)
            with suppress(Crash):
                while loading.step():
                    pass
    assert b"".join(destination.taken) == b"".join(bodies)


def test_a_destination_that_is_away_is_waited_for_and_then_gets_everything(journal: SqliteJournal) -> None:
    destination = Destination()
    destination.is_away = True
    loading = delivery(journal, destination)
    loading.start()
    journal.append([b"1,", b"2,"])
    until(lambda: loading.progress.last_error == "away")
    destination.is_away = False
    until(lambda: b"".join(destination.taken) == b"1,2,")
    loading.stop()


def test_an_unexpected_error_is_shown_and_does_not_end_the_delivery(journal: SqliteJournal) -> None:
    def broken(body: bytes, token: str) -> None:
        raise ZeroDivisionError

    loading = Delivery(journal, "store", broken, Pace(8, 10**6), is_reserving=True)
    loading.start()
    journal.append([b"1"])
    until(lambda: loading.progress.last_error == "ZeroDivisionError()")
    assert any(thread.name == "deliver-store" for thread in threading.enumerate())
    loading.stop()
    assert journal.depth("store").requests == 1


def test_a_destination_that_stays_away_is_one_line_a_minute(
    journal: SqliteJournal, caplog: pytest.LogCaptureFixture
) -> None:
    now_ms = 0
    destination, tries = Destination(), []

    def deliver(body: bytes, token: str) -> None:
        nonlocal now_ms
        now_ms += 1000
        tries.append(now_ms)
        destination.is_away = len(tries) <= 70
        destination.deliver(body, token)

    journal.append([b"1,"])
    loading = Delivery(journal, "store", deliver, Pace(8, 10**6), is_reserving=True, now_ms=lambda: now_ms)
    loading.start()
    until(lambda: destination.taken == [b"1,"])
    loading.stop()
    assert len(tries) == 71
    assert [record.message.split(";")[0] for record in caplog.records] == ["store: away"] * 2


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it does not come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.01)
