"""The messaging metrics say what the conventions ask for, only where the program wants metrics, and disturb nothing."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.trace import SpanContext, TraceFlags

from flowtrail.tracer import attributes as names
from flowtrail.tracer import metrics
from flowtrail.tracer.counts import COUNTS, NOT_EXPORTED, SHUT_DOWN
from flowtrail.tracer.metrics import DURATION_BUCKETS_S, Metrics

SENT = {
    names.SYSTEM: "kafka",
    names.OPERATION_NAME: "send",
    names.OPERATION_TYPE: "send",
    names.TOPIC: "orders",
    names.CLIENT_ID: "producer-1",
    names.KEY: "order-7",
    names.PARTITION: "3",
    names.SERVER_ADDRESS: "kafka",
    names.SERVER_PORT: 9092,
}
POLLED = {names.SYSTEM: "kafka", names.TOPIC: "orders", names.GROUP: "billing"}
SAMPLED = SpanContext(0xA1, 0xB2, False, TraceFlags(TraceFlags.SAMPLED))


class Reading:
    """A meter provider, and what was measured by it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader])

    def points(self, name: str) -> list[Any]:
        """The points of a metric, in no order; collects."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def one(self, name: str) -> Any:
        (point,) = self.points(name)
        return point


def begun(reading: Reading) -> Metrics:
    """Metrics as `set_up` leaves them: without the instruments a reader may collect before the thread has made them."""
    measured = Metrics(reading.provider)
    measured.begin()
    return measured


@pytest.fixture
def reading() -> Iterator[Reading]:
    reading = Reading()
    yield reading
    reading.provider.shutdown()


def test_a_send_is_counted_and_its_duration_measured(reading: Reading) -> None:
    begun(reading).finished(names.SEND, SENT, 30_000_000, 1)
    common = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.destination.name": "orders",
        "server.address": "kafka",
        "server.port": 9092,
    }
    sent: NumberDataPoint = reading.one("messaging.client.sent.messages")
    assert (sent.value, dict(sent.attributes or {})) == (1, common)
    duration: HistogramDataPoint = reading.one("messaging.client.operation.duration")
    assert dict(duration.attributes or {}) == common | {"messaging.operation.type": "send"}
    assert (duration.count, duration.sum) == (1, 0.03)
    assert tuple(duration.explicit_bounds) == DURATION_BUCKETS_S
    assert reading.points("messaging.process.duration") == []


def test_a_poll_counts_its_messages_by_group(reading: Reading) -> None:
    measured = begun(reading)
    measured.finished(names.POLL, POLLED, 1_000_000, 500)
    measured.finished(names.POLL, POLLED, None, 128)
    consumed = reading.one("messaging.client.consumed.messages")
    assert consumed.value == 628
    assert consumed.attributes["messaging.consumer.group.name"] == "billing"
    assert reading.one("messaging.client.operation.duration").count == 1
    assert reading.points("messaging.client.sent.messages") == []


def test_the_work_on_a_message_has_a_metric_of_its_own(reading: Reading) -> None:
    begun(reading).finished(names.PROCESS, POLLED, 2_000_000_000, 1)
    process = reading.one("messaging.process.duration")
    assert (process.sum, process.attributes["messaging.operation.name"]) == (2, "process")
    assert "messaging.operation.type" not in process.attributes
    assert reading.points("messaging.client.operation.duration") == []
    assert reading.points("messaging.client.consumed.messages") == []


def test_a_commit_is_an_operation_that_counts_no_messages(reading: Reading) -> None:
    begun(reading).finished(names.COMMIT, POLLED, 2_000_000, 0)
    assert reading.one("messaging.client.operation.duration").attributes["messaging.operation.type"] == "settle"
    assert reading.points("messaging.client.consumed.messages") == []


def test_a_transactions_length_is_not_measured(reading: Reading) -> None:
    begun(reading).finished(names.TRANSACTION, {}, 2_000_000, 0)
    assert reading.points("messaging.client.operation.duration") == []


def test_a_failure_is_a_series_of_its_own(reading: Reading) -> None:
    measured = begun(reading)
    measured.finished(names.SEND, SENT, 1, 1)
    measured.finished(names.SEND, SENT, 1, 1, "kafka.errors.KafkaTimeoutError")
    failed = {
        point.attributes.get("error.type"): point.value for point in reading.points("messaging.client.sent.messages")
    }
    assert failed == {None: 1, "kafka.errors.KafkaTimeoutError": 1}


def test_a_sampled_span_is_an_exemplar_and_another_is_not(reading: Reading) -> None:
    measured = begun(reading)
    measured.finished(names.SEND, SENT, 1, 1, None, SAMPLED)
    measured.finished(names.POLL, POLLED, 1, 1, None, SpanContext(0xC3, 0xD4, False, TraceFlags(0)))
    found = {
        point.attributes["messaging.operation.name"]: [(one.trace_id, one.span_id) for one in point.exemplars]
        for point in reading.points("messaging.client.operation.duration")
    }
    assert found == {"send": [(0xA1, 0xB2)], "poll": []}
    measured.finished(names.SEND, SENT, 1, 1, None, SAMPLED)
    assert [one.span_id for one in reading.one("messaging.client.sent.messages").exemplars] == [0xB2]


def test_a_span_that_is_current_where_it_is_recorded_is_no_exemplar(reading: Reading) -> None:
    measured = begun(reading)
    with trace.use_span(trace.NonRecordingSpan(SAMPLED)):
        measured.finished(names.SEND, SENT, 1, 1)
        measured.record()
    assert reading.one("messaging.client.operation.duration").exemplars == []


def test_the_tracers_own_health_is_observed(reading: Reading) -> None:
    begun(reading)

    def seen() -> dict[tuple[str, object], int]:
        return {
            (name.removeprefix("flowtrail.tracer."), (point.attributes or {}).get("flowtrail.drop.reason")): point.value
            for name, *_ in metrics.HEALTH
            for point in reading.points(name)
        }

    before = seen()
    COUNTS.note(4)
    COUNTS.export(1)
    COUNTS.drop(1)
    COUNTS.drop(2, NOT_EXPORTED)
    COUNTS.drop(0, SHUT_DOWN)
    COUNTS.drop_headers()
    grown = {of: count - before.get(of, 0) for of, count in seen().items()}
    assert {of: count for of, count in grown.items() if count} == {
        ("spans.noted", None): 4,
        ("spans.exported", None): 1,
        ("spans.dropped", "queue_full"): 1,
        ("spans.dropped", "not_exported"): 2,
        ("headers.dropped", None): 1,
    }


def test_what_waits_when_a_reader_collects_is_in_what_it_collects(reading: Reading) -> None:
    measured = begun(reading)
    for count in range(1, 4):
        measured.finished(names.SEND, SENT, 1, 1)
        assert reading.one("messaging.client.sent.messages").value == count


def test_more_than_the_queue_takes_is_left_out_and_counted(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = begun(reading)
    monkeypatch.setattr(measured, "_start", lambda: None)
    monkeypatch.setattr(metrics, "QUEUE_SIZE", 5)
    for _ in range(7):
        measured.finished(names.SEND, SENT, 1, 1)
    assert reading.one("messaging.client.sent.messages").value == 5
    assert reading.one("flowtrail.tracer.measurements.dropped").value == 2


def test_a_span_that_ends_inside_a_measurement_neither_waits_nor_is_lost(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = begun(reading)
    monkeypatch.setattr(measured, "_start", lambda: None)  # else its thread would take the lock too
    measured.finished(names.SEND, SENT, 1, 1)

    class Left:
        """What the garbage collector finds, and closes, while the SDK holds its locks."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            measured.finished(names.SEND, SENT, 1, 1)

    measured.record()
    storage = next(iter(reading.provider._measurement_consumer._reader_storages.values()))
    consume, lock, before = storage.consume_measurement, threading.Lock(), COUNTS.health().interceptor_errors

    def interrupted(*given: Any) -> None:
        assert lock.acquire(blocking=False), "the SDK would wait for itself"
        Left()
        gc.collect()
        consume(*given)
        lock.release()

    with monkeypatch.context() as patch:
        patch.setattr(storage, "consume_measurement", interrupted)
        measured.finished(names.POLL, POLLED, None, 1)
        measured.record()
    assert COUNTS.health().interceptor_errors == before
    assert reading.one("messaging.client.sent.messages").value >= 2


