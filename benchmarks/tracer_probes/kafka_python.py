"""Probes of kafka-python's instrumentations. Each docstring says what is right."""

from collections.abc import Callable
from typing import Any, Final

import kafka

from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker

from .topics import PARTITION, Topic, context_of
from .traced import RECEIVE, Traced, Wrong, untold


def _producer(topic: Topic, **options: Any) -> Any:
    return kafka.KafkaProducer(bootstrap_servers=topic.bootstrap_servers, **KAFKA_PYTHON_OPTIONS, **options)


def _consumer(topic: Topic, **options: Any) -> Any:
    given = {"consumer_timeout_ms": 5000, "enable_auto_commit": False, **KAFKA_PYTHON_OPTIONS, **options}
    consumer = kafka.KafkaConsumer(bootstrap_servers=topic.bootstrap_servers, **given)
    place = kafka.TopicPartition(topic.name, PARTITION)
    consumer.assign([place])
    consumer.seek(place, 0)
    return consumer


def polled(traced: Traced, topic: Topic) -> None:
    """A `poll` that returned records makes a span"""
    topic.write([context_of(1)])
    consumer = _consumer(topic)
    while not consumer.poll(timeout_ms=500):
        pass
    consumer.poll(timeout_ms=10)
    consumer.close()
    _some_receive(traced)


def positional_arguments(traced: Traced, topic: Topic) -> None:
    """Every argument of `send` may be given by position"""
    producer = _producer(topic)
    producer.send(topic.name, b"value", b"key", None, PARTITION).get(10)
    producer.close()
    if not topic.read(1)[0].contexts:
        raise Wrong("the record carries no context")


def callers_headers(traced: Traced, topic: Topic) -> None:
    """The caller's list of headers stays as it was"""
    producer = _producer(topic)
    headers = [("source", b"web")]
    producer.send(topic.name, b"value", headers=headers).get(10)
    producer.close()
    traced.sends()
    if headers != [("source", b"web")]:
        raise Wrong(f"it now holds {', '.join(name for name, _ in headers)}")


def reused_headers(traced: Traced, topic: Topic) -> None:
    """A list of headers that is used again carries each send's own context, and no other"""
    producer = _producer(topic)
    headers = [("source", b"web")]
    for _ in range(3):
        producer.send(topic.name, b"value", headers=headers, partition=PARTITION).get(10)
    producer.close()
    _each_its_own(traced, topic, 3)


def copied_headers(traced: Traced, topic: Topic) -> None:
    """A retry that copies the headers of its record carries its own context, and no other"""
    topic.write([context_of(1)])
    producer, consumer, retried = _producer(topic), _consumer(topic), Topic(topic.bootstrap_servers)
    record = next(consumer)
    producer.send(retried.name, record.value, headers=list(record.headers), partition=PARTITION).get(10)
    producer.close()
    consumer.close()
    _each_its_own(traced, retried, 1)


def undecodable_context(traced: Traced, topic: Topic) -> None:
    """A `traceparent` that is not text does not raise into the consumer's loop"""
    topic.write([("traceparent", b"\xff\xfe")], [])
    consumer = _consumer(topic)
    for number, _ in enumerate(consumer, 1):
        if number == 2:
            break
    consumer.close()
    _some_receive(traced)


def body_in_span(traced: Traced, topic: Topic) -> None:
    """The body of `for record in consumer` runs inside a span, without a changed line"""
    topic.write([context_of(1)])
    consumer = _consumer(topic)
    for _ in consumer:
        current = traced.current_span_id()
        break
    consumer.close()
    if not current:
        raise Wrong("no span is current in the body")


