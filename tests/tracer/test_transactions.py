"""A transaction's outcome is on its sends, its span and its commits, as far as it can be known (kafka-python)."""

from collections.abc import Iterator
from typing import Any

import kafka
import pytest
from kafka.errors import IllegalStateError, KafkaError, ProducerFencedError
from kafka.producer.transaction_manager import TransactionState
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer import interceptor
from flowtrail.tracer.clients import kafka_python
from flowtrail.tracer.clients.kafka_python.known import Known
from flowtrail.tracer.clients.kafka_python.transactions import commit_transaction
from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.counts import Counts
from flowtrail.tracer.export import QUEUE_SIZE, CountingProcessor
from flowtrail.tracer.held_sends import MOST_HELD
from flowtrail.tracer.record import Client
from flowtrail.tracer.tracing import CHAIN

from .spans import LaterSpans, Spans, attributes, wait_until

TIMEOUT_S = 20


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["subclass", "instrumented"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[Spans, LaterSpans], ids=["at-once", "later"])
def spans(way: str, request: pytest.FixtureRequest) -> Iterator[Spans]:
    spans: Spans = request.param()
    if way == "instrumented":
        flowtrail.instrument(tracer_provider=spans.provider)
    else:
        flowtrail.set_up(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


def make(way: str, broker: EmbeddedBroker, transactional_id: str, **options: Any) -> Any:
    """A producer that is ready for its first transaction."""
    kind = kafka.KafkaProducer if way == "instrumented" else kafka_python.KafkaProducer
    given = {"bootstrap_servers": broker.bootstrap_servers, "transactional_id": transactional_id}
    producer = kind(**given | KAFKA_PYTHON_OPTIONS | options)
    producer.init_transactions()
    return producer


@pytest.fixture
def producer(spans: Spans, way: str, broker: EmbeddedBroker, request: pytest.FixtureRequest) -> Iterator[Any]:
    producer = make(way, broker, request.node.name)
    yield producer
    producer.close(timeout=1)


def outcomes(spans: Spans, name: str, count: int = 1) -> list[object]:
    return [attributes(span).get(names.TRANSACTION_OUTCOME) for span in spans.wait(name, count)]


def test_what_a_committed_transaction_sent_is_committed(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0)
    producer.send("orders", b"2", partition=0)
    producer.flush()
    assert "send orders" not in spans.settled()  # until the outcome is known
    producer.commit_transaction()
    assert outcomes(spans, "send orders", 2) == ["committed", "committed"]
    assert outcomes(spans, "transaction") == ["committed"]


def test_what_an_aborted_transaction_sent_is_aborted(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    producer.abort_transaction()
    (sent,) = spans.wait("send orders")
    assert attributes(sent)[names.TRANSACTION_OUTCOME] == "aborted"
    assert isinstance(attributes(sent)[names.OFFSET], int)  # it lies in the log all the same
    assert sent.status.status_code is StatusCode.UNSET
    assert outcomes(spans, "transaction") == ["aborted"]


def test_what_the_wire_calls_an_outcome_is_what_clients_tell() -> None:
    assert (names.ABORTED_OUTCOME, names.UNKNOWN_OUTCOME) == (interceptor.ABORTED, interceptor.UNKNOWN)


def test_a_transaction_is_a_span_from_its_beginning_to_its_outcome(
    spans: Spans, producer: Any, request: pytest.FixtureRequest
) -> None:
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    producer.commit_transaction()
    span, sent = spans.one("transaction"), spans.one("send orders")
    assert span.kind is SpanKind.CLIENT
    assert attributes(span)[names.TRANSACTIONAL_ID] == request.node.name
    assert attributes(span)[names.OPERATION_TYPE] == "settle"
    assert span.start_time is not None
    assert span.end_time is not None
    assert sent.start_time is not None
    assert sent.end_time is not None
    # A send is as long as it waited for its answer, not for the outcome.
    assert span.start_time <= sent.start_time <= sent.end_time <= span.end_time


def test_a_send_in_one_transaction_takes_nothing_from_the_next(spans: Spans, producer: Any) -> None:
    for end in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
        end()
    assert outcomes(spans, "send orders", 2) == ["aborted", "committed"]
    assert outcomes(spans, "transaction", 2) == ["aborted", "committed"]


def test_positions_are_committed_with_their_transaction(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    producer.send("invoices", b"1", partition=0)
    place = kafka.TopicPartition("orders", 0)
    producer.send_offsets_to_transaction({place: kafka.OffsetAndMetadata(7, "", -1)}, "billing")
    assert "commit orders" not in spans.settled()
    producer.commit_transaction()
    span = spans.one("commit orders")
    assert attributes(span)[names.GROUP] == "billing"
    (event,) = span.events
    assert dict(event.attributes or {})[names.COMMITTED_OFFSET] == 7
    assert span.status.status_code is StatusCode.UNSET


def test_positions_of_an_aborted_transaction_are_no_commit(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    place = kafka.TopicPartition("orders", 0)
    producer.send_offsets_to_transaction({place: kafka.OffsetAndMetadata(7, "", -1)}, "billing")
    producer.abort_transaction()
    spans.wait("transaction")
    assert "commit orders" not in spans.settled()


def test_positions_that_are_refused_are_a_commit_that_failed(spans: Spans, producer: Any) -> None:
    place = kafka.TopicPartition("orders", 0)
    with pytest.raises(KafkaError, match="not in an active transaction"):
        producer.send_offsets_to_transaction({place: kafka.OffsetAndMetadata(7, "", -1)}, "billing")
    span = spans.one("commit orders")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)[names.GROUP] == "billing"


def test_calls_that_make_no_sense_raise_the_clients_own_errors_and_nothing_of_ours(spans: Spans, producer: Any) -> None:
    before = flowtrail.health().interceptor_errors
    for call in (producer.commit_transaction, producer.abort_transaction):
        with pytest.raises(KafkaError, match="Invalid transition"):
            call()
    with pytest.raises(TypeError, match="expects group_metadata"):
        producer.send_offsets_to_transaction(None, 7)
    with pytest.raises(IllegalStateError, match="Cannot call send in state READY"):
        producer.send("orders", b"1", partition=0)
    producer.begin_transaction()
    with pytest.raises(KafkaError, match="Invalid transition"):
        producer.begin_transaction()
    producer.commit_transaction()
    assert flowtrail.health().interceptor_errors == before
    assert outcomes(spans, "transaction") == ["committed"]
    assert outcomes(spans, "send orders") == [None]


def test_a_producer_without_transactions_says_so_itself(spans: Spans, way: str, broker: EmbeddedBroker) -> None:
    kind = kafka.KafkaProducer if way == "instrumented" else kafka_python.KafkaProducer
    with kind(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        for call in (producer.begin_transaction, producer.commit_transaction, producer.abort_transaction):
            with pytest.raises((IllegalStateError, KafkaError)):
                call()
    assert "transaction" not in spans.settled()


def test_a_commit_that_is_refused_for_an_error_before_it_leaves_the_transaction_to_be_aborted(
    spans: Spans, producer: Any
) -> None:
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    producer._transaction_manager.transition_to_abortable_error(KafkaError("no"))
    with pytest.raises(KafkaError, match="error state"):
        producer.commit_transaction()
    assert "transaction" not in spans.settled()
    producer.abort_transaction()
    assert outcomes(spans, "send orders") == ["aborted"]
    assert outcomes(spans, "transaction") == ["aborted"]


def test_what_a_producer_that_has_failed_for_good_never_asked_to_commit_is_aborted(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    producer._transaction_manager.transition_to_fatal_error(ProducerFencedError())
    with pytest.raises(KafkaError, match="error state"):
        producer.commit_transaction()
    assert outcomes(spans, "send orders") == ["aborted"]
    span = spans.one("transaction")
    assert attributes(span)[names.TRANSACTION_OUTCOME] == "aborted"
    assert span.status.status_code is StatusCode.ERROR


def test_an_abort_that_is_refused_is_an_outcome_too_for_nobody_can_commit_any_more(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    producer._transaction_manager.transition_to_fatal_error(ProducerFencedError())
    with pytest.raises(KafkaError, match="error state"):
        producer.abort_transaction()
    assert outcomes(spans, "send orders") == ["aborted"]


def test_a_producer_that_closes_in_the_midst_of_a_transaction_leaves_it_unknown(
    spans: Spans, way: str, broker: EmbeddedBroker
) -> None:
    producer = make(way, broker, "closes")
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    producer.close()
    assert outcomes(spans, "send orders") == ["unknown"]
    assert outcomes(spans, "transaction") == ["unknown"]


def test_a_send_that_was_not_answered_has_the_outcome_of_its_transaction_too(
    spans: Spans, way: str, broker: EmbeddedBroker
) -> None:
    producer = make(way, broker, "unanswered", linger_ms=600_000, delivery_timeout_ms=900_000)
    producer.begin_transaction()
    producer.send("orders", b"1", partition=0)
    known = known_of(producer, Known)
    known.give_up()
    (sent,) = spans.wait("send orders")
    assert [event.name for event in sent.events] == [names.UNACKNOWLEDGED_EVENT]
    assert attributes(sent)[names.TRANSACTION_OUTCOME] == "unknown"
    producer.close(timeout=1)
    assert outcomes(spans, "transaction") == ["unknown"]


def test_records_that_an_abort_kept_from_being_sent_are_errors_with_the_outcome(
    spans: Spans, way: str, broker: EmbeddedBroker
) -> None:
    producer = make(way, broker, "kept", linger_ms=600_000, delivery_timeout_ms=900_000)
    producer.begin_transaction()
    future = producer.send("orders", b"1", partition=0)
    producer.abort_transaction()
    wait_until(lambda: future.is_done, "the record is given up")
    producer.close(timeout=1)
    (sent,) = spans.wait("send orders")
    assert attributes(sent)[names.TRANSACTION_OUTCOME] == "aborted"
    assert attributes(sent)[names.ERROR_TYPE] == "kafka.errors.TransactionAbortedError"


@pytest.mark.parametrize("state", [TransactionState.FATAL_ERROR, TransactionState.COMMITTING_TRANSACTION])
def test_a_commit_that_breaks_off_once_the_broker_was_asked_is_unknown(
    spans: Spans, producer: Any, state: TransactionState
) -> None:
    def break_off() -> None:
        producer._transaction_manager._current_state = state
        raise KeyboardInterrupt

    producer.begin_transaction()
    with pytest.raises(KeyboardInterrupt):
        commit_transaction(break_off, producer)
    assert outcomes(spans, "transaction") == ["unknown"]
    assert known_of(producer, Known).transaction is None


def test_an_abort_while_another_thread_commits_leaves_the_outcome_to_that_one(spans: Spans, producer: Any) -> None:
    producer.begin_transaction()
    producer._transaction_manager._current_state = TransactionState.COMMITTING_TRANSACTION
    with pytest.raises(KafkaError, match="Invalid transition"):
        producer.abort_transaction()
    assert "transaction" not in spans.settled()
    producer._transaction_manager._current_state = TransactionState.IN_TRANSACTION
    producer.commit_transaction()
    assert outcomes(spans, "transaction") == ["committed"]


def test_of_more_sends_than_may_wait_for_an_outcome_the_oldest_go_out_with_the_transactions_id(
    spans: Spans, producer: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowtrail.tracer.held_sends.MOST_HELD", 2)
    producer.begin_transaction()
    for _ in range(3):
        producer.send("orders", b"1", partition=0).get(TIMEOUT_S)
    (first,) = spans.wait("send orders")
    assert names.TRANSACTION_OUTCOME not in attributes(first)
    assert attributes(first)[names.TRANSACTIONAL_ID] == request.node.name
    producer.commit_transaction()
    assert outcomes(spans, "send orders", 3)[1:] == ["committed", "committed"]


def test_a_transaction_that_holds_all_it_may_loses_none_when_it_ends() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(CountingProcessor(exporter, Counts()))
    flowtrail.set_up(tracer_provider=provider)
    transaction = CHAIN.begin_transaction(Client("c"), "many")
    for offset in range(MOST_HELD):
        CHAIN.acknowledge(CHAIN.send(Client("c"), "orders", None, b"1", None, transaction=transaction), 0, offset)
    CHAIN.end_transaction(transaction, interceptor.COMMITTED)
    provider.force_flush()
    assert len(exporter.get_finished_spans()) == MOST_HELD + 1
    assert MOST_HELD <= QUEUE_SIZE // 2
    provider.shutdown()


def test_a_send_that_is_answered_after_the_outcome_has_it_all_the_same(spans: Spans, producer: Any) -> None:
    known = known_of(producer, Known)
    producer.begin_transaction()
    assert known.transaction is not None
    late = CHAIN.send(known.client(), "orders", None, b"1", None, transaction=known.transaction)
    producer.abort_transaction()
    known.answer(late, 0, 7)
    assert outcomes(spans, "send orders") == ["aborted"]
