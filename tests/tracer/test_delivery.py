"""A send span ends with the record's fate, whatever that is: refused on the way, never answered, or cut off by exit."""

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import kafka
import pytest
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import known
from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer
from flowtrail.tracer.clients.kafka_python.known import known_of
from flowtrail.tracer.clients.known import everyone, is_known
from flowtrail.tracer.interceptor import Interceptor
from flowtrail.tracer.record import Client, Header, Outgoing

from .spans import Spans, attributes, wait_until

TIMEOUT_S = 20


@pytest.fixture
def spans() -> Spans:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    return spans


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def producer_of(broker: EmbeddedBroker, **options: Any) -> Any:
    given = {"bootstrap_servers": broker.bootstrap_servers, "enable_idempotence": False}
    return KafkaProducer(**given | KAFKA_PYTHON_OPTIONS | options)


def consumer_of(broker: EmbeddedBroker, *topics: str, **options: Any) -> Any:
    given = {"bootstrap_servers": broker.bootstrap_servers, "auto_offset_reset": "earliest"}
    return KafkaConsumer(*topics, **given | KAFKA_PYTHON_OPTIONS | options)


def test_a_delivery_that_fails_is_an_error_and_the_future_says_the_same(spans: Spans, broker: EmbeddedBroker) -> None:
    with producer_of(broker, request_timeout_ms=100, delivery_timeout_ms=200, retry_backoff_ms=10) as producer:
        producer.partitions_for("orders")
        broker.close()
        future = producer.send("orders", b"value", key=b"order-7", partition=0)
        with pytest.raises(kafka.errors.KafkaError) as raised:
            future.get(TIMEOUT_S)
        span = spans.one("send orders")
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == str(raised.value)
        assert attributes(span)[names.ERROR_TYPE] == f"kafka.errors.{type(raised.value).__name__}"
        assert names.OFFSET not in attributes(span)


@pytest.mark.parametrize("has_one_call", [True, False])
def test_an_answer_is_told_whichever_way_the_client_takes_callbacks(
    spans: Spans, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, has_one_call: bool
) -> None:
    monkeypatch.setattr("flowtrail.tracer.clients.kafka_python.producer._HAS_ONE_CALL", has_one_call)
    with producer_of(broker) as producer:
        stored = producer.send("orders", b"value", partition=0).get(TIMEOUT_S)
        span = spans.one("send orders")
        assert not known_of(producer).unanswered
    assert attributes(span)[names.OFFSET] == stored.offset


def test_a_topic_that_is_not_known_in_time_is_an_error(spans: Spans, broker: EmbeddedBroker) -> None:
    with producer_of(broker, max_block_ms=100) as producer:
        broker.close()
        with pytest.raises(kafka.errors.KafkaTimeoutError, match="Failed to update metadata"):
            producer.send("orders", b"value")
    assert attributes(spans.one("send orders"))[names.ERROR_TYPE] == "kafka.errors.KafkaTimeoutError"


def test_without_acknowledgements_the_partition_is_known_and_the_offset_is_not(
    spans: Spans, broker: EmbeddedBroker
) -> None:
    with producer_of(broker, acks=0) as producer:
        producer.send("orders", b"value", partition=0).get(TIMEOUT_S)
        span = spans.one("send orders")
    assert attributes(span)[names.PARTITION] == "0"
    assert names.OFFSET not in attributes(span)
    assert span.status.status_code is StatusCode.UNSET


def test_a_send_is_as_long_as_its_record_waited_for_the_answer(spans: Spans, broker: EmbeddedBroker) -> None:
    with producer_of(broker, linger_ms=150) as producer:
        producer.partitions_for("orders")
        producer.send("orders", b"value", partition=0).get(TIMEOUT_S)
        span = spans.one("send orders")
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time >= 150_000_000


class AddsHeaders(Interceptor):
    """Adds a header of this many bytes to every record."""

    def __init__(self, value_bytes: int) -> None:
        self.value = b"a" * value_bytes

    def on_send(self, outgoing: Outgoing) -> list[Header]:
        return [*outgoing.headers, ("added", self.value)]


@pytest.mark.parametrize(
    ("limit_bytes", "added_bytes", "left"),
    [
        (1000, 0, []),  # our context alone is too much
        (1020, 20, ["added"]),  # with our context it is too much, with the interceptor's header it is not
        (1000, 500, []),  # the interceptor's header is too much too
    ],
)
def test_what_makes_a_record_too_large_is_left_out_our_context_first_and_counted(
    spans: Spans, broker: EmbeddedBroker, limit_bytes: int, added_bytes: int, left: list[str]
) -> None:
    before, interceptor = flowtrail.health().headers_dropped, AddsHeaders(added_bytes)
    if added_bytes:
        flowtrail.add_interceptor(interceptor)
    try:
        with producer_of(broker, max_request_size=limit_bytes) as producer:
            producer.send("large", b"v" * 900, partition=0).get(TIMEOUT_S)
            with pytest.raises(kafka.errors.MessageSizeTooLargeError) as raised:
                producer.send("large", b"v" * 2000, partition=0)
    finally:
        flowtrail.remove_interceptor(interceptor)
    assert raised.value.__context__ is None
    assert flowtrail.health().headers_dropped == before + 1
    with consumer_of(broker) as consumer:
        consumer.assign([kafka.TopicPartition("large", 0)])
        record = next(consumer)
    assert [name for name, _ in record.headers] == left


