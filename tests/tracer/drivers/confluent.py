"""confluent-kafka, driven."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaException, Message, TopicPartition, aio, cimpl

from flowtrail.tracer.clients import confluent as ours

from .driver import (
    TIMEOUT_S,
    Ability,
    ConsumerOptions,
    DrivenConsumer,
    DrivenProducer,
    Driver,
    Look,
    Place,
    ProducerOptions,
    Stored,
    Way,
)

# As they are before anything of ours: `instrument` changes what the library's names stand for.
PLAIN_PRODUCER: Final[Any] = cimpl.Producer
PLAIN_CONSUMER: Final[Any] = cimpl.Consumer
LOOKS: Final = tuple(
    Look.of(kind)
    for kind in (
        PLAIN_PRODUCER,
        PLAIN_CONSUMER,
        confluent_kafka.SerializingProducer,
        confluent_kafka.DeserializingConsumer,
        aio.AIOProducer,
        aio.AIOConsumer,
    )
)

CANNOT: Final = {
    Ability.ITERATION: "confluent-kafka's consumer is no iterator: its loop is one of polls",
    Ability.CLUSTER_ID: "confluent-kafka has no cluster id without asking the broker",
    Ability.VALUE_SERIALIZER: "confluent-kafka's Producer takes bytes and text; SerializingProducer has its own tests",
}

# How long a loop waits for a record that does not come.
IDLE_S: Final = 0.3


class Producer(DrivenProducer):
    def __init__(self, native: Any) -> None:
        self.native = native

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        given = _given(value=value, key=key, headers=headers, partition=partition, timestamp=timestamp_ms)
        reports: list[Any] = []
        self.native.produce(topic, on_delivery=lambda *report: reports.append(report), **given)
        return self._stored(reports)

    def send_by_position(self, topic, value, key, headers, partition, timestamp_ms):  # type: ignore[no-untyped-def]
        reports: list[Any] = []

        def report(error: Any, message: Any) -> None:
            reports.append((error, message))

        self.native.produce(topic, value, key, partition, report, None, timestamp_ms, headers)
        return self._stored(reports)

    def send_without_waiting(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        given = _given(value=value, key=key, headers=headers, partition=partition, timestamp=timestamp_ms)
        self.native.produce(topic, **given)

    def flush(self) -> None:
        self.native.flush(TIMEOUT_S)

    def close(self) -> None:
        self.native.close()

    def begin_transaction(self) -> None:
        self.native.begin_transaction()

    def send_offsets(self, consumer: DrivenConsumer, positions: Mapping[Place, int]) -> None:
        metadata = consumer.native.consumer_group_metadata()
        self.native.send_offsets_to_transaction(_offsets(positions), metadata, TIMEOUT_S)

    def commit_transaction(self) -> None:
        self.native.commit_transaction(TIMEOUT_S)

    def abort_transaction(self) -> None:
        self.native.abort_transaction(TIMEOUT_S)

    def _stored(self, reports: list[Any]) -> Stored:
        ends = time.monotonic() + TIMEOUT_S
        while not reports and time.monotonic() < ends:
            self.native.poll(0.1)
        ((error, message),) = reports
        if error is not None:
            raise KafkaException(error)
        return Stored(message.partition(), message.offset())


class Consumer(DrivenConsumer):
    def __init__(self, native: Any) -> None:
        self.native = native
        self._answered: list[Callable[[BaseException | None], None]] = []

    def on_commit(self, error: Any, _places: Any) -> None:
        """The callback in the consumer's configuration."""
        if self._answered:
            self._answered.pop(0)(None if error is None else KafkaException(error))

    def assign(self, *places: Place) -> None:
        self.native.assign([TopicPartition(*place) for place in places])

    def subscribe(
        self,
        topic: str,
        on_assigned: Callable[[list[Place]], None] | None = None,
        on_revoked: Callable[[list[Place]], None] | None = None,
    ) -> None:
        listening = {
            name: _listener(callback)
            for name, callback in (("on_assign", on_assigned), ("on_revoke", on_revoked))
            if callback is not None
        }
        self.native.subscribe([topic], **listening)

    def poll(self, timeout_ms: int = 50) -> list[Any]:
        # The client waits so long even when it has records, for more of them.
        return _records(self.native.consume(500, timeout_ms / 1000))

    def each(self, count: int, body: Callable[[Any], None], *, comes_back: bool = True) -> None:
        left = count
        while left > 0:
            for record in _records([self.native.poll(IDLE_S)]):
                body(record)
                left -= 1
        if comes_back:
            self.native.poll(0)

    def each_batch(self, count: int, body: Callable[[list[Any]], None], *, comes_back: bool = True) -> None:
        seen = 0
        while seen < count:
            records = self.poll()
            if records:
                body(records)
                seen += len(records)
        if comes_back:
            self.poll(timeout_ms=0)

    def commit(self, positions: Mapping[Place, int] | None = None) -> None:
        given = {} if positions is None else {"offsets": _offsets(positions)}
        self.native.commit(asynchronous=False, **given)

    def commit_async(
        self, positions: Mapping[Place, int] | None, answered: Callable[[BaseException | None], None]
    ) -> None:
        self._answered.append(answered)
        self.native.commit(**({} if positions is None else {"offsets": _offsets(positions)}))

    def committed(self, place: Place) -> int | None:
        (found,) = self.native.committed([TopicPartition(*place)], TIMEOUT_S)
        return found.offset if found.offset >= 0 else None

    def seek(self, place: Place, offset: int) -> None:
        self.native.seek(TopicPartition(*place, offset))

    def seek_to_beginning(self, place: Place) -> None:
        self.native.seek(TopicPartition(*place, confluent_kafka.OFFSET_BEGINNING))

    def close(self) -> None:
        self.native.close()


