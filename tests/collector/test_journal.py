"""The embedded journal keeps the contract, and requests that wait share a commit."""

import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrail.collector.journal.contract import Appended, End, Journal, JournalError, Position
from flowtrail.collector.journal.layout import ROW_BYTES
from flowtrail.collector.journal.sqlite import SqliteJournal

from .journal_contract import MANY, OwnedJournalContract, bodies_of, size

# What the first layout held: requests 7 to 9 wait, two of them reserved.
FIRST_LAYOUT = """
CREATE TABLE entries (position INTEGER PRIMARY KEY AUTOINCREMENT, body_bytes INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX sizes ON entries (position, body_bytes);
CREATE TABLE seen (position INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE readers (name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, reserved INTEGER,
    skipped INTEGER NOT NULL DEFAULT 0);
CREATE TABLE set_aside (position INTEGER, reader TEXT, reason TEXT, time_ms INTEGER, body BLOB,
    PRIMARY KEY (position, reader));
CREATE TABLE about (id TEXT NOT NULL);
INSERT INTO entries VALUES (7, 5, CAST('seven' AS BLOB)), (8, 5, CAST('eight' AS BLOB)), (9, 4, CAST('nine' AS BLOB));
INSERT INTO seen VALUES (6, x'06'), (7, x'07'), (8, x'08'), (9, x'09');
INSERT INTO readers VALUES ('a', 6, 8, 0);
INSERT INTO set_aside VALUES (3, 'a', 'no', 5, CAST('broken' AS BLOB));
INSERT INTO about VALUES ('theirs');
"""


