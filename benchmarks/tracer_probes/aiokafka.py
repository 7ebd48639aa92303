"""Probes of aiokafka's instrumentations. Each docstring says what is right."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiokafka

from flowtrail.demo.embedded_broker import EmbeddedBroker

from .topics import PARTITION, Topic, context_of
from .traced import RECEIVE, Traced, Wrong


async def _producer(topic: Topic, **options: Any) -> Any:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=topic.bootstrap_servers, **options)
    await producer.start()
    return producer


async def _consumer(topic: Topic, **options: Any) -> Any:
    given = {"enable_auto_commit": False, **options}
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=topic.bootstrap_servers, **given)
    await consumer.start()
    place = aiokafka.TopicPartition(topic.name, PARTITION)
    consumer.assign([place])
    consumer.seek(place, 0)
    return consumer


async def serialized_once(traced: Traced, topic: Topic) -> None:
    """A serializer is called once for each send"""
    calls = 0

    def serialize(value: str) -> bytes:
        nonlocal calls
        calls += 1
        return value.encode()

    producer = await _producer(topic, value_serializer=serialize)
    for _ in range(10):
        await producer.send_and_wait(topic.name, "value")
    await producer.stop()
    traced.sends()
    if calls != 10:
        raise Wrong(f"{calls} calls for 10 sends")


async def right_partition(traced: Traced, topic: Topic) -> None:
    """The partition on a send's span is the one that its record got"""
    producer = await _producer(topic)
    got = [(await producer.send_and_wait(topic.name, b"value")).partition for _ in range(40)]
    await producer.stop()
    told = [_partition(span.attributes) for span in traced.sends()]
    wrong = sum(one != another for one, another in zip(got, told, strict=True))
    if wrong:
        raise Wrong(f"another one on {wrong} of {len(got)}" + (", or none" if "" in told else ""))


def _partition(attributes: dict[str, Any]) -> int | str:
    found = [value for name, value in attributes.items() if "partition" in name]
    return int(found[0]) if found else ""


async def ends_with_the_answer(traced: Traced, topic: Topic) -> None:
    """A send's span ends when the broker has answered"""
    producer = await _producer(topic, linger_ms=300)
    answer = await producer.send(topic.name, b"value")
    if answer.done():
        raise RuntimeError("answered before it could be asked")
    ended_before = traced.spans()
    await answer
    await producer.stop()
    traced.sends()
    if ended_before:
        raise Wrong("it ends before")


async def failed_delivery(traced: Traced, topic: Topic) -> None:
    """A delivery that fails makes the send's span an error"""
    broker = EmbeddedBroker()
    producer = await _producer(Topic(broker.bootstrap_servers), request_timeout_ms=1000)
    await producer.send_and_wait(topic.name, b"value")
    broker.close()
    try:
        async with asyncio.timeout(20):
            await producer.send_and_wait(topic.name, b"value")
    except TimeoutError:
        raise RuntimeError("the delivery did not fail") from None
    except Exception:
        pass
    if not traced.sends()[-1].is_error:
        raise Wrong("the span does not say so")


async def batch(traced: Traced, topic: Topic) -> None:
    """A batch that is sent by `send_batch` makes spans"""
    producer = await _producer(topic)
    builder = producer.create_batch()
    for _ in range(2):
        builder.append(key=None, value=b"value", timestamp=None)
    await (await producer.send_batch(builder, topic.name, partition=PARTITION))
    await producer.stop()
    traced.sends()


async def body_in_span(traced: Traced, topic: Topic) -> None:
    """The body of `async for` runs inside a span, without a changed line"""
    topic.write([context_of(1)])
    consumer = await _consumer(topic)
    async for _ in consumer:
        current = traced.current_span_id()
        break
    await consumer.stop()
    if not current:
        raise Wrong("no span is current in the body")


