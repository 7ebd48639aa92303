"""The contract of traced clients, on the broker inside this process."""

from collections.abc import Iterator

import pytest

from flowtrail.demo.embedded_broker import EmbeddedBroker

from .contract import TracedClientContract
from .drivers.driver import Broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as broker:
        yield Broker(broker.bootstrap_servers, is_embedded=True)


class TestOnEmbeddedBroker(TracedClientContract):
    pass
