"""confluent-kafka's producer, traced: what it does beyond the contract."""

import gc
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import confluent_kafka
import pytest
from confluent_kafka import KafkaException, cimpl
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import confluent
from flowtrail.tracer.clients.confluent import batch
from flowtrail.tracer.clients.confluent.known import Known
from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.interceptor import Interceptor
from flowtrail.tracer.record import Header, Outgoing

from .spans import Spans, attributes, wait_until

TIMEOUT_S = 20


class Pair(NamedTuple):
    """A header as a program may write it."""

    name: str
    value: bytes | None


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make(broker: EmbeddedBroker, spans: Spans) -> Callable[..., Any]:
    """Makes producers, of ours where no other class is given."""

    def make(kind: Any = confluent.Producer, **options: Any) -> Any:
        return kind({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2} | options)

    return make


def say(calls: list[str], name: str) -> Callable[[Any, Any], None]:
    return lambda error, message: calls.append(name)


@pytest.mark.parametrize("kind", [cimpl.Producer, confluent.Producer], ids=["plain", "ours"])
def test_of_all_callbacks_the_client_calls_the_same_one(make: Callable[..., Any], topic: str, kind: Any) -> None:
    calls: list[str] = []
    producer = make(kind, on_delivery=say(calls, "default"))
    callback, on_delivery = say(calls, "callback"), say(calls, "on_delivery")
    for given in (
        {},
        {"callback": callback},
        {"on_delivery": on_delivery},
        {"callback": callback, "on_delivery": on_delivery},
        {"callback": None, "on_delivery": on_delivery},
        {"callback": None},
        {"on_delivery": None},
    ):
        producer.produce(topic, b"value", partition=0, **given)
        producer.flush()
    assert calls == ["default", "callback", "on_delivery", "callback", "default", "default", "default"]


def test_a_callback_gets_the_clients_own_error_and_message(make: Callable[..., Any], topic: str) -> None:
    reports: list[Any] = []
    producer = make()
    producer.produce(topic, b"value", b"key", 0, lambda *report: reports.append(report))
    producer.flush()
    ((error, message),) = reports
    assert error is None
    assert (message.topic(), message.partition(), message.offset(), message.key()) == (topic, 0, 0, b"key")


