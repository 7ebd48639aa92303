"""Everything that came goes on to the endpoint, also when it was away, and nobody waits for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flowtrail.collector.exporters.otlp_http import READER, exporter, retry_after_s
from flowtrail.collector.journal.delivery import Unavailable
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.store.connection import Store
from flowtrail.collector.store.loader import loader

from .otlp_bodies import body, span
from .otlp_endpoint import Endpoint

PATIENCE_S = 20


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with closing(Endpoint()) as endpoint:
        yield endpoint


@contextmanager
def opened(path: Path) -> Iterator[SqliteJournal]:
    with closing(SqliteJournal(path / "journal", max_bytes=10**7, required=["store"], optional=[READER])) as journal:
        yield journal


def append(journal: SqliteJournal, count: int) -> list[bytes]:
    """Append requests of one span each; return the span ids."""
    spans = [span() for _ in range(count)]
    journal.append([body(told) for told in spans])
    return [told.span_id for told in spans]


def test_every_request_is_sent_on_in_order(tmp_path: Path, endpoint: Endpoint) -> None:
    with opened(tmp_path) as journal:
        ids = append(journal, 100)
        sending = exporter(journal, endpoint.url)
        while sending.step():
            pass
        assert endpoint.spans() == ids
        assert len(endpoint.bodies) == 2
        assert journal.depth(READER).requests == 0


def test_an_endpoint_that_was_away_gets_everything_once(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.answers = [(503, {"retry-after": "0"}), (502, {}), (429, {"retry-after": "0"})]
    with opened(tmp_path) as journal:
        sending = exporter(journal, endpoint.url)
        sending.start()
        ids = append(journal, 10)
        until(lambda: len(endpoint.spans()) == 10)
        until(lambda: journal.depth(READER).requests == 0)
        sending.stop()
        assert endpoint.spans() == ids
        assert sending.progress.last_error is not None
        assert journal.count_set_aside(READER) == 0


def test_an_endpoint_that_is_not_there_holds_up_nobody(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as journal:
        sending, loading = exporter(journal, "http://127.0.0.1:9/v1/traces"), loader(journal, store)
        sending.start()
        append(journal, 5)
        until(lambda: sending.progress.last_error is not None)
        loading.start()
        append(journal, 5)
        until(lambda: journal.depth("store").requests == 0)
        assert store.query(f"SELECT count() FROM {store.database}.spans") == [(10,)]
        assert journal.depth(READER).requests == 10
        loading.stop()
        sending.stop()


def test_after_a_new_start_it_goes_on_where_it_was(tmp_path: Path, endpoint: Endpoint) -> None:
    with opened(tmp_path) as journal:
        first = append(journal, 3)
        exporter(journal, endpoint.url).step()
        second = append(journal, 3)
    with opened(tmp_path) as journal:
        exporter(journal, endpoint.url).step()
    assert endpoint.spans() == first + second


def test_a_request_that_the_endpoint_refuses_is_set_aside_and_the_others_arrive(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    with opened(tmp_path) as journal:
        ids = append(journal, 9)
        endpoint.refuses = ids[4]
        sending = exporter(journal, endpoint.url)
        while sending.step():
            pass
        assert endpoint.spans() == ids[:4] + ids[5:]
        assert journal.count_set_aside(READER) == 1


@pytest.mark.parametrize("status", [301, 302, 304, 307])
def test_a_redirect_is_no_delivery(tmp_path: Path, endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, {"location": "/elsewhere"})]
    with opened(tmp_path) as journal:
        ids = append(journal, 2)
        sending = exporter(journal, endpoint.url)
        with pytest.raises(Unavailable, match=f"{status} and points to /elsewhere"):
            sending.step()
        assert journal.depth(READER).requests == 2
        sending.step()
        assert endpoint.spans() == ids


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_answer_that_waiting_will_not_mend_is_said_to_be_one_and_loses_nothing(
    tmp_path: Path, endpoint: Endpoint, status: int
) -> None:
    endpoint.answers = [(status, {})]
    with opened(tmp_path) as journal:
        append(journal, 1)
        sending = exporter(journal, endpoint.url)
        with pytest.raises(Unavailable, match=f"answered {status}, which waiting will not mend: is the URL right"):
            sending.step()
        assert sending.step()
        assert len(endpoint.spans()) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("100000", 300),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now_s=90) == seconds


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it does not come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.01)