def forwarded(traced: Traced, topic: Topic) -> None:
    """A send from the body of the loop is found from the record that it answers"""
    topic.write([context_of(1)])
    producer, consumer, next_topic = _producer(topic), _consumer(topic), Topic(topic.bootstrap_servers)
    for record in consumer:
        producer.send(next_topic.name, record.value, partition=PARTITION).get(10)
        break
    consumer.poll(timeout_ms=10)
    producer.close()
    consumer.close()
    sent_trace = traced.sends()[-1].trace_id
    received_trace = context_of(1)[1].split(b"-")[1].decode()
    spans = [span for span in traced.spans() if span.trace_id == sent_trace]
    if sent_trace != received_trace and not any(received_trace in span.linked_traces for span in spans):
        raise Wrong("a new trace begins, without a link")


def failed_delivery(traced: Traced, topic: Topic) -> None:
    """A delivery that fails makes the send's span an error"""
    broker = EmbeddedBroker()
    short = {"request_timeout_ms": 1000, "delivery_timeout_ms": 1500, "max_block_ms": 1000}
    producer = _producer(Topic(broker.bootstrap_servers), **short)
    producer.send(topic.name, b"value").get(10)
    broker.close()
    try:
        producer.send(topic.name, b"value").get(10)
    except Exception:
        pass
    else:
        raise RuntimeError("the delivery did not fail")
    producer.close(timeout=1)
    if not traced.sends()[-1].is_error:
        raise Wrong("the span does not say so")


def sampled_with_attributes(traced: Traced, topic: Topic) -> None:
    """A sampler sees the topic"""
    producer = _producer(topic)
    producer.send(topic.name, b"value").get(10)
    producer.close()
    seen = [asked for asked in traced.sampled_with or [] if topic.name in asked.values()]
    if not seen:
        raise Wrong("attributes are set after sampling")


def todays_names(traced: Traced, topic: Topic) -> None:
    """Attributes have the names of today's conventions"""
    producer = _producer(topic)
    producer.send(topic.name, b"value").get(10)
    producer.close()
    attributes = traced.sends()[-1].attributes
    wanted = {"messaging.destination.name", "messaging.operation.name", "messaging.destination.partition.id"}
    if missing := wanted - set(attributes):
        raise Wrong("without " + ", ".join(sorted(missing)))


def record_facts(traced: Traced, topic: Topic) -> None:
    """Partition, offset and key of a sent record are told"""
    producer = _producer(topic)
    producer.send(topic.name, b"value", key=b"ORD-7", partition=PARTITION).get(10)
    producer.close()
    if missing := untold(traced.sends()[-1].attributes, partition="0", offset="0", key="ORD-7"):
        raise Wrong("without " + ", ".join(missing))


def committed(traced: Traced, topic: Topic) -> None:
    """A commit makes a span"""
    topic.write([])
    consumer = _consumer(topic, group_id="readers")
    next(consumer)
    consumer.commit()
    consumer.close()
    if not any(span.has("commit") for span in traced.spans()):
        raise Wrong("no span")


def aborted(traced: Traced, topic: Topic) -> None:
    """The span of a send in a transaction that was aborted says so"""
    producer = _producer(topic, transactional_id=topic.name)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic.name, b"value").get(10)
    producer.abort_transaction()
    producer.close()
    if not any("aborted" in map(str, span.attributes.values()) for span in traced.sends()):
        raise Wrong("nothing tells")


def _some_receive(traced: Traced) -> None:
    if not any(span.has(*RECEIVE) for span in traced.spans()):
        raise Wrong("no span")


def _each_its_own(traced: Traced, topic: Topic, count: int) -> None:
    stored = topic.read(count)
    sent = [span.span_id for span in traced.sends()][-count:]
    wrong = [record for record, span_id in zip(stored, sent, strict=True) if record.contexts != [span_id]]
    if wrong:
        most = max(len(record.contexts) for record in wrong)
        raise Wrong(f"{len(wrong)} of {count} do not; up to {most} contexts in a record")


PROBES: Final[tuple[Callable[[Traced, Topic], None], ...]] = (
    polled,
    positional_arguments,
    callers_headers,
    reused_headers,
    copied_headers,
    undecodable_context,
    body_in_span,
    forwarded,
    failed_delivery,
    sampled_with_attributes,
    todays_names,
    record_facts,
    committed,
    aborted,
)
