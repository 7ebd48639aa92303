"""What a program does with Kafka is in its metrics, sampled or not, whatever way its spans go."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import kafka
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import metrics
from flowtrail.tracer.configuration import CONFIGURATION, Configuration
from flowtrail.tracer.measuring import Measuring
from flowtrail.tracer.record import Client, Committed, Event, Polled, Received, Unacknowledged
from flowtrail.tracer.tracing import CHAIN, TRACING
from tests.tracer.spans import Spans, span_id

SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"
OPERATION = "messaging.client.operation.duration"
PROCESS = "messaging.process.duration"


class Collecting(SpanProcessor):
    """A processor that leaves the fast path open."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def on_end(self, span: Any) -> None:
        self.spans.append(span)


class Measured:
    """Providers whose spans and metrics are kept."""

    def __init__(self, sampler: Sampler, is_fast: bool) -> None:
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider(metric_readers=[self.reader])
        self.spans = Spans(sampler=sampler)
        self.provider = TracerProvider(sampler=sampler) if is_fast else self.spans.provider
        if is_fast:
            self.provider.add_span_processor(Collecting())

    def ended(self) -> list[Any]:
        """The spans that ended, once they were let out."""
        processor: Any = self.provider._active_span_processor._span_processors[-1]
        if isinstance(processor, Collecting):
            return processor.spans
        return [span for name in dict.fromkeys(self.spans.names()) for span in self.spans.named(name)]

    def exemplars(self, operation: str, topic: str) -> dict[str, list[int]]:
        """The span ids of the exemplars of each metric, of one operation on one topic; collects, which forgets them."""
        data = self.reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else []
        wanted = {"messaging.operation.name": operation, "messaging.destination.name": topic}
        found: dict[str, list[int]] = {}
        for metric in metrics:
            for point in metric.data.data_points:
                if wanted.items() <= dict(point.attributes or {}).items():
                    found.setdefault(metric.name, []).extend(each.span_id or 0 for each in point.exemplars)
        return found

    def commits(self) -> list[Any]:
        """The topics of commits that were measured, None for no single one; collects."""
        data = self.reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else []
        found = [dict(point.attributes or {}) for metric in metrics for point in metric.data.data_points]
        return [
            each.get("messaging.destination.name") for each in found if each.get("messaging.operation.name") == "commit"
        ]

    def points(self, name: str) -> dict[tuple[Any, Any], Any]:
        """The points of a metric by topic and error, but for commits; collects."""
        data = self.reader.get_metrics_data()
        metrics = (
            [metric for resource in data.resource_metrics for metric in resource.scope_metrics[0].metrics]
            if data
            else []
        )
        found: dict[tuple[Any, Any], Any] = {}
        for point in (point for metric in metrics if metric.name == name for point in metric.data.data_points):
            attributes = dict(point.attributes or {})
            if attributes.get("messaging.operation.name") != "commit":
                found[attributes.get("messaging.destination.name"), attributes.get("error.type")] = point
        return found


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(
    params=[(ALWAYS_ON, True), (ALWAYS_ON, False), (ALWAYS_OFF, True), (ALWAYS_OFF, False)],
    ids=["noted", "made at once", "noted, not sampled", "made at once, not sampled"],
)
def measured(request: pytest.FixtureRequest) -> Iterator[Measured]:
    measured = Measured(*request.param)
    flowtrail.instrument(tracer_provider=measured.provider, meter_provider=measured.meter_provider)
    yield measured
    flowtrail.uninstrument()
    TRACING.use(None)
    metrics.METRICS.use(None)
    CHAIN._last = TRACING
    measured.provider.shutdown()
    measured.meter_provider.shutdown()


@pytest.fixture
def producer(broker: EmbeddedBroker) -> Iterator[kafka.KafkaProducer]:
    with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        yield producer


