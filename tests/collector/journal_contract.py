"""What every journal promises. A further implementation inherits one of the contracts and says how it is opened."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowtrail.collector.journal.contract import Appended, Batch, Depth, Entry, Journal, JournalError, JournalFull

MANY = 10**6
PATIENCE_S = 20


def bodies_of(batch: Batch) -> list[bytes]:
    return [entry.body for entry in batch.entries]


def size(depth: Depth) -> tuple[int, int]:
    return depth.requests, depth.size_bytes


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
        assert journal.read("a", 10, MANY).entries == [
            Entry(position, body) for position, body in zip(positions, [b"1", b"2", b"3"], strict=True)
        ]

    def test_an_empty_journal_gives_nothing(self, journal: Journal) -> None:
        assert journal.append([]) == []
        assert not journal.read("a", 10, MANY)
        assert size(journal.depth()) == (0, 0)
        assert journal.reserved("a") is None

    def test_a_batch_is_its_requests_joined(self, journal: Journal) -> None:
        journal.append([b"one", b"", b"three"])
        batch = journal.read("a", 10, MANY)
        assert (batch.body, bodies_of(batch)) == (b"onethree", [b"one", b"", b"three"])

    def test_a_batch_has_the_same_token_whenever_it_holds_the_same_requests_and_no_other(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            journal.append([b"1", b"2"])
            first, both = journal.read("a", 1, MANY), journal.read("a", 2, MANY)
            journal.reserve("a", both.end)
        with closing(self.open(tmp_path)) as journal:
            assert journal.read("a", 1, MANY).token == both.token != first.token
            journal.reserve("a", both.end_of_first(1))
            assert journal.read("a", 10, MANY).token == first.token

    def test_reading_keeps_to_its_bounds_but_gives_at_least_one(self, journal: Journal) -> None:
        journal.append([b"1" * 10, b"2" * 10, b"3" * 10])
        assert len(journal.read("a", 2, MANY)) == 2
        assert len(journal.read("a", 10, 20)) == 2
        assert len(journal.read("a", 10, 5)) == 1

    def test_a_reader_goes_on_after_what_it_committed(self, journal: Journal) -> None:
        first, second = journal.append([b"1", b"2"])
        journal.commit("a", (first.position,))
        assert bodies_of(journal.read("a", 10, MANY)) == [b"2"]
        journal.commit("a", (second.position,))
        journal.commit("a", (first.position,))  # backwards: nothing happens
        assert not journal.read("a", 10, MANY)

    def test_everything_is_there_after_a_new_start(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            first, second = journal.append([b"1", b"2"])
            journal.commit("a", (first.position,))
            name = journal.id
        with closing(self.open(tmp_path)) as journal:
            assert journal.id == name
            assert journal.read("a", 10, MANY).entries == [Entry(second.position, b"2")]

    def test_a_position_is_never_used_again(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first] = journal.append([b"1"])
            journal.commit("a", (first.position,))
        with closing(self.open(tmp_path)) as journal:
            [second] = journal.append([b"2"])
            assert second.position > first.position

    def test_a_body_twice_in_one_append_is_written_once(self, journal: Journal) -> None:
        [first, again] = journal.append([b"1", b"1"])
        assert again == Appended(first.position, is_duplicate=True)
        assert bodies_of(journal.read("a", 10, MANY)) == [b"1"]

    def test_a_reserved_batch_is_the_same_after_a_new_start_whatever_came_since(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [_, second] = journal.append([b"1", b"2"])
            journal.reserve("a", (second.position,))
        with closing(self.open(tmp_path)) as journal:
            journal.append([b"3"])
            assert bodies_of(journal.read("a", 1, 1)) == [b"1", b"2"]
            assert journal.reserved("a") == (second.position,)
            journal.commit("a", (second.position,))
            assert journal.reserved("a") is None
            assert bodies_of(journal.read("a", 10, MANY)) == [b"3"]

    def test_what_is_set_aside_is_kept_with_its_reason_and_passed(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            journal.append([b"1", b"2"])
            journal.set_aside("a", journal.read("a", 1, MANY), "broken", 5)
        with closing(self.open(tmp_path)) as journal:
            [kept] = journal.those_set_aside()
            assert (kept.body, kept.reason, kept.time_ms, kept.reader) == (b"1", "broken", 5, "a")
            assert journal.count_set_aside("a") == 1
            assert bodies_of(journal.read("a", 10, MANY)) == [b"2"]

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
        assert sorted(bodies_of(journal.read("a", 1000, MANY))) == sorted(bodies)


class OwnedJournalContract(JournalContract):
    """What a journal promises besides that alone decides what stays: a topic leaves that to its broker."""

    def test_what_all_readers_have_passed_is_gone_and_not_before(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, required=["a"], optional=["b"])) as journal:
            [done] = journal.append([b"1234"])
            journal.commit("a", (done.position,))
            assert size(journal.depth()) == (1, 4)
            assert size(journal.depth("a")) == (0, 0)
            assert bodies_of(journal.read("b", 10, MANY)) == [b"1234"]
            journal.commit("b", (done.position,))
            assert size(journal.depth()) == (0, 0)

    def test_a_full_journal_refuses_until_the_required_reader_moved(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, max_bytes=10)) as journal:
            [first] = journal.append([b"12345678"])
            with pytest.raises(JournalFull):
                journal.append([b"abc"])
            assert len(journal.read("a", 10, MANY)) == 1
            assert journal.append([b"12345678"])[0].is_duplicate  # nothing to write, so nothing to refuse
            journal.commit("a", (first.position,))
            assert not journal.append([b"abc"])[0].is_duplicate

    def test_a_full_journal_takes_all_of_an_append_or_nothing(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, max_bytes=10)) as journal:
            with pytest.raises(JournalFull):
                journal.append([b"1234", b"5678", b"90ab"])
            assert size(journal.depth()) == (0, 0)
            assert not journal.append([b"1234"])[0].is_duplicate

    def test_an_optional_reader_is_not_waited_for_and_what_it_lost_is_counted(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, required=["a"], optional=["b"], max_bytes=10)) as journal:
            for body in (b"1111", b"2222", b"3333", b"4444"):
                [done] = journal.append([body])
                journal.commit("a", (done.position,))
            assert bodies_of(journal.read("b", 10, MANY)) == [b"3333", b"4444"]
            assert journal.skipped("b") == 2
            assert journal.skipped("a") == 0

    def test_a_reader_that_is_named_no_more_holds_up_nothing(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path, required=["a"], optional=["b"])) as journal:
            [done] = journal.append([b"1"])
            journal.commit("a", (done.position,))
        with closing(self.open(tmp_path, required=["a"])) as journal:
            assert size(journal.depth()) == (0, 0)
            with pytest.raises(KeyError):
                journal.read("b", 1, MANY)

    def test_a_new_reader_begins_at_the_oldest_entry_that_is_left(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first, _] = journal.append([b"1", b"2"])
            journal.commit("a", (first.position,))
        with closing(self.open(tmp_path, optional=["b"])) as journal:
            assert bodies_of(journal.read("b", 10, MANY)) == [b"2"]

    def test_the_same_body_again_is_acknowledged_but_not_written(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as journal:
            [first, again] = journal.append([b"1", b"1"])
            assert again == Appended(first.position, is_duplicate=True)
            journal.commit("a", (first.position,))
        with closing(self.open(tmp_path)) as journal:
            assert journal.append([b"1"]) == [again]
            assert not journal.read("a", 10, MANY)
