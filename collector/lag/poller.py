"""Polls a broker for commits, log ends and members, and writes what it says to the store. Never fatal.

A broker or a store that does not answer is tried again at the next interval; `status` says since when and why.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from flowtrail.collector.flows.wording import counted, duration
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import Store, StoreError
from flowtrail.collector.store.queries import Queries

from .broker import Broker, BrokerError
from .snapshot import Changes, Rows, Snapshot

_LOG: Final = logging.getLogger(__name__)
# Groups that spans named within this are asked for where the broker lists none.
KNOWN_FOR_MS: Final = 24 * 3_600_000
STOP_WITHIN_S: Final = 15.0


class Poller:
    """A thread that polls from `start` to `stop`. `last_success_ms`: when the broker last answered; None: not yet."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock_s: Callable[[], float] = time.time,
        connect: Callable[[], Broker] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._queries = Queries(store)
        self._clock_s = clock_s
        self._connect = connect or (lambda: Broker(settings.bootstrap_servers, settings.kafka_properties))
        self._changes = Changes()
        self._stopping = threading.Event()
        self._status: str | None = None
        self._error: tuple[str, float] | None = None
        self.last_success_ms: float | None = None
        self._thread = threading.Thread(target=self._run, name="lag-poller", daemon=True)

    def start(self) -> None:
        """Begin polling. A poller is started once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; returns when the last poll has ended, or after some seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)

    def status(self) -> str | None:
        """What the broker last said, as a sentence; None before the first answer."""
        error = self._error
        if error is None:
            return self._status
        text, since_ms = error
        return f"{text} (for {duration(self._clock_s() * 1000 - since_ms)})"

    def poll_once(self, broker: Broker) -> Snapshot:
        """Ask the broker and write what changed. Raises BrokerError or StoreError."""
        now_ms = self._clock_s() * 1000
        known: dict[str, set[str]] = {}
        for row in self._queries.groups(now_ms - KNOWN_FOR_MS, now_ms):
            if row.group:
                known.setdefault(row.group, set()).add(row.topic)
        snapshot = broker.ask({group: frozenset(topics) for group, topics in known.items()})
        now_ms = self._clock_s() * 1000
        try:
            self._write(self._changes.pick(snapshot, now_ms), snapshot.cluster_id, now_ms)
        except StoreError:
            self._changes.forget()
            raise
        return snapshot

    def _run(self) -> None:
        broker: Broker | None = None
        while not self._stopping.is_set():
            try:
                broker = broker or self._connect()
                self._succeeded(self.poll_once(broker))
            except (BrokerError, StoreError) as error:
                self._failed(str(error))
            except Exception as error:
                # confluent-kafka rejects a wrong property in several ways; whatever else it is, polling goes on.
                self._failed(f"{type(error).__name__}: {error}")
                broker = None
            self._stopping.wait(self._settings.lag_interval_ms / 1000)

    def _succeeded(self, snapshot: Snapshot) -> None:
        if self._error is not None:
            _LOG.info("the broker is polled again")
        self._error = None
        self.last_success_ms = self._clock_s() * 1000
        topics = len({topic for topic, _ in snapshot.logs})
        self._status = f"{counted(len(snapshot.states), 'group')} and {counted(topics, 'topic')} polled" + (
            ""
            if not snapshot.states or any(one.is_listed for one in snapshot.states.values())
            else "; this broker lists no members"
        )

    def _failed(self, text: str) -> None:
        if self._error is None or self._error[0] != text:
            _LOG.warning("polling the broker failed: %s", text)
        self._error = (text, self._error[1] if self._error is not None else self._clock_s() * 1000)

    def _write(self, rows: Rows, cluster_id: str, now_ms: float) -> None:
        at = datetime.fromtimestamp(now_ms / 1000, UTC)
        # Ends before commits: who reads in between sees a group further behind, never ahead.
        self._store.insert(
            "topic_offsets",
            ["time", "cluster_id", "topic", "partition", "log_start", "log_end"],
            [(at, cluster_id, *row) for row in rows.topic_offsets],
        )
        self._store.insert(
            "group_offsets",
            ["time", "cluster_id", "group_name", "topic", "partition", "committed"],
            [(at, cluster_id, *row) for row in rows.group_offsets],
        )
        self._store.insert(
            "group_states",
            ["time", "cluster_id", "group_name", "state", "is_listed", "members"],
            [(at, cluster_id, *row) for row in rows.group_states],
        )
