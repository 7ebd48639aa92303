"""A bounded queue and the thread that empties it: the way from the program's threads to where spans are handled.

Nothing here may hold up who puts something in: the newest is dropped when the queue is full, and no lock is taken that
Python code could hold, since the garbage collector may end a span inside any call.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from opentelemetry import context

from flowtrail.tracer.counts import COUNTS, QUEUE_FULL, Counts

T = TypeVar("T")

# A thread that nothing wakes looks by itself, in case a wake-up got lost over a fork.
_IDLE_S: Final = 60.0
# Records that may wait in polls and batches: some megabytes.
MOST_RECORDS: Final = 16_384
_MANY_RECORDS: Final = MOST_RECORDS // 2


class Drain(Generic[T]):
    """Hands what is put in, in order and in batches, to `take` on a thread of its own.

    Each thing is counted as noted: while it waits, by `take` when it gets it, or with its drop. `queue_size` things
    wait at most. A batch has `batch_size` at most and is handed over when it is full, or `delay_ms`
    after the first one came. `on_start` is called on the thread when it starts, `on_idle` each time that the queue was
    emptied. `weigh` says how many records a thing holds, as `put` is told. Safe over fork: the child starts empty.
    """

    def __init__(
        self,
        take: Callable[[list[T]], None],
        counts: Counts,
        *,
        queue_size: int,
        batch_size: int,
        delay_ms: float,
        name: str,
        weigh: Callable[[T], int] = lambda thing: 0,
        on_start: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._take = take
        self._counts = counts
        counts.watch(self)
        self._weigh = weigh
        self._on_start = on_start
        self._on_idle = on_idle
        self._queue_size = queue_size
        self._batch_size = min(batch_size, queue_size)
        self._most_waiting = self._batch_size - 1
        self._delay_s = min(delay_ms / 1000, threading.TIMEOUT_MAX)
        self._name = name
        self.is_stopping = False
        self._start()
        _drains.add(self)

    def _start(self) -> None:
        # An Event in the queue is set when all before it are out.
        self._queue: deque[T | threading.Event] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        # How often the thread was woken for what is in the queue now: to wait for more, then to hand over.
        self._woken = 0
        self._records = 0  # in what waits
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        if not self.is_stopping:
            self._thread.start()

    def put(self, thing: T, records: int = 0) -> bool:
        """Queue something, and say so; drop and count it when the queue is full or closed. Never waits.

        The records that it holds take memory as well: no more of them when `MOST_RECORDS` wait.
        """
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._queue_size or self.is_stopping or (records and self._records >= MOST_RECORDS):
            self.drop()
            return False
        queue.append(thing)
        if records:
            self._records += records
        if self._woken == 0:
            self._woken = 1
            self._wake.put(None)
        elif self._woken == 1 and (waiting >= self._most_waiting or self._records >= _MANY_RECORDS):
            self._woken = 2
            self._wake.put(None)
        return True

    def drop(self) -> None:
        """Count one thing that there is no room for."""
        self._counts.note()
        self._counts.drop(1, QUEUE_FULL)

    def __len__(self) -> int:
        return len(self._queue)

    def flush(self, timeout_s: float) -> bool:
        """Wait until what is queued now was handed over; False when that took longer, or after `stop`."""
        if self.is_stopping:
            return False
        if threading.current_thread() is self._thread:
            return True  # an exporter that flushes its own provider would wait for itself
        is_out = threading.Event()
        self._queue.append(is_out)
        self._woken = 2
        self._wake.put(None)
        self._wake.put(None)
        return is_out.wait(timeout_s)

    def finish(self, timeout_s: float) -> None:
        """Take nothing more, and wait this long at most until all was handed over; what is left follows by itself."""
        if not self.is_stopping:
            self.is_stopping = True
            self._woken = 2
            self._wake.put(None)
            self._wake.put(None)
            self.join(timeout_s)

    def stop(self, timeout_s: float) -> list[T]:
        """Hand over what is queued, for this long at most; return what is left. Again is harmless."""
        self.finish(timeout_s)
        left: list[T] = []
        while True:
            try:
                thing = self._queue.popleft()
            except IndexError:
                return left
            if isinstance(thing, threading.Event):
                thing.set()
            else:
                left.append(thing)

    def join(self, timeout_s: float) -> None:
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            self._on_start()
            while not self.is_stopping:
                self._wait()
                self._hand_over()
                self._on_idle()
            self._hand_over()
        finally:
            context.detach(token)

    def _wait(self) -> None:
        """Wait for something to come, then for company until the delay is over or a batch is full."""
        try:
            self._wake.get(timeout=_IDLE_S)
            if self._woken < 2:
                self._wake.get(timeout=self._delay_s)
        except Empty:
            return
        finally:
            self._woken = 0

    def _hand_over(self) -> None:
        batch: list[T] = []
        take, most = self._queue.popleft, self._batch_size
        while True:
            try:
                first = take()
            except IndexError:  # empty; `stop` may take from it at the same time
                break
            if isinstance(first, threading.Event):
                batch = self._give(batch)
                first.set()
                continue
            batch.append(first)
            if len(batch) >= most:
                batch = self._give(batch)
        self._give(batch)

    def _give(self, batch: list[T]) -> list[T]:
        if batch:
            if self._records:
                # In two steps: what others add while the sum is made would be lost.
                records = sum(map(self._weigh, batch))
                self._records -= records
            try:
                self._take(batch)
            except Exception as error:
                COUNTS.fail(self._name, "take", error)
        return []


_drains: "weakref.WeakSet[Drain[Any]]" = weakref.WeakSet()


def _start_anew() -> None:
    for drain in list(_drains):
        drain._start()


# Once: what is registered stays for ever, and drains come and go with what is planned.
os.register_at_fork(after_in_child=_start_anew)