def test_all_threads_and_readers_together_lose_and_double_nothing(reading: Reading) -> None:
    measured = begun(reading)

    def work() -> None:
        for _ in range(2000):
            measured.finished(names.SEND, SENT, 1, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reading.reader.collect()
        measured.record()
    assert reading.one("messaging.client.sent.messages").value == 8000
    assert reading.one("messaging.client.operation.duration").count == 8000


def test_a_provider_that_fails_is_counted_once_and_kept_from_the_program(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MeterProvider):
        def get_meter(self, *given: Any, **named: Any) -> Any:
            raise RuntimeError("no meter")

    provider = Broken()
    measured = Metrics(provider)
    before = COUNTS.health().interceptor_errors
    for _ in range(3):
        measured.finished(names.SEND, SENT, 1, 1)
        measured.record()
    assert COUNTS.health().interceptor_errors == before + 1
    assert not measured.is_on
    provider.shutdown()


def run(program: str, **variables: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", "from flowtrail.tracer import attributes as names\n" + program],
        env=os.environ | {"OTEL_TRACES_EXPORTER": "none"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return finished.stdout + finished.stderr


MEASURE = (
    "from flowtrail.tracer.metrics import METRICS\n"
    "from opentelemetry import metrics\n"
    "from opentelemetry.sdk.metrics import MeterProvider\n"
    "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
    "def sent(reader):\n"
    "    data = reader.get_metrics_data()\n"
    "    if data is None: return 0\n"
    "    found = [m for s in data.resource_metrics[0].scope_metrics for m in s.metrics]\n"
    "    return sum(p.value for m in found if m.name.endswith('sent.messages') for p in m.data.data_points)\n"
)


def test_without_a_provider_nothing_is_noted_and_one_that_comes_later_counts() -> None:
    printed = run(
        MEASURE + "METRICS.finished(names.SEND, {}, 1, 1)\n"
        "print(METRICS.is_on, len(METRICS._queue), METRICS._thread)\n"
        "reader = InMemoryMetricReader()\n"
        "metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))\n"
        "METRICS.begin()\n"
        "METRICS.finished(names.SEND, {}, 1, 1)\n"
        "print(METRICS.is_on, sent(reader))"
    )
    assert printed == "False 0 None\nTrue 1\n"


def test_a_forked_child_measures_what_it_does_itself() -> None:
    printed = run(
        MEASURE + "import os, sys\n"
        "reader = InMemoryMetricReader()\n"
        "METRICS.use(MeterProvider(metric_readers=[reader]))\n"
        "METRICS.begin()\n"
        "METRICS._start = lambda: None\n"
        "METRICS.finished(names.SEND, {}, 1, 1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    METRICS.finished(names.SEND, {}, 1, 1)\n"
        "    METRICS.finished(names.SEND, {}, 1, 1)\n"
        "os.write(1, f'{sent(reader)}\\n'.encode())\n"
        "if child == 0: os._exit(0)\n"
        "os.waitpid(child, 0)"
    )
    assert sorted(printed.split()) == ["1", "2"]


def test_a_variable_that_names_no_provider_raises_nothing() -> None:
    printed = run(
        MEASURE + "METRICS.finished(names.SEND, {}, 1, 1)\nprint(METRICS.is_on)", OTEL_PYTHON_METER_PROVIDER="nobody"
    )
    assert printed.startswith("False\n")
