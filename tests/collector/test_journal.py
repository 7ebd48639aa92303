"""What every journal promises. A further implementation inherits `JournalContract` and says how it is opened."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowtrail.collector.journal.contract import Appended, Depth, Entry, Journal, JournalError, JournalFull
from flowtrail.collector.journal.group_commit import GroupCommit
from flowtrail.collector.journal.sqlite import SqliteJournal

MANY = 10**6
PATIENCE_S = 20


class JournalContract(ABC):
    """Opening the same `place` again finds what was there, as after a crash."""

    @abstractmethod
    def open(
        self, place: Path, *, required: Sequence[str] = ("a",), optional: Sequence[str] = (), max_bytes: int = MANY
    ) -> Journal: ...

    @pytest.fixture
    def journal(self, tmp_path: Path) -> Any:
        with closing(self.open(tmp_path)) as journal:
            yield journal

    def test_bodies_are_read_in_the_order_of_their_append(self, journal: Journal) -> None:
        positions = [done.position for done in journal.append([b"1", b"2"]) + journal.append([b"3"])]
        assert positions == sorted(positions)
        assert journal.read("a", 10, MANY) == [
            Entry(position, body) for position, body in zip(positions, [b"1", b"2", b"3"], strict=True)
        ]

    def test_an_empty_journal_gives_nothing(self, journal: Journal) -> None:
        assert journal.append([]) == []
        assert journal.read("a", 10, MANY) == []
        assert journal.depth() == Depth(0, 0)
        assert journal.reserved("a") is None

    def test_reading_keeps_to_its_bounds_but_gives_at_least_one(self, journal: Journal) -> None:
        journal.append([b"1" * 10, b"2" * 10, b"3" * 10])
        assert len(journal.read("a", 2, MANY)) == 2
        assert len(journal.read("a", 10, 20)) == 2
        assert len(journal.read("a", 10, 5)) == 1

    def test_a_reader_goes_on_after_what_it_committed(self, journal: Journal) -> None:
        first, second = journal.append([b"1", b"2"])
        journal.commit("a", first.position)
        assert [entry.body for entry in journal.read("a", 10, MANY)] == [b"2"]
        journal.commit("a", second.position)
        journal.commit("a", first.position)  # backwards: nothing happens
        assert journal.read("a", 10, MANY) == []

    def test_what_all_readers_have_passed_is_gone_and_not_before(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, required=["a"], optional=["b"])) as journal:
            [done] = journal.append([b"1234"])
            journal.commit("a", done.position)
            assert journal.depth() == Depth(1, 4)
            assert journal.depth("a") == Depth(0, 0)
            assert [entry.body for entry in journal.read("b", 10, MANY)] == [b"1234"]
            journal.commit("b", done.position)
            assert journal.depth() == Depth(0, 0)

    def test_everything_is_there_after_a_new_start(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            first, second = journal.append([b"1", b"2"])
            journal.commit("a", first.position)
            name = journal.id
        with closing(self.open(tmp_path)) as journal:
            assert journal.id == name
            assert journal.read("a", 10, MANY) == [Entry(second.position, b"2")]

    def test_a_position_is_never_used_again(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first] = journal.append([b"1"])
            journal.commit("a", first.position)
        with closing(self.open(tmp_path)) as journal:
            [second] = journal.append([b"2"])
            assert second.position > first.position

    def test_the_same_body_again_is_acknowledged_but_not_written(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first, again] = journal.append([b"1", b"1"])
            assert again == Appended(first.position, is_duplicate=True)
            journal.commit("a", first.position)
        with closing(self.open(tmp_path)) as journal:
            assert journal.append([b"1"]) == [again]
            assert journal.read("a", 10, MANY) == []

    def test_a_full_journal_refuses_until_the_required_reader_moved(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, max_bytes=10)) as journal:
            [first] = journal.append([b"12345678"])
            with pytest.raises(JournalFull):
                journal.append([b"abc"])
            assert len(journal.read("a", 10, MANY)) == 1
            assert journal.append([b"12345678"])[0].is_duplicate  # nothing to write, so nothing to refuse
            journal.commit("a", first.position)
            assert not journal.append([b"abc"])[0].is_duplicate

    def test_a_full_journal_takes_all_of_an_append_or_nothing(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, max_bytes=10)) as journal:
            with pytest.raises(JournalFull):
                journal.append([b"1234", b"5678", b"90ab"])
            assert journal.depth() == Depth(0, 0)
            assert not journal.append([b"1234"])[0].is_duplicate

    def test_an_optional_reader_is_not_waited_for_and_what_it_lost_is_counted(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, required=["a"], optional=["b"], max_bytes=10)) as journal:
            for body in (b"1111", b"2222", b"3333", b"4444"):
                [done] = journal.append([body])
                journal.commit("a", done.position)
            assert [entry.body for entry in journal.read("b", 10, MANY)] == [b"3333", b"4444"]
            assert journal.skipped("b") == 2
            assert journal.skipped("a") == 0

    def test_a_reader_that_is_named_no_more_holds_up_nothing(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, required=["a"], optional=["b"])) as journal:
            [done] = journal.append([b"1"])
            journal.commit("a", done.position)
        with closing(self.open(tmp_path, required=["a"])) as journal:
            assert journal.depth() == Depth(0, 0)
            with pytest.raises(KeyError):
                journal.read("b", 1, MANY)

    def test_a_new_reader_begins_at_the_oldest_entry_that_is_left(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first, _] = journal.append([b"1", b"2"])
            journal.commit("a", first.position)
        with closing(self.open(tmp_path, optional=["b"])) as journal:
            assert [entry.body for entry in journal.read("b", 10, MANY)] == [b"2"]

    def test_a_reserved_batch_is_the_same_after_a_new_start_whatever_came_since(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [_, second] = journal.append([b"1", b"2"])
            journal.reserve("a", second.position)
        with closing(self.open(tmp_path)) as journal:
            journal.append([b"3"])
            assert [entry.body for entry in journal.read("a", 1, 1)] == [b"1", b"2"]
            assert journal.reserved("a") == (second.position - 2, second.position)
            journal.commit("a", second.position)
            assert journal.reserved("a") is None
            assert [entry.body for entry in journal.read("a", 10, MANY)] == [b"3"]

    def test_what_is_set_aside_is_kept_with_its_reason_and_passed(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first, _] = journal.append([b"1", b"2"])
            journal.set_aside("a", first.position, "broken", 5)
        with closing(self.open(tmp_path)) as journal:
            [kept] = journal.those_set_aside()
            assert (kept.body, kept.reason, kept.time_ms, kept.reader) == (b"1", "broken", 5, "a")
            assert journal.count_set_aside("a") == 1
            assert [entry.body for entry in journal.read("a", 10, MANY)] == [b"2"]

    def test_waiting_ends_when_a_body_comes(self, journal: Journal) -> None:
        assert not journal.wait("a", 0)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(journal.wait, "a", PATIENCE_S)
            journal.append([b"1"])
            assert waiting.result(PATIENCE_S)

    def test_waiting_ends_when_the_journal_is_closed(self, tmp_path: Path) -> None:
        journal = self.open(tmp_path)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(journal.wait, "a", PATIENCE_S)
            journal.close()
            assert not waiting.result(PATIENCE_S)
        with pytest.raises(JournalError):
            journal.append([b"1"])

    def test_many_threads_lose_nothing(self, journal: Journal) -> None:
        bodies = [f"{n}".encode() for n in range(200)]
        with ThreadPoolExecutor(8) as threads:
            done = [results[0] for results in threads.map(lambda body: journal.append([body]), bodies)]
        assert len({result.position for result in done}) == len(bodies)
        assert sorted(entry.body for entry in journal.read("a", 1000, MANY)) == sorted(bodies)


class TestSqliteJournal(JournalContract):
    def open(
        self, place: Path, *, required: Sequence[str] = ("a",), optional: Sequence[str] = (), max_bytes: int = MANY
    ) -> Journal:
        return SqliteJournal(place / "journal.sqlite", max_bytes=max_bytes, required=required, optional=optional)

    def test_a_body_is_forgotten_after_the_window(self, tmp_path: Path) -> None:
        with closing(
            SqliteJournal(tmp_path / "journal.sqlite", max_bytes=MANY, required=["a"], seen_requests=2)
        ) as journal:
            journal.append([b"1", b"2", b"3"])
            assert not journal.append([b"1"])[0].is_duplicate
            assert journal.append([b"3"])[0].is_duplicate

    def test_a_file_that_is_no_journal_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "journal.sqlite").write_bytes(b"something else" * 100)
        with pytest.raises(JournalError, match="cannot open"):
            self.open(tmp_path)

    def test_a_reader_that_begins_to_skip_is_told_of_once_until_it_caught_up(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fill(first: int) -> int:
            for number in range(first, first + 5):
                [last] = journal.append([b"%04d" % number])
                journal.commit("a", last.position)
            return last.position

        with closing(self.open(tmp_path, optional=["b"], max_bytes=10)) as journal:
            last = fill(0)
            assert [record.args for record in caplog.records] == [("b",)]
            journal.commit("b", last)
            fill(5)
            assert [record.args for record in caplog.records] == [("b",), ("b",)]


class TestGroupCommit:
    def test_requests_that_wait_share_one_append(self, tmp_path: Path) -> None:
        slow = _SlowJournal()
        group_commit = GroupCommit(slow)
        first = group_commit.add(b"0")
        assert slow.is_appending.wait(PATIENCE_S)
        others = [group_commit.add(f"{n}".encode()) for n in range(1, 50)]
        slow.may_go_on.set()
        assert first.result(PATIENCE_S).position == 1
        assert [future.result(PATIENCE_S).position for future in others] == list(range(2, 51))
        assert slow.groups == [1, 49]
        group_commit.close()

    @pytest.mark.parametrize(
        ("failure", "told"),
        [(JournalFull("full"), JournalFull), (JournalError("disk"), JournalError), (MemoryError(), JournalError)],
    )
    def test_a_failed_append_reaches_its_requests_and_the_next_group_goes_on(
        self, failure: Exception, told: type[Exception]
    ) -> None:
        journal = _SlowJournal(fail_first=failure)
        journal.may_go_on.set()
        group_commit = GroupCommit(journal)
        with pytest.raises(told):
            group_commit.add(b"1").result(PATIENCE_S)
        assert group_commit.add(b"2").result(PATIENCE_S).position == 1
        group_commit.close()

    def test_closing_appends_what_waits_and_refuses_what_comes_later(self) -> None:
        journal = _SlowJournal()
        journal.may_go_on.set()
        group_commit = GroupCommit(journal)
        waiting = [group_commit.add(b"1"), group_commit.add(b"2")]
        group_commit.close()
        assert [future.result(0).position for future in waiting] == [1, 2]
        with pytest.raises(JournalError):
            group_commit.add(b"3").result(0)

    def test_a_sender_that_has_gone_disturbs_nobody(self) -> None:
        journal = _SlowJournal()
        group_commit = GroupCommit(journal)
        group_commit.add(b"0")
        assert journal.is_appending.wait(PATIENCE_S)
        gone, there = group_commit.add(b"1"), group_commit.add(b"2")
        gone.cancel()
        journal.may_go_on.set()
        assert there.result(PATIENCE_S).position == 3
        group_commit.close()


class _SlowJournal(SqliteJournal):
    """A journal whose appends wait until they may go on; it counts bodies instead of keeping them."""

    def __init__(self, fail_first: Exception | None = None) -> None:
        self.is_appending = threading.Event()
        self.may_go_on = threading.Event()
        self.groups: list[int] = []
        self._failures = [fail_first] if fail_first else []

    def append(self, bodies: Sequence[bytes]) -> list[Appended]:
        self.is_appending.set()
        assert self.may_go_on.wait(PATIENCE_S)
        if self._failures:
            raise self._failures.pop()
        before = sum(self.groups)
        self.groups.append(len(bodies))
        return [Appended(before + n + 1, is_duplicate=False) for n in range(len(bodies))]
