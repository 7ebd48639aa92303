"""What is true of kafka-python alone: its records, its futures, its errors' texts, and its loops."""

import gc
import inspect
from collections.abc import Iterator
from typing import Any

import kafka
import pytest
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import IllegalStateError, MessageSizeTooLargeError
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.known import is_known

from .drivers.driver import Broker, Place, Way
from .drivers.kafka_python import KafkaPython
from .spans import Spans, attributes, parent_id, span_id, wait_until
from .traced import Traced

TOPIC = "orders"
TIMEOUT_S = 20


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["subclass", "instrumented"])
def traced(request: pytest.FixtureRequest, broker: EmbeddedBroker) -> Iterator[Traced]:
    way: Way = request.param
    with Traced(KafkaPython(Broker(broker.bootstrap_servers, is_embedded=True)), way, Spans()) as traced:
        yield traced


@pytest.fixture
def producer(traced: Traced) -> Any:
    return traced.producer().native


def test_a_record_equals_the_clients_own_and_shows_itself_as_one(traced: Traced, producer: Any) -> None:
    producer.send(TOPIC, b"value", key=b"key", partition=0).get(TIMEOUT_S)
    (record,) = traced.polled(traced.consumer(TOPIC))
    plain = ConsumerRecord(*record)
    assert isinstance(record, ConsumerRecord)
    assert record == plain
    assert repr(record) == repr(plain)
    assert hash(record.value) == hash(plain.value)


def test_send_returns_the_clients_own_future_with_where_the_record_lies(traced: Traced, producer: Any) -> None:
    future = producer.send(TOPIC, b"value", partition=0)
    seen: list[int] = []
    future.add_callback(lambda metadata: seen.append(metadata.offset))
    assert type(future).__module__.startswith("kafka.")
    assert (future.get(TIMEOUT_S).topic, future.get(TIMEOUT_S).offset) == (TOPIC, 0)
    assert seen == [0]


def test_a_record_that_is_too_large_raises_in_the_call_itself(traced: Traced) -> None:
    producer = traced.producer(longest_request_bytes=1000).native
    producer.partitions_for(TOPIC)
    with pytest.raises(MessageSizeTooLargeError, match="The message is"):
        producer.send(TOPIC, b"v" * 2000, partition=0)
    assert attributes(traced.spans.one(f"send {TOPIC}"))[names.ERROR_TYPE] == "kafka.errors.MessageSizeTooLargeError"


def test_what_a_serializer_raises_is_raised_as_it_is_with_nothing_of_ours_around_it(traced: Traced) -> None:
    refusal = ValueError("not a number")

    def refuse(_: Any) -> bytes:
        raise refusal

    producer = traced.producer(value_serializer=refuse).native
    with pytest.raises(ValueError, match="not a number") as raised:
        producer.send(TOPIC, "value")
    assert raised.value is refusal
    assert raised.value.__context__ is None
    span = traced.spans.one(f"send {TOPIC}")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")


def test_calls_that_python_itself_refuses_are_refused_by_the_same_words(traced: Traced, producer: Any) -> None:
    original = inspect.unwrap(kafka.KafkaProducer.send)
    calls: list[tuple[Any, ...]] = [(), (TOPIC, b"v", b"k", [], 0, 0, "one too many")]
    for arguments in calls:
        with pytest.raises(TypeError) as ours:
            producer.send(*arguments)
        with pytest.raises(TypeError) as theirs:
            original(producer, *arguments)
        assert str(ours.value) == str(theirs.value)


def test_a_poll_that_found_nothing_is_an_empty_dictionary(traced: Traced) -> None:
    assert traced.consumer(TOPIC).native.poll(timeout_ms=50) == {}


def test_a_loop_over_processing_a_consumer_holds_the_work_on_each_record(traced: Traced, producer: Any) -> None:
    for _ in range(3):
        producer.send(TOPIC, b"value", partition=0)
    producer.flush()
    out = f"{TOPIC}-out"
    for record in flowtrail.processing(traced.consumer(TOPIC).native):
        producer.send(out, b"%d" % record.offset, partition=0).get(TIMEOUT_S)
    processed, forwarded = traced.spans.wait(f"process {TOPIC}", 3), traced.spans.wait(f"send {out}", 3)
    assert [attributes(span)[names.OFFSET] for span in processed] == [0, 1, 2]
    assert [parent_id(span) for span in forwarded] == [span_id(span) for span in processed]
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("is_first", [True, False], ids=["coordinator unknown", "coordinator known"])
def test_an_asynchronous_commit_is_told_whether_the_coordinator_is_known_or_not(
    traced: Traced, producer: Any, is_first: bool
) -> None:
    producer.send(TOPIC, b"value", partition=0).get(TIMEOUT_S)
    consumer = traced.consumer(TOPIC, group="pickers").native
    place = kafka.TopicPartition(*Place(TOPIC, 0))
    positions = {place: kafka.OffsetAndMetadata(1, "", -1)}
    answers: list[Any] = []
    consumer.topics()  # connects; a consumer that never did cannot look for its coordinator
    if not is_first:
        consumer.commit(positions)
    consumer.commit_async(positions, callback=lambda offsets, answer: answers.append((offsets, answer)))

    def is_answered() -> bool:
        consumer.poll(timeout_ms=10)
        return bool(answers)

    wait_until(is_answered, "the commit's callback")
    assert len(answers) == 1
    assert answers[0][0] == positions
    assert not isinstance(answers[0][1], Exception)
    span = traced.spans.wait(f"commit {TOPIC}", 1 if is_first else 2)[-1]
    assert (span.events[0].attributes or {})[names.COMMITTED_OFFSET] == 1


def test_a_commit_without_a_group_is_refused_by_both_methods(traced: Traced) -> None:
    consumer = traced.consumer(TOPIC).native
    for method in (consumer.commit, consumer.commit_async):
        with pytest.raises(IllegalStateError, match="Requires group_id"):
            method()
    assert [span.status.status_code for span in traced.spans.wait("commit", 2)] == [StatusCode.ERROR] * 2


def test_what_is_known_of_a_producer_does_not_stay_on_it(traced: Traced, producer: Any) -> None:
    before = set(vars(producer))
    producer.send(TOPIC, b"value", partition=0).get(TIMEOUT_S)
    assert is_known(producer)
    assert set(vars(producer)) == before
    assert str(producer).startswith("<KafkaProducer client_id=")


def test_a_producer_that_could_not_even_be_made_is_collected_without_a_word_of_ours(traced: Traced) -> None:
    before = flowtrail.health().interceptor_errors
    with pytest.raises(ValueError, match="Unrecognized configs"):
        traced.driver.producer_class(traced.way)(no_such_option=1)
    gc.collect()
    assert flowtrail.health().interceptor_errors == before
