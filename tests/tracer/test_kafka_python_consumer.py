"""kafka-python's consumer: iteration and poll loops, seeks, rebalances, and the commits that it makes by itself."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import kafka
import pytest
from kafka.coordinator.assignors.abstract import RebalanceProtocol
from kafka.coordinator.consumer import ConsumerCoordinator
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import kafka_python
from flowtrail.tracer.clients.kafka_python import coordinator as coordinators
from flowtrail.tracer.clients.kafka_python.known import known_of

from .spans import Spans, attributes, link_attributes, linked, parent_id, span_id, wait_until

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
    before = flowtrail.health().interceptor_errors
    yield spans
    flowtrail.uninstrument()
    assert flowtrail.health().interceptor_errors == before
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.fixture
def opened(spans: Spans) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make(way: str, opened: ExitStack, broker: EmbeddedBroker) -> Callable[..., Any]:
    kind = kafka.KafkaConsumer if way == "instrumented" else kafka_python.KafkaConsumer

    def make(**options: Any) -> Any:
        given = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **KAFKA_PYTHON_OPTIONS}
        consumer = kind(bootstrap_servers=broker.bootstrap_servers, **(given | options))
        opened.callback(consumer.close, timeout_ms=5000)
        return consumer

    return make


@pytest.fixture
def topic(way: str, spans: Spans, opened: ExitStack, broker: EmbeddedBroker) -> str:
    """A topic with five records in partition 0."""
    kind = kafka.KafkaProducer if way == "instrumented" else kafka_python.KafkaProducer
    producer = kind(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS)
    opened.callback(producer.close, timeout=5)
    topic = f"topic-{uuid.uuid4().hex[:12]}"
    for number in range(5):
        producer.send(topic, b"%d" % number, partition=0).get(TIMEOUT_S)
    spans.wait(f"send {topic}", 5)
    return topic


def assigned(consumer: Any, topic: str) -> Any:
    consumer.assign([kafka.TopicPartition(topic, 0)])
    return consumer


def polled(consumer: Any, count: int) -> list[Any]:
    records: list[Any] = []

    def is_there() -> bool:
        for found in consumer.poll(timeout_ms=200).values():
            records.extend(found)
        return len(records) >= count

    wait_until(is_there, f"{count} records")
    return records


def offsets(found: Sequence[ReadableSpan]) -> list[tuple[object, bool]]:
    """Offset of each process span, and whether it ended well."""
    return [(attributes(span)[names.OFFSET], names.UNFINISHED not in attributes(span)) for span in found]


# The work between polls


def test_the_loop_over_a_consumer_makes_a_span_for_each_record_that_holds_its_work(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    tracer = spans.provider.get_tracer("shop")
    for record in assigned(make(group_id=f"{topic}-group", consumer_timeout_ms=500), topic):
        with tracer.start_as_current_span("charge"):
            assert record.offset < 5
    found = spans.named(f"process {topic}")
    assert offsets(found) == [(offset, True) for offset in range(5)]
    assert [linked(span) for span in found] == [[span_id(span)] for span in spans.named(f"send {topic}")]
    assert [parent_id(span) for span in spans.named("charge")] == [span_id(span) for span in found]
    assert {attributes(span)[names.INFERRED] for span in found} == {True}
    assert {attributes(span)[names.GROUP] for span in found} == {f"{topic}-group"}
    assert [said[names.OFFSET] for span in spans.named(f"poll {topic}") for said in link_attributes(span)] == [
        *range(5)
    ]


def test_a_loop_that_is_left_leaves_the_record_in_hand_unfinished_once_the_consumer_closes(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    def work() -> None:
        with assigned(make(), topic) as consumer:
            for record in consumer:
                if record.offset == 2:
                    raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        work()
    assert offsets(spans.named(f"process {topic}")) == [(0, True), (1, True), (2, False)]
    assert {span.status.status_code for span in spans.named(f"process {topic}")} == {StatusCode.UNSET}


def test_a_poll_loop_makes_a_span_for_each_batch_until_the_next_poll(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    consumer = assigned(make(), topic)
    polled(consumer, 5)
    assert consumer.poll(timeout_ms=1) == {}
    polls, found = spans.named(f"poll {topic}"), spans.named(f"process {topic}")
    assert [link_attributes(span) for span in found] == [link_attributes(span) for span in polls]
    assert [attributes(span)[names.MESSAGE_COUNT] for span in found] == [len(span.links) for span in polls]
    assert [said[names.OFFSET] for span in found for said in link_attributes(span)] == [*range(5)]


def test_a_poll_that_raises_ends_the_work_before_it_and_begins_none(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    consumer = assigned(make(max_poll_records=1), topic)
    polled(consumer, 1)
    with pytest.raises(ValueError, match="Timeout must not be negative"):
        consumer.poll(timeout_ms=-1)
    assert offsets(spans.named(f"process {topic}")) == [(0, True)]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_closed_consumer_says_so_itself(spans: Spans, make: Callable[..., Any], topic: str) -> None:
    consumer = assigned(make(), topic)
    consumer.close()
    assert list(consumer) == []
    with pytest.raises(kafka.errors.IllegalStateError, match="closed"):
        consumer.poll()


def test_headers_that_the_program_adds_to_change_nothing_of_what_came(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    consumer = assigned(make(max_poll_records=1), topic)
    (record,) = polled(consumer, 1)
    record.headers.append(("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    with flowtrail.process(record):
        pass
    assert linked(spans.one(f"process {topic}")) == [span_id(spans.named(f"send {topic}")[0])]


# Commits that it makes by itself


def commits(spans: Spans, topic: str) -> list[tuple[object, bool, object]]:
    """Of each commit span: the position, whether it was automatic, and the error's type."""
    return [
        (
            (span.events[0].attributes or {})[names.COMMITTED_OFFSET],
            attributes(span).get(names.AUTOMATIC, False) is True,
            attributes(span).get(names.ERROR_TYPE),
        )
        for span in spans.named(f"commit {topic}")
    ]