@pytest.fixture
def read(broker: EmbeddedBroker) -> Iterator[Callable[..., list[Any]]]:
    with kafka.KafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        group_id="billing",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **KAFKA_PYTHON_OPTIONS,
    ) as consumer:

        def read(*topics: str, count: int) -> list[Any]:
            consumer.assign([kafka.TopicPartition(topic, partition) for topic in topics for partition in range(4)])
            found: list[Any] = []
            while len(found) < count:
                found += [record for records in consumer.poll(1000).values() for record in records]
            return found

        yield read


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return f"measured-{abs(hash(request.node.nodeid))}"


def test_sends_are_counted_and_timed(measured: Measured, producer: kafka.KafkaProducer, topic: str) -> None:
    for _ in range(3):
        producer.send(topic, b"x")
    producer.flush()
    sent = measured.points(SENT)[topic, None]
    assert sent.value == 3
    assert sent.attributes["server.address"] == "127.0.0.1"
    assert measured.points(OPERATION)[topic, None].count == 3


def test_a_send_that_is_refused_is_an_error(measured: Measured, producer: kafka.KafkaProducer, topic: str) -> None:
    with pytest.raises(kafka.errors.MessageSizeTooLargeError):
        producer.send(topic, b"x" * 2_000_000)
    assert measured.points(SENT)[topic, "kafka.errors.MessageSizeTooLargeError"].value == 1


def test_polled_messages_are_counted_by_topic_and_group(
    measured: Measured, producer: kafka.KafkaProducer, read: Callable[..., list[Any]], topic: str
) -> None:
    for name, count in ((topic, 2), (topic + "-b", 3)):
        for _ in range(count):
            producer.send(name, b"x")
    producer.flush()
    read(topic, topic + "-b", count=5)
    consumed = measured.points(CONSUMED)
    assert {name: point.value for (name, _), point in consumed.items()} == {topic: 2, topic + "-b": 3}
    assert {point.attributes["messaging.consumer.group.name"] for point in consumed.values()} == {"billing"}


def test_the_work_on_a_record_is_timed_with_its_error(
    measured: Measured, producer: kafka.KafkaProducer, read: Callable[..., list[Any]], topic: str
) -> None:
    producer.send(topic, b"x").get(20)
    (record,) = read(topic, count=1)
    with flowtrail.process([record, record]):
        pass
    with pytest.raises(KeyError), flowtrail.process(record):
        raise KeyError("tenant")
    assert {kind: point.count for (_, kind), point in measured.points(PROCESS).items()} == {None: 1, "KeyError": 1}


def test_inferred_work_is_timed_and_what_is_left_unfinished_is_not(
    measured: Measured, producer: kafka.KafkaProducer, broker: EmbeddedBroker, topic: str
) -> None:
    for _ in range(2):
        producer.send(topic, b"x", partition=0)
    producer.flush()
    with kafka.KafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", **KAFKA_PYTHON_OPTIONS
    ) as consumer:
        consumer.assign([kafka.TopicPartition(topic, 0)])
        next(consumer)
        next(consumer)
    assert {key: point.count for key, point in measured.points(PROCESS).items()} == {(topic, None): 1}


def test_what_is_excluded_or_suppressed_is_not_measured(
    measured: Measured,
    producer: kafka.KafkaProducer,
    read: Callable[..., list[Any]],
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(excluded_topics=("measured-*",)))
    producer.send(topic, b"x").get(20)
    read(topic, count=1)
    assert measured.points(SENT) == {}
    assert measured.points(CONSUMED) == {}


def test_commits_are_measured_by_the_topics_that_are_traced(
    measured: Measured, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(excluded_topics=("secret-*",)))
    client = Client(group="billing")
    CHAIN.commit(Committed(client, {("secret-a", 0): 5}, time.time_ns()))
    assert measured.commits() == []
    CHAIN.commit(Committed(client, {("secret-a", 0): 5, (topic, 0): 5}, time.time_ns()))
    CHAIN.commit(Committed(client, {}, time.time_ns()))
    assert sorted(measured.commits(), key=str) == [None, topic]


