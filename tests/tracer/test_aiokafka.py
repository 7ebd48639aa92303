"""What is aiokafka's alone: futures and tasks, batches of the program's own, a loop with other tasks in it."""

import asyncio
import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiokafka
import pytest
from aiokafka.producer.message_accumulator import BatchBuilder as PlainBuilder
from aiokafka.structs import ConsumerRecord as PlainRecord
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from flowtrail.tracer.interceptor import Interceptor
from flowtrail.tracer.record import Acknowledged, Outgoing

from .spans import Spans, attributes, linked, parent_id, span_id

TIMEOUT_S = 30
# The embedded broker lets a fetch wait so long, even when a record comes meanwhile.
FETCH_WAIT_MS = 20


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
    yield spans
    flowtrail.uninstrument()


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def topic(request: pytest.FixtureRequest, way: str) -> str:
    return f"topic-{abs(hash(request.node.nodeid))}"


class Clients:
    """Started clients, stopped at the end of the block."""

    def __init__(self, way: str, broker: EmbeddedBroker) -> None:
        self._is_ours = way == "subclass"
        self._servers = broker.bootstrap_servers
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def producer(self, **options: Any) -> Any:
        kind = AIOKafkaProducer if self._is_ours else aiokafka.AIOKafkaProducer
        return await self._stack.enter_async_context(kind(bootstrap_servers=self._servers, **options))

    async def consumer(self, topic: str, *subscribed: str, **options: Any) -> Any:
        kind = AIOKafkaConsumer if self._is_ours else aiokafka.AIOKafkaConsumer
        given = {"auto_offset_reset": "earliest", "fetch_max_wait_ms": FETCH_WAIT_MS, "enable_auto_commit": False}
        consumer = kind(*subscribed, bootstrap_servers=self._servers, **given | options)
        await self._stack.enter_async_context(consumer)
        if not subscribed:
            consumer.assign([aiokafka.TopicPartition(topic, 0)])
        return consumer