class TestSqliteJournal(OwnedJournalContract):
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

    def test_a_body_that_was_forgotten_and_came_again_is_known_from_its_new_place(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.sqlite"
        with closing(SqliteJournal(path, max_bytes=MANY, required=["a"], seen_requests=2)) as journal:
            journal.append([b"1", b"2", b"3"])
            [again] = journal.append([b"1"])
        # The file still has both places of the body, and the first is the next to be forgotten.
        with closing(SqliteJournal(path, max_bytes=MANY, required=["a"], seen_requests=3)) as journal:
            assert journal.append([b"1"]) == [Appended(again.position, is_duplicate=True)]

    def test_requests_of_one_append_lie_in_rows_of_a_bounded_size(self, tmp_path: Path) -> None:
        bodies = [bytes([n]) * (ROW_BYTES // 3) for n in range(10)] + [bytes(ROW_BYTES + 1), b""]
        with closing(SqliteJournal(tmp_path / "journal", max_bytes=10 * ROW_BYTES, required=["a"])) as journal:
            journal.append(bodies)
            assert bodies_of(journal.read("a", 100, 10 * ROW_BYTES)) == bodies
            reader = sqlite3.connect(tmp_path / "journal")
            assert [row[0] for row in reader.execute("SELECT requests FROM groups ORDER BY last")] == [3, 3, 3, 1, 1, 1]
            reader.close()

    @given(
        sizes=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=6),
        limits=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 25)), min_size=1, max_size=5),
    )
    @settings(max_examples=30, deadline=None)
    def test_batches_of_any_bounds_over_appends_of_any_sizes_give_every_request_once(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[list[int]], limits: list[tuple[int, int]]
    ) -> None:
        numbers = iter(range(1000))
        appends = [[b"%03d" % next(numbers) + b"x" * size for size in group] for group in sizes]
        everything = [body for group in appends for body in group]
        path = tmp_path_factory.mktemp("journal") / "journal"
        read: list[bytes] = []
        with closing(SqliteJournal(path, max_bytes=MANY, required=["a"])) as journal:
            for group in appends:
                journal.append(group)
            for limit, max_bytes in itertools.cycle(limits):
                left = everything[len(read) :]
                assert size(journal.depth("a")) == (len(left), sum(map(len, left)))
                batch = journal.read("a", limit, max_bytes)
                if not batch:
                    break
                assert len(batch) <= limit
                assert len(batch) == 1 or len(batch.body) <= max_bytes
                read += bodies_of(batch)
                journal.commit("a", batch.end)
            assert size(journal.depth()) == (0, 0)
        assert read == everything

    def test_an_optional_reader_passes_over_what_is_too_old_and_a_required_one_gets_it(self, tmp_path: Path) -> None:
        now_ms = 0
        with closing(
            SqliteJournal(
                tmp_path / "journal",
                max_bytes=MANY,
                required=["a"],
                optional=["b"],
                max_age_ms=1000,
                now_ms=lambda: now_ms,
            )
        ) as journal:
            journal.append([b"1", b"2"])
            now_ms = 500
            [done] = journal.append([b"3"])
            assert journal.depth("b").oldest_ms == 0
            now_ms = 1001
            assert bodies_of(journal.read("b", 9, MANY)) == [b"3"]
            assert (journal.skipped("b"), journal.depth("b").oldest_ms) == (2, 500)
            assert bodies_of(journal.read("a", 9, MANY)) == [b"1", b"2", b"3"]
            journal.commit("a", (done.position,))
            now_ms = 2000
            journal.append([b"4"])
            assert size(journal.depth()) == (1, 1)  # nobody read the third, and yet it is gone
            assert (journal.skipped("b"), journal.skipped("a")) == (3, 0)

    def test_what_all_have_read_stays_as_long_as_its_bytes_fit_and_fills_nothing(self, tmp_path: Path) -> None:
        with closing(
            SqliteJournal(tmp_path / "journal", max_bytes=10, required=["a"], optional=["b"], keep_bytes=8)
        ) as journal:
            for body in (b"1111", b"2222", b"3333", b"4444"):
                [done] = journal.append([body])
                for reader in "ab":
                    journal.commit(reader, (done.position,))
            assert size(journal.depth()) == (0, 0)
            journal.append([b"5555", b"6666"])
            assert bodies_of(journal.read("a", 9, MANY)) == [b"5555", b"6666"]
            assert kept(tmp_path / "journal") == [b"3333", b"4444", b"55556666"]
        with closing(SqliteJournal(tmp_path / "journal", max_bytes=10, required=["a", "new"])) as journal:
            assert kept(tmp_path / "journal") == [b"55556666"]
            assert bodies_of(journal.read("new", 9, MANY)) == [b"5555", b"6666"]

    def test_a_journal_of_the_first_layout_is_read_on_where_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.sqlite"
        old = sqlite3.connect(path)
        old.executescript(FIRST_LAYOUT)
        old.close()
        for _ in range(2):
            with closing(self.open(tmp_path)) as journal:
                assert journal.id == "theirs"
                assert journal.reserved("a") == (Position(0, 8),)
                batch = journal.read("a", 1, MANY)
                assert (bodies_of(batch), batch.token) == ([b"seven", b"eight"], "theirs:7-8")
                assert journal.append([b"eight"])[0].is_duplicate
                assert [kept.body for kept in journal.those_set_aside()] == [b"broken"]
        with closing(self.open(tmp_path)) as journal:
            [done] = journal.append([b"new"])
            assert done.position.offset > 9  # the last that the old one had given
            journal.commit("a", batch.end)
            assert bodies_of(journal.read("a", 9, MANY)) == [b"nine", b"new"]

    def test_a_file_of_a_newer_layout_is_refused(self, tmp_path: Path) -> None:
        newer = sqlite3.connect(tmp_path / "journal.sqlite")
        newer.execute("PRAGMA user_version = 99")
        newer.close()
        with pytest.raises(JournalError, match="version 99"):
            self.open(tmp_path)

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
            assert [record.message.split(":")[0] for record in caplog.records] == ["b"]
            journal.commit("b", last)
            fill(5)
            assert [record.message.split(":")[0] for record in caplog.records] == ["b", "b"]


def kept(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as reader:
        return [body for (body,) in reader.execute("SELECT body FROM groups ORDER BY last")]
