"""confluent-kafka's consumer, traced: what it does beyond the contract."""

import contextvars
import gc
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, Message, TopicPartition, cimpl
from confluent_kafka._model import Messages
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import confluent, message
from flowtrail.tracer.clients.confluent.classes import mixin, subclass
from flowtrail.tracer.clients.confluent.commits import on_commit
from flowtrail.tracer.clients.confluent.known import Known, Pending
from flowtrail.tracer.clients.confluent.share import share_consumer_methods
from flowtrail.tracer.clients.confluent.transactions import group_of
from flowtrail.tracer.clients.consumer_record import client_of, read_record
from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.record import Client

from .spans import Spans, attributes, link_attributes, wait_until

TIMEOUT_S = 20


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
def topic(broker: EmbeddedBroker) -> str:
    """A topic with three records in its first partition, which no one traced."""
    topic = f"topic-{uuid.uuid4().hex[:12]}"
    producer = cimpl.Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 2})
    for number in range(3):
        producer.produce(topic, f"value {number}", partition=0)
    producer.flush()
    return topic


@pytest.fixture
def make(broker: EmbeddedBroker, spans: Spans) -> Iterator[Callable[..., Any]]:
    """Makes consumers, of ours where no other class is given, and closes them."""
    made: list[Any] = []

    def make(kind: Any = confluent.Consumer, **options: Any) -> Any:
        given = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "group", "auto.offset.reset": "earliest"}
        made.append(kind(given | {"enable.auto.commit": False, "log_level": 2} | options))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def assigned(consumer: Any, topic: str) -> Any:
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


def polled(consumer: Any) -> Any:
    found: list[Any] = []

    def is_there() -> bool:
        found.append(consumer.poll(0.2))
        return found[-1] is not None

    wait_until(is_there, "a message")
    return found[-1]


