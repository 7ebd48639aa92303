"""A record that is tried again, or kept as a dead letter, says where it came from and stays in its flow."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import aiokafka
import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from opentelemetry import trace

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import aiokafka as aiokafka_clients
from flowtrail.tracer.clients import confluent
from flowtrail.tracer.clients.consumer_record import RECEIVED_THROUGH
from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer
from flowtrail.tracer.configuration import CONFIGURATION, Configuration
from flowtrail.tracer.forwarding import LONGEST_MESSAGE_BYTES
from flowtrail.tracer.origin import Origin, origin
from flowtrail.tracer.record import Client

from .spans import Spans, attributes, linked, parent_id, span_id

TIMEOUT_S = 20


def kafka_python_record(**values: Any) -> Any:
    plain = dict.fromkeys(ConsumerRecord._fields) | GIVEN | values
    return ConsumerRecord(**plain)


def aiokafka_record(**values: Any) -> Any:
    rest = {"timestamp_type": 0, "checksum": None, "serialized_key_size": 1, "serialized_value_size": 1}
    return aiokafka.ConsumerRecord(**rest | GIVEN | values)


def confluent_message(**values: Any) -> Any:
    given = GIVEN | values
    given["timestamp"] = (1, given["timestamp"])
    return confluent_kafka.Message(**given)


GIVEN: dict[str, Any] = {
    "topic": "orders",
    "partition": 3,
    "offset": 7,
    "timestamp": 1_795_362_234_474,
    "key": b"order-7",
    "value": b"value",
    "headers": [("colour", b"red")],
}
EVERY_CLIENT = pytest.mark.parametrize("make", [kafka_python_record, aiokafka_record, confluent_message])


@EVERY_CLIENT
def test_any_clients_record_becomes_the_arguments_of_a_send(make: Any) -> None:
    forwarded = flowtrail.dead_letter_to("orders.dlq", make(), ValueError("no such order"))
    assert forwarded == {
        "topic": "orders.dlq",
        "key": b"order-7",
        "value": b"value",
        "headers": [
            ("colour", b"red"),
            ("flowtrail-dead-letter-to", b"orders.dlq"),
            ("flowtrail-attempts", b"1"),
            ("flowtrail-exception-type", b"ValueError"),
            ("flowtrail-exception-message", b"no such order"),
            ("flowtrail-original-topic", b"orders"),
            ("flowtrail-original-partition", b"3"),
            ("flowtrail-original-offset", b"7"),
            ("flowtrail-original-timestamp-ms", b"1795362234474"),
        ],
    }


@EVERY_CLIENT
def test_another_retry_keeps_the_first_coordinates_and_counts_on(make: Any) -> None:
    first = flowtrail.retry_to("orders.retry", make(), ValueError("first"))
    waiting = make(topic="orders.retry", partition=0, offset=1, timestamp=1_795_362_300_000, headers=first["headers"])
    second = flowtrail.retry_to("orders.retry", waiting, OSError("second"))
    again = make(topic="orders.retry", partition=0, offset=2, headers=second["headers"])
    last = flowtrail.dead_letter_to("orders.dlq", again, KeyError("third"))
    for headers, attempt, error, forwarded, topic in (
        (first["headers"], 2, "ValueError", "retry", "orders.retry"),
        (second["headers"], 3, "OSError", "retry", "orders.retry"),
        (last["headers"], 4, "KeyError", "dead_letter", "orders.dlq"),
    ):
        assert origin(headers) == Origin("orders", 3, 7, attempt, error, forwarded, topic)
        assert len(dict(headers)) == len(headers)
    assert dict(last["headers"])["flowtrail-original-timestamp-ms"] == b"1795362234474"


def test_the_exception_that_is_being_handled_needs_no_mention() -> None:
    try:
        raise TimeoutError("payment service")
    except TimeoutError:
        headers = dict(flowtrail.retry_to("orders.retry", kafka_python_record())["headers"])
    assert headers["flowtrail-exception-type"] == b"TimeoutError"
    assert headers["flowtrail-exception-message"] == b"payment service"


def test_without_an_exception_the_error_of_an_earlier_attempt_is_not_passed_off_as_this_ones() -> None:
    first = flowtrail.retry_to("orders.retry", kafka_python_record(), ValueError("first"))
    second = flowtrail.retry_to("orders.retry", kafka_python_record(topic="orders.retry", headers=first["headers"]))
    assert not {name for name, _ in second["headers"] if "exception" in name}


def test_attempts_that_the_program_made_itself_count() -> None:
    headers = flowtrail.dead_letter_to("orders.dlq", kafka_python_record(), attempts=3)["headers"]
    assert dict(headers)["flowtrail-attempts"] == b"3"


def test_the_group_that_gave_up_is_named() -> None:
    class Record(ConsumerRecord):  # type: ignore[misc]  # kafka-python has no types
        pass

    record = Record._make(kafka_python_record())
    setattr(record, RECEIVED_THROUGH, Client(group="payments-workers"))
    headers = flowtrail.retry_to("orders.retry", record)["headers"]
    assert dict(headers)["flowtrail-group"] == b"payments-workers"


def test_what_spring_said_of_a_record_is_kept_and_counted_on() -> None:
    spring = [
        ("kafka_original-topic", b"payments"),
        ("kafka_original-partition", b"\x00\x00\x00\x02"),
        ("kafka_original-offset", b"\x00\x00\x00\x00\x00\x00\x00\x04"),
        ("retry_topic-attempts", b"\x00\x00\x00\x03"),
    ]
    forwarded = flowtrail.dead_letter_to("payments.dlq", kafka_python_record(topic="payments.retry", headers=spring))
    assert forwarded["headers"][:4] == spring
    assert origin(forwarded["headers"]) == Origin("payments", 2, 4, 4, None, "dead_letter", "payments.dlq")


def test_headers_that_were_copied_from_another_event_are_not_this_events_past() -> None:
    other = flowtrail.retry_to("payments.retry", kafka_python_record(topic="payments", offset=99), ValueError())
    record = kafka_python_record(topic="shipments", headers=other["headers"])
    headers = flowtrail.dead_letter_to("shipments.dlq", record)["headers"]
    assert origin(headers) == Origin("shipments", 3, 7, 2, None, "dead_letter", "shipments.dlq")


def test_a_header_without_a_value_goes_where_the_client_takes_it() -> None:
    def first(make: Any) -> Any:
        return flowtrail.retry_to("orders.retry", make(headers=[("empty", None)]))["headers"][0]

    assert first(kafka_python_record) == ("empty", b"")
    assert first(aiokafka_record) == first(confluent_message) == ("empty", None)


def test_the_records_own_headers_are_not_changed() -> None:
    record = kafka_python_record()
    flowtrail.retry_to("orders.retry", record, ValueError())
    assert record.headers == [("colour", b"red")]


@given(st.text(min_size=LONGEST_MESSAGE_BYTES // 4))
def test_a_long_message_is_cut_between_two_characters(text: str) -> None:
    headers = dict(flowtrail.retry_to("orders.retry", kafka_python_record(), ValueError(text))["headers"])
    message = headers["flowtrail-exception-message"]
    assert message is not None
    assert len(message) <= LONGEST_MESSAGE_BYTES
    assert text.encode(errors="replace").decode().startswith(message.decode())


def test_a_message_that_may_hold_data_is_left_out_or_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    def message() -> bytes | None:
        headers = flowtrail.retry_to("orders.retry", kafka_python_record(), ValueError("card 4711"))["headers"]
        return dict(headers).get("flowtrail-exception-message")

    monkeypatch.setattr(CONFIGURATION, "now", Configuration(redact=lambda _, text: text.replace("4711", "…")))
    assert message() == "card …".encode()
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(forward_error_messages=False))
    assert message() is None


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_say_what_it_is_does_no_harm() -> None:
    headers = dict(flowtrail.retry_to("orders.retry", kafka_python_record(), Unspeakable())["headers"])
    assert headers["flowtrail-exception-type"] == f"{__name__}.Unspeakable".encode()
    assert "flowtrail-exception-message" not in headers


@pytest.mark.parametrize(
    "arguments",
    [
        (7, kafka_python_record()),
        ("orders.retry", "no record"),
        ("orders.retry", None),
        ("orders.retry", [kafka_python_record()]),
        ("orders.retry", kafka_python_record(), "no exception"),
        ("orders.retry", kafka_python_record(), ValueError),
    ],
    ids=lambda arguments: repr(arguments)[:60],
)
def test_wrong_use_is_a_type_error_at_once(arguments: Any) -> None:
    with pytest.raises(TypeError, match=r"forward|error is"):
        flowtrail.retry_to(*arguments)


@pytest.mark.parametrize(("attempts", "refused"), [(0, ValueError), (True, TypeError), ("2", TypeError)])
def test_attempts_that_cannot_be_are_refused_at_once(attempts: Any, refused: type[Exception]) -> None:
    with pytest.raises(refused, match="attempts"):
        flowtrail.dead_letter_to("orders.dlq", kafka_python_record(), attempts=attempts)


# On a broker


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    monkeypatch.setattr(CONFIGURATION, "now", Configuration(infer_processing=False))
    return spans


@pytest.fixture
def producer(broker: EmbeddedBroker, spans: Spans) -> Iterator[Any]:
    make: Any = KafkaProducer
    producer = make(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS)
    yield producer
    producer.close(timeout=5)


@pytest.fixture
def topic() -> str:
    return f"orders-{uuid.uuid4().hex[:12]}"


def received(broker: EmbeddedBroker, topic: str) -> Any:
    """The first record of a topic's first partition."""
    make: Any = KafkaConsumer
    consumer = make(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", **KAFKA_PYTHON_OPTIONS)
    consumer.assign([TopicPartition(topic, 0)])
    try:
        polled = consumer.poll(TIMEOUT_S * 1000)
        return next(iter(polled.values()))[0]
    finally:
        consumer.close()


def test_the_new_event_links_the_old_one_and_is_a_child_of_the_work_that_failed(
    broker: EmbeddedBroker, spans: Spans, producer: Any, topic: str
) -> None:
    producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
    record = received(broker, topic)
    with flowtrail.process(record):
        try:
            raise ValueError("no such order")
        except ValueError:
            producer.send(**flowtrail.retry_to(f"{topic}.retry", record)).get(TIMEOUT_S)
    (sent,) = spans.wait(f"send {topic}")
    (retried,) = spans.wait(f"send {topic}.retry")
    assert linked(retried) == [span_id(sent)]
    assert parent_id(retried) == span_id(spans.one(f"process {topic}"))


def test_a_record_that_is_forwarded_later_than_its_processing_links_the_old_one_too(
    broker: EmbeddedBroker, spans: Spans, producer: Any, topic: str
) -> None:
    producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
    record = received(broker, topic)
    assert not trace.get_current_span().get_span_context().is_valid
    producer.send(**flowtrail.dead_letter_to(f"{topic}.dlq", record), partition=0).get(TIMEOUT_S)
    (sent,) = spans.wait(f"send {topic}")
    (dead,) = spans.wait(f"send {topic}.dlq")
    assert linked(dead) == [span_id(sent)]
    assert parent_id(dead) is None
    letter = received(broker, f"{topic}.dlq")
    (carried,) = [value for name, value in letter.headers if name == "traceparent"]
    assert carried.decode().split("-")[2] == f"{span_id(dead):016x}"


def test_so_it_is_with_confluents_client(broker: EmbeddedBroker, spans: Spans, topic: str) -> None:
    make: Any = confluent.Producer
    producer = make({"bootstrap.servers": broker.bootstrap_servers})
    producer.produce(topic, b"value", b"order-7", 0, headers={"colour": "red"})
    producer.flush(TIMEOUT_S)
    make = confluent.Consumer
    consumer = make({"bootstrap.servers": broker.bootstrap_servers, "group.id": "payments-workers"})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    message = consumer.poll(TIMEOUT_S)
    producer.produce(**flowtrail.dead_letter_to(f"{topic}.dlq", message, ValueError()), partition=0)
    producer.flush(TIMEOUT_S)
    consumer.assign([confluent_kafka.TopicPartition(f"{topic}.dlq", 0, 0)])
    letter = consumer.poll(TIMEOUT_S)
    consumer.close()
    assert (letter.key(), letter.value()) == (b"order-7", b"value")
    assert origin(letter.headers()) == Origin(topic, 0, 0, 2, "ValueError", "dead_letter", f"{topic}.dlq")
    assert dict(letter.headers())["flowtrail-group"] == b"payments-workers"
    dead = spans.one(f"send {topic}.dlq")
    assert linked(dead) == [span_id(spans.one(f"send {topic}"))]
    assert attributes(dead)[names.FORWARDED] == "dead_letter"


def test_so_it_is_with_aiokafka(broker: EmbeddedBroker, spans: Spans, topic: str) -> None:
    async def forward() -> Any:
        make: Any = aiokafka_clients.AIOKafkaProducer
        producer = make(bootstrap_servers=broker.bootstrap_servers)
        make = aiokafka_clients.AIOKafkaConsumer
        consumer = make(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
        await producer.start()
        await consumer.start()
        try:
            await producer.send_and_wait(topic, b"value", b"order-7", 0, headers=[("colour", b"red")])
            consumer.assign([aiokafka.TopicPartition(topic, 0)])
            record = await consumer.getone()
            await producer.send_and_wait(**flowtrail.retry_to(f"{topic}.retry", record, ValueError()), partition=0)
            consumer.assign([aiokafka.TopicPartition(f"{topic}.retry", 0)])
            return await consumer.getone()
        finally:
            await consumer.stop()
            await producer.stop()

    again = asyncio.run(asyncio.wait_for(forward(), TIMEOUT_S))
    assert (again.key, again.value) == (b"order-7", b"value")
    assert origin(again.headers) == Origin(topic, 0, 0, 2, "ValueError", "retry", f"{topic}.retry")
    retried = spans.one(f"send {topic}.retry")
    assert linked(retried) == [span_id(spans.one(f"send {topic}"))]
    assert attributes(retried)[names.FORWARDED] == "retry"


def test_what_is_known_of_the_past_is_on_the_send_and_on_the_next_processing(
    broker: EmbeddedBroker, spans: Spans, producer: Any, topic: str
) -> None:
    stored = producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
    again = f"{topic}.retry"
    producer.send(**flowtrail.retry_to(again, received(broker, topic), ValueError()), partition=0).get(TIMEOUT_S)
    with flowtrail.process(received(broker, again)):
        pass
    said = {
        names.ORIGINAL_TOPIC: topic,
        names.ORIGINAL_PARTITION: "0",
        names.ORIGINAL_OFFSET: stored.offset,
        names.DELIVERY_ATTEMPT: 2,
        names.LAST_ERROR_TYPE: "ValueError",
        names.FORWARDED: "retry",
    }
    for name in (f"send {again}", f"poll {again}", f"process {again}"):
        found = attributes(spans.one(name))
        assert {each: found.get(each) for each in said} == said
    assert not said.keys() & attributes(spans.one(f"send {topic}")).keys()
