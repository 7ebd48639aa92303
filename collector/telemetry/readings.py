"""Metrics that are read when somebody asks: the parts count for themselves, so nothing is paid for each request.

A part that cannot be read has no samples then, and the others are told all the same.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Final

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from flowtrail.collector.admission import Admission
from flowtrail.collector.api.answers import Health
from flowtrail.collector.journal.contract import Journal, JournalError
from flowtrail.collector.journal.delivery import Delivery
from flowtrail.collector.lag.poller import Poller
from flowtrail.collector.receivers.intake import Intake
from flowtrail.collector.store.connection import StoreError
from flowtrail.collector.store.upkeep import TableSize

from . import metrics
from .metrics import Metric

log = logging.getLogger(__name__)

# Prometheus gives up after ten seconds, and then has none of the others either.
STORE_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What is read. `sizes` raises StoreError; `health` is quick unless the store hangs."""

    intakes: Mapping[str, Intake]
    admission: Admission
    journal: Journal
    journal_max_bytes: int
    deliveries: Sequence[Delivery]
    poller: Poller | None
    health: Callable[[], Health]
    sizes: Callable[[], list[TableSize]]


class Readings(Collector):
    """Reads the parts anew at each `collect`, from any thread."""

    def __init__(self, parts: Parts, store_within_s: float = STORE_WITHIN_S) -> None:
        self._parts = parts
        self._store_within_s = store_within_s
        self._lock = threading.Lock()
        self._asking: Future[tuple[Health, list[TableSize] | None]] | None = None

    def collect(self) -> Iterable[Family]:
        yield _family(metrics.BUILD, [((version_of("flowtrail"),), 1)])
        yield from self._intake()
        yield from self._journal()
        yield from self._store()
        polled_ms = self._parts.poller.last_success_ms if self._parts.poller is not None else None
        yield _family(metrics.POLLED, [((), polled_ms / 1000)] if polled_ms is not None else [])

    def _intake(self) -> Iterable[Family]:
        intakes = self._parts.intakes.items()
        for metric, attribute in (
            (metrics.RECEIVED, "received"),
            (metrics.DUPLICATES, "duplicates"),
            (metrics.RECEIVED_BYTES, "received_bytes"),
            (metrics.ADMITTED_BYTES, "admitted_bytes"),
        ):
            yield _family(metric, [((wire,), getattr(intake, attribute)) for wire, intake in intakes])
        for metric, attribute in ((metrics.REFUSED, "refused"), (metrics.DROPPED, "dropped")):
            # A copy: receivers count on, and a new reason would end the loop.
            counts = [(wire, dict(getattr(intake, attribute))) for wire, intake in intakes]
            yield _family(metric, [((wire, key), n) for wire, counted in counts for key, n in counted.items()])
        altered = dict(self._parts.admission.altered)
        yield _family(metrics.ALTERED, [((kind,), n) for kind, n in altered.items()])
        yield _family(metrics.HELD_BYTES, [((), self._parts.admission.memory.held_bytes)])

    def _journal(self) -> Iterable[Family]:
        journal, readers = self._parts.journal, [delivery.reader for delivery in self._parts.deliveries]
        yield _family(metrics.JOURNAL_MAX_BYTES, [((), self._parts.journal_max_bytes)])
        yield _family(metrics.DELIVERED, [((one.reader,), one.progress.requests) for one in self._parts.deliveries])
        try:
            whole = journal.depth()
            depths = {reader: journal.depth(reader) for reader in readers}
            set_aside = {reader: journal.count_set_aside(reader) for reader in readers}
            skipped = {reader: journal.skipped(reader) for reader in readers}
        except JournalError as error:
            log.warning("the journal cannot be read for metrics: %s", error)
            return
        yield _family(metrics.JOURNAL_REQUESTS, [((), whole.requests)])
        yield _family(metrics.JOURNAL_BYTES, [((), whole.size_bytes)])
        yield _family(metrics.WAITING_REQUESTS, [((name,), depth.requests) for name, depth in depths.items()])
        yield _family(metrics.WAITING_BYTES, [((name,), depth.size_bytes) for name, depth in depths.items()])
        yield _family(
            metrics.OLDEST,
            [((name,), depth.oldest_ms / 1000) for name, depth in depths.items() if depth.oldest_ms is not None],
        )
        yield _family(metrics.SET_ASIDE, [((name,), n) for name, n in set_aside.items()])
        yield _family(metrics.SKIPPED, [((name,), n) for name, n in skipped.items()])

    def _store(self) -> Iterable[Family]:
        try:
            health, sizes = self._asked().result(self._store_within_s)
        except NotInTime:
            yield _family(metrics.READY, [((), 0)])
            return
        yield _family(metrics.READY, [((), int(health.ready))])
        if sizes is None:
            return
        yield _family(metrics.STORE_ROWS, [((one.table,), one.rows) for one in sizes])
        yield _family(metrics.STORE_BYTES, [((one.table,), one.size_bytes) for one in sizes])
        yield _family(metrics.STORE_PARTS, [((one.table,), one.parts) for one in sizes])
        yield _family(metrics.STORE_REJECTED, [((), health.rejected_spans)])

    def _asked(self) -> "Future[tuple[Health, list[TableSize] | None]]":
        """The question to the store that is under way, else a new one: a store that hangs holds one thread."""
        with self._lock:
            if self._asking is None or self._asking.done():
                asking = self._asking = Future()
                threading.Thread(target=self._ask, args=(asking,), name="metrics", daemon=True).start()
            return self._asking

    def _ask(self, asking: "Future[tuple[Health, list[TableSize] | None]]") -> None:
        try:
            asking.set_result((self._parts.health(), self._sizes()))
        except Exception as error:
            asking.set_exception(error)

    def _sizes(self) -> list[TableSize] | None:
        try:
            return self._parts.sizes()
        except StoreError as error:
            log.warning("the store cannot be read for metrics: %s", error)
            return None


def _family(metric: Metric, samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = made(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