def test_the_end_of_a_partition_is_no_record_and_makes_no_span(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    consumer = assigned(make(**{"enable.partition.eof": True}), topic)
    for _ in range(3):
        assert polled(consumer).error() is None
    end = polled(consumer)
    assert end.error().code() == KafkaError._PARTITION_EOF
    before = flowtrail.health().interceptor_errors
    with flowtrail.process(end):
        pass
    assert len(spans.named(f"poll {topic}")) == 3
    # Only records are processed; that it was asked for is said.
    assert flowtrail.health().interceptor_errors == before + 1
    assert {name for name in spans.names() if topic not in name} == set()


def test_a_batch_is_one_poll_with_a_link_to_each_record_and_without_events(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    consumer = assigned(make(**{"enable.partition.eof": True}), topic)
    messages = consumer.consume(num_messages=4, timeout=TIMEOUT_S)
    assert [each.error() is None for each in messages] == [True, True, True, False]
    span = spans.one(f"poll {topic}")
    assert attributes(span)[names.MESSAGE_COUNT] == 3
    assert [link[names.OFFSET] for link in link_attributes(span)] == [0, 1, 2]


def test_a_message_is_processed_for_the_group_that_it_came_through(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    consumers = [assigned(make(**{"group.id": group}), topic) for group in ("first", "second")]
    messages = [polled(consumer) for consumer in consumers]
    for each in messages:
        with flowtrail.process(each):
            pass
    assert [attributes(span)[names.GROUP] for span in spans.wait(f"process {topic}", 2)] == ["first", "second"]


def test_a_message_that_the_program_made_itself_can_be_processed(spans: Spans) -> None:
    made = Message(topic="made", partition=1, offset=7, key=b"key", value=b"value", headers={"a": b"b"})
    assert client_of(made) == Client()
    received = read_record(made)
    assert (received.topic, received.partition, received.offset, received.key) == ("made", 1, 7, b"key")
    assert (list(received.headers), received.timestamp_ms, received.is_tombstone) == ([("a", b"b")], None, False)
    with flowtrail.process(made):
        pass
    assert names.GROUP not in attributes(spans.one("process made"))


def test_schema_ids_of_a_message_are_read() -> None:
    made = Message(topic="made", partition=1, offset=7, key=b"key", value=b"\0\0\0\0\x07payload")
    assert (read_record(made).key_schema, read_record(made).value_schema) == (None, "7")


def test_a_message_at_the_place_of_another_is_not_taken_for_it() -> None:
    made = Message(topic="made", partition=1, offset=7)
    client = Client(group="group")
    message.remember(made, message.read_message(made, client))
    assert client_of(made) is client
    message._recent[id(made)] = (client, "made", 1, 8)
    assert client_of(made) == Client()


def test_only_the_last_messages_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "REMEMBERED", 10)
    monkeypatch.setattr(message, "_recent", {})
    monkeypatch.setattr(message, "_older", {})
    client = Client(group="group")
    made = [Message(topic="made", partition=1, offset=number) for number in range(25)]
    for each in made:
        message.remember(each, message.read_message(each, client))
    known = [client_of(each) is client for each in made]
    assert known == [False] * 10 + [True] * 15


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("how", ["offsets", "message", "what was polled"])
def test_a_commit_says_its_positions_however_they_are_given(
    make: Callable[..., Any], spans: Spans, topic: str, how: str, asynchronous: bool
) -> None:
    reports: list[Any] = []
    consumer = assigned(make(on_commit=lambda *report: reports.append(report)), topic)
    found = polled(consumer)
    given: dict[str, Any] = {"offsets": [TopicPartition(topic, 0, 1)]} if how == "offsets" else {}
    answer = consumer.commit(**({"message": found} if how == "message" else given), asynchronous=asynchronous)
    if asynchronous:
        assert answer is None
        wait_until(lambda: consumer.poll(0.1) is None and bool(reports), "the program's own callback")
        ((error, answer),) = reports
        assert error is None
    else:
        assert reports == []
    # What was polled, the client finds out later: perhaps the polls since are in it.
    ((place, offset),) = [((each.topic, each.partition), each.offset) for each in answer]
    assert place == (topic, 0)
    assert offset == 1 or (asynchronous and how == "what was polled")
    span = spans.one(f"commit {topic}")
    (event,) = span.events
    assert dict(event.attributes or {})[names.COMMITTED_OFFSET] == offset
    assert names.AUTOMATIC not in attributes(span)


def test_a_commit_by_position_is_understood(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    consumer = assigned(make(), topic)
    polled(consumer)
    assert [place.offset for place in consumer.commit(None, [TopicPartition(topic, 0, 2)], False)] == [2]
    (event,) = spans.one(f"commit {topic}").events
    assert dict(event.attributes or {})[names.COMMITTED_OFFSET] == 2


def test_a_commit_that_is_refused_is_an_error_and_the_callers_own(make: Callable[..., Any], spans: Spans) -> None:
    consumer = make()
    with pytest.raises(KafkaException, match="_NO_OFFSET"):
        consumer.commit(asynchronous=False)
    assert spans.one("commit").status.status_code is StatusCode.ERROR
    with pytest.raises(ValueError, match="mutually exclusive"):
        consumer.commit(message=Message(topic="t", partition=0, offset=1), offsets=[])


def test_what_the_client_commits_by_itself_is_automatic(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    reports: list[Any] = []
    options: dict[str, Any] = {"enable.auto.commit": True, "auto.commit.interval.ms": 100}
    consumer = assigned(make(on_commit=lambda *report: reports.append(report), **options), topic)
    polled(consumer)
    wait_until(lambda: consumer.poll(0.1) is None and bool(reports), "the program's own callback")
    assert all(attributes(span)[names.AUTOMATIC] is True for span in spans.wait(f"commit {topic}"))


def test_what_the_client_commits_on_closing_is_automatic(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    consumer = assigned(make(**{"enable.auto.commit": True, "auto.commit.interval.ms": 600_000}), topic)
    polled(consumer)
    consumer.close()
    span = spans.one(f"commit {topic}")
    assert attributes(span)[names.AUTOMATIC] is True
    (event,) = span.events
    assert dict(event.attributes or {})[names.COMMITTED_OFFSET] == 1


def test_what_the_callback_of_a_commit_raises_leaves_poll_as_ever(make: Callable[..., Any], topic: str) -> None:
    def fail(error: Any, places: Any) -> None:
        raise LookupError("the program's own")

    consumer = assigned(make(on_commit=fail), topic)
    polled(consumer)
    consumer.commit()
    with pytest.raises(LookupError, match="the program's own"):
        wait_until(lambda: consumer.poll(0.1) == "never", "the callback")


@pytest.mark.parametrize("kind", [cimpl.Consumer, confluent.Consumer], ids=["plain", "ours"])
def test_what_is_no_callback_the_client_refuses_itself(broker: EmbeddedBroker, kind: Any) -> None:
    given = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "group"}
    for wrong in (None, 3):
        with pytest.raises(KafkaException, match="on_commit requires a callable object"):
            kind(given | {"on_commit": wrong})
        consumer = kind(given)
        with pytest.raises(TypeError, match="on_assign expects a callable"):
            consumer.subscribe(["topic"], on_assign=wrong)
        consumer.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda consumer: consumer.subscribe(),
        lambda consumer: consumer.subscribe(["topic"], on_foo=len),
        lambda consumer: consumer.subscribe(["topic"], self=1),
        lambda consumer: consumer.subscribe(["topic"], len, on_assign=len),
        lambda consumer: consumer.subscribe(["topic"], len, len, len, "one too many"),
        lambda consumer: consumer.seek(part=1),
        lambda consumer: consumer.poll(timeouts=1),
        lambda consumer: consumer.commit(self=1),
    ],
    ids=["nothing", "unknown", "self", "twice", "too many", "seek", "poll", "commit"],
)
def test_what_a_method_does_not_take_is_the_clients_own_error(
    make: Callable[..., Any], call: Callable[[Any], Any]
) -> None:
    errors = []
    for kind in (cimpl.Consumer, confluent.Consumer):
        with pytest.raises(TypeError) as raised:
            call(make(kind))
        errors.append(str(raised.value))
    assert errors[0] == errors[1]


def test_a_commit_that_is_called_for_while_another_is_answered_loses_no_span(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    known = known_of(make(), Known)
    places = [TopicPartition(topic, 0, 2)]

    class CalledMeanwhile(dict):  # type: ignore[type-arg]
        """Positions that are compared while another thread calls for a commit."""

        def __eq__(self, other: object) -> bool:
            known.pending.append(Pending({(topic, 0): 9}, 0, contextvars.copy_context()))
            return super().__eq__(other)

    known.pending.append(Pending(CalledMeanwhile({(topic, 0): 1}), 1, contextvars.copy_context()))
    asked = Pending({(topic, 0): 2}, 1, contextvars.copy_context())
    known.pending.append(asked)
    before = flowtrail.health().interceptor_errors
    on_commit(known, None)(None, places)
    assert flowtrail.health().interceptor_errors == before
    assert spans.one(f"commit {topic}").start_time == 1
    assert all(pending is not asked for pending in known.pending)


def test_the_mapping_of_the_program_stays_as_it_was(broker: EmbeddedBroker, spans: Spans) -> None:
    given: dict[str, Any] = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "group"}
    before = dict(given)
    confluent.Consumer(given).close()
    assert given == before


def test_a_seek_to_the_beginning_or_the_end_says_so(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    consumer = assigned(make(**{"enable.partition.eof": True}), topic)
    polled(consumer)
    consumer.seek(TopicPartition(topic, 0, OFFSET_END))
    # A second seek would overtake the first, which asks the broker where the end is.
    assert polled(consumer).error().code() == KafkaError._PARTITION_EOF
    consumer.seek(TopicPartition(topic, 0, OFFSET_BEGINNING))
    polled(consumer)
    events = spans.wait(f"poll {topic}", 2)[1].events
    assert [dict(event.attributes or {})[names.SEEK_TO] for event in events] == ["end", "beginning"]


def test_a_seek_that_is_refused_is_no_event(make: Callable[..., Any], spans: Spans, topic: str) -> None:
    consumer = assigned(make(), topic)
    with pytest.raises(KafkaException):
        consumer.seek(TopicPartition("another", 0, 1))
    polled(consumer)
    assert spans.one(f"poll {topic}").events == ()


def test_rebalances_are_events_and_call_the_programs_own_with_its_own_consumer(
    make: Callable[..., Any], spans: Spans, topic: str
) -> None:
    calls: list[Any] = []
    consumer = make(**{"group.id": f"{topic}-group"})
    consumer.subscribe([topic], lambda *given: calls.append(given), on_revoke=lambda *given: calls.append(given))
    polled(consumer)
    ((caller, places),) = calls
    assert caller is consumer
    assert {place.topic for place in places} == {topic}
    span = spans.one(f"poll {topic}")
    (event,) = span.events
    assert event.name == names.ASSIGN_EVENT
    assert dict(event.attributes or {})[names.PARTITION] == ("0", "1", "2", "3")
    assert attributes(span)[names.MEMBER_ID] == consumer.memberid()
    consumer.close()
    assert len(calls) == 2


def test_lost_partitions_go_where_the_client_sends_them(make: Callable[..., Any]) -> None:
    from flowtrail.tracer.clients.confluent.consumer import _listening

    calls: list[str] = []
    consumer = make()
    known = Known(consumer)
    place = TopicPartition("topic", 0)
    for given, expected in (
        ({"on_revoke": lambda *_: calls.append("revoke"), "on_lost": lambda *_: calls.append("lost")}, ["lost"]),
        ({"on_revoke": lambda *_: calls.append("revoke")}, ["revoke"]),
        ({}, []),
    ):
        calls.clear()
        _, listening = _listening(known, (["topic"],), given)
        listening["on_lost"](consumer, [place])
        assert calls == expected
    assert [event.name for event in known.events] == [names.LOST_EVENT] * 3


def test_a_closed_consumer_raises_its_own_error(make: Callable[..., Any], topic: str) -> None:
    consumer = assigned(make(), topic)
    polled(consumer)
    with consumer as same:
        assert same is consumer
    for call in (consumer.poll, consumer.consume, consumer.commit):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_a_consumer_is_let_go_when_the_program_lets_it_go(make: Callable[..., Any], broker: EmbeddedBroker) -> None:
    class Own(confluent.Consumer):
        gone = False

        def __del__(self) -> None:
            Own.gone = True

    consumer = Own({"bootstrap.servers": broker.bootstrap_servers, "group.id": "group"})
    consumer.close()
    del consumer
    gc.collect()
    assert Own.gone


def test_a_share_consumers_poll_says_how_often_its_records_were_delivered(spans: Spans) -> None:
    record = Message(topic="shared", partition=0, offset=3, value=b"value", delivery_count=2)

    class Plain:
        """A share consumer in all that is traced of one; Apache Kafka holds the real ones."""

        def __init__(self, config: Any) -> None:
            self.left = [Messages([record]), Messages()]

        def poll(self, timeout: float = -1) -> Messages:
            return self.left.pop(0)

        def close(self) -> None:
            pass

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None:
            pass

    always = Switch()
    always.is_on = True
    traced: Any = subclass(Plain, mixin(Plain, share_consumer_methods(Plain, always)), __name__)
    with traced({"group.id": "sharing"}) as consumer:
        assert list(consumer.poll()) == [record]
        assert len(consumer.poll(timeout=0)) == 0
    found = attributes(spans.one("poll shared"))
    assert found[names.GROUP] == "sharing"
    assert found[names.DELIVERY_ATTEMPT] == 2


def test_the_group_of_a_transactions_offsets_is_read_from_its_metadata(make: Callable[..., Any]) -> None:
    assert group_of(make(**{"group.id": "größe"}).consumer_group_metadata()) == "größe"
    for other in (None, b"", b"CGMDv9:\0\0\0\0group\0", b"CGMDv2:\0\0\0\0", "group"):
        assert group_of(other) is None
