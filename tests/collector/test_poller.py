"""The poller against the embedded broker, which lists no groups, and against none at all."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition

from flowtrail.collector.lag.broker import Broker, BrokerError
from flowtrail.collector.lag.lookup import all_lag
from flowtrail.collector.lag.poller import Poller
from flowtrail.collector.lag.snapshot import Snapshot
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import Store
from flowtrail.collector.store.queries import Queries
from flowtrail.demo.embedded_broker import EmbeddedBroker

from .scenes import Scene


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        producer = Producer({"bootstrap.servers": running.bootstrap_servers, "log_level": 0})
        for number in range(8):
            producer.produce("orders", b"x", partition=number % 4)
        producer.flush()
        consumer = Consumer({"bootstrap.servers": running.bootstrap_servers, "group.id": "workers", "log_level": 0})
        consumer.commit(offsets=[TopicPartition("orders", 0, 1)], asynchronous=False)
        consumer.close()
        yield running


def test_commits_and_ends_are_read_for_the_groups_that_spans_name(broker: EmbeddedBroker) -> None:
    snapshot = Broker(broker.bootstrap_servers, {}).ask({"workers": frozenset({"orders", "no-such-topic"})})
    assert snapshot.cluster_id == broker.cluster_id
    assert snapshot.commits == {("workers", "orders", 0): 1} | {("workers", "orders", n): -1 for n in (1, 2, 3)}
    assert snapshot.logs == {("orders", n): (0, 2) for n in range(4)}
    assert not snapshot.states["workers"].is_listed


def test_what_the_poller_wrote_comes_out_as_lag(broker: EmbeddedBroker, store: Store) -> None:
    scene = Scene(store)
    scene.world.now_ms = time.time() * 1000 - 5000
    scene.world.handled("payments", "workers", scene.world.send("storefront", "orders"))
    scene.load()
    poller = Poller(Settings(bootstrap_servers=broker.bootstrap_servers), store)
    poller.poll_once(Broker(broker.bootstrap_servers, {}))
    [group] = all_lag(Queries(store), time.time() * 1000, 30_000).groups
    assert (group.group, group.service, group.lag, group.no_commit) == ("workers", "payments", 1, 3)
    assert (group.members, group.cluster_id) == (None, broker.cluster_id)


def test_a_partition_that_answers_with_an_error_is_left_out_not_taken_for_one_without_a_commit(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Broker(broker.bootstrap_servers, {})
    error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)

    def answer(*_: object, **__: object) -> dict[str, Future[ConsumerGroupTopicPartitions]]:
        answered = SimpleNamespace(
            topic_partitions=[
                SimpleNamespace(topic="orders", partition=0, offset=1, error=None),
                SimpleNamespace(topic="orders", partition=1, offset=-1001, error=error),
            ]
        )
        future: Future[Any] = Future()
        future.set_result(answered)
        return {"workers": future}

    monkeypatch.setattr(asked._client, "list_consumer_group_offsets", answer)
    commits = asked.ask({"workers": frozenset({"orders"})}).commits
    assert commits == {("workers", "orders", 0): 1, ("workers", "orders", 2): -1, ("workers", "orders", 3): -1}


class Silent(Broker):
    """A broker that never answers; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def ask(self, known: Mapping[str, frozenset[str]]) -> Snapshot:
        self.asked.release()
        raise BrokerError("broker:9092 does not answer")


def test_a_broker_that_is_away_is_said_and_asked_again(store: Store) -> None:
    silent = Silent()
    poller = Poller(Settings(bootstrap_servers="broker:9092", lag_interval_ms=10), store, connect=lambda: silent)
    poller.start()
    try:
        assert all(silent.asked.acquire(timeout=10) for _ in range(3))
        assert "broker:9092 does not answer" in (poller.status() or "")
    finally:
        poller.stop()


def test_a_port_that_refuses_is_an_error_for_people() -> None:
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 does not answer"):
        Broker("127.0.0.1:1", {"socket.connection.setup.timeout.ms": 1000}, timeout_s=0.5).ask({})
