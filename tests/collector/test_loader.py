"""From the journal to the store: once, whatever happens between."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flowtrail.collector.journal.delivery import Refused, Unavailable
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.store.connection import BadRequestBytes, Store, StoreError
from flowtrail.collector.store.loader import ATTEMPTS, StoreDestination, loader

from .otlp_bodies import body, send, span


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with closing(SqliteJournal(tmp_path / "journal", max_bytes=10**7, required=["store"])) as journal:
        yield journal


def spans(store: Store) -> int:
    [(count,)] = store.query(f"SELECT count() FROM {store.database}.spans")
    return int(count)


def counted(store: Store) -> int:
    [(count,)] = store.query(f"SELECT sum(messages) FROM {store.database}.edges")
    return int(count)


def test_a_crash_after_the_insert_and_before_the_commit_changes_nothing(journal: SqliteJournal, store: Store) -> None:
    journal.append([body(span(send("orders", 0, n))) for n in range(3)])

    class Crash(BaseException):
        """The process ends here."""

    class CrashingStore:
        def load(self, body: bytes, token: str) -> None:
            store.load(body, token)
            raise Crash

    with pytest.raises(Crash):
        loader(journal, CrashingStore()).step()  # type: ignore[arg-type]
    assert (spans(store), counted(store)) == (3, 3)
    journal.append([body(span(send("orders", 0, 3)))])
    again = loader(journal, store)
    while again.step():
        pass
    assert (spans(store), counted(store)) == (4, 4)


def test_a_request_that_the_store_cannot_parse_is_set_aside_and_the_others_arrive(
    journal: SqliteJournal, store: Store
) -> None:
    good = [body(span(send("orders", 0, n))) for n in range(7)]
    journal.append([*good[:4], b"\xff\xff no message", *good[4:]])
    loading = loader(journal, store)
    while loading.step():
        pass
    assert (spans(store), counted(store)) == (7, 7)
    assert [kept.body for kept in journal.those_set_aside()] == [b"\xff\xff no message"]


class FailingStore:
    """Takes only empty requests, or nothing at all."""

    def __init__(self, takes_empty: bool, error: Exception | None = None) -> None:
        self.takes_empty = takes_empty
        self.error = error or StoreError("no")

    def load(self, body: bytes, token: str) -> None:
        if len(body) > 2 or not self.takes_empty:
            raise self.error


@pytest.mark.parametrize("error", [StoreError("no"), AttributeError("a fault of the driver")], ids=repr)
def test_a_store_that_fails_one_batch_alone_refuses_it_after_some_attempts(error: Exception) -> None:
    destination = StoreDestination(FailingStore(takes_empty=True, error=error))  # type: ignore[arg-type]
    for _ in range(ATTEMPTS - 1):
        with pytest.raises(Unavailable):
            destination.deliver(b"a batch", "1")
    with pytest.raises(Refused):
        destination.deliver(b"a batch", "1")


@pytest.mark.parametrize("error", [StoreError("no"), AttributeError("a fault of the driver")], ids=repr)
def test_a_store_that_takes_nothing_is_waited_for_and_nothing_is_blamed(error: Exception) -> None:
    destination = StoreDestination(FailingStore(takes_empty=False, error=error))  # type: ignore[arg-type]
    for _ in range(3 * ATTEMPTS):
        with pytest.raises(Unavailable):
            destination.deliver(b"a batch", "1")


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"\x08\x02", id="a known field with another wire type"),
        pytest.param(b"\x0a\x08\x0a\x06\x0a\x04\x12\x02\x08\x02", id="the same, deep inside"),
        pytest.param(b"\x0a\x0b\x0a\x09\x0a\x07\x12\x05\x0a\x01a\x10\x01", id="two values of a oneof"),
    ],
)
def test_what_protobuf_can_read_is_stored_although_the_store_is_stricter(odd: bytes, store: Store) -> None:
    ExportTraceServiceRequest.FromString(odd)
    with pytest.raises(BadRequestBytes):
        store.load(odd, "alone")
    batch = body(span()) + odd + body(span())
    for _ in range(2):  # a crash before the commit
        StoreDestination(store).deliver(batch, "batch")
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(2,)]
