"""The loop that is measured, for each client: a chunk of sends until the last is answered, and a chunk of records.

Both call what a program of that client calls, in the way that its documentation shows.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Final

VALUE: Final = b'{"order": "ORD-1204", "customer": "C-77", "lines": [{"sku": "A-1", "count": 2}], "total": 1990}'
KEYS: Final = [b"ORD-%d" % number for number in range(1000)]
PARTITION: Final = 0
# What Java's consumer, and kafka-python's, polls at most by default.
BATCH: Final = 500


class Loops(ABC):
    """The loops of one client. Made anew for each operation; `is_by_class` where only new objects can be traced."""

    is_by_class = False
    _client: Any  # producer or consumer, whichever `open` was asked for

    @abstractmethod
    def open(self, bootstrap_servers: str, topic: str, *, consumes: bool) -> None:
        """Make the client and bring it to where the first chunk costs what every chunk costs."""

    @abstractmethod
    def send(self, count: int, headers: Any) -> None:
        """Send `count` records and return when all are answered."""

    @abstractmethod
    def rewind(self) -> None:
        """Go back to the first record of the topic."""

    @abstractmethod
    def consume(self, count: int) -> int:
        """Take `count` records one by one and return the bytes of their values."""

    @abstractmethod
    def consume_batch(self, count: int) -> int:
        """The same by batches of up to `BATCH` records."""

    @abstractmethod
    def close(self) -> None: ...


class KafkaPython(Loops):
    """`producer.send(…)`, and `for record in consumer`."""

    def open(self, bootstrap_servers: str, topic: str, *, consumes: bool) -> None:
        import kafka

        # The embedded broker answers kafka-python's version probe in a way that it cannot read.
        given: dict[str, Any] = {"bootstrap_servers": bootstrap_servers, "api_version": (2, 1)}
        self._topic = topic
        if consumes:
            self._client = kafka.KafkaConsumer(**given, enable_auto_commit=False)
            self._place = kafka.TopicPartition(topic, PARTITION)
            self._client.assign([self._place])
        else:
            # Batches as large as a chunk. With small ones kafka-python writes to a socket to wake its own thread, for
            # some 11 µs, at every send or at none, as the two threads keep pace: more than all that is measured.
            self._client = kafka.KafkaProducer(**given, linger_ms=20, batch_size=1 << 20)
            self._client.partitions_for(topic)

    def send(self, count: int, headers: Any) -> None:
        send, topic, keys = self._client.send, self._topic, KEYS
        if headers is None:
            for number in range(count):
                send(topic, VALUE, key=keys[number % 1000], partition=PARTITION)
        else:
            for number in range(count):
                send(topic, VALUE, key=keys[number % 1000], partition=PARTITION, headers=headers)
        self._client.flush()

    def rewind(self) -> None:
        self._client.seek(self._place, 0)

    def consume(self, count: int) -> int:
        taken_bytes = 0
        for taken, record in enumerate(self._client, 1):
            taken_bytes += len(record.value)
            if taken == count:
                break
        return taken_bytes

    def consume_batch(self, count: int) -> int:
        taken = taken_bytes = 0
        while taken < count:
            polled = self._client.poll(10_000, max_records=min(BATCH, count - taken))
            for records in polled.values():
                taken += len(records)
                taken_bytes += sum(len(record.value) for record in records)
        return taken_bytes

    def close(self) -> None:
        self._client.close()


class ConfluentKafka(Loops):
    """`producer.produce(…)` with `poll(0)` after each, and `consumer.poll(…)`."""

    is_by_class = True

    def open(self, bootstrap_servers: str, topic: str, *, consumes: bool) -> None:
        import confluent_kafka

        self._topic = topic
        if consumes:
            given = {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "readers",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,  # a seek waits for the fetch that is under way
            }
            self._client = confluent_kafka.Consumer(given)
            self._place = confluent_kafka.TopicPartition(topic, PARTITION, 0)
            self._client.assign([self._place])
            while self._client.poll(1) is None:
                pass  # a partition can be sought once it is being fetched
        else:
            self._client = confluent_kafka.Producer({"bootstrap.servers": bootstrap_servers})
            self._client.list_topics(topic, timeout=10)

    def send(self, count: int, headers: Any) -> None:
        produce, poll, topic, keys = self._client.produce, self._client.poll, self._topic, KEYS
        if headers is None:
            for number in range(count):
                produce(topic, VALUE, keys[number % 1000], partition=PARTITION)
                poll(0)
        else:
            for number in range(count):
                produce(topic, VALUE, keys[number % 1000], partition=PARTITION, headers=headers)
                poll(0)
        self._client.flush()

    def rewind(self) -> None:
        self._client.seek(self._place)

    def consume(self, count: int) -> int:
        poll = self._client.poll
        taken = taken_bytes = 0
        while taken < count:
            message = poll(10)
            if message is None or message.error():
                raise RuntimeError(f"no record: {message and message.error()}")
            taken_bytes += len(message.value())
            taken += 1
        return taken_bytes

    def consume_batch(self, count: int) -> int:
        taken = taken_bytes = 0
        while taken < count:
            for message in self._client.consume(min(BATCH, count - taken), 10):
                if message.error():
                    raise RuntimeError(f"no record: {message.error()}")
                taken_bytes += len(message.value())
                taken += 1
        return taken_bytes

    def close(self) -> None:
        close = getattr(self._client, "close", None)
        if close is not None:
            close()


class Aiokafka(Loops):
    """`await producer.send(…)`, and `async for record in consumer`."""

    def open(self, bootstrap_servers: str, topic: str, *, consumes: bool) -> None:
        self._topic = topic
        self._runner = asyncio.Runner()
        self._runner.run(self._open(bootstrap_servers, consumes=consumes))

    async def _open(self, bootstrap_servers: str, *, consumes: bool) -> None:
        import aiokafka

        if consumes:
            self._client = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
            await self._client.start()
            self._place = aiokafka.TopicPartition(self._topic, PARTITION)
            self._client.assign([self._place])
        else:
            self._client = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
            await self._client.start()
            await self._client.partitions_for(self._topic)

    def send(self, count: int, headers: Any) -> None:
        self._runner.run(self._send(count, headers))

    async def _send(self, count: int, headers: Any) -> None:
        send, topic, keys = self._client.send, self._topic, KEYS
        if headers is None:
            for number in range(count):
                await send(topic, VALUE, key=keys[number % 1000], partition=PARTITION)
        else:
            for number in range(count):
                await send(topic, VALUE, key=keys[number % 1000], partition=PARTITION, headers=headers)
        await self._client.flush()
        await asyncio.sleep(0)  # the last answer's callbacks

    def rewind(self) -> None:
        self._client.seek(self._place, 0)

    def consume(self, count: int) -> int:
        return self._runner.run(self._consume(count))

    async def _consume(self, count: int) -> int:
        taken = taken_bytes = 0
        async for record in self._client:
            taken_bytes += len(record.value)
            taken += 1
            if taken == count:
                break
        return taken_bytes

    def consume_batch(self, count: int) -> int:
        return self._runner.run(self._consume_batch(count))

    async def _consume_batch(self, count: int) -> int:
        taken = taken_bytes = 0
        while taken < count:
            polled = await self._client.getmany(timeout_ms=10_000, max_records=min(BATCH, count - taken))
            for records in polled.values():
                taken += len(records)
                taken_bytes += sum(len(record.value) for record in records)
        return taken_bytes

    def close(self) -> None:
        self._runner.run(self._client.stop())
        self._runner.close()


LOOPS: Final[dict[str, type[Loops]]] = {
    "kafka-python": KafkaPython,
    "confluent-kafka": ConfluentKafka,
    "aiokafka": Aiokafka,
}
