"""Puts events through one traced client for a long time, and tells what the tracer counted and what memory it took.

python -m benchmarks.soak_worker CLIENT EVENTS BOOTSTRAP_SERVERS      writes its figures to stdout, progress to stderr

Each round sends events, waits until all are answered, and takes them back. The OTEL_* variables say where spans go.
"""

import asyncio
import json
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

import flowtrail

TOPIC: Final = "soak"
ROUND: Final = 1000
VALUE: Final = b'{"order": "ORD-1204", "customer": "C-77", "lines": [{"sku": "A-1", "count": 2}], "total": 1990}'
KEYS: Final = [b"ORD-%d" % number for number in range(ROUND)]
# The embedded broker answers a fetch that came before the records only after its whole time.
FETCH_WAIT_MS: Final = 10
# So many samples of memory are taken on the way, at equal distances.
SAMPLES: Final = 100
PATIENCE_S: Final = 60


class Client(ABC):
    """A producer and a consumer of one library, for one partition."""

    @abstractmethod
    def open(self, bootstrap_servers: str) -> None: ...

    @abstractmethod
    def send(self, count: int) -> None:
        """Send and return when all are answered."""

    @abstractmethod
    def take(self) -> int:
        """Poll once, for a second at most; return how many events came."""

    @abstractmethod
    def close(self) -> None: ...


class KafkaPython(Client):
    def open(self, bootstrap_servers: str) -> None:
        import kafka

        given: dict[str, Any] = {"bootstrap_servers": bootstrap_servers, "api_version": (2, 1)}
        self._producer = kafka.KafkaProducer(**given)
        self._producer.partitions_for(TOPIC)
        self._consumer = kafka.KafkaConsumer(**given, auto_offset_reset="earliest")
        self._consumer.assign([kafka.TopicPartition(TOPIC, 0)])

    def send(self, count: int) -> None:
        send = self._producer.send
        for key in KEYS[:count]:
            send(TOPIC, VALUE, key=key, partition=0)
        self._producer.flush()

    def take(self) -> int:
        return sum(map(len, self._consumer.poll(timeout_ms=1000).values()))

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()


class ConfluentKafka(Client):
    def open(self, bootstrap_servers: str) -> None:
        import confluent_kafka

        self._producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap_servers})
        self._producer.list_topics(TOPIC, timeout=PATIENCE_S)
        given = {"bootstrap.servers": bootstrap_servers, "group.id": "soak", "enable.auto.commit": False}
        self._consumer = confluent_kafka.Consumer(given | {"fetch.wait.max.ms": FETCH_WAIT_MS})
        self._consumer.assign([confluent_kafka.TopicPartition(TOPIC, 0, 0)])

    def send(self, count: int) -> None:
        produce, poll = self._producer.produce, self._producer.poll
        for key in KEYS[:count]:
            produce(TOPIC, VALUE, key, partition=0)
            poll(0)
        self._producer.flush()

    def take(self) -> int:
        return sum(message.error() is None for message in self._consumer.consume(ROUND, 1))

    def close(self) -> None:
        self._consumer.close()


class Aiokafka(Client):
    def open(self, bootstrap_servers: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._open(bootstrap_servers))

    async def _open(self, bootstrap_servers: str) -> None:
        import aiokafka

        self._producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
        await self._producer.start()
        await self._producer.partitions_for(TOPIC)
        self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS
        )
        await self._consumer.start()
        self._consumer.assign([aiokafka.TopicPartition(TOPIC, 0)])

    def send(self, count: int) -> None:
        self._loop.run_until_complete(self._send(count))

    async def _send(self, count: int) -> None:
        send = self._producer.send
        answers = [await send(TOPIC, VALUE, key=key, partition=0) for key in KEYS[:count]]
        await asyncio.gather(*answers)

    def take(self) -> int:
        polled = self._loop.run_until_complete(self._consumer.getmany(timeout_ms=1000))
        return sum(map(len, polled.values()))

    def close(self) -> None:
        self._loop.run_until_complete(self._producer.stop())
        self._loop.run_until_complete(self._consumer.stop())
        self._loop.close()


CLIENTS: Final[dict[str, type[Client]]] = {
    "kafka-python": KafkaPython,
    "confluent-kafka": ConfluentKafka,
    "aiokafka": Aiokafka,
}


def run(name: str, events: int, bootstrap_servers: str) -> dict[str, Any]:
    """Put `events` through; return what was taken, how long it took, the tracer's counts, and memory on the way."""
    flowtrail.instrument(service="soak")
    client = CLIENTS[name]()
    client.open(bootstrap_servers)
    sent = taken = 0
    rss_mb: list[float] = []
    began_s = time.monotonic()
    while sent < events:
        count = min(ROUND, events - sent)
        client.send(count)
        sent += count
        patient_until_s = time.monotonic() + PATIENCE_S
        while taken < sent:
            came = client.take()
            taken += came
            if came:
                patient_until_s = time.monotonic() + PATIENCE_S
            elif time.monotonic() > patient_until_s:
                raise TimeoutError(f"{sent - taken} events did not come back within {PATIENCE_S} s")
        if sent * SAMPLES >= (len(rss_mb) + 1) * events:
            rss_mb.append(_rss_mb())
            if len(rss_mb) % (SAMPLES // 20) == 0:
                rate = sent / (time.monotonic() - began_s)
                print(f"{name}: {sent:,} of {events:,} events, {rate:,.0f}/s, {rss_mb[-1]:.1f} MB", file=sys.stderr)
    took_s = time.monotonic() - began_s
    client.close()
    provider: Any = trace.get_tracer_provider()
    provider.force_flush()
    provider.shutdown()
    return {"taken": taken, "took_s": round(took_s, 1), "rss_mb": rss_mb, **asdict(flowtrail.health())}


def _rss_mb() -> float:
    """Memory in use; where the system does not tell it, the most that was ever used."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def main() -> None:
    name, events, bootstrap_servers = sys.argv[1:]
    print(json.dumps(run(name, int(events), bootstrap_servers)))


if __name__ == "__main__":
    main()
