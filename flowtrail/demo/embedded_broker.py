"""A Kafka broker inside this process: librdkafka's mock cluster, on a loopback port.

For the demo and for fast tests. It keeps little, in memory; topics appear on first use, with four partitions;
groups, commits, idempotence and transactions work; listing and describing groups does not. It speaks the protocol
of Kafka 2.1 well enough for every client, when kafka-python is told so (`KAFKA_PYTHON_OPTIONS`).
"""

from types import TracebackType
from typing import Any, Final

from confluent_kafka import Producer

# kafka-python's own version probe fails on the mock's answer.
KAFKA_PYTHON_OPTIONS: Final[dict[str, Any]] = {"api_version": (2, 1)}


class EmbeddedBroker:
    """Runs while the `with` block does; `bootstrap_servers` is for any client of any process on this machine.

    Raises TimeoutError when the mock cluster is not up after `timeout_s`.
    """

    def __init__(self, timeout_s: float = 10) -> None:
        self._producer: Producer | None = Producer(
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 2}
        )
        metadata = self._producer.list_topics(timeout=timeout_s)
        if not metadata.brokers:
            raise TimeoutError(f"the embedded broker was not up after {timeout_s} s")
        self.cluster_id: str = metadata.cluster_id
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())

    def __enter__(self) -> "EmbeddedBroker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the broker; what it kept is gone. Closing twice is harmless."""
        self._producer = None

    def __repr__(self) -> str:
        state = "closed" if self._producer is None else self.bootstrap_servers
        return f"<EmbeddedBroker {state}>"
