"""Every sentence about a traced client holds on Apache Kafka."""

import pytest

from tests.kafka.broker import KafkaBroker
from tests.tracer.contract import TracedClientContract, TracedGroupContract
from tests.tracer.drivers.driver import Broker


@pytest.fixture
def broker(kafka: KafkaBroker) -> Broker:
    return Broker(kafka.bootstrap_servers, is_embedded=False)


class TestTracedClientsOnKafka(TracedClientContract):
    pass


class TestTracedGroupsOnKafka(TracedGroupContract):
    pass