def test_an_asynchronous_commit_that_the_broker_refuses_is_an_error(spans: Spans, broker: EmbeddedBroker) -> None:
    consumer = consumer_of(broker, group_id="billing", enable_auto_commit=False)
    place = kafka.TopicPartition("nowhere", 0)
    consumer.assign([place])
    future = consumer.commit_async({place: kafka.OffsetAndMetadata(1, "", -1)})

    def is_answered() -> bool:
        consumer.poll(timeout_ms=10)
        return future.is_done and bool(spans.named("commit nowhere"))

    wait_until(is_answered, "the commit's answer")
    span = spans.one("commit nowhere")
    consumer.close(timeout_ms=1000)
    assert span.status.status_code is StatusCode.ERROR
    assert str(attributes(span)[names.ERROR_TYPE]).startswith("kafka.errors.")


def test_a_member_of_a_group_is_named_once_it_has_joined(spans: Spans, broker: EmbeddedBroker) -> None:
    with producer_of(broker) as producer:
        producer.send("orders", b"value").get(TIMEOUT_S)
    with consumer_of(broker, "orders", group_id="billing") as consumer:
        record = next(consumer)
        member = consumer.group_metadata().member_id
        with flowtrail.process(record):
            pass
    assert member
    for name in ("poll orders", "process orders"):
        assert attributes(spans.one(name))[names.MEMBER_ID] == member


def test_a_consumer_whose_listener_knows_it_is_collected(spans: Spans, broker: EmbeddedBroker) -> None:
    class Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
        def __init__(self, consumer: Any) -> None:
            self.consumer = consumer

        def on_partitions_revoked(self, revoked: object) -> None:
            """Nothing to do."""

        def on_partitions_assigned(self, assigned: object) -> None:
            """Nothing to do."""

    consumer = consumer_of(broker, group_id="billing")
    consumer.subscribe(["orders"], listener=Listener(consumer))
    known_of(consumer)
    assert is_known(consumer)
    consumer.close(timeout_ms=1000)
    watched = weakref.ref(consumer)
    del consumer

    def is_gone() -> bool:
        gc.collect()
        return watched() is None

    wait_until(is_gone, "the consumer is collected")


def test_all_clients_are_found_while_other_threads_make_and_lose_some() -> None:
    class Producer:
        """Stands for a client."""

    class Known(known.Known):
        def __init__(self, producer: Producer) -> None:
            super().__init__()

        def client(self) -> Client:
            return Client()

    def make_and_lose() -> None:
        while not is_over.is_set():
            for client in [Producer() for _ in range(50)]:
                known.known_of(client, Known)

    clients = [Producer() for _ in range(50)]
    mine = {id(known.known_of(client, Known)) for client in clients}
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    is_over = threading.Event()
    other = threading.Thread(target=make_and_lose)
    other.start()
    try:
        for _ in range(300):
            assert mine <= {id(known) for known in everyone()}
    finally:
        is_over.set()
        other.join()
        sys.setswitchinterval(before_s)


def run(program: str, broker: EmbeddedBroker) -> list[dict[str, Any]]:
    """Run a program that makes a producer and ends; return the spans that it exported, as the console shows them."""
    beginning = (
        "import flowtrail, kafka\n"
        "flowtrail.instrument(service='till')\n"
        f"options = dict(bootstrap_servers={broker.bootstrap_servers!r}, api_version=(2, 1))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", beginning + program],
        env=os.environ | {"OTEL_TRACES_EXPORTER": "console"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    decoder, text, found = json.JSONDecoder(), finished.stdout.strip(), []
    while text:
        span, end = decoder.raw_decode(text)
        found.append(span)
        text = text[end:].strip()
    return found


def test_a_program_that_ends_without_closing_still_tells_where_its_records_lie(broker: EmbeddedBroker) -> None:
    (span,) = run(
        "producer = kafka.KafkaProducer(linger_ms=200, **options)\nproducer.send('orders', b'value', partition=0)",
        broker,
    )
    assert span["name"] == "send orders"
    assert span["attributes"][names.OFFSET] == 0
    assert span["resource"]["attributes"]["service.name"] == "till"


def test_a_send_that_the_end_of_the_program_cuts_off_ends_as_unacknowledged(broker: EmbeddedBroker) -> None:
    (span,) = run(
        "producer = kafka.KafkaProducer(linger_ms=600_000, delivery_timeout_ms=900_000, **options)\n"
        "producer._unregister_cleanup()\n"
        "producer.send('orders', b'value', key=b'order-7', partition=0)",
        broker,
    )
    assert [event["name"] for event in span["events"]] == ["unacknowledged"]
    assert span["status"]["status_code"] == "UNSET"
    assert span["attributes"][names.KEY] == "order-7"
    assert names.OFFSET not in span["attributes"]
