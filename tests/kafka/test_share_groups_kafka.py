"""What a share group's consumer tells, on Apache Kafka: the embedded broker knows no such groups."""

import uuid
from collections.abc import Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import admin
from opentelemetry.trace import SpanKind

import flowtrail
from flowtrail.tracer import attributes as names
from tests.kafka.broker import KafkaBroker
from tests.tracer.spans import Spans, attributes, link_attributes, linked, span_id, wait_until

pytestmark = pytest.mark.skipif(
    not hasattr(confluent_kafka, "ShareConsumer"), reason="this version of confluent-kafka has no share groups"
)

ADMIN: Any = admin  # which names what it takes from other modules
TIMEOUT_S = 20


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    flowtrail.instrument(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["ShareConsumer", "DeserializingShareConsumer"])
def consumer(request: pytest.FixtureRequest, spans: Spans, kafka: KafkaBroker, topic: str) -> Any:
    """A share consumer of a topic with one record, that says of each record what is to become of it."""
    group, servers = f"{topic}-group", {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 2}
    # The broker keeps it: a share group begins at the end of its topics unless told.
    from_earliest = ADMIN.ConfigEntry(
        "share.auto.offset.reset", "earliest", incremental_operation=ADMIN.AlterConfigOpType.SET
    )
    resource = ADMIN.ConfigResource("group", group, incremental_configs=[from_earliest])
    client = ADMIN.AdminClient(servers)
    for altered in client.incremental_alter_configs([resource]).values():
        altered.result(TIMEOUT_S)
    producer = confluent_kafka.Producer(servers)
    producer.produce(topic, b"value", key=b"order-7", partition=0)
    producer.flush(TIMEOUT_S)
    options = servers | {"group.id": group, "share.acknowledgement.mode": "explicit"}
    made: Any = getattr(confluent_kafka, request.param)(options)
    made.subscribe([topic])
    return made


def polled(consumer: Any) -> Any:
    """The one record of a poll that returned records."""
    found: list[Any] = []

    def is_there() -> bool:
        found.extend(consumer.poll(1.0))
        return bool(found)

    wait_until(is_there, "a record")
    (record,) = found
    return record


def test_a_record_that_is_released_says_at_its_second_delivery_that_it_is_the_second(
    consumer: Any, spans: Spans, topic: str
) -> None:
    record = polled(consumer)
    with flowtrail.process(record):
        pass
    consumer.acknowledge(record, confluent_kafka.AcknowledgeType.RELEASE)
    record = polled(consumer)
    with flowtrail.process(record):
        pass
    consumer.acknowledge(record)
    consumer.commit_sync()
    consumer.close()
    sent = spans.one(f"send {topic}")
    for name in (f"poll {topic}", f"process {topic}"):
        found = [span for span in spans.wait(name, 2) if names.INFERRED not in attributes(span)]
        assert [attributes(span)[names.DELIVERY_ATTEMPT] for span in found] == [1, 2]
        assert [linked(span) for span in found] == [[span_id(sent)]] * 2
        assert {attributes(span)[names.GROUP] for span in found} == {f"{topic}-group"}
    ((first,), (second,)) = map(link_attributes, spans.named(f"poll {topic}"))
    assert (first[names.OFFSET], first[names.KEY]) == (second[names.OFFSET], second[names.KEY]) == (0, "order-7")


def test_the_close_of_a_share_consumer_is_a_span_that_names_its_group(consumer: Any, spans: Spans, topic: str) -> None:
    consumer.acknowledge(polled(consumer))
    consumer.close()
    consumer.close()
    span = spans.one("close")
    assert attributes(span)[names.GROUP] == f"{topic}-group"
    assert (span.kind, span.events) == (SpanKind.CLIENT, ())
