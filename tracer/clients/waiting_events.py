"""Rebalances that no poll's span takes: a minute later they go out on a span of their own, `rebalance`.

A member that has lost its partitions gets no records, and one whose topics are quiet gets none for hours: what became
of it is to be seen all the same, also when its process is killed. One thread for all consumers sleeps until the first
is due; there is none before a rebalance.
"""

import os
import threading
import time
import weakref
from collections import deque
from queue import SimpleQueue
from typing import Final, NamedTuple

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client, Event
from flowtrail.tracer.tracing import is_suppressed

from .known import Known

# So long events wait for a poll that returns records.
WAIT_S: Final = 60.0


class _Waiting(NamedTuple):
    """The events of one consumer, and who it was then; a consumer that is let go takes no event along."""

    known: "weakref.ref[Known]"
    events: deque[Event]
    client: Client


class WaitingEvents:
    """Looks after the events of consumers. Nothing here raises."""

    _thread: threading.Thread | None

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self.wait_s = wait_s
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
        while True:
            waiting = self._queue.get()
            try:
                self._wait_for(waiting)
            except Exception as error:
                COUNTS.fail("rebalances", "tell", error)

    def _wait_for(self, waiting: _Waiting) -> None:
        """Sleep until the events of one consumer are due; tell those that nobody took meanwhile."""
        left_s = self._left_s(waiting)
        if left_s is not None:
            time.sleep(max(0.0, left_s))
        known = waiting.known()
        if known is not None:
            known.is_awaited = False
        left_s = self._left_s(waiting)
        if left_s is None:
            return
        if left_s <= 0:
            Known.tell_events(waiting.events, waiting.client if known is None else known.client())
        elif known is not None:  # others came since
            self.add(known)
        else:
            self._queue.put(waiting)

    def _left_s(self, waiting: _Waiting) -> float | None:
        """How long the oldest event may wait yet; None when there is none."""
        try:
            return self.wait_s - (time.time_ns() - waiting.events[0].at_ns) / 1e9
        except IndexError:
            return None

    def _forget(self) -> None:
        # What waits in a forked process waits in its parent too, and its thread is there alone.
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        self._thread = None


WAITING: Final = WaitingEvents()
os.register_at_fork(after_in_child=WAITING._forget)