async def forwarded(traced: Traced, topic: Topic) -> None:
    """A send from the body of the loop is found from the record that it answers"""
    topic.write([context_of(1)], [])
    next_topic = Topic(topic.bootstrap_servers)
    producer, consumer = await _producer(topic), await _consumer(topic)
    sent = False
    async for record in consumer:
        if sent:
            break
        await producer.send_and_wait(next_topic.name, record.value, partition=PARTITION)
        sent = True
    await producer.stop()
    await consumer.stop()
    sent_trace = traced.sends()[-1].trace_id
    received_trace = context_of(1)[1].split(b"-")[1].decode()
    spans = [span for span in traced.spans() if span.trace_id == sent_trace]
    if sent_trace != received_trace and not any(received_trace in span.linked_traces for span in spans):
        raise Wrong("a new trace begins, without a link")


async def copied_headers(traced: Traced, topic: Topic) -> None:
    """A retry that copies the headers of its record carries its own context, and no other"""
    topic.write([context_of(1)])
    retried = Topic(topic.bootstrap_servers)
    producer, consumer = await _producer(topic), await _consumer(topic)
    record = await consumer.getone()
    await producer.send_and_wait(retried.name, record.value, headers=list(record.headers), partition=PARTITION)
    await producer.stop()
    await consumer.stop()
    (stored,) = retried.read(1)
    if stored.contexts != [traced.sends()[-1].span_id]:
        raise Wrong(f"{len(stored.contexts)} contexts in the record")


async def callers_headers(traced: Traced, topic: Topic) -> None:
    """The caller's list of headers stays as it was"""
    producer = await _producer(topic)
    headers = [("source", b"web")]
    await producer.send_and_wait(topic.name, b"value", headers=headers)
    await producer.stop()
    traced.sends()
    if headers != [("source", b"web")]:
        raise Wrong(f"it now holds {', '.join(name for name, _ in headers)}")


async def undecodable_context(traced: Traced, topic: Topic) -> None:
    """A `traceparent` that is not text does not raise into the consumer's loop"""
    topic.write([("traceparent", b"\xff\xfe")], [])
    consumer = await _consumer(topic)
    await consumer.getone()
    await consumer.getone()
    await consumer.stop()
    _some_receive(traced)


async def polled(traced: Traced, topic: Topic) -> None:
    """A `getmany` that returned records makes a span"""
    topic.write([context_of(1)])
    consumer = await _consumer(topic)
    while not await consumer.getmany(timeout_ms=500):
        pass
    await consumer.getmany(timeout_ms=10)
    await consumer.stop()
    _some_receive(traced)


async def own_trace(traced: Traced, topic: Topic) -> None:
    """Sends that have nothing to do with each other are no children of each other"""
    producer = await _producer(topic)
    for _ in range(3):
        await producer.send(topic.name, b"value")
    await producer.flush()
    await asyncio.sleep(0)
    await producer.stop()
    if any(span.parent_id for span in traced.sends()):
        raise Wrong("each is a child of the one before")


async def committed(traced: Traced, topic: Topic) -> None:
    """A commit makes a span"""
    topic.write([])
    consumer = await _consumer(topic, group_id=topic.name)
    await consumer.getone()
    await consumer.commit()
    await consumer.stop()
    if not any(span.has("commit") for span in traced.spans()):
        raise Wrong("no span")


async def aborted(traced: Traced, topic: Topic) -> None:
    """The span of a send in a transaction that was aborted says so"""
    producer = await _producer(topic, transactional_id=topic.name)
    await producer.begin_transaction()
    await producer.send_and_wait(topic.name, b"value")
    await producer.abort_transaction()
    await producer.stop()
    if not any("aborted" in map(str, span.attributes.values()) for span in traced.sends()):
        raise Wrong("nothing tells")


def _some_receive(traced: Traced) -> None:
    if not any(span.has(*RECEIVE) for span in traced.spans()):
        raise Wrong("no span")


PROBES: Final[tuple[Callable[[Traced, Topic], Coroutine[Any, Any, None]], ...]] = (
    serialized_once,
    right_partition,
    ends_with_the_answer,
    failed_delivery,
    batch,
    body_in_span,
    forwarded,
    copied_headers,
    callers_headers,
    undecodable_context,
    polled,
    own_trace,
    committed,
    aborted,
)
