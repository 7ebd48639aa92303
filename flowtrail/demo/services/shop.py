"""What every service of the shop shares: where Kafka is, how it is asked, and the diary that the demo is judged by."""

import argparse
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.serializer import Deserializer, Serializer
from kafka.structs import OffsetAndMetadata, TopicPartition

from flowtrail.demo.diary import Diary, time_now_ms
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS
from flowtrail.demo.topics import service_of

log = logging.getLogger(__name__)

_SEND_TIMEOUT_S: Final = 20


class Closing(Exception):
    """The shop closes while something is in hand."""


class Shop:
    """One process of the shop: `process` is `payments` or, for a desk of its own, `payments-invoices`."""

    def __init__(self, process: str, bootstrap_servers: str, prefix: str, diary: Diary, *, is_embedded: bool) -> None:
        self.process = process
        self.service = service_of(process)
        self.diary = diary
        self.closing = threading.Event()
        self._prefix = prefix
        self._kafka: dict[str, Any] = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": process,
            **(KAFKA_PYTHON_OPTIONS if is_embedded else {}),
        }

    @property
    def is_open(self) -> bool:
        """False once the process was told to end."""
        return not self.closing.is_set()

    @property
    def group(self) -> str:
        """The consumer group of this process."""
        return self._prefix + self.process

    @property
    def producer_options(self) -> dict[str, Any]:
        """What every producer of the shop is made with."""
        return {**self._kafka, "key_serializer": _Text(), "value_serializer": _Json(), "acks": "all"}

    @property
    def consumer_options(self) -> dict[str, Any]:
        """What every consumer of the shop is made with: offsets are committed after the work, not before."""
        return {
            **self._kafka,
            "group_id": self.group,
            "value_deserializer": _Json(),
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 1000,
            "metadata_max_age_ms": 5000,
            "max_poll_records": 20,
        }

    def subscribe(self, consumer: KafkaConsumer, *topics: str) -> None:
        """Subscribe to the shop's topics of these names, which are on the broker already."""
        names = [self._prefix + topic for topic in topics]
        for name in names:
            # A group that is joined before the topics are known assigns none of them, and kafka-python stays with that.
            consumer.partitions_for_topic(name)
        consumer.subscribe(names, listener=_Joined(self.diary))
        # The news of what it subscribed to would make it join a second time, and when a poll's time is over during
        # that, it never gets to the end of it (docs/kafka-clients.md): let it have them before it joins.
        consumer.topics()

    def topic_of(self, record: Any) -> str:
        """Return the shop's name for the topic that a record came from."""
        return str(record.topic).removeprefix(self._prefix)

    def records(self, consumer: KafkaConsumer) -> Iterator[Any]:
        """Yield records one by one until the shop closes; what was polled is handled first."""
        for batch in self.batches(consumer):
            yield from batch

    def batches(self, consumer: KafkaConsumer) -> Iterator[list[Any]]:
        """Yield what each poll brought, never nothing, until the shop closes."""
        while self.is_open:
            batch = [record for records in consumer.poll(timeout_ms=200).values() for record in records]
            for record in batch:
                self.diary.polled(record, self.group)
            if batch:
                yield batch

    def send(self, producer: KafkaProducer, topic: str, event: dict[str, Any], key: str | None = None) -> None:
        """Send an event about an order (or several, `orders`) and wait until Kafka has it.

        The key is the order's id unless another is given. Raises KafkaError when it is refused.
        """
        orders = event.get("orders") or [event["order"]]
        topic = self._prefix + topic
        began_ms = time_now_ms()
        try:
            metadata = producer.send(topic, key=key or event["order"], value=event).get(_SEND_TIMEOUT_S)
        except KafkaError as error:
            self.diary.not_sent(topic, orders, began_ms, error)
            raise
        self.diary.sent(topic, metadata.partition, metadata.offset, orders, began_ms)

    def handling(self, *records: Any) -> Any:
        """Note in the diary that these records are being handled, while the `with` block runs."""
        return self.diary.handling(self.group, *records)

    def commit(self, consumer: KafkaConsumer, *records: Any) -> None:
        """Commit that these records, and all before them in their partitions, are done."""
        positions: dict[TopicPartition, OffsetAndMetadata] = {}
        for record in records:
            positions[TopicPartition(record.topic, record.partition)] = OffsetAndMetadata(record.offset + 1, "", -1)
        try:
            consumer.commit(positions)
        except KafkaError as error:
            # The group moved on without us; whoever has the partition now handles these records again.
            log.warning("could not commit: %s", error)
            return
        for partition, position in positions.items():
            place = {"topic": partition.topic, "partition": partition.partition, "offset": position.offset}
            self.diary.note("committed", **place, group=self.group)

    def work_for(self, seconds: float) -> None:
        """Take that long. Raises Closing when the shop closes meanwhile."""
        if self.closing.wait(seconds):
            raise Closing(f"{self.process} closes with work in hand")


class _Joined(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes when the group gave this process partitions."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing is kept between records: nothing to hand over."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        if assigned:
            self._diary.note("joined", partitions=len(assigned))


def open_shop(arguments: Sequence[str]) -> Shop:
    """Return the shop that the command line describes; SIGTERM closes it, and so does the end of its parent."""
    parser = argparse.ArgumentParser(prog="python -m flowtrail.demo.services")
    parser.add_argument("process", help="storefront, orders, payments, payments-invoices, …")
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--diary", type=Path, required=True, help="folder for the diary")
    parser.add_argument("--prefix", default="", help="what the names of topics and groups begin with")
    parser.add_argument("--embedded", action="store_true", help="the broker is the embedded one")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.WARNING)
    diary = Diary(given.diary, given.process)
    shop = Shop(given.process, given.bootstrap_servers, given.prefix, diary, is_embedded=given.embedded)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: shop.closing.set())
    return shop


def close_with_parent(shop: Shop) -> None:
    """Close the shop when whoever started it is gone: the other end of standard input is then closed."""

    def wait_for_end() -> None:
        while os.read(0, 4096):
            pass
        shop.closing.set()
        threading.Timer(10, os._exit, (1,)).start()  # whatever hangs then hangs no longer

    threading.Thread(target=wait_for_end, name="parent", daemon=True).start()


class _Json(Serializer, Deserializer):  # type: ignore[misc]  # kafka-python has no types
    """Events as JSON."""

    def serialize(self, topic: str, headers: Any, data: Any) -> bytes:
        return json.dumps(data).encode()

    def deserialize(self, topic: str, headers: Any, data: bytes) -> Any:
        return json.loads(data)


class _Text(Serializer):  # type: ignore[misc]
    """Keys as text."""

    def serialize(self, topic: str, headers: Any, data: str) -> bytes:
        return data.encode()
