"""The embedded journal keeps the contract, and requests that wait share a commit."""

import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from flowtrail.collector.journal.contract import Appended, End, Journal, JournalError, JournalFull, Position
from flowtrail.collector.journal.group_commit import GroupCommit
from flowtrail.collector.journal.sqlite import SqliteJournal

from .journal_contract import MANY, PATIENCE_S, JournalContract


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
        def fill(first: int) -> End:
            for number in range(first, first + 5):
                [last] = journal.append([b"%04d" % number])
                journal.commit("a", (last.position,))
            return (last.position,)

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
        assert first.result(PATIENCE_S).position.offset == 1
        assert [future.result(PATIENCE_S).position.offset for future in others] == list(range(2, 51))
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
        assert group_commit.add(b"2").result(PATIENCE_S).position.offset == 1
        group_commit.close()

    def test_closing_appends_what_waits_and_refuses_what_comes_later(self) -> None:
        journal = _SlowJournal()
        journal.may_go_on.set()
        group_commit = GroupCommit(journal)
        waiting = [group_commit.add(b"1"), group_commit.add(b"2")]
        group_commit.close()
        assert [future.result(0).position.offset for future in waiting] == [1, 2]
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
        assert there.result(PATIENCE_S).position.offset == 3
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
        return [Appended(Position(0, before + n + 1), is_duplicate=False) for n in range(len(bodies))]