def test_what_a_callback_raises_leaves_poll_as_ever(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    def fail(error: Any, message: Any) -> None:
        raise LookupError("the program's own")

    producer = make()
    producer.produce(topic, b"value", on_delivery=fail)
    with pytest.raises(LookupError, match="the program's own"):
        producer.flush()
    assert spans.one(f"send {topic}").status.status_code is StatusCode.UNSET


def test_a_record_that_no_broker_took_is_an_error(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    producer = make(**{"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 50})
    producer.produce(topic, b"value")
    producer.flush()
    span = spans.one(f"send {topic}")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)[names.ERROR_TYPE] == "_MSG_TIMED_OUT"
    assert names.OFFSET not in attributes(span)


def test_a_full_queue_is_the_callers_own_error_and_the_spans(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    producer = make(**{"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.messages": 1})
    producer.produce(topic, b"one")
    with pytest.raises(BufferError, match="Queue full"):
        producer.produce(topic, b"two")
    span = spans.one(f"send {topic}")
    assert attributes(span)[names.ERROR_TYPE] == "BufferError"
    producer.purge()
    producer.flush(TIMEOUT_S)


def test_without_acknowledgements_no_offset_is_made_up(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    producer = make(acks=0)
    producer.produce(topic, b"value", partition=0)
    producer.flush()
    span = spans.one(f"send {topic}")
    assert span.status.status_code is StatusCode.UNSET
    assert names.OFFSET not in attributes(span)


def test_where_only_failures_are_reported_a_send_ends_without_a_report(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    calls: list[str] = []
    producer = make(**{"delivery.report.only.error": True})
    producer.produce(topic, b"value", on_delivery=say(calls, "reported"))
    producer.flush()
    assert spans.one(f"send {topic}").status.status_code is StatusCode.UNSET
    assert calls == []
    assert known_of(producer, Known).unanswered == set()


def test_where_only_failures_are_reported_a_failure_is(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    calls: list[str] = []
    unreachable = {"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 50}
    producer = make(**{"delivery.report.only.error": True} | unreachable)
    producer.produce(topic, b"value", on_delivery=say(calls, "reported"))
    producer.flush()
    assert spans.one(f"send {topic}").status.status_code is StatusCode.ERROR
    assert calls == ["reported"]


def test_a_producer_that_is_let_go_ends_its_sends(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    producer = make(**{"bootstrap.servers": "127.0.0.1:1"})
    producer.produce(topic, b"value")
    del producer
    gc.collect()
    (event,) = spans.one(f"send {topic}").events
    assert event.name == names.UNACKNOWLEDGED_EVENT


def test_leaving_the_block_of_a_producer_waits_for_its_reports(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    with make() as producer:
        producer.produce(topic, b"value", partition=0)
    assert attributes(spans.one(f"send {topic}"))[names.OFFSET] == 0
    with pytest.raises(RuntimeError, match="closed"):
        producer.produce(topic, b"value")


@pytest.mark.parametrize(
    "call",
    [
        lambda producer: producer.produce(),
        lambda producer: producer.produce(value=b"value"),
        lambda producer: producer.produce("topic", colour="red"),
        lambda producer: producer.produce("topic", self=1),
        lambda producer: producer.produce("topic", topic="another"),
        lambda producer: producer.produce("topic", b"", b"", 0, None, None, 0, None, "one too many"),
    ],
    ids=["nothing", "no topic", "unknown", "self", "twice", "too many"],
)
def test_what_produce_does_not_take_is_the_clients_own_error(
    make: Callable[..., Any], spans: Spans, call: Callable[[Any], Any]
) -> None:
    errors = []
    for kind in (cimpl.Producer, confluent.Producer):
        with pytest.raises(TypeError) as raised:
            call(make(kind))
        errors.append(str(raised.value))
    assert errors[0] == errors[1]
    assert spans.names() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"colour": "red", "none": None},
        [("colour", b"red"), ("none", None)],
        [Pair("colour", b"red"), Pair("none", None)],
    ],
    ids=["mapping", "pairs", "named pairs"],
)
def test_headers_of_all_shapes_are_sent_with_the_context_and_stay_as_they_were(
    make: Callable[..., Any], broker: EmbeddedBroker, topic: str, headers: Any
) -> None:
    producer, before = make(), type(headers)(headers)
    producer.produce(topic, b"value", partition=0, headers=headers)
    producer.flush()
    assert headers == before
    consumer = cimpl.Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "g", "log_level": 2})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    message = consumer.poll(TIMEOUT_S)
    consumer.close()
    assert message is not None
    found: Any = message.headers()
    assert found[:2] == [("colour", b"red"), ("none", None)]
    assert [name for name, _ in found[2:]] == ["traceparent"]


@pytest.mark.parametrize(
    "headers", [[(b"colour", b"red"), (b"\xff", b"1"), (7, b"2")], {b"colour": b"red", b"\xff": b"1", None: "2"}]
)
def test_names_that_are_no_text_are_sent_as_the_client_sends_them_and_the_context_with_them(
    make: Callable[..., Any], broker: EmbeddedBroker, topic: str, headers: Any
) -> None:
    plain, ours = (sent_headers(make(kind), broker, topic, headers) for kind in (cimpl.Producer, confluent.Producer))
    assert ours[:-1] == plain
    assert ours[-1][0] == "traceparent"


def sent_headers(producer: Any, broker: EmbeddedBroker, topic: str, headers: Any) -> Any:
    """The headers of a record that is sent with some, as a consumer finds them."""
    places: list[Any] = []
    producer.produce(topic, b"value", partition=0, headers=headers, callback=lambda _, sent: places.append(sent))
    producer.flush()
    consumer = cimpl.Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "g", "log_level": 2})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, places[0].offset())])
    message = consumer.poll(TIMEOUT_S)
    consumer.close()
    assert message is not None
    return message.headers()


