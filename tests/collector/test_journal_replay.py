"""Another process looks into a journal, lets a reader read again, and lets it try again what was set aside."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flowtrail.collector.journal.contract import Depth, JournalError, JournalFull, Position
from flowtrail.collector.journal.delivery import Delivery, Pace, Refused
from flowtrail.collector.journal.inspection import JournalFile
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.store.connection import Store
from flowtrail.collector.store.loader import loader

from .journal_contract import bodies_of
from .otlp_bodies import body, send, span

MANY = 10**6


class Destination:
    """Keeps every batch that comes; refuses what is bad until it is mended."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, bytes]] = []
        self.is_mended = False

    def deliver(self, body: bytes, token: str) -> None:
        if b"bad" in body and not self.is_mended:
            raise Refused("bad bytes")
        self.batches.append((token, body))


def opened(path: Path, keep_bytes: int = MANY) -> SqliteJournal:
    return SqliteJournal(
        path / "journal.sqlite", max_bytes=MANY, required=["store"], optional=["export"], keep_bytes=keep_bytes
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with closing(opened(tmp_path)) as journal:
        yield journal


@pytest.fixture
def file(journal: SqliteJournal, tmp_path: Path) -> Iterator[JournalFile]:
    with JournalFile(tmp_path / "journal.sqlite") as file:
        yield file


def run(journal: SqliteJournal, destination: Destination, reader: str = "store", most: int = 3) -> Delivery:
    delivery = Delivery(
        journal, reader, destination.deliver, Pace(most, MANY), is_reserving=reader == "store", now_ms=lambda: 7
    )
    while delivery.step():
        pass
    return delivery


def test_a_reader_that_reserves_gets_the_same_batches_again_under_the_same_tokens(
    journal: SqliteJournal, file: JournalFile
) -> None:
    destination = Destination()
    journal.append([b"%d," % n for n in range(4)])
    run(journal, destination)
    journal.append([b"%d," % n for n in range(4, 9)])
    run(journal, destination)
    first = list(destination.batches)
    journal.append([b"new,"])
    assert file.ask_to_rewind("store", 4) == 4
    run(journal, destination, most=100)
    assert destination.batches[:-1] == [*first, *first[2:]]
    assert destination.batches[-1][1] == b"new,"


def test_a_batch_that_broke_before_a_rewind_comes_again_as_it_was_after_it(
    journal: SqliteJournal, file: JournalFile
) -> None:
    destination = Destination()
    journal.append([b"%d," % n for n in range(2)])
    run(journal, destination)
    journal.append([b"%d," % n for n in range(2, 4)])
    broken = journal.read("store", 9, MANY)
    journal.reserve("store", broken.end)
    journal.append([b"%d," % n for n in range(4, 7)])
    file.ask_to_rewind("store", 0)
    run(journal, destination, most=100)
    assert [body for _, body in destination.batches] == [b"0,1,", b"0,1,", b"2,3,", b"4,5,6,"]
    assert destination.batches[2][0] == broken.token


def test_a_rewind_into_the_midst_of_a_batch_begins_where_the_batch_does(
    journal: SqliteJournal, file: JournalFile
) -> None:
    destination = Destination()
    journal.append([b"%d," % n for n in range(6)])
    run(journal, destination)
    assert file.ask_to_rewind("store", 5) == 3
    run(journal, destination)
    assert [body for _, body in destination.batches] == [b"0,1,2,", b"3,4,5,", b"3,4,5,"]


def test_a_reader_that_does_not_reserve_goes_back_to_the_very_request(
    journal: SqliteJournal, file: JournalFile
) -> None:
    destination = Destination()
    journal.append([b"%d," % n for n in range(6)])
    run(journal, destination, "export")
    assert file.ask_to_rewind("export", 5) == 5
    run(journal, destination, "export")
    assert [body for _, body in destination.batches] == [b"0,1,2,", b"3,4,5,", b"5,"]


def test_a_rewind_goes_no_further_back_than_what_is_kept(tmp_path: Path) -> None:
    destination = Destination()
    with closing(opened(tmp_path, keep_bytes=8)) as journal, JournalFile(tmp_path / "journal.sqlite") as file:
        for number in range(9):
            journal.append([b"%d," % number])
            run(journal, Destination(), "export")
            run(journal, destination)
        assert file.ask_to_rewind("store", 0) == 5
        destination.batches.clear()
        run(journal, destination)
        assert [body for _, body in destination.batches] == [b"5,", b"6,", b"7,", b"8,"]


def test_a_rewind_to_where_the_reader_has_not_been_is_none(journal: SqliteJournal, file: JournalFile) -> None:
    journal.append([b"1"])
    assert file.ask_to_rewind("store", 1) == 0
    assert not file.is_to_rewind("store")
    with pytest.raises(KeyError):
        file.ask_to_rewind("nobody", 0)


def test_what_is_read_again_waits_as_anything_else_does(journal: SqliteJournal, file: JournalFile) -> None:
    journal.append([b"1", b"2", b"3"])
    for reader in ("store", "export"):
        run(journal, Destination(), reader)
    assert journal.depth() == Depth(0, 0)
    file.ask_to_rewind("export", 1)
    batch = journal.read("export", 9, MANY)
    assert bodies_of(batch) == [b"2", b"3"]
    assert journal.depth().requests == journal.depth("export").requests == 2
    journal.commit("export", batch.end)
    assert journal.depth() == Depth(0, 0)


def test_a_journal_is_as_full_after_a_rewind_as_what_waits_again_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJournal(path, max_bytes=10, required=["store"], keep_bytes=MANY)) as journal:
        for body in (b"1111", b"2222"):
            [done] = journal.append([body])
            journal.commit("store", (done.position,))
        with JournalFile(path) as file:
            file.ask_to_rewind("store", 0)
        batch = journal.read("store", 9, MANY)
        with pytest.raises(JournalFull):
            journal.append([b"3333"])
        journal.commit("store", batch.end)
        assert not journal.append([b"3333"])[0].is_duplicate


