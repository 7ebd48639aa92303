"""aiokafka, driven: each call runs the driver's own event loop until it is done, in the caller's thread and context."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import aiokafka
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import ConsumerRecord

from flowtrail.tracer.clients import aiokafka as ours

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

LOOKS: Final = (Look.of(aiokafka.AIOKafkaProducer), Look.of(aiokafka.AIOKafkaConsumer))

CANNOT: Final = {
    Ability.NEW_PROTOCOL: "aiokafka joins groups by the classic protocol alone",
    Ability.ASYNC_COMMIT: "aiokafka's commit is awaited; one that is not waited for is a task of the program's own",
    Ability.THREADS: "aiokafka's producers belong to one event loop, and so to one thread",
}

# How long a loop waits for a record that does not come.
IDLE_S: Final = 0.05
# A producer that was stopped waits for ever for a topic that it does not know.
STOPPED_S: Final = 1
# The embedded broker lets a fetch wait so long, even when a record comes meanwhile.
FETCH_WAIT_MS: Final = 20


class Loop:
    """The event loop of one driver; what is begun in a body goes on when the loop runs the next time."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._begun: list[asyncio.Task[Any]] = []

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float = TIMEOUT_S) -> Any:
        """Run until it is done; as a task of its own, with a copy of the caller's context."""
        return self._loop.run_until_complete(_within(coroutine, timeout_s))

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run beside what runs now; without a running loop, just begin."""
        if self._loop.is_running():
            self._begun.append(self._loop.create_task(coroutine))
        else:
            self.run(coroutine)

    async def finish(self) -> None:
        begun, self._begun = self._begun, []
        await asyncio.gather(*begun)

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class Producer(DrivenProducer):
    def __init__(self, native: Any, loop: Loop) -> None:
        self.native = native
        self._loop = loop

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        given = _given(value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms)
        timeout_s = STOPPED_S if self.native._closed else TIMEOUT_S
        return self._loop.run(self._stored(self.native.send(topic, **given)), timeout_s)

    def send_by_position(self, topic, value, key, headers, partition, timestamp_ms):  # type: ignore[no-untyped-def]
        return self._loop.run(self._stored(self.native.send(topic, value, key, partition, timestamp_ms, headers)))

    def send_without_waiting(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        given = _given(value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms)
        self._loop.begin(self.native.send(topic, **given))

    def flush(self) -> None:
        async def flush() -> None:
            await self._loop.finish()
            await self.native.flush()

        self._loop.run(flush())

    def close(self) -> None:
        self._loop.run(self.native.stop())

    def begin_transaction(self) -> None:
        self._loop.run(self.native.begin_transaction())

    def send_offsets(self, consumer: DrivenConsumer, positions: Mapping[Place, int]) -> None:
        group = consumer.native._group_id
        self._loop.run(self.native.send_offsets_to_transaction(_offsets(positions), group))

    def commit_transaction(self) -> None:
        self._loop.run(self.native.commit_transaction())

    def abort_transaction(self) -> None:
        self._loop.run(self.native.abort_transaction())

    async def _stored(self, sent: Coroutine[Any, Any, Any]) -> Stored:
        metadata = await (await sent)
        return Stored(None, None) if metadata is None else Stored(metadata.partition, metadata.offset)


class Consumer(DrivenConsumer):
    def __init__(self, native: Any, loop: Loop) -> None:
        self.native = native
        self._loop = loop

    def assign(self, *places: Place) -> None:
        async def assign() -> None:  # it begins tasks
            self.native.assign([_partition(place) for place in places])

        self._loop.run(assign())

    def subscribe(
        self,
        topic: str,
        on_assigned: Callable[[list[Place]], None] | None = None,
        on_revoked: Callable[[list[Place]], None] | None = None,
    ) -> None:
        async def subscribe() -> None:
            listener = _Listener(on_assigned, on_revoked) if on_assigned or on_revoked else None
            self.native.subscribe([topic], listener=listener)

        self._loop.run(subscribe())

    def poll(self, timeout_ms: int = 200) -> list[Any]:
        polled = self._loop.run(self.native.getmany(timeout_ms=timeout_ms))
        return [record for records in polled.values() for record in records]

    def each(self, count: int, body: Callable[[Any], None], *, comes_back: bool = True) -> None:
        async def loop() -> None:
            left = count
            async for record in self.native:
                body(record)
                left -= 1
                if left == 0:
                    break
            if comes_back:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await anext(self.native)

        self._loop.run(loop())

    def each_batch(self, count: int, body: Callable[[list[Any]], None], *, comes_back: bool = True) -> None:
        async def loop() -> None:
            seen = 0
            while seen < count:
                polled = await self.native.getmany(timeout_ms=200)
                records = [record for found in polled.values() for record in found]
                if records:
                    body(records)
                    seen += len(records)
            if comes_back:
                await self.native.getmany()

        self._loop.run(loop())

    def commit(self, positions: Mapping[Place, int] | None = None) -> None:
        self._loop.run(self.native.commit(None if positions is None else _offsets(positions)))

    def commit_async(
        self, positions: Mapping[Place, int] | None, answered: Callable[[BaseException | None], None]
    ) -> None:
        raise NotImplementedError(CANNOT[Ability.ASYNC_COMMIT])

    def committed(self, place: Place) -> int | None:
        return self._loop.run(self.native.committed(_partition(place)))  # type: ignore[no-any-return]

    def seek(self, place: Place, offset: int) -> None:
        async def seek() -> None:
            self.native.seek(_partition(place), offset)

        self._loop.run(seek())

    def seek_to_beginning(self, place: Place) -> None:
        self._loop.run(self.native.seek_to_beginning(_partition(place)))

    def close(self) -> None:
        self._loop.run(self.native.stop())


class Aiokafka(Driver):
    name = "aiokafka"
    can = frozenset(Ability) - CANNOT.keys()
    cannot = CANNOT

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._loop = Loop()

    def close(self) -> None:
        self._loop.close()

    def producer_class(self, way: Way) -> type:
        return ours.AIOKafkaProducer if way == "subclass" else aiokafka.AIOKafkaProducer

    def consumer_class(self, way: Way) -> type:
        return ours.AIOKafkaConsumer if way == "subclass" else aiokafka.AIOKafkaConsumer

    def make_producer(self, way: Way, options: ProducerOptions) -> Producer:
        given = _given(
            bootstrap_servers=options.bootstrap_servers or self.broker.bootstrap_servers,
            client_id=options.client_id,
            transactional_id=options.transactional_id,
            max_request_size=options.longest_request_bytes,
            linger_ms=options.linger_ms,
            request_timeout_ms=options.delivery_timeout_ms,
            value_serializer=options.value_serializer,
        )
        return Producer(self._loop.run(_started(self.producer_class(way), given)), self._loop)

    def make_consumer(self, way: Way, options: ConsumerOptions) -> Consumer:
        given = _given(
            bootstrap_servers=self.broker.bootstrap_servers,
            auto_offset_reset="earliest",
            client_id=options.client_id,
            group_id=options.group,
            max_poll_records=options.most_records,
            auto_commit_interval_ms=options.auto_commit_ms,
            isolation_level="read_committed" if options.reads_committed else None,
            enable_auto_commit=options.auto_commit_ms is not None,
            fetch_max_wait_ms=FETCH_WAIT_MS if self.broker.is_embedded else None,
        )
        return Consumer(self._loop.run(_started(self.consumer_class(way), given)), self._loop)

    def namespaces(self) -> Sequence[object]:
        return (
            aiokafka,
            aiokafka.AIOKafkaProducer,
            aiokafka.AIOKafkaConsumer,
            BatchBuilder,
            ClusterMetadata,
            ConsumerRecord,
            GroupCoordinator,
            SubscriptionState,
        )

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


class _Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    def __init__(
        self, on_assigned: Callable[[list[Place]], None] | None, on_revoked: Callable[[list[Place]], None] | None
    ) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    async def on_partitions_assigned(self, assigned: Any) -> None:
        if self._on_assigned is not None:
            self._on_assigned([Place(each.topic, each.partition) for each in assigned])

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if self._on_revoked is not None:
            self._on_revoked([Place(each.topic, each.partition) for each in revoked])


async def _started(kind: Any, given: dict[str, Any]) -> Any:
    native = kind(**given)
    try:
        await native.start()
    except BaseException:
        await native.stop()
        raise
    return native


async def _within(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
    async with asyncio.timeout(timeout_s):
        return await coroutine


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _partition(place: Place) -> Any:
    return aiokafka.TopicPartition(*place)


def _offsets(positions: Mapping[Place, int]) -> dict[Any, int]:
    return {_partition(place): offset for place, offset in positions.items()}
