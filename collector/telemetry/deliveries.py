"""How long batches take: one measurement a batch, whatever it holds."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

from .metrics import DELIVERY

# A batch has up to 20 MiB; one event alone takes tens of milliseconds.
_BUCKETS_S: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class DeliveryTimes:
    """Measures the attempts of every reader. Safe to use from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histogram = Histogram(
            DELIVERY.name, DELIVERY.help, DELIVERY.labels, registry=registry, buckets=_BUCKETS_S
        )

    def of(self, reader: str) -> Callable[[str, float], None]:
        """Return what notes an attempt of this reader: its outcome and its seconds."""
        return lambda outcome, seconds: self._histogram.labels(reader, outcome).observe(seconds)