def test_a_consumer_that_closes_commits_what_it_consumed(spans: Spans, make: Callable[..., Any], topic: str) -> None:
    consumer = assigned(make(group_id=f"{topic}-group", enable_auto_commit=True), topic)
    polled(consumer, 5)
    consumer.close()
    assert commits(spans, topic) == [(5, True, None)]
    assert attributes(spans.one(f"commit {topic}"))[names.GROUP] == f"{topic}-group"


def test_a_consumer_that_commits_in_its_polls_tells_each_position_once(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    options = {"group_id": f"{topic}-group", "enable_auto_commit": True, "auto_commit_interval_ms": 1}
    consumer = assigned(make(max_poll_records=1, **options), topic)
    polled(consumer, 5)

    def is_committed() -> bool:
        consumer.poll(timeout_ms=10)
        return (5, True, None) in commits(spans, topic)

    wait_until(is_committed, "the last position is committed")
    for _ in range(3):
        consumer.poll(timeout_ms=20)
    consumer.close()
    found = commits(spans, topic)
    assert all(one != other for one, other in itertools.pairwise(found))
    assert {is_automatic for _, is_automatic, _ in found} == {True}


def test_a_commit_that_the_program_calls_for_is_told_once_and_not_as_automatic(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    consumer = assigned(make(group_id=f"{topic}-group", max_poll_records=1), topic)
    polled(consumer, 1)
    consumer.commit()
    polled(consumer, 1)
    consumer.commit_async().add_both(lambda _: None)
    spans.wait(f"commit {topic}", 2)
    consumer.close()
    assert commits(spans, topic) == [(1, False, None), (2, False, None)]


def test_an_automatic_commit_that_fails_is_an_error_and_the_client_goes_on(
    spans: Spans, make: Callable[..., Any], topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(offsets: Any) -> None:
        raise kafka.errors.GroupAuthorizationFailedError(f"{topic}-group")

    consumer = assigned(make(group_id=f"{topic}-group", enable_auto_commit=True), topic)
    polled(consumer, 5)
    monkeypatch.setattr(consumer._coordinator, "_send_offset_commit_request", refuse)
    consumer.close()
    assert commits(spans, topic) == [(5, True, "kafka.errors.GroupAuthorizationFailedError")]


# Seeks and rebalances


def events(spans: Spans, topic: str) -> list[tuple[str, dict[str, object]]]:
    return [
        (event.name, {name: value for name, value in (event.attributes or {}).items() if name != names.TOPIC})
        for span in spans.named(f"poll {topic}")
        for event in span.events
    ]


def test_seeks_are_events_of_the_next_poll(spans: Spans, make: Callable[..., Any], topic: str) -> None:
    consumer = assigned(make(), topic)
    polled(consumer, 5)
    place = kafka.TopicPartition(topic, 0)
    consumer.seek_to_end()
    consumer.seek(place, 1)
    consumer.seek_to_beginning(place)
    with pytest.raises(ValueError, match="Offset must be int"):
        consumer.seek(place, -1)
    polled(consumer, 5)
    assert events(spans, topic) == [
        (names.SEEK_EVENT, {names.PARTITION: ("0",), names.SEEK_TO: "end"}),
        (names.SEEK_EVENT, {names.PARTITION: "0", names.OFFSET: 1}),
        (names.SEEK_EVENT, {names.PARTITION: ("0",), names.SEEK_TO: "beginning"}),
    ]
    span = spans.named(f"poll {topic}")[-1]
    assert all((span.end_time or 0) >= event.timestamp for event in span.events)


class Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        self.calls.append(("revoked", len(revoked)))

    def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self.calls.append(("assigned", len(assigned)))


# The embedded broker joins members, but never again: what follows a join is shown on Kafka itself, in the contract.
def test_joining_a_group_is_an_event_of_the_next_poll_and_the_programs_listener_is_called_as_ever(
    spans: Spans, make: Callable[..., Any], topic: str
) -> None:
    listener = Listener()
    consumer = make(group_id=f"{topic}-group")
    consumer.partitions_for_topic(topic)
    consumer.subscribe([topic], listener=listener)
    polled(consumer, 5)
    assert events(spans, topic) == [(names.ASSIGN_EVENT, {names.PARTITION: ("0", "1", "2", "3")})]
    assert listener.calls == [("revoked", 0), ("assigned", 4)]
    assert consumer._subscription.rebalance_listener is listener


class Joining:
    """A coordinator that joins: what it owns before, and after."""

    def __init__(self, owned: set[Any], then: set[Any], *, is_lost: bool = False, is_eager: bool = False) -> None:
        self.owned = owned
        self._subscription = SimpleNamespace(assigned_partitions=lambda: self.owned)
        self._generation = SimpleNamespace(is_lost=lambda: is_lost)
        self._rebalance_protocol = RebalanceProtocol.EAGER if is_eager else RebalanceProtocol.COOPERATIVE
        self._then = then

    async def join(self, *given: object) -> str:
        self.owned = self._then
        return "joined"


A, B, C = (kafka.TopicPartition("orders", number) for number in range(3))


@pytest.mark.parametrize(
    ("step", "coordinator", "expected"),
    [
        (coordinators.join_prepare, Joining({A, B}, set(), is_lost=True), [(names.LOST_EVENT, ["0", "1"])]),
        (coordinators.join_prepare, Joining({A, B}, {B}), [(names.REVOKE_EVENT, ["0"])]),
        (coordinators.join_prepare, Joining({A, B}, {A, B}), []),
        (coordinators.join_prepare, Joining({A, B}, {A, B}, is_eager=True), [(names.REVOKE_EVENT, ["0", "1"])]),
        (
            coordinators.join_complete,
            Joining({A, B}, {B, C}),
            [(names.REVOKE_EVENT, ["0"]), (names.ASSIGN_EVENT, ["2"])],
        ),
        (coordinators.join_complete, Joining({A}, {A, C}, is_eager=True), [(names.ASSIGN_EVENT, ["0", "2"])]),
    ],
    ids=["lost", "cooperative", "nothing to revoke", "eager", "cooperative, done", "eager, done"],
)
def test_what_a_rebalance_takes_and_gives_is_told_by_its_protocol(
    monkeypatch: pytest.MonkeyPatch, step: Callable[..., Any], coordinator: Joining, expected: list[tuple[str, object]]
) -> None:
    known: Any = SimpleNamespace(events=[])
    monkeypatch.setattr(coordinators, "known_of_coordinator", lambda _: known)
    assert asyncio.run(step(coordinator.join, coordinator, 1, "member")) == "joined"
    assert [(event.name, event.attributes[names.PARTITION]) for event in known.events] == expected


# What is private to kafka-python


def test_a_coordinator_of_the_programs_own_stays_what_it_is() -> None:
    class Own(ConsumerCoordinator):  # type: ignore[misc]  # kafka-python has no types
        pass

    for kind in (Own, object):
        consumer = SimpleNamespace(_coordinator=object.__new__(kind))
        coordinators.trace_coordinator(consumer)
        assert type(consumer._coordinator) is kind


def test_a_version_without_the_methods_that_are_hooked_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ConsumerCoordinator, "_on_join_prepare_async")
    coordinator = object.__new__(ConsumerCoordinator)
    coordinators.trace_coordinator(SimpleNamespace(_coordinator=coordinator))
    assert type(coordinator) is ConsumerCoordinator


def test_uninstrument_leaves_the_coordinator_as_it_was() -> None:
    before = dict(vars(ConsumerCoordinator))
    flowtrail.instrument(tracer_provider=Spans().provider)
    assert dict(vars(ConsumerCoordinator)) != before
    flowtrail.uninstrument()
    assert dict(vars(ConsumerCoordinator)) == before


def test_a_consumer_that_was_made_before_instrument_is_traced_whole(broker: EmbeddedBroker) -> None:
    spans, topic = Spans(), f"topic-{uuid.uuid4().hex[:12]}"
    options: dict[str, Any] = {"bootstrap_servers": broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS}
    producer = kafka.KafkaProducer(**options)
    producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
    producer.close()
    consumer = assigned(
        kafka.KafkaConsumer(group_id="early", auto_offset_reset="earliest", consumer_timeout_ms=500, **options), topic
    )
    flowtrail.instrument(tracer_provider=spans.provider)
    try:
        assert [record.offset for record in consumer] == [0]
        assert known_of(consumer).client().group == "early"
        consumer.close()
    finally:
        flowtrail.uninstrument()
    assert sorted(spans.names()) == ["close", f"commit {topic}", f"poll {topic}", f"process {topic}"]
