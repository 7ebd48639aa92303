"""What confluent-kafka builds over its producer and consumer: serializers, and the asyncio clients."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition, aio
from confluent_kafka.error import ValueDeserializationError, ValueSerializationError
from confluent_kafka.serialization import StringDeserializer, StringSerializer
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import confluent

from .spans import Spans, attributes, linked, parent_id, span_id

TIMEOUT_S = 20


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["subclass", "instrumented"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spans(way: str) -> Iterator[Spans]:
    spans = Spans()
    if way == "instrumented":
        flowtrail.instrument(tracer_provider=spans.provider)
    else:
        flowtrail.set_up(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


@pytest.fixture
def library(way: str, spans: Spans) -> Any:
    """Where the classes come from."""

    class Both:
        def __getattr__(self, name: str) -> Any:
            return getattr(confluent_kafka, name, None) or getattr(aio, name)

    return Both() if way == "instrumented" else confluent


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:12]}"


def options(broker: EmbeddedBroker, **more: Any) -> Any:
    return {"bootstrap.servers": broker.bootstrap_servers, "log_level": 2} | more


def consumer_options(broker: EmbeddedBroker, **more: Any) -> Any:
    return options(broker, **{"group.id": "group", "enable.auto.commit": False} | more)


def test_what_is_serialized_is_one_send_and_its_process_links_it(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    producer = library.SerializingProducer(options(broker, **{"value.serializer": StringSerializer()}))
    producer.produce(topic, value="text", partition=0)
    producer.flush()
    consumer = library.DeserializingConsumer(consumer_options(broker, **{"value.deserializer": StringDeserializer()}))
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(TIMEOUT_S)
    assert message.value() == "text"
    with flowtrail.process(message):
        pass
    consumer.close()
    sent = spans.one(f"send {topic}")
    assert attributes(sent)[names.OFFSET] == 0
    assert linked(spans.one(f"poll {topic}")) == linked(spans.one(f"process {topic}")) == [span_id(sent)]


def test_what_cannot_be_serialized_is_a_failed_send(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    producer = library.SerializingProducer(options(broker, **{"value.serializer": StringSerializer()}))
    with pytest.raises(ValueSerializationError):
        producer.produce(topic, b"key", 3, 0)
    span = spans.one(f"send {topic}")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)[names.KEY] == "key"
    assert len(producer) == 0


def test_what_cannot_be_deserialized_is_a_failed_process_with_its_schema(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    def refuse(value: Any, _: Any) -> Any:
        raise ValueError("no such schema")

    producer = library.Producer(options(broker))
    producer.produce(topic, b"\0\0\0\0\x07payload", partition=0)
    producer.flush()
    consumer = library.DeserializingConsumer(consumer_options(broker, **{"value.deserializer": refuse}))
    consumer.assign([TopicPartition(topic, 0, 0)])
    with pytest.raises(ValueDeserializationError, match="no such schema"):
        consumer.poll(TIMEOUT_S)
    assert not trace.get_current_span().get_span_context().is_valid
    consumer.close()
    span = spans.one(f"process {topic}")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)[names.VALUE_SCHEMA] == "7"
    assert attributes(span)[names.GROUP] == "group"
    assert names.INFERRED not in attributes(span)
    assert linked(span) == [span_id(spans.one(f"send {topic}"))]


def test_an_asyncio_send_is_a_child_of_what_awaits_it(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    tracer = spans.provider.get_tracer("test")

    async def run() -> int:
        producer = library.AIOProducer(options(broker), buffer_timeout=0)
        with tracer.start_as_current_span("work"):
            future = await producer.produce(topic, b"value", key=b"key", partition=0)
        await producer.flush()
        message = await future
        await producer.close()
        return int(message.offset())

    assert asyncio.run(run()) == 0
    span = spans.one(f"send {topic}")
    assert parent_id(span) == span_id(spans.one("work"))
    assert (attributes(span)[names.OFFSET], attributes(span)[names.KEY]) == (0, "key")


def test_asyncio_headers_are_refused_by_the_clients_own_error(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    async def run() -> None:
        producer = library.AIOProducer(options(broker), buffer_timeout=0)
        with pytest.raises(NotImplementedError, match="Headers are not supported"):
            await producer.produce(topic, b"value", headers=[("colour", b"red")])
        await producer.close()

    asyncio.run(run())
    assert attributes(spans.one(f"send {topic}"))[names.ERROR_TYPE] == "NotImplementedError"


def test_an_asyncio_consumers_work_is_inferred_in_its_own_task(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    producer = library.Producer(options(broker))
    for value in (b"one", b"two"):
        producer.produce(topic, value, partition=0)
    producer.flush()
    tracer = spans.provider.get_tracer("test")

    async def run() -> None:
        consumer = library.AIOConsumer(consumer_options(broker))
        await consumer.assign([TopicPartition(topic, 0, 0)])
        assert (await consumer.poll(TIMEOUT_S)).value() == b"one"
        with tracer.start_as_current_span("handle"):
            await consumer.commit(asynchronous=False)
        assert [each.value() for each in await consumer.consume(1, TIMEOUT_S)] == [b"two"]
        assert await consumer.poll(0.01) is None
        await consumer.close()

    asyncio.run(run())
    single, batch = spans.wait(f"process {topic}", 2)
    assert attributes(single)[names.INFERRED] is attributes(batch)[names.INFERRED] is True
    handled = spans.one("handle")
    assert parent_id(handled) == span_id(single)
    assert parent_id(spans.one(f"commit {topic}")) == span_id(handled)
    assert len(spans.named(f"poll {topic}")) == 2


def test_an_asyncio_callback_may_call_its_consumer_again(
    library: Any, spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    producer = library.Producer(options(broker))
    producer.produce(topic, b"value", partition=0)
    producer.flush()
    places: list[Any] = []

    async def run() -> None:
        consumer = library.AIOConsumer(consumer_options(broker, **{"group.id": topic, "auto.offset.reset": "earliest"}))

        async def on_assign(caller: Any, assigned: Any) -> None:
            assert caller is consumer
            places.extend(assigned)
            await caller.assign(assigned)

        await consumer.subscribe([topic], on_assign=on_assign)
        while await consumer.poll(0.2) is None:
            pass
        await consumer.close()

    asyncio.run(run())
    assert {place.topic for place in places} == {topic}
    (event,) = spans.one(f"poll {topic}").events
    assert event.name == names.ASSIGN_EVENT
