"""The contract of traced clients, on the broker inside this process."""

from collections.abc import Iterator

import pytest

from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer.configuration import CONFIGURATION, Configuration

from .contract import TracedClientContract
from .drivers.driver import Broker
from .drivers.kafka_python import KafkaPython


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as broker:
        yield Broker(broker.bootstrap_servers, is_embedded=True)


class TestOnEmbeddedBroker(TracedClientContract):
    pass


class TestWithoutTheFastPath(TracedClientContract):
    """OpenTelemetry's own spans, made where they begin: the sentences are the same."""

    drivers = (KafkaPython,)
    ways = ("subclass",)

    @pytest.fixture(autouse=True)
    def make_ordinary_spans(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(CONFIGURATION, "now", Configuration(fast_path=False))
