"""What is known of a transaction whose producer was fenced: kafka-python on Apache Kafka, which alone can fence."""

import uuid
from collections.abc import Iterator
from typing import Any

import kafka as library
import pytest
from kafka.errors import KafkaError, ProducerFencedError
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.kafka_python import KafkaProducer
from tests.kafka.broker import KafkaBroker
from tests.tracer.spans import Spans, attributes

TIMEOUT_S = 30


@pytest.fixture
def spans() -> Spans:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    return spans


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def fenced(spans: Spans, kafka: KafkaBroker, topic: str) -> Iterator[Any]:
    """A producer in the midst of a transaction, whose successor has just come."""
    options = {"bootstrap_servers": kafka.bootstrap_servers, "transactional_id": topic}
    producer: Any = KafkaProducer(**options)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
    successor = library.KafkaProducer(**options)
    successor.init_transactions()  # the broker aborts what is open
    yield producer
    producer.close(timeout=5)
    successor.close(timeout=5)


def outcome(spans: Spans, name: str) -> object:
    return attributes(spans.wait(name)[0])[names.TRANSACTION_OUTCOME]


def test_a_commit_that_is_answered_by_fencing_is_unknown(spans: Spans, fenced: Any, topic: str) -> None:
    # An earlier try of the same request may have been heard: the client does not say.
    with pytest.raises(ProducerFencedError):
        fenced.commit_transaction()
    assert outcome(spans, f"send {topic}") == "unknown"
    span = spans.one("transaction")
    assert (attributes(span)[names.TRANSACTION_OUTCOME], span.status.status_code) == ("unknown", StatusCode.ERROR)
    assert attributes(span)[names.ERROR_TYPE] == "kafka.errors.ProducerFencedError"


def test_a_producer_that_was_fenced_before_it_asked_for_a_commit_has_an_aborted_transaction(
    spans: Spans, fenced: Any, topic: str
) -> None:
    with pytest.raises(KafkaError):
        fenced.send(topic, b"value", partition=0).get(TIMEOUT_S)
    with pytest.raises(KafkaError, match="Invalid transition"):
        fenced.commit_transaction()
    assert [attributes(span)[names.TRANSACTION_OUTCOME] for span in spans.wait(f"send {topic}", 2)] == ["aborted"] * 2
    assert outcome(spans, "transaction") == "aborted"


def test_who_reads_committed_events_gets_those_that_say_so(spans: Spans, kafka: KafkaBroker, topic: str) -> None:
    producer: Any = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=topic)
    producer.init_transactions()
    for value, end in ((b"1", producer.abort_transaction), (b"2", producer.commit_transaction)):
        producer.begin_transaction()
        producer.send(topic, value, partition=0).get(TIMEOUT_S)
        end()
    producer.close(timeout=5)
    consumer: Any = library.KafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    consumer.assign([library.TopicPartition(topic, 0)])
    with consumer:
        record = next(consumer)
    said = {
        attributes(span)[names.OFFSET]: attributes(span)[names.TRANSACTION_OUTCOME]
        for span in spans.wait(f"send {topic}", 2)
    }
    assert record.value == b"2"
    assert said == {0: "aborted", record.offset: "committed"}
