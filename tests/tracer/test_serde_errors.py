"""What cannot be serialized or deserialized is an error that names its schema and its record."""

import asyncio
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aiokafka
import kafka
import pytest
from confluent_kafka.error import ValueSerializationError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError
from kafka.serializer import Deserializer, Serializer
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from flowtrail.tracer.clients.confluent import SerializingProducer
from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer
from flowtrail.tracer.record import Client
from flowtrail.tracer.serde_errors import schemas_of, undeserialized

from .spans import LaterSpans, Spans, attributes, linked, span_id

TIMEOUT_S = 20
AVRO = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'
JSON = '{"title": "Order", "type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}'
ORDER, NO_ORDER = {"id": "ORD-1204"}, {"colour": "red"}


class AvroValues(Serializer, Deserializer):  # type: ignore[misc]  # kafka-python has no types
    """Confluent's serializer of values, in the shape that kafka-python takes."""

    def __init__(self) -> None:
        registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})
        # The mock registry gives every schema the number 1.
        self._serialize = AvroSerializer(registry, AVRO)
        self._deserialize = AvroDeserializer(registry)

    def serialize(self, topic: str, headers: Any, data: Any) -> Any:
        return self._serialize(data, SerializationContext(topic, MessageField.VALUE))

    def deserialize(self, topic: str, headers: Any, data: Any) -> Any:
        return self._deserialize(data, SerializationContext(topic, MessageField.VALUE))


@pytest.mark.parametrize("field", [MessageField.KEY, MessageField.VALUE])
@pytest.mark.parametrize("kind", [AvroSerializer, JSONSerializer])
def test_the_schema_that_a_value_did_not_fit_is_found(kind: Any, field: MessageField) -> None:
    registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})
    serialize = kind(registry, AVRO) if kind is AvroSerializer else kind(JSON, registry)
    with pytest.raises(Exception, match="id") as failed:
        serialize(NO_ORDER, SerializationContext("orders", field))
    assert schemas_of(failed.value) == (("1", None) if field is MessageField.KEY else (None, "1"))


def test_an_error_that_has_to_do_with_no_schema_names_none() -> None:
    with pytest.raises(KeyError) as failed:
        dict[str, str]()["id"]
    for error in (failed.value, KeyError()):
        assert schemas_of(error) == (None, None)
        assert undeserialized(error, Client()) is None


SECRET = "4111-1111"
PLAIN_FUNCTIONS = pytest.mark.filterwarnings("ignore:.* does not implement:DeprecationWarning")


def refuse(value: object) -> bytes:
    raise ValueError(f"cannot read {value!r}")


def told(span: ReadableSpan) -> str:
    """All that a span says of its error."""
    (event,) = [event for event in span.events if event.name == "exception"]
    assert (event.attributes or {})["exception.type"] == attributes(span)[names.ERROR_TYPE]
    return f"{span.status.description} {dict(event.attributes or {})}"


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=[Spans, LaterSpans], ids=["at once", "later"])
def spans(request: pytest.FixtureRequest) -> Spans:
    spans: Spans = request.param()
    flowtrail.set_up(tracer_provider=spans.provider)
    return spans


@pytest.fixture
def topic() -> str:
    return f"orders-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def producer(broker: EmbeddedBroker, spans: Spans) -> Iterator[Any]:
    make: Any = KafkaProducer
    producer = make(bootstrap_servers=broker.bootstrap_servers, value_serializer=AvroValues(), **KAFKA_PYTHON_OPTIONS)
    yield producer
    producer.close(timeout=5)


def consumer_of(kind: Any, broker: EmbeddedBroker, topic: str, **options: Any) -> Any:
    consumer = kind(
        bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", **KAFKA_PYTHON_OPTIONS | options
    )
    consumer.assign([kafka.TopicPartition(topic, 0)])
    return consumer


def test_a_send_that_cannot_be_serialized_is_an_error_with_the_schema(spans: Spans, producer: Any, topic: str) -> None:
    with pytest.raises(ValueError, match="id"):
        producer.send(topic, NO_ORDER, partition=0)
    span = spans.one(f"send {topic}")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)[names.VALUE_SCHEMA] == "1"


def test_a_send_through_confluents_own_producer_is_too(spans: Spans, broker: EmbeddedBroker, topic: str) -> None:
    registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})
    options: Any = {"bootstrap.servers": broker.bootstrap_servers, "value.serializer": AvroSerializer(registry, AVRO)}
    make: Any = SerializingProducer
    with pytest.raises(ValueSerializationError):
        make(options).produce(topic, value=NO_ORDER)
    span = spans.one(f"send {topic}")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)[names.VALUE_SCHEMA] == "1"


@pytest.mark.parametrize("ask", [lambda consumer: consumer.poll(TIMEOUT_S * 1000), next], ids=["poll", "iteration"])
def test_a_record_that_cannot_be_deserialized_is_a_failed_processing_of_it(
    spans: Spans, broker: EmbeddedBroker, producer: Any, topic: str, ask: Any
) -> None:
    stored = producer.send(topic, ORDER, partition=0).get(TIMEOUT_S)

    class Refusing(AvroValues):
        def deserialize(self, topic: str, headers: Any, data: Any) -> Any:
            raise ValueError("no such schema")

    consumer = consumer_of(KafkaConsumer, broker, topic, value_deserializer=Refusing())
    try:
        with pytest.raises(ValueError, match="no such schema"):
            ask(consumer)
    finally:
        consumer.close()
    span = spans.one(f"process {topic}")
    assert span.status.status_code is StatusCode.ERROR
    found = attributes(span)
    assert (found[names.PARTITION], found[names.OFFSET]) == ("0", stored.offset)
    assert found[names.VALUE_SCHEMA] == "1"
    assert found[names.ERROR_TYPE] == "ValueError"
    assert linked(span) == [span_id(spans.one(f"send {topic}"))]


