"""One Apache Kafka for the whole run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.broker import KafkaBroker, KafkaMissing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the broker, and may wait for Maven the first time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kafka)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    try:
        broker = KafkaBroker().start()
    except KafkaMissing as missing:
        pytest.skip(str(missing))
    yield broker
    broker.stop()


@pytest.fixture
def bootstrap_servers(kafka: KafkaBroker) -> str:
    """The broker that the tracer's contract runs against."""
    return kafka.bootstrap_servers


@pytest.fixture
def client_options() -> dict[str, Any]:
    """What kafka-python must be told on this broker: nothing."""
    return {}
