"""Every sentence about a traced client holds on Apache Kafka."""

import pytest

from tests.kafka.broker import KafkaBroker
from tests.tracer.contract import TracedClientContract, TracedGroupContract
from tests.tracer.drivers.driver import Broker, Way


@pytest.fixture
def broker(kafka: KafkaBroker) -> Broker:
    return Broker(kafka.bootstrap_servers, is_embedded=False)


# The subclasses and the library's own classes do the same by the same functions: the embedded broker sees both.
WAYS: tuple[Way, ...] = ("instrumented",)


class TestTracedClientsOnKafka(TracedClientContract):
    ways = WAYS


class TestTracedGroupsOnKafka(TracedGroupContract):
    ways = WAYS
