"""Requests that wait at the same time share one commit: the disk is asked once for all of them."""

import logging
import threading
from concurrent.futures import Future
from typing import Final

from .contract import Appended, Journal, JournalError, JournalFull

log = logging.getLogger(__name__)

# Bounds the memory of one transaction; under load a group is what came in during the commit before.
MOST_BYTES: Final = 32 * 1024 * 1024


class GroupCommit:
    """Appends to a journal on a thread of its own. `add` returns at once; its future is done when the body is durable.

    The future raises JournalFull or JournalError, as `Journal.append` does.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[tuple[bytes, Future[Appended]]] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="journal-append", daemon=True)
        self._thread.start()

    def add(self, body: bytes) -> "Future[Appended]":
        future: Future[Appended] = Future()
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
            try:
                appended = self._journal.append(bodies)
            except (JournalFull, JournalError) as error:
                _refuse(group, error)
                continue
            except Exception as error:
                # A fault of our own: these senders may come again, and those after them are served.
                log.exception("unexpected error while appending to the journal")
                _refuse(group, JournalError(f"the journal failed: {error!r}"))
                continue
            for (_, future), result in zip(group, appended, strict=True):
                if _is_awaited(future):
                    future.set_result(result)

    def _next_group(self) -> list[tuple[bytes, "Future[Appended]"]]:
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


def _refuse(group: list[tuple[bytes, "Future[Appended]"]], error: Exception) -> None:
    for _, future in group:
        if _is_awaited(future):
            future.set_exception(error)


def _is_awaited(future: "Future[Appended]") -> bool:
    """Whether the sender is still there; one that has gone gets no answer."""
    return future.set_running_or_notify_cancel()
