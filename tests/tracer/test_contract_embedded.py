"""The contract of traced clients, on the broker inside this process."""

from collections.abc import Iterator
from typing import Any

import pytest

from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker

from .contract import TracedClientContract


@pytest.fixture(scope="module")
def bootstrap_servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="module")
def client_options() -> dict[str, Any]:
    return dict(KAFKA_PYTHON_OPTIONS)


class TestOnEmbeddedBroker(TracedClientContract):
    pass
