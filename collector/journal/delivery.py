"""Brings a journal's entries to one destination, batch by batch: what the loader and an exporter have in common.

A batch is read, delivered, committed. What is not there to deliver to is waited for; what is refused for good is
halved until the one bad request is alone, and that one is set aside. So nothing is lost and nothing blocks.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .contract import Batch, Journal, JournalError

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.2
LONGEST_RETRY_S: Final = 30.0
WARN_EVERY_MS: Final = 60_000


class Refused(Exception):
    """The destination will never take these bytes."""


class Unavailable(Exception):
    """The destination does not take anything now; `retry_after_s` where it said how long."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Pace:
    """How much goes in one batch. `linger_ms`: how long a small batch waits for company, until half of the limit."""

    most_requests: int
    most_bytes: int
    linger_ms: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How a delivery does. Times are ms since the epoch; None: not yet."""

    batches: int = 0
    requests: int = 0
    set_aside: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    last_success_ms: int | None = None


class Delivery:
    """One reader of a journal, on a thread of its own.

    `deliver(body, token)` gets joined requests and a token that stands for these very bytes: after a crash the same
    token comes with the same bytes, when `is_reserving`. It raises Refused or Unavailable. Without reserving, a crash
    may bring up to one batch twice, in other company. `timed` is told of each attempt, on that thread: `taken`,
    `refused` or `failed`, and its seconds.
    """

    def __init__(
        self,
        journal: Journal,
        reader: str,
        deliver: Callable[[bytes, str], None],
        pace: Pace,
        *,
        is_reserving: bool,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.reader = reader
        self.progress = Progress()
        self.timed: Callable[[str, float], None] = lambda outcome, seconds: None
        self._journal = journal
        self._deliver = deliver
        self._pace = pace
        self._limit = pace.most_requests
        self._is_reserving = is_reserving
        self._now_ms = now_ms
        self._warned_ms: int | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"deliver-{reader}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5) -> None:
        """Stop after the batch that is under way. What is left is delivered after the next start."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def step(self) -> bool:
        """Deliver one batch. False: there was nothing to deliver. Raises Unavailable; then the batch comes again."""
        batch = self._journal.read(self.reader, self._limit, self._pace.most_bytes)
        if not batch:
            return False
        if self._is_reserving:
            self._journal.reserve(self.reader, batch.end)
        try:
            self._attempt(batch)
        except Refused as error:
            self._part(batch, str(error))
            return True
        self._journal.commit(self.reader, batch.end)
        self._note_success(len(batch))
        return True

    def _attempt(self, batch: Batch) -> None:
        began_s, outcome = time.perf_counter(), "failed"
        try:
            self._deliver(batch.body, batch.token)
            outcome = "taken"
        except Refused:
            outcome = "refused"
            raise
        finally:
            self.timed(outcome, time.perf_counter() - began_s)

    def _part(self, batch: Batch, reason: str) -> None:
        """Halve a refused batch, or set its only request aside."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            if self._is_reserving:
                self._journal.reserve(self.reader, batch.end_of_first(self._limit))
            return
        log.error("%s: request %s was refused for good and set aside: %s", self.reader, batch.positions[0], reason)
        self._journal.set_aside(self.reader, batch, reason, self._now_ms())
        self._note(set_aside=self.progress.set_aside + 1, last_error=reason, last_error_ms=self._now_ms())
        self._limit = self._pace.most_requests

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._is_stopping.is_set():
            try:
                if not self.step():
                    self._wait_for_more()
                retry_s = FIRST_RETRY_S
            except (Unavailable, JournalError) as error:
                if self._is_stopping.is_set():
                    return
                told_s = error.retry_after_s if isinstance(error, Unavailable) else None
                # Spread, so that many collectors do not come back to a destination at the same moment.
                pause_s = told_s if told_s is not None else retry_s * random.uniform(0.8, 1.2)
                self._warn(str(error), pause_s)
                self._note(last_error=str(error), last_error_ms=self._now_ms())
                self._is_stopping.wait(pause_s)
                retry_s = min(retry_s * 1.5, LONGEST_RETRY_S)
            except Exception as error:
                # A fault of our own must not end the thread unseen: the batch stays, health shows it.
                log.exception("%s: unexpected error; next try in %.1f s", self.reader, LONGEST_RETRY_S)
                self._note(last_error=repr(error), last_error_ms=self._now_ms())
                self._is_stopping.wait(LONGEST_RETRY_S)

    def _warn(self, text: str, pause_s: float) -> None:
        """Log a failure, though not more than one a minute: a destination may be away for days."""
        if self._warned_ms is None or self._now_ms() - self._warned_ms >= WARN_EVERY_MS:
            self._warned_ms = self._now_ms()
            log.warning("%s: %s; next try in %.1f s", self.reader, text, pause_s)

    def _wait_for_more(self) -> None:
        if not self._journal.wait(self.reader, timeout_s=1):
            return
        deadline = time.monotonic() + self._pace.linger_ms / 1000
        while not self._is_stopping.is_set() and (left_s := deadline - time.monotonic()) > 0:
            if self._journal.depth(self.reader).requests >= self._pace.most_requests // 2:
                return
            self._is_stopping.wait(min(left_s, 0.02))

    def _note_success(self, requests: int) -> None:
        self._limit = min(self._limit * 2, self._pace.most_requests)
        self._note(
            batches=self.progress.batches + 1,
            requests=self.progress.requests + requests,
            last_success_ms=self._now_ms(),
        )

    def _note(self, **changed: object) -> None:
        old = {name: getattr(self.progress, name) for name in Progress.__slots__}
        self.progress = Progress(**{**old, **changed})
