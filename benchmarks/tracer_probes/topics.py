"""What lies in a topic, written and read by clients that nobody traces."""

import uuid
from typing import Any, NamedTuple

# Bound before anything is instrumented: these are the library's own classes.
from confluent_kafka import Consumer, Producer, TopicPartition

PARTITION = 0


class Stored(NamedTuple):
    """A record as it lies in its topic; headers in order, none when it has none."""

    partition: int
    offset: int
    headers: list[tuple[str, bytes | None]]

    @property
    def contexts(self) -> list[str]:
        """The span ids of its `traceparent` headers, in order."""
        found = [(value or b"").decode("ascii", "replace") for name, value in self.headers if name == "traceparent"]
        return [text.split("-")[2] if text.count("-") == 3 else text for text in found]


class Topic:
    """A topic of its own for a probe, on the embedded broker."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.name = f"probe-{uuid.uuid4().hex[:12]}"

    def write(self, *all_headers: list[tuple[str, bytes]]) -> None:
        """Write a record with each of these headers."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers})
        for headers in all_headers:
            producer.produce(self.name, b"value", b"key", partition=PARTITION, headers=[*headers])
        producer.flush()

    def read(self, count: int, *, partitions: int = 1, timeout_s: float = 10) -> list[Stored]:
        """Return the first records, in their order. Raises TimeoutError when they are fewer."""
        given: dict[str, Any] = {"bootstrap.servers": self.bootstrap_servers, "group.id": uuid.uuid4().hex}
        consumer = Consumer(given)
        try:
            consumer.assign([TopicPartition(self.name, number, 0) for number in range(partitions)])
            found = [
                Stored(message.partition() or 0, message.offset() or 0, _pairs(message.headers()))
                for message in consumer.consume(count, timeout_s)
                if not message.error()
            ]
        finally:
            consumer.close()
        if len(found) < count:
            raise TimeoutError(f"{len(found)} of {count} records were there")
        return found


def _pairs(headers: Any) -> list[tuple[str, bytes | None]]:
    return list(headers or [])


def context_of(number: int) -> tuple[str, bytes]:
    """Return the header of a context whose span id ends with this number."""
    return "traceparent", b"00-%032x-%016x-01" % (number + 0xABC000, number)
