"""Probes of confluent-kafka's instrumentations. Each docstring says what is right."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import confluent_kafka

from .topics import PARTITION, Topic, context_of
from .traced import RECEIVE, Contrib, NotMeant, Traced, Wrong, untold

# Nobody listens there.
NO_BROKER: Final = "127.0.0.1:9"


def _producer(topic: Topic, **options: Any) -> Any:
    # Looked up at the call, as a program does that was started with the instrumentation.
    return confluent_kafka.Producer({"bootstrap.servers": topic.bootstrap_servers, **options})


def _consumer(topic: Topic, **options: Any) -> Any:
    given = {"bootstrap.servers": topic.bootstrap_servers, "group.id": topic.name, "enable.auto.commit": False}
    consumer = confluent_kafka.Consumer({**given, **options})
    consumer.assign([confluent_kafka.TopicPartition(topic.name, PARTITION, 0)])
    return consumer


def _next(consumer: Any) -> Any:
    deadline_s = time.monotonic() + 15
    while (message := consumer.poll(0.5)) is None:
        if time.monotonic() > deadline_s:
            raise TimeoutError("no record came")
    return message


def _one_context(traced: Traced, topic: Topic) -> None:
    sent, (stored,) = traced.sends(), topic.read(1)
    if not stored.contexts:
        raise Wrong("the record carries no context")
    if stored.contexts != [sent[-1].span_id]:
        raise Wrong("the record carries another context than its send's")


def positional_timestamp(traced: Traced, topic: Topic) -> None:
    """A timestamp given by position leaves the context in the headers"""
    producer = _producer(topic)
    producer.produce(topic.name, b"value", b"key", PARTITION, None, None, 1_700_000_000_000)
    producer.flush()
    _one_context(traced, topic)


def list_of_headers(traced: Traced, topic: Topic) -> None:
    """Headers may be a list, which stays as it was"""
    producer = _producer(topic)
    headers = [("source", b"web")]
    producer.produce(topic.name, b"value", partition=PARTITION, headers=headers)
    producer.flush()
    if headers != [("source", b"web")]:
        raise Wrong(f"it now holds {', '.join(name for name, _ in headers)}")
    _one_context(traced, topic)


def dict_of_headers(traced: Traced, topic: Topic) -> None:
    """Headers may be a dictionary, which stays as it was"""
    producer = _producer(topic)
    headers = {"source": b"web"}
    producer.produce(topic.name, b"value", partition=PARTITION, headers=headers)
    producer.flush()
    if headers != {"source": b"web"}:
        raise Wrong(f"it now holds {', '.join(headers)}")
    _one_context(traced, topic)


def copied_headers(traced: Traced, topic: Topic) -> None:
    """A retry that copies the headers of its record carries its own context, and no other"""
    topic.write([context_of(1)])
    producer, consumer, retried = _producer(topic), _consumer(topic), Topic(topic.bootstrap_servers)
    message = _next(consumer)
    producer.produce(retried.name, message.value(), partition=PARTITION, headers=message.headers())
    producer.flush()
    (stored,) = retried.read(1)
    if stored.contexts != [traced.sends()[-1].span_id]:
        raise Wrong(f"{len(stored.contexts)} contexts in the record")


def without_a_broker(traced: Traced, topic: Topic) -> None:
    """The first `produce` does not wait for the broker"""
    producer = _producer(Topic(NO_BROKER))
    began_s = time.monotonic()
    producer.produce(topic.name, b"value")
    took_s = time.monotonic() - began_s
    if took_s > 0.5:
        raise Wrong(f"it waits {took_s:.1f} s")


def failed_delivery(traced: Traced, topic: Topic) -> None:
    """A delivery that fails makes the send's span an error"""
    producer = _producer(Topic(NO_BROKER), **{"message.timeout.ms": 300})
    producer.produce(topic.name, b"value")
    producer.flush(10)
    if not traced.sends()[-1].is_error:
        raise Wrong("the span does not say so")


def serializing_producer(traced: Traced, topic: Topic) -> None:
    """SerializingProducer is traced"""
    producer = confluent_kafka.SerializingProducer(
        {"bootstrap.servers": topic.bootstrap_servers, "value.serializer": lambda value, _: value.encode()}
    )
    producer.produce(topic.name, value="value", partition=PARTITION)
    producer.flush()
    _one_context(traced, topic)


def batch(traced: Traced, topic: Topic) -> None:
    """Every record of `produce_batch` has a span"""
    producer = _producer(topic)
    if not hasattr(producer, "produce_batch"):
        raise NotMeant("this version has none")
    producer.produce_batch(topic.name, [{"value": b"a"}, {"value": b"b"}])
    producer.flush()
    if len(traced.sends()) < 2:
        raise Wrong("one span for two records")


def aio_producer(traced: Traced, topic: Topic) -> None:
    """AIOProducer is traced"""
    try:
        from confluent_kafka.aio import AIOProducer
    except ImportError as missing:
        raise NotMeant("this version has none") from missing

    async def send() -> None:
        producer = AIOProducer({"bootstrap.servers": topic.bootstrap_servers})
        answer = await producer.produce(topic.name, value=b"value")
        await producer.flush()
        await answer
        await producer.close()

    asyncio.run(send())
    traced.sends()


