"""Every metric of the collector: the one place of its name, kind, labels and sentence.

Named as Prometheus has it: base units, `_total` for what only rises, times as seconds since the epoch. Labels have few
values: no topic, no service, no trace.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

METRICS: Final[dict[str, "Metric"]] = {}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A metric without samples is told too, so that a query for it finds no typing error."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    def __post_init__(self) -> None:
        METRICS[self.name] = self


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"flowtrail_{name}_total", "counter", labels, help)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"flowtrail_{name}", "gauge", labels, help)


def _histogram(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"flowtrail_{name}_seconds", "histogram", labels, help)


BUILD = _gauge("build_info", "Always 1; the label is the version that runs.", "version")
READY = _gauge("ready", "1 when the collector takes spans and answers questions, as `/readyz` says; else 0.")

RECEIVED = _counter(
    "intake_requests",
    "Requests of traces that were taken: durable in the journal, or empty. `wire`: http, grpc.",
    "wire",
)
DUPLICATES = _counter("intake_duplicate_requests", "Of these, such as the journal had already: a retry.", "wire")
REFUSED = _counter(
    "intake_refused_requests",
    "Requests of any signal that were not taken, by reason: `journal_full`, `journal_error`, `memory` and `rate` ask "
    "senders to come back, others are for good.",
    "wire",
    "reason",
)
RECEIVED_BYTES = _counter("intake_received_bytes", "Bodies of the taken requests, as they came.", "wire")
ADMITTED_BYTES = _counter("intake_admitted_bytes", "The same as they went on to the journal: unfolded.", "wire")
DROPPED = _counter(
    "intake_dropped_items", "Data points and log records that came and are not kept, by signal.", "wire", "signal"
)
ALTERED = _counter(
    "intake_altered_items", "What was redacted, or over a limit, in requests that were taken, by kind.", "kind"
)
HELD_BYTES = _gauge("intake_held_bytes", "Memory that bodies under way hold; 0 where `max_memory_bytes` is 0.")

JOURNAL_REQUESTS = _gauge("journal_requests", "Requests in the journal that some reader has yet to read.")
JOURNAL_BYTES = _gauge("journal_bytes", "Their bytes.")
JOURNAL_MAX_BYTES = _gauge("journal_max_bytes", "How many may wait for the store until senders are told to come back.")

WAITING_REQUESTS = _gauge(
    "reader_waiting_requests",
    "Requests that a reader of the journal has yet to read. `reader`: store, export.",
    "reader",
)
WAITING_BYTES = _gauge("reader_waiting_bytes", "Their bytes.", "reader")
OLDEST = _gauge(
    "reader_oldest_timestamp_seconds", "When the oldest of them came; no sample while none waits.", "reader"
)
DELIVERED = _counter("reader_requests", "Requests that a reader's destination took.", "reader")
DELIVERY = _histogram(
    "reader_delivery",
    "How long each attempt with a batch took. `outcome`: taken, refused (for good: the batch is halved, a request "
    "alone is set aside), failed (comes again). Its count is that of the batches.",
    "reader",
    "outcome",
)
SET_ASIDE = _gauge(
    "reader_set_aside_requests", "Requests that were refused for good and lie apart, with why.", "reader"
)
SKIPPED = _counter(
    "reader_skipped_requests", "Requests that an optional reader lost to a full journal or to their age.", "reader"
)

STORE_ROWS = _gauge("store_rows", "Rows of the store's tables. A span may be there twice until a merge.", "table")
STORE_BYTES = _gauge("store_bytes", "Their bytes on the disk.", "table")
STORE_PARTS = _gauge("store_parts", "Their parts; many mean that merging does not keep up.", "table")
STORE_REJECTED = _gauge(
    "store_rejected_spans", "Spans of taken requests that the store left out: ids or a time that make no sense."
)

POLLED = _gauge(
    "poller_last_success_timestamp_seconds",
    "When the broker last told of commits and ends; no sample before, or without.",
)

API_REQUESTS = _counter(
    "api_requests", "Requests to the API. `route` is the path's pattern, `other` where none answers.", "route", "status"
)
API_SECONDS = _histogram("api_request_duration", "How long their answers took, until the last byte.", "route")
