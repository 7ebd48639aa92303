"""Requests that wait together are written together, and each hears what became of it."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from flowtrail.collector.journal.contract import Appended, JournalError, JournalFull, Position
from flowtrail.collector.journal.group_commit import GroupCommit
from flowtrail.collector.journal.sqlite import SqliteJournal

PATIENCE_S = 20


class SlowJournal(SqliteJournal):
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


async def offset(appended: "asyncio.Future[Appended]") -> int:
    return (await asyncio.wait_for(appended, PATIENCE_S)).position.offset


def test_requests_that_wait_share_one_append_and_one_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowJournal()
    group_commit = GroupCommit(slow)
    wake_ups: list[Any] = []

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        wake_up = loop.call_soon_threadsafe

        def counted(*call: Any, **others: Any) -> Any:
            wake_ups.append(threading.current_thread().name)
            return wake_up(*call, **others)

        first = group_commit.add(b"0")
        assert slow.is_appending.wait(PATIENCE_S)
        others = [group_commit.add(f"{n}".encode()) for n in range(1, 50)]
        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        slow.may_go_on.set()
        assert await offset(first) == 1
        assert [await offset(one) for one in others] == list(range(2, 51))

    asyncio.run(ask())
    group_commit.close()
    assert slow.groups == [1, 49]
    assert wake_ups == ["journal-append"] * 2


@pytest.mark.parametrize(
    ("failure", "told"),
    [(JournalFull("full"), JournalFull), (JournalError("disk"), JournalError), (MemoryError(), JournalError)],
)
def test_a_failed_append_reaches_its_requests_and_the_next_group_goes_on(
    failure: Exception, told: type[Exception]
) -> None:
    journal = SlowJournal(fail_first=failure)
    journal.may_go_on.set()
    group_commit = GroupCommit(journal)

    async def ask() -> None:
        with pytest.raises(told):
            await offset(group_commit.add(b"1"))
        assert await offset(group_commit.add(b"2")) == 1

    asyncio.run(ask())
    group_commit.close()


def test_closing_appends_what_waits_and_refuses_what_comes_later() -> None:
    journal = SlowJournal()
    journal.may_go_on.set()
    group_commit = GroupCommit(journal)

    async def ask() -> None:
        waiting = [group_commit.add(b"1"), group_commit.add(b"2")]
        group_commit.close()
        assert [await offset(one) for one in waiting] == [1, 2]
        with pytest.raises(JournalError):
            await offset(group_commit.add(b"3"))

    asyncio.run(ask())
    assert sum(journal.groups) == 2


def test_a_sender_that_has_gone_disturbs_nobody() -> None:
    journal = SlowJournal()
    group_commit = GroupCommit(journal)

    async def ask() -> None:
        first = group_commit.add(b"0")
        assert journal.is_appending.wait(PATIENCE_S)
        gone, there = group_commit.add(b"1"), group_commit.add(b"2")
        gone.cancel()
        journal.may_go_on.set()
        assert await offset(there) == 3
        assert await offset(first) == 1

    asyncio.run(ask())
    group_commit.close()


def test_a_loop_that_has_ended_keeps_nobody_else_from_hearing() -> None:
    journal = SlowJournal()
    group_commit = GroupCommit(journal)

    async def leave() -> None:
        group_commit.add(b"0")
        assert journal.is_appending.wait(PATIENCE_S)
        group_commit.add(b"1")

    async def ask() -> None:
        appended = group_commit.add(b"2")
        journal.may_go_on.set()
        assert await offset(appended) == 3

    asyncio.run(leave())
    asyncio.run(ask())
    group_commit.close()


def test_each_of_two_loops_hears_of_its_own() -> None:
    journal = SlowJournal()
    group_commit = GroupCommit(journal)
    heard: list[int] = []

    async def ask(body: bytes) -> None:
        heard.append(await offset(group_commit.add(body)))

    threads = [threading.Thread(target=asyncio.run, args=(ask(body),)) for body in (b"1", b"2", b"3")]
    for thread in threads:
        thread.start()
    journal.may_go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    group_commit.close()
    assert sorted(heard) == [1, 2, 3]