def test_records_of_a_batch_count_when_it_is_sent(
    measured: Measured, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(excluded_topics=("secret-*",)))
    before = flowtrail.health().interceptor_errors
    no_topic: Any = None
    sent, discarded, refused = (CHAIN.send(Client(), no_topic, None, b"x", None) for _ in range(3))
    CHAIN.address(sent, topic, 0)
    CHAIN.acknowledge(sent, 0, 0)
    discarded.discard()
    CHAIN.acknowledge(discarded, error=Unacknowledged("no room"))
    CHAIN.acknowledge(refused, error=ValueError("no record"))
    points = measured.points(SENT)
    assert {place: point.value for place, point in points.items()} == {(topic, None): 1}
    assert flowtrail.health().interceptor_errors == before


def test_a_send_of_a_sampled_trace_is_an_exemplar(
    measured: Measured, producer: kafka.KafkaProducer, topic: str
) -> None:
    producer.send(topic, b"x").get(20)
    measured.provider.force_flush()
    exemplars = measured.exemplars("send", topic)[OPERATION]
    sent = [span_id(span) for span in measured.ended() if span.name == f"send {topic}"]
    assert exemplars == sent
    assert len(sent) == (0 if measured.provider.sampler is ALWAYS_OFF else 1)


def test_a_poll_of_a_sampled_trace_is_an_exemplar(
    measured: Measured, producer: kafka.KafkaProducer, read: Callable[..., list[Any]], topic: str
) -> None:
    producer.send(topic, b"x", partition=0).get(20)
    read(topic, count=1)
    measured.provider.force_flush()
    polled = [span_id(span) for span in measured.ended() if span.name == f"poll {topic}"]
    assert measured.exemplars("poll", topic) == {OPERATION: polled, CONSUMED: polled}
    assert len(polled) == (0 if measured.provider.sampler is ALWAYS_OFF else 1)


def test_a_poll_that_takes_several_spans_is_an_exemplar_of_the_first(
    measured: Measured, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured.provider._span_limits, "max_links", 2)
    monkeypatch.setattr(TRACING, "_processors", None)  # look at the limits anew
    records = [Received(Client(), topic, 0, offset, None, None, []) for offset in range(5)]
    seek = Event("seek", {"flowtrail.seek.to": "end"}, time.time_ns())
    CHAIN.consume(Polled(Client(), records, time.time_ns(), [seek]))
    measured.provider.force_flush()
    polls = [span for span in measured.ended() if span.name == f"poll {topic}"]
    if measured.provider.sampler is ALWAYS_OFF:
        assert polls == []
        return
    assert [[(link.attributes or {})["messaging.kafka.offset"] for link in span.links] for span in polls] == [
        [0, 1],
        [2, 3],
        [4],
    ]
    assert [[event.name for event in span.events] for span in polls] == [["seek"], [], []]
    assert measured.exemplars("poll", topic)[OPERATION] == [span_id(polls[0])]


def test_a_commit_of_a_sampled_trace_is_an_exemplar(measured: Measured, topic: str) -> None:
    CHAIN.commit(Committed(Client(group="billing"), {(topic, 0): 5}, time.time_ns()))
    measured.provider.force_flush()
    commits = [span_id(span) for span in measured.ended() if span.name == f"commit {topic}"]
    assert measured.exemplars("commit", topic)[OPERATION] == commits
    assert len(commits) == (0 if measured.provider.sampler is ALWAYS_OFF else 1)


def test_without_a_provider_tracing_is_called_directly(broker: EmbeddedBroker) -> None:
    flowtrail.instrument(tracer_provider=Spans().provider)
    try:
        assert CHAIN._last is TRACING
    finally:
        flowtrail.uninstrument()


def test_a_provider_that_is_set_later_counts_from_the_next_client_on(
    broker: EmbeddedBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    flowtrail.instrument(tracer_provider=Spans().provider)
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: provider)
    with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        producer.send(topic, b"x").get(20)
    try:
        assert isinstance(CHAIN._last, Measuring)
    finally:
        flowtrail.uninstrument()
        metrics.METRICS.use(None)
        CHAIN._last = TRACING
        provider.shutdown()
