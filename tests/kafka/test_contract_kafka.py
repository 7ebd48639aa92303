"""Every sentence about a traced client holds on Apache Kafka."""

from tests.tracer.contract import TracedClientContract


class TestTracedClientsOnKafka(TracedClientContract):
    """The fixtures of this folder name the broker."""
