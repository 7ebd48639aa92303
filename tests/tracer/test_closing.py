"""A client's end is told once, when the program closes it, with whatever nobody told of it before."""

import asyncio
import gc
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import aiokafka
import confluent_kafka
import kafka
import pytest
from confluent_kafka import aio
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.known import MOST_EVENTS, give_up_unacknowledged
from flowtrail.tracer.configuration import CONFIGURATION, Configuration

from .spans import Spans, attributes

Run = Callable[[str], None]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    flowtrail.instrument(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


@pytest.fixture
def topic() -> str:
    return f"closed-{uuid.uuid4().hex[:12]}"


def _with_kafka_python(servers: str) -> None:
    options: dict[str, Any] = {"bootstrap_servers": servers, **KAFKA_PYTHON_OPTIONS}
    with kafka.KafkaProducer(**options), kafka.KafkaConsumer(**options):
        pass


def _with_confluent(servers: str) -> None:
    options = {"bootstrap.servers": servers, "log_level": 2}
    with (
        confluent_kafka.Producer(options),
        confluent_kafka.SerializingProducer(options),
        confluent_kafka.Consumer(options | {"group.id": "picking"}),
        confluent_kafka.DeserializingConsumer(options | {"group.id": "picking"}),
    ):
        pass


def _with_confluents_share_consumer(servers: str) -> None:
    with confluent_kafka.ShareConsumer({"bootstrap.servers": servers, "group.id": "picking", "log_level": 2}):
        pass


def _with_confluents_asyncio(servers: str) -> None:
    async def run() -> None:
        options = {"bootstrap.servers": servers, "log_level": 2}
        async with aio.AIOProducer(options), aio.AIOConsumer(options | {"group.id": "picking"}):
            pass

    asyncio.run(run())


def _with_aiokafka(servers: str) -> None:
    async def run() -> None:
        async with (
            aiokafka.AIOKafkaProducer(bootstrap_servers=servers),
            aiokafka.AIOKafkaConsumer("orders", bootstrap_servers=servers),
        ):
            await asyncio.sleep(0)  # the client cannot stop what has not begun yet

    asyncio.run(run())


@pytest.mark.parametrize(
    ("run", "consumers", "producers"),
    [
        (_with_kafka_python, 1, 1),
        (_with_confluent, 2, 2),
        pytest.param(
            _with_confluents_share_consumer,
            1,
            0,
            marks=pytest.mark.skipif(
                not hasattr(confluent_kafka, "ShareConsumer"), reason="this version has no share groups"
            ),
        ),
        (_with_confluents_asyncio, 1, 1),
        (_with_aiokafka, 1, 1),
    ],
)
def test_the_end_of_a_with_block_closes_each_client_once(
    broker: EmbeddedBroker, spans: Spans, run: Run, consumers: int, producers: int
) -> None:
    run(broker.bootstrap_servers)
    assert spans.settled() == ["close"] * (consumers + producers)
    said = [attributes(span).get(names.UNANSWERED) for span in spans.named("close")]
    assert sorted(said, key=str) == [0] * producers + [None] * consumers


def test_a_close_that_raises_is_an_error_with_the_sends_that_still_wait_and_the_next_one_is_told_too(
    spans: Spans, topic: str
) -> None:
    with EmbeddedBroker() as broker:
        producer = kafka.KafkaProducer(
            bootstrap_servers=broker.bootstrap_servers,
            enable_idempotence=False,
            request_timeout_ms=100,
            delivery_timeout_ms=1000,
            **KAFKA_PYTHON_OPTIONS,
        )
        producer.partitions_for(topic)
    producer.send(topic, b"value", partition=0)
    with pytest.raises(kafka.errors.KafkaTimeoutError):
        producer.close(timeout=0.05)
    span = spans.one("close")
    found = attributes(span)
    assert (found[names.ERROR_TYPE], found[names.UNANSWERED]) == ("kafka.errors.KafkaTimeoutError", 1)
    assert span.status.status_code is StatusCode.ERROR
    assert spans.named(f"send {topic}") == []  # it may be answered yet
    producer.close()
    assert attributes(spans.named("close")[1])[names.UNANSWERED] == 0


def test_a_producer_that_is_closed_by_the_garbage_collector_makes_no_span(broker: EmbeddedBroker, spans: Spans) -> None:
    producer = kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS)
    watched = weakref.ref(producer)
    del producer
    gc.collect()
    assert watched() is None
    assert spans.settled() == []


def test_a_client_that_is_closed_once_the_process_exits_makes_no_span(broker: EmbeddedBroker, spans: Spans) -> None:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "picking"})
    give_up_unacknowledged()
    consumer.close()
    assert spans.settled() == []


def test_a_client_that_is_closed_after_uninstrument_makes_no_span(broker: EmbeddedBroker) -> None:
    spans = Spans()
    flowtrail.instrument(tracer_provider=spans.provider)
    options = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "picking", "log_level": 2}
    clients: list[Any] = [confluent_kafka.Consumer(options), confluent_kafka.Producer(options)]
    clients.append(kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS))
    flowtrail.uninstrument()
    for client in clients:
        client.close()
    assert spans.settled() == []


def test_of_more_seeks_than_a_span_takes_the_close_tells_the_last(
    broker: EmbeddedBroker, spans: Spans, topic: str
) -> None:
    consumer = _assigned(broker, topic)
    for offset in range(MOST_EVENTS + 5):
        consumer.seek(kafka.TopicPartition(topic, 0), offset)
    consumer.close()
    events = spans.one("close").events
    assert [dict(event.attributes or {})[names.OFFSET] for event in events] == list(range(5, MOST_EVENTS + 5))


def test_nothing_is_told_of_topics_that_are_left_out(
    broker: EmbeddedBroker, spans: Spans, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(excluded_topics=("secret-*",)))
    consumer = _assigned(broker, topic, "secret-plans")
    consumer.seek(kafka.TopicPartition("secret-plans", 0), 1)
    consumer.seek_to_beginning(kafka.TopicPartition("secret-plans", 0), kafka.TopicPartition(topic, 0))
    consumer.close()
    (event,) = spans.one("close").events
    assert dict(event.attributes or {})[names.TOPIC] == (topic,)


def test_a_failure_of_ours_while_a_client_closes_is_counted_and_goes_no_further(
    broker: EmbeddedBroker, spans: Spans, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("flowtrail.tracer.clients.kafka_python.known.Known.take_events", broken)
    before = flowtrail.health().interceptor_errors
    consumer = _assigned(broker, topic)
    consumer.close()
    assert flowtrail.health().interceptor_errors == before + 1
    assert spans.settled() == []


def test_a_close_of_what_is_not_known_tells_nothing(spans: Spans) -> None:
    with Closing("test", None):
        pass
    assert spans.settled() == []


def _assigned(broker: EmbeddedBroker, *topics: str) -> Any:
    consumer = kafka.KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS)
    consumer.assign([kafka.TopicPartition(topic, 0) for topic in topics])
    return consumer