Run = Callable[[Callable[[Clients], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def run(way: str, broker: EmbeddedBroker) -> Run:
    """Runs a program, with its clients, in an event loop of its own."""

    async def main(program: Callable[[Clients], Coroutine[Any, Any, Any]]) -> Any:
        async with asyncio.timeout(TIMEOUT_S), Clients(way, broker) as clients:
            return await program(clients)

    return lambda program: asyncio.run(main(program))


def carried(record: Any) -> int:
    """The span id in a record's only traceparent header."""
    ((_, value),) = [header for header in record.headers if header[0] == "traceparent"]
    return int(value.decode().split("-")[2], 16)


# Sending


def test_a_future_that_the_program_cancels_tells_nothing_of_the_record(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> Any:
        producer = await clients.producer(linger_ms=100)
        (await producer.send(topic, b"value", partition=0)).cancel()
        await producer.flush()
        return await (await clients.consumer(topic)).getone()

    record = run(program)
    span = spans.one(f"send {topic}")
    assert carried(record) == span_id(span)
    assert [event.name for event in span.events] == [names.UNACKNOWLEDGED_EVENT]
    assert span.status.status_code is StatusCode.UNSET
    assert names.OFFSET not in attributes(span)


def test_a_send_that_is_cancelled_before_it_has_a_future_is_an_error(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        producer = await clients.producer()
        sending = asyncio.create_task(producer.send(topic, b"value", partition=0))
        await asyncio.sleep(0)  # it waits for the topic's metadata now
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    run(program)
    assert attributes(spans.one(f"send {topic}"))[names.ERROR_TYPE] == "asyncio.exceptions.CancelledError"


def test_without_acknowledgements_the_offset_is_not_known(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        producer = await clients.producer(acks=0)
        assert await producer.send_and_wait(topic, b"value", partition=0) is None

    run(program)
    span = spans.one(f"send {topic}")
    assert attributes(span)[names.PARTITION] == "0"
    assert names.OFFSET not in attributes(span)
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())


def test_a_delivery_that_fails_is_an_error_that_asyncio_still_counts_as_unseen(
    spans: Spans, way: str, topic: str
) -> None:
    is_unseen: list[bool] = []

    async def program() -> None:
        broker = EmbeddedBroker()
        async with asyncio.timeout(TIMEOUT_S), Clients(way, broker) as clients:
            producer = await clients.producer(request_timeout_ms=200, retry_backoff_ms=10)
            await producer.send_and_wait(topic, b"value", partition=0)
            broker.close()
            future = await producer.send(topic, b"value", partition=0)
            await asyncio.wait([future])
            is_unseen.append(future._log_traceback)

    asyncio.run(program())
    span = spans.wait(f"send {topic}", 2)[1]
    assert span.status.status_code is StatusCode.ERROR
    assert str(attributes(span)[names.ERROR_TYPE]).startswith("aiokafka.errors.")
    assert is_unseen == [True]


def test_the_span_has_ended_when_the_program_has_the_answer(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> list[str]:
        producer = await clients.producer()
        await producer.send_and_wait(topic, b"value", partition=0)
        return spans.names()

    assert run(program) == [f"send {topic}"]


def test_serializers_and_the_partitioner_are_called_once_for_each_send_and_by_the_client(
    spans: Spans, run: Run, topic: str
) -> None:
    calls: list[str] = []

    def serialize(what: str) -> Callable[[str], bytes]:
        def serialized(text: str) -> bytes:
            calls.append(f"{what} {text}")
            return text.encode()

        return serialized

    def choose(key: bytes, everywhere: list[int], available: list[int]) -> int:
        calls.append(f"partition {key.decode()}")
        return everywhere[len(calls) % len(everywhere)]

    async def program(clients: Clients) -> list[str]:
        producer = await clients.producer(
            key_serializer=serialize("key"), value_serializer=serialize("value"), partitioner=choose
        )
        stored = [await producer.send_and_wait(topic, f"v{number}", f"k{number}") for number in range(5)]
        return [str(each.partition) for each in stored]

    partitions = run(program)
    assert calls == [f"{what} {of}{each}" for each in range(5) for what, of in _CALLS]
    assert [attributes(span)[names.PARTITION] for span in spans.named(f"send {topic}")] == partitions


_CALLS = (("key", "k"), ("value", "v"), ("partition", "k"))


# Batches of the program's own


def test_each_record_of_a_batch_has_a_span_that_says_where_it_lies(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> tuple[int, list[Any]]:
        producer = await clients.producer()
        await producer.send_and_wait(topic, b"before", partition=0)
        batch = producer.create_batch()
        assert isinstance(batch, PlainBuilder)
        assert inspect.signature(type(batch).append) == inspect.signature(PlainBuilder.append)
        for key in (b"a", b"b", b"c"):
            assert batch.append(timestamp=None, key=key, value=b"value", headers=[("colour", b"red")])
        stored = await (await producer.send_batch(batch, topic, partition=0))
        consumer = await clients.consumer(topic)
        return stored.offset, [await consumer.getone() for _ in range(4)][1:]

    base, records = run(program)
    found = spans.wait(f"send {topic}", 4)[1:]
    assert [(attributes(span)[names.KEY], attributes(span)[names.OFFSET]) for span in found] == [
        ("a", base),
        ("b", base + 1),
        ("c", base + 2),
    ]
    assert {attributes(span)[names.TOPIC] for span in found} == {topic}
    assert [carried(record) for record in records] == [span_id(span) for span in found]
    assert [record.headers[0] for record in records] == [("colour", b"red")] * 3


def test_a_record_that_finds_no_room_in_a_batch_and_a_batch_that_is_never_sent_have_no_spans(
    spans: Spans, run: Run, topic: str
) -> None:
    answers: list[BaseException | None] = []

    class Listening(Interceptor):
        def on_send(self, outgoing: Outgoing) -> None:
            """Only the answer matters."""

        def on_acknowledgement(self, acknowledged: Acknowledged) -> None:
            answers.append(acknowledged.error)

    async def program(clients: Clients) -> None:
        batch = (await clients.producer(max_batch_size=300)).create_batch()
        assert batch.append(timestamp=None, key=None, value=b"v" * 200)
        assert batch.append(timestamp=None, key=None, value=b"v" * 200) is None

    listening = Listening()
    flowtrail.add_interceptor(listening)
    try:
        run(program)
    finally:
        flowtrail.remove_interceptor(listening)
    assert spans.names() == ["close"]
    assert [type(error).__name__ for error in answers] == ["Unacknowledged", "Unacknowledged"]


def test_a_batch_that_is_refused_is_an_error_of_each_record(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        producer = await clients.producer()
        batch = producer.create_batch()
        batch.append(timestamp=None, key=b"a", value=b"value")
        with pytest.raises(AssertionError, match="Unrecognized partition"):
            await producer.send_batch(batch, topic, partition=4711)

    run(program)
    assert attributes(spans.one(f"send {topic}"))[names.ERROR_TYPE] == "AssertionError"


def test_a_batch_in_a_transaction_has_its_outcome(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        producer = await clients.producer(transactional_id=topic)
        await producer.begin_transaction()
        batch = producer.create_batch()
        batch.append(timestamp=None, key=b"a", value=b"value")
        await (await producer.send_batch(batch, topic, partition=0))
        await producer.abort_transaction()

    run(program)
    assert attributes(spans.one(f"send {topic}"))[names.TRANSACTION_OUTCOME] == "aborted"
    assert attributes(spans.one("transaction"))[names.TRANSACTION_OUTCOME] == "aborted"


# Tasks


def test_two_loops_at_once_each_see_their_own_record_and_no_other_task_sees_any(
    spans: Spans, run: Run, topic: str
) -> None:
    seen: dict[str, int] = {}

    async def loop(consumer: Any, name: str, other: asyncio.Event, mine: asyncio.Event) -> None:
        async for record in consumer:
            mine.set()
            await other.wait()
            seen[name] = trace.get_current_span().get_span_context().span_id
            assert record.topic == name
            break

    async def program(clients: Clients) -> None:
        producer = await clients.producer()
        first, second = f"{topic}-1", f"{topic}-2"
        for name in (first, second):
            await producer.send_and_wait(name, b"value", partition=0)
        events = asyncio.Event(), asyncio.Event()
        consumers = [await clients.consumer(name) for name in (first, second)]
        await asyncio.gather(loop(consumers[0], first, *events), loop(consumers[1], second, *reversed(events)))
        seen["outside"] = trace.get_current_span().get_span_context().span_id

    run(program)
    inferred = {name: span_id(spans.one(f"process {name}")) for name in (f"{topic}-1", f"{topic}-2")}
    assert seen == inferred | {"outside": 0}


def test_many_tasks_send_at_once_each_under_its_own_span(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        producer = await clients.producer()

        async def order(number: int) -> None:
            with spans.provider.get_tracer("shop").start_as_current_span(f"order {number}"):
                await producer.send_and_wait(topic, b"value", key=str(number).encode(), partition=0)

        await asyncio.gather(*[order(number) for number in range(20)])

    run(program)
    parents = {attributes(span)[names.KEY]: parent_id(span) for span in spans.wait(f"send {topic}", 20)}
    assert parents == {str(number): span_id(spans.one(f"order {number}")) for number in range(20)}


def test_a_stop_by_another_task_lets_the_work_in_hand_end_well(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        await (await clients.producer()).send_and_wait(topic, b"value", partition=0)
        consumer = await clients.consumer(topic)
        works, stopped = asyncio.Event(), asyncio.Event()

        async def loop() -> None:
            async for _ in consumer:
                works.set()
                await stopped.wait()

        looping = asyncio.create_task(loop())
        await works.wait()
        await consumer.stop()
        stopped.set()
        await looping

    run(program)
    assert names.UNFINISHED not in attributes(spans.one(f"process {topic}"))


def test_a_loop_that_is_left_with_a_record_in_hand_is_unfinished(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        await (await clients.producer()).send_and_wait(topic, b"value", partition=0)
        async for _ in await clients.consumer(topic):
            break

    run(program)
    assert attributes(spans.one(f"process {topic}"))[names.UNFINISHED] is True


# Consuming


def test_getone_is_a_poll_of_one_and_getmany_of_all(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        producer, consumer = await clients.producer(), await clients.consumer(topic)
        for _ in range(3):
            await producer.send_and_wait(topic, b"value", partition=0)
        place = aiokafka.TopicPartition(topic, 0)
        await consumer.getone(place)
        rest = 2
        while rest:
            rest -= len((await consumer.getmany(place, timeout_ms=100, max_records=5)).get(place, ()))

    run(program)
    polls, sent = spans.named(f"poll {topic}"), spans.named(f"send {topic}")
    assert [link for poll in polls for link in linked(poll)] == [span_id(span) for span in sent]
    assert len(linked(polls[0])) == 1


def test_copies_and_pickles_of_a_record_are_plain_and_equal(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> Any:
        await (await clients.producer()).send_and_wait(topic, b"value", key=b"k", partition=0)
        return await (await clients.consumer(topic)).getone()

    record = run(program)
    record.note = "the program's own"
    for other in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):
        assert type(other) is PlainRecord
        assert other == record
        assert record == other
        assert other.note == record.note
    assert isinstance(record, PlainRecord)
    assert repr(record) == repr(copy.copy(record))
    other.offset += 1
    assert record != other


def test_a_member_is_told_what_it_was_assigned_and_its_listener_is_the_programs_own(
    spans: Spans, run: Run, topic: str
) -> None:
    told: list[str] = []

    class Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
        async def on_partitions_assigned(self, assigned: Any) -> None:
            told.append("assigned")

        def on_partitions_revoked(self, revoked: Any) -> None:
            told.append("revoked")

    async def program(clients: Clients) -> tuple[str, Any]:
        await (await clients.producer()).send_and_wait(topic, b"value", partition=0)
        consumer = await clients.consumer(topic, group_id=topic)
        consumer.unsubscribe()
        listener = Listener()
        consumer.subscribe([topic], listener=listener)
        assert consumer._subscription.listener is listener
        await consumer.getone()
        return consumer._coordinator.member_id, consumer.assignment()

    member_id, assignment = run(program)
    span = spans.one(f"poll {topic}")
    (event,) = span.events
    assert event.name == names.ASSIGN_EVENT
    assert event.attributes is not None
    assert list(event.attributes[names.PARTITION]) == sorted(str(place.partition) for place in assignment)  # type: ignore[arg-type]
    assert attributes(span)[names.MEMBER_ID] == member_id
    assert told == ["revoked", "assigned"]


def test_what_the_client_commits_by_itself_is_told_when_it_is_new_and_belongs_to_nothing(
    spans: Spans, run: Run, topic: str
) -> None:
    async def program(clients: Clients) -> None:
        await (await clients.producer()).send_and_wait(topic, b"value", partition=0)
        with spans.provider.get_tracer("shop").start_as_current_span("startup"):
            consumer = await clients.consumer(topic, group_id=topic, enable_auto_commit=True, auto_commit_interval_ms=1)
        await consumer.getone()
        while 1 not in committed():
            await asyncio.sleep(0.005)
        await consumer.getmany(timeout_ms=50)  # the interval is over again and again meanwhile

    def committed() -> list[object]:
        events = [event for span in spans.named(f"commit {topic}") for event in span.events]
        return [(event.attributes or {})[names.COMMITTED_OFFSET] for event in events]

    run(program)
    assert committed() in ([1], [0, 1])  # it may commit before it has got the record
    for span in spans.named(f"commit {topic}"):
        assert attributes(span)[names.AUTOMATIC] is True
        assert attributes(span)[names.GROUP] == topic
        assert parent_id(span) is None


def test_a_commit_of_the_programs_own_is_not_told_twice(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        await (await clients.producer()).send_and_wait(topic, b"value", partition=0)
        consumer = await clients.consumer(topic, group_id=topic)
        await consumer.getone()
        await consumer.commit()
        await consumer.commit({aiokafka.TopicPartition(topic, 0): (1, "note")})

    run(program)
    found = [attributes(span) for span in spans.named(f"commit {topic}")]
    assert [names.AUTOMATIC in each for each in found] == [False, False]


def test_seeks_are_events_of_the_next_poll(spans: Spans, run: Run, topic: str) -> None:
    async def program(clients: Clients) -> None:
        await (await clients.producer()).send_and_wait(topic, b"value", partition=0)
        consumer = await clients.consumer(topic, group_id=topic)
        place = aiokafka.TopicPartition(topic, 0)
        await consumer.getone()
        await consumer.commit({place: 1})
        await consumer.seek_to_end(place)
        await consumer.seek_to_committed()
        await consumer.seek_to_beginning()
        consumer.seek(place, 0)
        await consumer.getone()

    run(program)
    events = spans.named(f"poll {topic}")[1].events
    assert [event.name for event in events] == [names.SEEK_EVENT] * 4
    said = [dict(event.attributes or {}) for event in events]
    assert [each.get(names.SEEK_TO, each.get(names.OFFSET)) for each in said] == ["end", 1, "beginning", 0]


# The end


PROGRAM = """
import asyncio, sys, aiokafka, flowtrail
flowtrail.instrument("orders")

async def main():
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=sys.argv[1], linger_ms=60000)
    await producer.start()
    await producer.send("orders", b"value", partition=0)
    producer._closed = True  # else it complains that it was not stopped

asyncio.run(main())
"""


def test_a_send_that_the_end_of_the_program_cuts_off_is_unacknowledged(broker: EmbeddedBroker) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, broker.bootstrap_servers],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "console"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    span = json.loads(run.stdout)
    assert (span["name"], [event["name"] for event in span["events"]]) == ("send orders", ["unacknowledged"])


def test_a_client_from_before_is_traced_while_instrumented_and_left_as_it_was(broker: EmbeddedBroker) -> None:
    spans = Spans()

    async def program() -> None:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
            before, parts = dict(vars(producer)), [type(producer.client.cluster), type(producer.create_batch())]
            await producer.send_and_wait("before", b"value")
            flowtrail.instrument(tracer_provider=spans.provider)
            assert inspect.iscoroutinefunction(producer.send)
            await producer.send_and_wait("while", b"value")
            flowtrail.uninstrument()
            await producer.send_and_wait("after", b"value")
            assert vars(producer) == before
            assert [type(producer.client.cluster), type(producer.create_batch())] == parts

    asyncio.run(program())
    assert spans.names() == ["send while"]
