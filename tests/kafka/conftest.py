"""One Apache Kafka for the whole run."""

from collections.abc import Iterator
from pathlib import Path

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
