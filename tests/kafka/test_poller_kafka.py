"""What the poller reads from Apache Kafka reaches the answers: commits, ends, and who is in a group."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flowtrail.client import Client, CollectorError, NotFound
from flowtrail.collector.api.answers import GroupLag
from tests.kafka.broker import KafkaBroker

DEADLINE_S = 60
RECORDS = 10


@pytest.fixture(scope="module")
def flowtrail(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A collector in a process of its own that polls the broker."""
    data_dir: Path = tmp_path_factory.mktemp("collector")
    options = ["--data-dir", str(data_dir), "--bootstrap-servers", kafka.bootstrap_servers, "--lag-interval-ms", "200"]
    options += ["--otlp-http-port", "0", "--otlp-grpc-port", "0", "--api-port", "0"]
    with (data_dir / "log").open("wb") as log:
        collector = subprocess.Popen([sys.executable, "-m", "flowtrail", "collect", *options], stdout=log, stderr=log)
    try:
        endpoints = data_dir / "endpoints.json"
        until(lambda: endpoints.exists() or collector.poll() is not None)
        assert endpoints.exists(), (data_dir / "log").read_text()
        with Client(json.loads(endpoints.read_text())["api"]) as client:
            yield client
    finally:
        collector.terminate()
        collector.wait(20)


@pytest.fixture
def topic(kafka: KafkaBroker) -> str:
    """A topic with two partitions, all of its records in the first."""
    name = f"polled-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])[name].result(timeout=10)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for _ in range(RECORDS):
        producer.produce(name, b"value", partition=0)
    assert producer.flush(10) == 0
    return name


@pytest.fixture
def member(kafka: KafkaBroker, topic: str) -> Iterator[Callable[..., Consumer]]:
    """Makes consumers that have joined a group of the topic's name; they leave at the end."""
    joined: list[Consumer] = []

    def join(**options: Any) -> Consumer:
        settings = {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": f"{topic}-workers",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
        consumer = Consumer(settings | {name.replace("_", "."): value for name, value in options.items()})
        joined.append(consumer)
        consumer.subscribe([topic])
        until(lambda: consumer.poll(0.1) is not None)
        return consumer

    yield join
    for consumer in joined:
        consumer.close()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition. Fails after the deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.05)


def lag_when(flowtrail: Client, group: str, is_so: Callable[[GroupLag], bool]) -> GroupLag:
    """The group's lag, as soon as it is what is waited for."""
    found: list[GroupLag] = []

    def ask() -> bool:
        try:
            found.append(flowtrail.group_lag(group))
        except NotFound:
            return False
        return is_so(found[-1])

    try:
        until(ask)
    except (AssertionError, CollectorError) as error:
        raise AssertionError(f"{error}; last seen: {found[-1:]}") from error
    return found[-1]


def test_commits_and_ends_are_the_lag_by_partition(
    flowtrail: Client, topic: str, member: Callable[..., Consumer]
) -> None:
    member().commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    lag = lag_when(flowtrail, f"{topic}-workers", lambda lag: lag.lag == RECORDS - 4)
    first, *others = [part for part in lag.partitions if part.topic == topic]
    assert (first.partition, first.committed, first.log_start, first.log_end) == (0, 4, 0, RECORDS)
    # A partition without a commit has no lag, and is never counted as 0.
    assert [part.lag for part in others if part.committed is None] == [None] * len(others)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_are_seen_and_missed(
    flowtrail: Client, topic: str, member: Callable[..., Consumer], protocol: str
) -> None:
    consumer = member(group_protocol=protocol)
    consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    group = f"{topic}-workers"
    assert lag_when(flowtrail, group, lambda lag: lag.members == 1).state != "no_member"
    consumer.close()
    assert lag_when(flowtrail, group, lambda lag: lag.members == 0 and lag.state == "no_member").lag == RECORDS - 4


def test_a_group_that_works_off_what_waited_has_no_lag(
    flowtrail: Client, topic: str, member: Callable[..., Consumer]
) -> None:
    consumer = member()
    consumer.commit(offsets=[TopicPartition(topic, 0, RECORDS)], asynchronous=False)
    lag = lag_when(flowtrail, f"{topic}-workers", lambda lag: lag.lag == 0)
    assert lag.members == 1