def test_what_was_deserialized_is_no_error(spans: Spans, broker: EmbeddedBroker, producer: Any, topic: str) -> None:
    producer.send(topic, ORDER, partition=0).get(TIMEOUT_S)
    consumer = consumer_of(KafkaConsumer, broker, topic, value_deserializer=producer.config["value_serializer"])
    try:
        ((record,),) = consumer.poll(TIMEOUT_S * 1000).values()
        assert record.value == ORDER
    finally:
        consumer.close()
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.named(f"process {topic}"))


def test_so_it_is_with_aiokafka(spans: Spans, broker: EmbeddedBroker, producer: Any, topic: str) -> None:
    stored = producer.send(topic, ORDER, partition=0).get(TIMEOUT_S)

    def refuse(data: bytes) -> None:
        raise ValueError("no such schema")

    async def poll() -> None:
        make: Any = AIOKafkaConsumer
        consumer = make(
            bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", value_deserializer=refuse
        )
        await consumer.start()
        try:
            consumer.assign([aiokafka.TopicPartition(topic, 0)])
            async for _ in consumer:
                raise AssertionError("it cannot be deserialized")
        finally:
            await consumer.stop()

    with pytest.raises(ValueError, match="no such schema"):
        asyncio.run(poll())
    span = spans.one(f"process {topic}")
    assert span.status.status_code is StatusCode.ERROR
    found = attributes(span)
    assert (found[names.PARTITION], found[names.OFFSET], found[names.VALUE_SCHEMA]) == ("0", stored.offset, "1")


@PLAIN_FUNCTIONS
def test_what_a_deserializer_says_of_a_value_is_not_noted(spans: Spans, broker: EmbeddedBroker, topic: str) -> None:
    make: Any = KafkaProducer
    producer = make(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS)
    producer.send(topic, SECRET.encode(), partition=0).get(TIMEOUT_S)
    producer.close()
    for deserialize in (refuse, int):  # Python's own functions have no frame
        consumer = consumer_of(KafkaConsumer, broker, topic, value_deserializer=deserialize)
        with pytest.raises(ValueError, match=SECRET):
            consumer.poll(TIMEOUT_S * 1000)
        consumer.close()
    for span in spans.wait(f"process {topic}", 2):
        assert span.status.status_code is StatusCode.ERROR
        assert SECRET not in told(span)


@PLAIN_FUNCTIONS
def test_what_a_serializer_says_of_a_value_is_not_noted(spans: Spans, broker: EmbeddedBroker, topic: str) -> None:
    make: Any = KafkaProducer
    producer = make(bootstrap_servers=broker.bootstrap_servers, value_serializer=refuse, **KAFKA_PYTHON_OPTIONS)
    with pytest.raises(ValueError, match=SECRET):
        producer.send(topic, SECRET)
    producer.close()
    make = SerializingProducer
    with pytest.raises(ValueSerializationError, match=SECRET):
        make(
            {"bootstrap.servers": broker.bootstrap_servers, "value.serializer": lambda value, _: refuse(value)}
        ).produce(topic, value=SECRET)

    async def send() -> None:
        make: Any = AIOKafkaProducer
        producer = make(bootstrap_servers=broker.bootstrap_servers, value_serializer=refuse)
        await producer.start()
        try:
            await producer.send(topic, SECRET)
        finally:
            await producer.stop()

    with pytest.raises(ValueError, match=SECRET):
        asyncio.run(send())
    for span in spans.wait(f"send {topic}", 3):
        assert span.status.status_code is StatusCode.ERROR
        assert SECRET not in told(span)


def test_what_a_serializer_says_in_the_programs_hands_is_not_noted(spans: Spans) -> None:
    registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})
    record = SimpleNamespace(topic="orders", partition=0, offset=1, key=None, value=b"", headers=[])
    with pytest.raises(Exception, match=SECRET), flowtrail.process(record):
        JSONSerializer(JSON, registry)({"id": [SECRET]}, SerializationContext("orders", MessageField.VALUE))
    assert SECRET not in told(spans.one("process orders"))


def test_an_error_that_is_raised_from_one_is_noted_without_its_stack(spans: Spans) -> None:
    record = SimpleNamespace(topic="orders", partition=0, offset=1, key=None, value=b"", headers=[])

    def look_up() -> None:
        try:
            raise SerializationError(f"cannot read {SECRET}")
        except SerializationError as error:
            raise KeyError("order") from error

    with pytest.raises(KeyError, match="order"), flowtrail.process(record):
        look_up()
    said = told(spans.one("process orders"))
    assert "order" in said
    assert SECRET not in said


@pytest.mark.parametrize("error", [ValueError("of the program"), SchemaRegistryError(404, 40401, "no such subject")])
def test_what_others_say_is_noted_with_its_stack(spans: Spans, error: Exception) -> None:
    record = SimpleNamespace(topic="orders", partition=0, offset=1, key=None, value=b"", headers=[])
    with pytest.raises(type(error)), flowtrail.process(record):
        raise error
    said = told(spans.one("process orders"))
    assert str(error) in said
    assert "Traceback" in said
