"""kafka-python, driven."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import kafka

from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS
from flowtrail.tracer.clients import kafka_python as ours

from .driver import (
    TIMEOUT_S,
    Ability,
    Broker,
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

LOOKS: Final = (Look.of(kafka.KafkaProducer), Look.of(kafka.KafkaConsumer))

CANNOT: Final = {
    Ability.NEW_PROTOCOL: "kafka-python 3.0 joins groups by the classic protocol alone",
}

# How long a loop waits for a record that does not come.
IDLE_MS: Final = 100


class Producer(DrivenProducer):
    def __init__(self, native: Any) -> None:
        self.native = native

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        given = _given(value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms)
        return _stored(self.native.send(topic, **given))

    def send_by_position(self, topic, value, key, headers, partition, timestamp_ms):  # type: ignore[no-untyped-def]
        return _stored(self.native.send(topic, value, key, headers, partition, timestamp_ms))

    def send_without_waiting(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        given = _given(value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms)
        self.native.send(topic, **given)

    def flush(self) -> None:
        self.native.flush(timeout=TIMEOUT_S)

    def close(self) -> None:
        self.native.close(timeout=5)

    def begin_transaction(self) -> None:
        self.native.begin_transaction()

    def send_offsets(self, consumer: DrivenConsumer, positions: Mapping[Place, int]) -> None:
        self.native.send_offsets_to_transaction(_offsets(positions), consumer.native.group_metadata())

    def commit_transaction(self) -> None:
        self.native.commit_transaction()

    def abort_transaction(self) -> None:
        self.native.abort_transaction()


class Consumer(DrivenConsumer):
    def __init__(self, native: Any) -> None:
        self.native = native

    def assign(self, *places: Place) -> None:
        self.native.assign([_partition(place) for place in places])

    def subscribe(
        self,
        topic: str,
        on_assigned: Callable[[list[Place]], None] | None = None,
        on_revoked: Callable[[list[Place]], None] | None = None,
    ) -> None:
        listener = _Listener(on_assigned, on_revoked) if on_assigned or on_revoked else None
        self.native.subscribe([topic], listener=listener)

    def poll(self, timeout_ms: int = 200) -> list[Any]:
        return [record for records in self.native.poll(timeout_ms=timeout_ms).values() for record in records]

    def each(self, count: int, body: Callable[[Any], None], *, comes_back: bool = True) -> None:
        left = count
        while left > 0:  # iteration ends by itself when nothing came for a while
            for record in self.native:
                body(record)
                left -= 1
                if left == 0 and not comes_back:
                    return

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
        self.native.commit(None if positions is None else _offsets(positions))

    def commit_async(
        self, positions: Mapping[Place, int] | None, answered: Callable[[BaseException | None], None]
    ) -> None:
        def call_back(_offsets: Any, answer: Any) -> None:
            answered(answer if isinstance(answer, BaseException) else None)

        self.native.commit_async(None if positions is None else _offsets(positions), callback=call_back)

    def committed(self, place: Place) -> int | None:
        return self.native.committed(_partition(place))  # type: ignore[no-any-return]

    def seek(self, place: Place, offset: int) -> None:
        self.native.seek(_partition(place), offset)

    def seek_to_beginning(self, place: Place) -> None:
        self.native.seek_to_beginning(_partition(place))

    def close(self) -> None:
        self.native.close(timeout_ms=5000)


class KafkaPython(Driver):
    name = "kafka-python"
    can = frozenset(Ability) - CANNOT.keys()
    cannot = CANNOT

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._options: dict[str, Any] = {"bootstrap_servers": broker.bootstrap_servers}
        if broker.is_embedded:
            self._options |= KAFKA_PYTHON_OPTIONS

    def producer_class(self, way: Way) -> type:
        return ours.KafkaProducer if way == "subclass" else kafka.KafkaProducer

    def consumer_class(self, way: Way) -> type:
        return ours.KafkaConsumer if way == "subclass" else kafka.KafkaConsumer

    def make_producer(self, way: Way, options: ProducerOptions) -> Producer:
        given = self._options | _given(
            bootstrap_servers=options.bootstrap_servers,
            client_id=options.client_id,
            transactional_id=options.transactional_id,
            max_request_size=options.longest_request_bytes,
            linger_ms=options.linger_ms,
            delivery_timeout_ms=options.delivery_timeout_ms,
            value_serializer=None if options.value_serializer is None else _Serializer(options.value_serializer),
        )
        if options.delivery_timeout_ms is not None:
            limited = ("request_timeout_ms", "max_block_ms", "bootstrap_timeout_ms")
            given |= dict.fromkeys(limited, options.delivery_timeout_ms)
        native = self.producer_class(way)(**given)
        if options.transactional_id is not None:
            native.init_transactions()
        return Producer(native)

    def make_consumer(self, way: Way, options: ConsumerOptions) -> Consumer:
        given = self._options | _given(
            auto_offset_reset="earliest",
            client_id=options.client_id,
            group_id=options.group,
            max_poll_records=options.most_records,
            auto_commit_interval_ms=options.auto_commit_ms,
            heartbeat_interval_ms=options.heartbeat_ms,
            isolation_level="read_committed" if options.reads_committed else None,
            enable_auto_commit=options.auto_commit_ms is not None,
            consumer_timeout_ms=IDLE_MS,
        )
        return Consumer(self.consumer_class(way)(**given))

    def namespaces(self) -> Sequence[object]:
        return (kafka, kafka.KafkaProducer, kafka.KafkaConsumer)

    def looks(self) -> Sequence[Look]:
        return LOOKS

    def coordinates(self, record: Any) -> tuple[str, int, int]:
        return record.topic, record.partition, record.offset

    def headers(self, record: Any) -> list[tuple[str, bytes | None]]:
        return list(record.headers)

    def key(self, record: Any) -> Any:
        return record.key

    def value(self, record: Any) -> Any:
        return record.value

    def timestamp_ms(self, record: Any) -> int:
        return int(record.timestamp)


class _Serializer(kafka.Serializer):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, function: Callable[[Any], bytes | None]) -> None:
        self._function = function

    def serialize(self, topic: str, headers: Any, data: Any) -> bytes | None:
        return self._function(data)


class _Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    def __init__(
        self, on_assigned: Callable[[list[Place]], None] | None, on_revoked: Callable[[list[Place]], None] | None
    ) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    def on_partitions_assigned(self, assigned: Any) -> None:
        if self._on_assigned is not None:
            self._on_assigned([Place(each.topic, each.partition) for each in assigned])

    def on_partitions_revoked(self, revoked: Any) -> None:
        if self._on_revoked is not None:
            self._on_revoked([Place(each.topic, each.partition) for each in revoked])


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _stored(future: Any) -> Stored:
    metadata = future.get(TIMEOUT_S)
    return Stored(metadata.partition, metadata.offset)


def _partition(place: Place) -> Any:
    return kafka.TopicPartition(*place)


def _offsets(positions: Mapping[Place, int]) -> dict[Any, Any]:
    return {_partition(place): kafka.OffsetAndMetadata(offset, "", -1) for place, offset in positions.items()}
