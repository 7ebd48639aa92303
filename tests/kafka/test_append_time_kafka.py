"""A send says when its record was appended where the broker gives the time: on Apache Kafka, by clients that say so.

kafka-python does not tell the broker's time from its own.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import aiokafka
import confluent_kafka
import pytest
from confluent_kafka import admin

import flowtrail
from flowtrail.tracer import attributes as names
from tests.kafka.broker import KafkaBroker
from tests.tracer.spans import LaterSpans, Spans, attributes

TIMEOUT_S = 20


@pytest.fixture(params=[Spans, LaterSpans], ids=["made at once", "noted"])
def spans(request: pytest.FixtureRequest) -> Iterator[Spans]:
    spans = request.param()
    flowtrail.instrument(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


def _with_confluent(servers: str, topic: str) -> int:
    times: list[int] = []
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "log_level": 2})
    producer.produce(topic, b"value", on_delivery=lambda _, message: times.append(message.timestamp()[1]))
    producer.flush(TIMEOUT_S)
    return times[0]


def _with_aiokafka(servers: str, topic: str) -> int:
    async def send() -> int:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=servers) as producer:
            return int((await producer.send_and_wait(topic, b"value")).timestamp)

    return asyncio.run(send())


@pytest.mark.parametrize("send", [_with_confluent, _with_aiokafka])
@pytest.mark.parametrize("gives_time", [True, False], ids=["LogAppendTime", "CreateTime"])
def test_a_send_says_the_brokers_time_of_its_record_and_no_other(
    kafka: KafkaBroker, spans: Spans, send: Callable[[str, str], int], gives_time: bool
) -> None:
    topic = f"topic-{uuid.uuid4().hex[:12]}"
    config = {"message.timestamp.type": "LogAppendTime" if gives_time else "CreateTime"}
    library: Any = admin  # which names what it takes from other modules
    client = library.AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for made in client.create_topics([library.NewTopic(topic, 1, config=config)]).values():
        made.result(TIMEOUT_S)
    timestamp_ms = send(kafka.bootstrap_servers, topic)
    spans.settled()
    found = attributes(spans.one(f"send {topic}"))
    assert found.get(names.RECORD_TIMESTAMP_MS) == (timestamp_ms if gives_time else None)
    assert found[names.OFFSET] == 0
