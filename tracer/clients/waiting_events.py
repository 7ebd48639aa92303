"""Rebalances that no poll's span takes: a minute later they go out on a span of their own, `rebalance`.

A member that has lost its partitions gets no records, and one whose topics are quiet gets none for hours: what became
of it is to be seen all the same, also when its process is killed. One thread for all consumers sleeps until the first
is due; there is none before a rebalance.
"""

import heapq
import itertools
import os
import threading
import time
import weakref
from collections import deque
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.left_out import is_suppressed
from flowtrail.tracer.record import Client, Event

from .known import Known

# So long events wait for a poll that returns records.
WAIT_S: Final = 60.0


class _Waiting(NamedTuple):
    """The events of one consumer, and who it was then; a consumer that is let go takes no event along."""

    known: "weakref.ref[Known]"
    events: deque[Event]
    client: Client


class _Due(NamedTuple):
    """When events are due, in ns since the epoch; by `number` those that are due at once keep their order."""

    at_ns: int
    number: int
    waiting: _Waiting


class WaitingEvents:
    """Looks after the events of consumers. Nothing here raises."""

    _thread: threading.Thread | None

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self.wait_s = wait_s
        self._numbers = itertools.count()
        self._forget()

    def add(self, known: Known) -> None:
        """Have the events of a consumer told when they have waited for too long; again is harmless."""
        if known.is_awaited or is_suppressed():
            return
        known.is_awaited = True
        self._queue.put(_Waiting(weakref.ref(known), known.events, known.client()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flowtrail-rebalances", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        due: list[_Due] = []
        while True:
            try:
                self._wait(due)
            except Exception as error:
                COUNTS.fail("rebalances", "tell", error)

    def _wait(self, due: "list[_Due]") -> None:
        """Sleep until another consumer comes, or the first events are due (`due` is a heap); those are looked at.

        Not in the order in which consumers came: the events of one that came later may be older, as a seek that was
        long before its rebalance.
        """
        left_s = max(0.0, (due[0].at_ns - time.time_ns()) / 1e9) if due else None
        try:
            waiting = self._queue.get(timeout=left_s)
        except Empty:
            self._look(heapq.heappop(due).waiting, due)
        else:
            self._keep(waiting, due)

    def _look(self, waiting: _Waiting, due: "list[_Due]") -> None:
        """Tell the events of one consumer that nobody took; those that came since wait for their own time."""
        known = waiting.known()
        if known is not None:
            known.is_awaited = False
        due_ns = self._due_ns(waiting)
        if due_ns is None:
            return
        if due_ns <= time.time_ns():
            Known.tell_events(waiting.events, waiting.client if known is None else known.client())
            return
        if known is not None:
            known.is_awaited = True
            waiting = waiting._replace(client=known.client())
        self._keep(waiting, due)

    def _keep(self, waiting: _Waiting, due: "list[_Due]") -> None:
        heapq.heappush(due, _Due(self._due_ns(waiting) or 0, next(self._numbers), waiting))

    def _due_ns(self, waiting: _Waiting) -> int | None:
        """When the oldest event is due, ns since the epoch; None when there is none."""
        try:
            return waiting.events[0].at_ns + int(self.wait_s * 1e9)
        except IndexError:
            return None

    def _forget(self) -> None:
        # What waits in a forked process waits in its parent too, and its thread is there alone.
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        self._thread = None


WAITING: Final = WaitingEvents()
os.register_at_fork(after_in_child=WAITING._forget)
