"""What the tracer knows about itself: how many spans it made, sent and lost, and whose code failed in its hands.

Counting must not disturb the host: the lock can be taken again by the thread that holds it, since the garbage
collector may close a producer, and so end a span, at any allocation.
"""

import logging
import os
import threading
import weakref
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from typing import Final

_log = logging.getLogger("flowtrail.tracer")

# Why a span was dropped: too many waited (or it ended after the shutdown), the exporter failed, or it still waited when
# the time for the shutdown was over.
QUEUE_FULL: Final = "queue_full"
NOT_EXPORTED: Final = "not_exported"
SHUT_DOWN: Final = "shut_down"


@dataclass(frozen=True, slots=True)
class Health:
    """Counts since the process started (or was forked).

    `noted` spans were finished and meant for export; each is then `exported`, `dropped`, or still waiting. Where the
    program set up its own tracer provider these are only spans that were noted for it, and `exported` means handed
    over to its processors: what they do with them is not ours to count. `interceptor_errors` are exceptions that were
    kept from the host. `headers_dropped` counts records that were sent without our headers, or an interceptor's, which
    would have made them too large. `dropped_because` divides `dropped` by "queue_full", "not_exported" and "shut_down";
    a reason that never was is not in it.
    """

    noted: int = 0
    exported: int = 0
    dropped: int = 0
    interceptor_errors: int = 0
    headers_dropped: int = 0
    dropped_because: Mapping[str, int] = field(default_factory=dict, compare=False)


class Counts:
    """The counters behind `Health`; safe for any thread."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._queues: list[weakref.ref[Sized]] = getattr(self, "_queues", [])
        self._noted = self._exported = self._dropped = self._interceptor_errors = self._headers_dropped = 0
        self._dropped_because: dict[str, int] = {}
        self._logged: set[tuple[str, str, str]] = set()

    def reset_after_fork(self) -> None:
        """Start anew in a child process: what the parent counted, the parent reports."""
        self._reset()

    def watch(self, queue: Sized) -> None:
        """See what waits in a queue as noted. `note` counts it when it leaves: not at each record, under a lock."""
        with self._lock:
            self._queues = [each for each in self._queues if each() is not None]
            self._queues.append(weakref.ref(queue))

    def note(self, spans: int = 1) -> None:
        with self._lock:
            self._noted += spans

    def export(self, spans: int) -> None:
        with self._lock:
            self._exported += spans

    def drop(self, spans: int, because: str = QUEUE_FULL) -> None:
        if not spans:
            return
        with self._lock:
            self._dropped += spans
            self._dropped_because[because] = self._dropped_because.get(because, 0) + spans

    def drop_headers(self) -> None:
        """Count a record that went without what was added to its headers."""
        with self._lock:
            self._headers_dropped += 1

    def fail(self, whose: str, method: str, error: Exception) -> None:
        """Count an exception that is kept from the host; log the first of each kind with its traceback."""
        kind = (whose, method, type(error).__qualname__)
        with self._lock:
            self._interceptor_errors += 1
            is_new = kind not in self._logged
            self._logged.add(kind)
        if is_new:
            _log.error("%s.%s raised %s; it is kept from the program, and not logged again", *kind, exc_info=error)

    def health(self, *, with_waiting: bool = True) -> Health:
        """Return the counts. Without what waits they never go down, which those with it may by what moves meanwhile."""
        with self._lock:
            queues = [each() for each in self._queues] if with_waiting else []
            waiting = sum(len(queue) for queue in queues if queue is not None)
            return Health(
                self._noted + waiting,
                self._exported,
                self._dropped,
                self._interceptor_errors,
                self._headers_dropped,
                dict(self._dropped_because),
            )


COUNTS = Counts()
os.register_at_fork(after_in_child=COUNTS.reset_after_fork)


def health() -> Health:
    """Return what was noted, exported and dropped in this process so far."""
    return COUNTS.health()
