"""A send says which schemas its key and value were written with, whoever serialized them."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import aiokafka
import kafka
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from kafka.serializer import Serializer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import confluent, kafka_python
from flowtrail.tracer.clients.aiokafka import AIOKafkaProducer
from flowtrail.tracer.configuration import CONFIGURATION, Configuration

from .spans import Spans, attributes

TIMEOUT_S = 20
AVRO = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'
ORDER = {"id": "ORD-1204"}


class Avro(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """Confluent's serializer in the shape that kafka-python takes."""

    def __init__(self, field: MessageField, **options: Any) -> None:
        self.registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})
        self._field = field
        self._serialize = AvroSerializer(self.registry, AVRO, conf=options)

    def serialize(self, topic: str, headers: Any, data: Any) -> Any:
        return None if data is None else self._serialize(data, SerializationContext(topic, self._field, headers))


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def topic() -> str:
    return f"orders-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["subclass", "instrumented"])
def send(
    request: pytest.FixtureRequest, broker: EmbeddedBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Send one record by a producer with these options, and return the schemas of its span, poll and processing."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    # Its spans take the fast path.
    provider.add_span_processor(BatchSpanProcessor(exporter))
    is_subclass = request.param == "subclass"
    if is_subclass:
        flowtrail.set_up(tracer_provider=provider)
    else:
        flowtrail.instrument(tracer_provider=provider)
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(infer_processing=False))

    def send(options: dict[str, Any], /, *arguments: Any, **record: Any) -> dict[str, Any]:
        make: Any = kafka_python.KafkaProducer if is_subclass else kafka.KafkaProducer
        producer = make(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS | options)
        producer.send(topic, *arguments, partition=0, **record).get(TIMEOUT_S)
        producer.close()
        make = kafka_python.KafkaConsumer if is_subclass else kafka.KafkaConsumer
        consumer = make(
            bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", **KAFKA_PYTHON_OPTIONS
        )
        consumer.assign([kafka.TopicPartition(topic, 0)])
        consumer.poll(TIMEOUT_S * 1000)
        consumer.close()
        provider.force_flush()
        wanted = (names.KEY_SCHEMA, names.VALUE_SCHEMA)
        return {
            span.name.split()[0]: tuple((span.attributes or {}).get(name) for name in wanted)
            for span in exporter.get_finished_spans()
            if span.name != "close"
        }

    yield send
    flowtrail.uninstrument()
    provider.shutdown()


def test_bytes_that_the_program_serialized_itself(send: Any) -> None:
    found = send({}, b"\x00\x00\x00\x00\x07payload", key=b"\x00\x00\x00\x00\x08key of an order")
    assert found == {"send": ("8", "7"), "poll": ("8", "7")}


def test_a_header_that_the_program_set_itself(send: Any) -> None:
    guid = uuid.UUID("1d20cbb9-e5e3-5e97-54e7-00da170b6edb")
    found = send({}, b"payload", headers=[("__value_schema_id", b"\x01" + guid.bytes)])
    assert found == {"send": (None, str(guid)), "poll": (None, str(guid))}


def test_bytes_of_the_producers_own_serializers(send: Any) -> None:
    options = {"key_serializer": Avro(MessageField.KEY), "value_serializer": Avro(MessageField.VALUE)}
    assert send(options, ORDER, key=ORDER) == {"send": ("1", "1"), "poll": ("1", "1")}


def test_one_serializer_for_both(send: Any) -> None:
    avro = Avro(MessageField.VALUE)
    assert send({"key_serializer": avro, "value_serializer": avro}, ORDER, key=ORDER)["send"] == ("1", "1")
    assert send({"key_serializer": avro, "value_serializer": avro}, None, key=ORDER)["send"] == ("1", None)


def test_a_serializer_of_values_beside_a_key_in_bytes(send: Any) -> None:
    found = send({"value_serializer": Avro(MessageField.VALUE)}, ORDER, key=b"order-1204")
    assert found == {"send": (None, "1"), "poll": (None, "1")}


def test_a_header_of_the_producers_own_serializer(send: Any, topic: str) -> None:
    avro = Avro(MessageField.VALUE, **{"schema.id.serializer": header_schema_id_serializer})
    found = send({"value_serializer": avro}, ORDER)
    guid = avro.registry.get_latest_version(f"{topic}-value").guid
    assert found == {"send": (None, guid), "poll": (None, guid)}


@pytest.mark.parametrize("is_instrumented", [False, True])
def test_bytes_of_aiokafkas_serializers(broker: EmbeddedBroker, topic: str, is_instrumented: bool) -> None:
    spans = Spans()
    if is_instrumented:
        flowtrail.instrument(tracer_provider=spans.provider)
    else:
        flowtrail.set_up(tracer_provider=spans.provider)
    make: Any = aiokafka.AIOKafkaProducer if is_instrumented else AIOKafkaProducer
    avro = Avro(MessageField.VALUE)

    async def send() -> None:
        producer = make(
            bootstrap_servers=broker.bootstrap_servers, value_serializer=lambda value: avro.serialize(topic, [], value)
        )
        await producer.start()
        try:
            await producer.send_and_wait(topic, ORDER, key=b"order-1204", partition=0)
        finally:
            await producer.stop()

    asyncio.run(send())
    flowtrail.uninstrument()
    found = attributes(spans.one(f"send {topic}"))
    assert (found.get(names.KEY_SCHEMA), found.get(names.VALUE_SCHEMA)) == (None, "1")


@pytest.mark.parametrize("form", ["payload", "header"])
def test_bytes_of_confluents_own_serializers(broker: EmbeddedBroker, topic: str, form: str) -> None:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})
    how = {"schema.id.serializer": header_schema_id_serializer} if form == "header" else None
    make: Any = confluent.SerializingProducer
    producer = make(
        {"bootstrap.servers": broker.bootstrap_servers, "value.serializer": AvroSerializer(registry, AVRO, conf=how)}
    )
    # Confluent's serializers write into the headers that they are given, and refuse when there are none.
    producer.produce(topic, value=ORDER, key=b"order-1204", partition=0, headers=[("colour", b"red")])
    producer.flush(TIMEOUT_S)
    make = confluent.Consumer
    consumer = make({"bootstrap.servers": broker.bootstrap_servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(TIMEOUT_S)
    with flowtrail.process(message):
        pass
    consumer.close()
    latest = registry.get_latest_version(f"{topic}-value")
    schema = latest.guid if form == "header" else str(latest.schema_id)
    for operation in ("send", "poll", "process"):
        found = attributes(spans.one(f"{operation} {topic}"))
        assert (found.get(names.KEY_SCHEMA), found.get(names.VALUE_SCHEMA)) == (None, schema), operation


def test_a_serializer_that_writes_no_schema(send: Any) -> None:
    class Text(Serializer):  # type: ignore[misc]  # kafka-python has no types
        def serialize(self, topic: str, headers: Any, data: Any) -> Any:
            return data.encode()

    assert send({"value_serializer": Text()}, "text") == {"send": (None, None), "poll": (None, None)}
