"""A service of the shop in its group on Apache Kafka, where joining is quicker than asking for topics."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kafka import KafkaConsumer, TopicPartition

from flowtrail.demo.diary import Diary
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import GIFTS, ORDERS
from tests.kafka.broker import KafkaBroker
from tests.tracer.spans import wait_until

POLL_MS = 200


@pytest.fixture
def shop(kafka: KafkaBroker, tmp_path: Path) -> Iterator[Shop]:
    """A process of the shop, whose topics are on the broker."""
    prefix = f"shop-{uuid.uuid4().hex[:6]}."
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    topics = [NewTopic(prefix + topic, num_partitions=3, replication_factor=1) for topic in (GIFTS, ORDERS)]
    for created in admin.create_topics(topics).values():
        created.result(timeout=10)
    diary = Diary(tmp_path, "inventory")
    yield Shop("inventory", kafka.bootstrap_servers, prefix, diary, is_embedded=False)
    diary.close()


@pytest.fixture
def consumer(shop: Shop) -> Iterator[Any]:
    """A consumer that joins at once: the broker has its topic for commits since another asked for one."""
    options = shop.consumer_options
    with KafkaConsumer(**{**options, "group_id": f"{shop.group}-before"}) as before:
        before.committed(TopicPartition(ORDERS, 0))
    with KafkaConsumer(**options) as consumer:
        yield consumer


def test_a_service_joins_its_group_once_whatever_it_learns_of_its_topics_later(
    shop: Shop, consumer: Any, tmp_path: Path
) -> None:
    shop.subscribe(consumer, ORDERS, GIFTS)
    wait_until(lambda: consumer.poll(POLL_MS) or consumer.assignment(), "partitions")
    consumer.topics()  # what is new of them makes the next poll join again
    for _ in range(5):
        consumer.poll(POLL_MS)
    lines = [json.loads(line) for line in (tmp_path / "inventory.jsonl").read_text().splitlines()]
    assert [line["partitions"] for line in lines if line["kind"] == "joined"] == [6]