def test_a_rewind_that_is_asked_of_a_stopped_collector_is_done_when_it_starts(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([b"1,", b"2,"])
        run(journal, Destination())
    with JournalFile(tmp_path / "journal.sqlite") as file:
        file.ask_to_rewind("store", 0)
    destination = Destination()
    with closing(opened(tmp_path)) as journal:
        run(journal, destination)
    assert [body for _, body in destination.batches] == [b"1,2,"]


def test_a_store_that_reads_again_counts_nothing_twice(journal: SqliteJournal, file: JournalFile, store: Store) -> None:
    def counted() -> list[tuple[int, int]]:
        return store.query(
            f"SELECT (SELECT count() FROM {store.database}.spans), (SELECT sum(messages) FROM {store.database}.edges)"
        )

    journal.append([body(span(send("orders", 0, n))) for n in range(5)])
    loading = loader(journal, store)
    assert loading.step()
    journal.append([body(span(send("orders", 0, n))) for n in range(5, 7)])
    while loading.step():
        pass
    assert counted() == [(7, 7)]
    file.ask_to_rewind("store", 0)
    batches = loading.progress.batches
    while loading.step():
        pass
    assert loading.progress.batches == batches + 2
    assert counted() == [(7, 7)]


def test_what_was_set_aside_is_tried_again_by_its_reader_alone_when_it_is_asked_to(
    journal: SqliteJournal, file: JournalFile
) -> None:
    destination, exported = Destination(), Destination()
    exported.is_mended = True
    journal.append([b"good,", b"bad1,", b"bad2,"])
    run(journal, destination)
    run(journal, exported, "export")
    assert [(kept.position, kept.reason) for kept in file.set_aside()] == [
        (Position(0, 2), "bad bytes"),
        (Position(0, 3), "bad bytes"),
    ]
    assert file.info().readers[1].set_aside == {"bad bytes": 2}
    destination.is_mended = True
    assert file.ask_to_retry("export") == 0
    assert file.ask_to_retry("store", [3]) == 1
    assert file.ask_to_retry(positions=[3]) == 0  # that was asked for
    run(journal, destination)
    run(journal, exported, "export")
    assert [body for _, body in destination.batches] == [b"good,", b"bad2,"]
    assert [body for _, body in exported.batches] == [b"good,bad1,bad2,"]
    assert [kept.body for kept in file.set_aside()] == [b"bad1,"]


def test_what_is_refused_again_stays_set_aside_and_holds_up_nothing(journal: SqliteJournal, file: JournalFile) -> None:
    destination = Destination()
    journal.append([b"bad,"])
    run(journal, destination)
    file.ask_to_retry()
    journal.append([b"good,"])
    run(journal, destination)
    assert [body for _, body in destination.batches] == [b"good,"]
    assert [kept.body for kept in file.set_aside()] == [b"bad,"]
    assert file.ask_to_retry() == 1


def test_a_journal_is_told_of_while_it_is_written(tmp_path: Path) -> None:
    now_ms = 100
    with (
        closing(
            SqliteJournal(tmp_path / "j", max_bytes=MANY, required=["store"], keep_bytes=MANY, now_ms=lambda: now_ms)
        ) as journal,
        JournalFile(tmp_path / "j") as file,
    ):
        assert (file.last(), file.before(0), list(file.requests(0))) == (0, 0, [])
        journal.append([b"1", b"22"])
        now_ms = 200
        journal.append([b"333"])
        journal.commit("store", (Position(0, 1),))
        assert [(kept.position.offset, kept.time_ms, kept.body) for kept in file.requests(1)] == [
            (2, 100, b"22"),
            (3, 200, b"333"),
        ]
        assert (file.before(100), file.before(101), file.before(201)) == (0, 2, 3)
        told = file.info()
        assert (told.id, told.last.offset) == (journal.id, 3)
        assert (told.kept, told.waiting) == (Depth(1, 1, 100), Depth(2, 5, 100))
        assert (told.readers[0].cursor.offset, told.readers[0].behind) == (1, Depth(2, 5, 100))
        assert told.file_bytes + told.log_bytes > 0


def test_what_is_no_journal_of_this_version_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        JournalFile(tmp_path / "none")
    (tmp_path / "text").write_text("something else" * 100)
    with pytest.raises(JournalError, match="not a database"):
        JournalFile(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(JournalError, match="layout 0"):
        JournalFile(tmp_path / "empty")