class Confluent(Driver):
    name = "confluent-kafka"
    can = frozenset(Ability) - CANNOT.keys()
    cannot = CANNOT

    def producer_class(self, way: Way) -> type:
        named: dict[Way, Any] = {
            "plain": PLAIN_PRODUCER,
            "subclass": ours.Producer,
            "instrumented": confluent_kafka.Producer,
        }
        return named[way]  # type: ignore[no-any-return]

    def consumer_class(self, way: Way) -> type:
        named: dict[Way, Any] = {
            "plain": PLAIN_CONSUMER,
            "subclass": ours.Consumer,
            "instrumented": confluent_kafka.Consumer,
        }
        return named[way]  # type: ignore[no-any-return]

    def make_producer(self, way: Way, options: ProducerOptions) -> Producer:
        given = _named(
            bootstrap_servers=options.bootstrap_servers or self.broker.bootstrap_servers,
            client_id=options.client_id,
            transactional_id=options.transactional_id,
            message_max_bytes=options.longest_request_bytes,
            linger_ms=options.linger_ms,
            message_timeout_ms=options.delivery_timeout_ms,
        )
        native = self.producer_class(way)(given | {"log_level": 2})
        if options.transactional_id is not None:
            native.init_transactions(TIMEOUT_S)
        return Producer(native)

    def make_consumer(self, way: Way, options: ConsumerOptions) -> Consumer:
        given = _named(
            bootstrap_servers=self.broker.bootstrap_servers,
            client_id=options.client_id,
            # The client wants one, also for partitions that are assigned by hand.
            group_id=options.group or "no-group",
            auto_offset_reset="earliest",
            auto_commit_interval_ms=options.auto_commit_ms,
            isolation_level="read_committed" if options.reads_committed else "read_uncommitted",
            group_protocol="consumer" if options.new_protocol else None,
            heartbeat_interval_ms=None if options.new_protocol else options.heartbeat_ms,
        )
        consumer = Consumer(None)
        # A topic that is not there yet is to be looked for soon, as the others do.
        more: dict[str, Any] = {"allow.auto.create.topics": True, "topic.metadata.refresh.interval.ms": 500}
        # The embedded broker lets a fetch wait so long, even when a record comes meanwhile.
        more["fetch.wait.max.ms"] = 20
        more |= {"enable.auto.commit": options.auto_commit_ms is not None, "on_commit": consumer.on_commit}
        consumer.native = self.consumer_class(way)(given | more | {"log_level": 2})
        return consumer

    def namespaces(self) -> Sequence[object]:
        modules = [found for name, found in sys.modules.items() if name.split(".")[0] == "confluent_kafka"]
        kinds = (confluent_kafka.SerializingProducer, confluent_kafka.DeserializingConsumer)
        return (*modules, PLAIN_PRODUCER, PLAIN_CONSUMER, *kinds, aio.AIOProducer, aio.AIOConsumer)

    def looks(self) -> Sequence[Look]:
        return LOOKS

    def coordinates(self, record: Any) -> tuple[str, int, int]:
        return record.topic(), record.partition(), record.offset()

    def headers(self, record: Any) -> list[tuple[str, bytes | None]]:
        return list(record.headers() or ())

    def key(self, record: Any) -> Any:
        return record.key()

    def value(self, record: Any) -> Any:
        return record.value()

    def timestamp_ms(self, record: Any) -> int:
        return int(record.timestamp()[1])


def _listener(callback: Callable[[list[Place]], None]) -> Callable[[Any, Any], None]:
    return lambda _consumer, places: callback([Place(each.topic, each.partition) for each in places])


def _records(messages: Sequence[Message | None]) -> list[Any]:
    return [message for message in messages if message is not None and message.error() is None]


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _named(**options: Any) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in _given(**options).items()}


def _offsets(positions: Mapping[Place, int]) -> list[Any]:
    return [TopicPartition(*place, offset) for place, offset in positions.items()]
