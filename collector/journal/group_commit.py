"""Requests that wait at the same time share one commit: the disk is asked once for all of them."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, TypeAlias

from .contract import Appended, Journal, JournalError, JournalFull

log = logging.getLogger(__name__)

# Bounds the memory of one transaction; under load a group is what came in during the commit before.
MOST_BYTES: Final = 32 * 1024 * 1024


_Group: TypeAlias = list[tuple[bytes, "asyncio.Future[Appended]"]]
_Outcomes: TypeAlias = list[tuple["asyncio.Future[Appended]", Appended | Exception]]


class GroupCommit:
    """Appends to a journal on a thread of its own. `add` returns at once; its future is done when the body is durable.

    The future raises JournalFull or JournalError, as `Journal.append` does. It belongs to the event loop on which `add`
    was called; each loop is woken once for all of its requests in a group.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: _Group = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="journal-append", daemon=True)
        self._thread.start()

    def add(self, body: bytes) -> "asyncio.Future[Appended]":
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._is_closed:
                future.set_exception(JournalError("the collector is stopping"))
                return future
            self._waiting.append((body, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Append what waits, then stop."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            bodies = [body for body, _ in group]
            outcomes: Sequence[Appended | Exception]
            try:
                outcomes = self._journal.append(bodies)
            except (JournalFull, JournalError) as error:
                outcomes = [error] * len(group)
            except Exception as error:
                # A fault of our own: these senders may come again, and those after them are served.
                log.exception("unexpected error while appending to the journal")
                outcomes = [JournalError(f"the journal failed: {error!r}")] * len(group)
            _tell([(future, outcome) for (_, future), outcome in zip(group, outcomes, strict=True)])

    def _next_group(self) -> _Group:
        """Wait for bodies; empty when closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            size_bytes = 0
            count = 0
            for body, _ in self._waiting:
                size_bytes += len(body)
                if count and size_bytes > MOST_BYTES:
                    break
                count += 1
            group, self._waiting = self._waiting[:count], self._waiting[count:]
            return group


def _tell(outcomes: _Outcomes) -> None:
    """Settle the futures of a group, those of each loop together on that loop."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, _Outcomes] = defaultdict(list)
    for future, outcome in outcomes:
        by_loop[future.get_loop()].append((future, outcome))
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, told)
        except RuntimeError:  # the loop is closed, and its senders are gone
            log.debug("%d requests were appended of which nobody waits to hear", len(told))


def _settle(outcomes: _Outcomes) -> None:
    for future, outcome in outcomes:
        if future.done():  # cancelled: the sender has gone, and gets no answer
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