def test_a_mapping_of_headers_that_ours_makes_too_large_is_sent_as_it_is(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    before = flowtrail.health().headers_dropped
    producer = make(**{"message.max.bytes": 1000})
    producer.produce(topic, b"v" * 920, partition=0, headers={"a": "b"})
    producer.flush()
    assert spans.one(f"send {topic}").status.status_code is StatusCode.UNSET
    assert flowtrail.health().headers_dropped == before + 1


def test_what_an_interceptor_adds_goes_after_our_context_when_there_is_no_room(
    make: Callable[..., Any], topic: str
) -> None:
    class Adding(Interceptor):
        def on_send(self, outgoing: Outgoing) -> list[Header]:
            return [*outgoing.headers, ("team", b"x" * 20)]

    reports: list[Any] = []
    adding = Adding()
    flowtrail.add_interceptor(adding)
    try:
        producer = make(**{"message.max.bytes": 1000})
        for size in (880, 915):
            producer.produce(topic, b"v" * size, on_delivery=lambda error, _: reports.append(error))
        producer.flush()
        with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
            producer.produce(topic, b"v" * 1100)
    finally:
        flowtrail.remove_interceptor(adding)
    assert reports == [None, None]


def test_nothing_secret_of_a_configuration_is_kept(make: Callable[..., Any]) -> None:
    producer = make(**{"sasl.password": "hush", "client.id": "till-4"})
    assert known_of(producer, Known).client().client_id == "till-4"
    assert "hush" not in repr(vars(known_of(producer, Known)))


def test_keywords_count_more_than_the_mapping(broker: EmbeddedBroker, spans: Spans) -> None:
    options: Any = {"client.id": "keyword"}
    producer = confluent.Producer({"bootstrap.servers": broker.bootstrap_servers, "client.id": "mapping"}, **options)
    assert known_of(producer, Known).client().client_id == "keyword"


def test_a_batch_makes_a_span_for_each_record_and_calls_back_as_ever(
    make: Callable[..., Any],
    spans: Spans,
    topic: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "_is_said", False)
    calls: list[str] = []
    producer = make(on_delivery=say(calls, "default"))
    messages: list[dict[str, Any]] = [
        {"value": b"one", "key": "a", "callback": say(calls, "own")},
        {"value": b"v" * 2_000_000},
        {"value": b"three", "partition": 1},
    ]
    assert producer.produce_batch(topic, messages, partition=0) == 2
    producer.flush()
    assert sorted(calls) == ["default", "own"]
    assert [sorted(message) for message in messages] == [
        ["callback", "key", "value"],
        ["_error", "value"],
        ["partition", "value"],
    ]
    sent = sorted(spans.wait(f"send {topic}", 3), key=lambda span: span.start_time or 0)
    assert [span.status.status_code for span in sent] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert [attributes(span).get(names.OFFSET) for span in sent] == [0, None, 1]
    producer.produce_batch(topic, [{"value": b"again"}])
    producer.flush()
    assert caplog.text.count("carry no trace context") == 1


@pytest.mark.parametrize("messages", [[{"value": b"v", "timestamp": 1}], [3], "text", [{"value": 3}]])
def test_a_batch_that_the_client_refuses_is_refused_by_its_own_error(make: Callable[..., Any], messages: Any) -> None:
    before = flowtrail.health().interceptor_errors
    refused: list[BaseException] = []
    for kind in (cimpl.Producer, confluent.Producer):
        with pytest.raises((TypeError, NotImplementedError)) as raised:
            make(kind).produce_batch("topic", messages)
        refused.append(raised.value)
    assert (type(refused[0]), str(refused[0])) == (type(refused[1]), str(refused[1]))
    assert flowtrail.health().interceptor_errors == before


def test_a_send_waits_for_its_report_until_the_program_polls(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    producer = make()
    producer.produce(topic, b"value")
    assert len(known_of(producer, Known).unanswered) == 1
    wait_until(lambda: producer.poll(0.1) > 0, "the report")
    spans.one(f"send {topic}")
    assert known_of(producer, Known).unanswered == set()