def methods_work(traced: Traced, topic: Topic) -> None:
    """A traced consumer can still be assigned, sought and asked for its positions"""
    topic.write([])
    consumer = _consumer(topic)
    if isinstance(traced, Contrib):  # the way that is documented for a consumer that there is already
        consumer = traced.instrumentor.instrument_consumer(consumer)
    place = confluent_kafka.TopicPartition(topic.name, PARTITION, 0)
    consumer.assign([place])
    _next(consumer)
    consumer.seek(place)
    _next(consumer)
    if consumer.position([place])[0].offset != 1:
        raise Wrong("another position")
    _some_receive(traced)


def end_of_partition(traced: Traced, topic: Topic) -> None:
    """The end of a partition is no record: it makes no span"""
    topic.write([])
    consumer = _consumer(topic, **{"enable.partition.eof": True})
    while not _next(consumer).error():
        pass
    before = len(traced.spans())
    consumer.poll(0)
    made = [span for span in traced.spans()[before:] if topic.name in map(str, span.attributes.values())]
    if made:
        raise Wrong(f"a span {made[0].name!r}")


def empty_poll(traced: Traced, topic: Topic) -> None:
    """A poll without a record makes no span"""
    consumer = _consumer(topic)
    for _ in range(3):
        consumer.poll(0)
    if found := len(traced.spans()):
        raise Wrong(f"{found} spans")


def attributes_everywhere(traced: Traced, topic: Topic) -> None:
    """Every span about a record says which topic it is about"""
    topic.write([context_of(1)])
    consumer = _consumer(topic)
    _next(consumer)
    consumer.poll(0)
    # ddtrace has spans for empty polls too, which are about no record.
    about = [span for span in traced.spans() if span.attributes.get("kafka.received_message") != "False"]
    _some_receive(traced)
    bare = [span.name for span in about if topic.name not in map(str, span.attributes.values())]
    if bare:
        raise Wrong(f"{bare[0]!r} does not")


def body_in_span(traced: Traced, topic: Topic) -> None:
    """The work between two polls runs inside a span, without a changed line"""
    topic.write([context_of(1)])
    consumer = _consumer(topic)
    _next(consumer)
    if not traced.current_span_id():
        raise Wrong("no span is current there")


def undecodable_context(traced: Traced, topic: Topic) -> None:
    """A `traceparent` that is not text does not raise out of `poll`"""
    topic.write([("traceparent", b"\xff\xfe")], [])
    consumer = _consumer(topic)
    _next(consumer)
    _next(consumer)
    consumer.poll(0)
    _some_receive(traced)


def switched_off(traced: Traced, topic: Topic) -> None:
    """Switched off, nothing is traced any more, not by clients of before either"""
    topic.write([])
    consumer = _consumer(topic)
    traced.switch_off()
    messages = consumer.consume(1, 10)
    consumer.consume(1, 0)
    if len(messages) != 1:
        raise RuntimeError("the record did not come")
    if any(topic.name in map(str, span.attributes.values()) for span in traced.spans()):
        raise Wrong("`consume` still makes spans")


def record_facts(traced: Traced, topic: Topic) -> None:
    """Partition, offset and key of a sent record are told"""
    producer = _producer(topic)
    producer.produce(topic.name, b"value", key=b"ORD-7", partition=PARTITION)
    producer.flush()
    if missing := untold(traced.sends()[-1].attributes, partition="0", offset="0", key="ORD-7"):
        raise Wrong("without " + ", ".join(missing))


def committed(traced: Traced, topic: Topic) -> None:
    """A commit makes a span"""
    topic.write([])
    consumer = _consumer(topic)
    consumer.commit(message=_next(consumer), asynchronous=False)
    consumer.close()
    if not any(span.has("commit") for span in traced.spans()):
        raise Wrong("no span")


def aborted(traced: Traced, topic: Topic) -> None:
    """The span of a send in a transaction that was aborted says so"""
    producer = _producer(topic, **{"transactional.id": topic.name})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic.name, b"value")
    producer.flush()
    producer.abort_transaction()
    if not any("aborted" in map(str, span.attributes.values()) for span in traced.sends()):
        raise Wrong("nothing tells")


def _some_receive(traced: Traced) -> None:
    if not any(span.has(*RECEIVE) for span in traced.spans()):
        raise Wrong("no span")


PROBES: Final[tuple[Callable[[Traced, Topic], None], ...]] = (
    positional_timestamp,
    list_of_headers,
    dict_of_headers,
    copied_headers,
    without_a_broker,
    failed_delivery,
    serializing_producer,
    batch,
    aio_producer,
    methods_work,
    end_of_partition,
    empty_poll,
    attributes_everywhere,
    body_in_span,
    undecodable_context,
    switched_off,
    record_facts,
    committed,
    aborted,
)
