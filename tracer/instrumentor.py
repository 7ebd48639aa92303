"""OpenTelemetry's own way to put tracing in: `opentelemetry-instrument python app.py`, without a changed line.

It finds `FlowtrailInstrumentor` by the entry point `flowtrail` and calls it before the program starts. The package
opentelemetry-instrumentation, which has that command, is imported here and nowhere else. `OTEL_PYTHON_DISABLED_
INSTRUMENTATIONS=flowtrail` leaves it out.

The tracing is in from the start, but OpenTelemetry's SDK is set up at the first use of a client, and only if there is
no provider by then: a program that sets one up itself does it later than this.
"""

import logging
from collections.abc import Collection
from importlib import metadata
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # it has no types

from . import instrumentation
from .configuration import Options

_log = logging.getLogger("flowtrail.tracer")

# What `instrument` takes.
ARGUMENTS: Final = {"service", "tracer_provider", "meter_provider", "interceptors", *Options.__annotations__}

# What is traced; the extra `instruments-any` of this distribution says the same to OpenTelemetry.
CLIENTS: Final = ("kafka-python >= 3.0", "confluent-kafka >= 2.5", "aiokafka >= 0.11")


class FlowtrailInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # an optional package
    """Flowtrail as one of OpenTelemetry's instrumentors, for all Kafka clients that are installed.

    `FlowtrailInstrumentor().instrument(…)` takes what `flowtrail.instrument` does; what it does not know is passed over
    with a line in the log, since a distribution of OpenTelemetry's gives the same arguments to all instrumentors.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The clients that are installed, each as a requirement; all when none is."""
        return tuple(client for client in CLIENTS if _is_installed(client.split()[0])) or CLIENTS

    def _instrument(self, **kwargs: Any) -> None:
        taken = {name: value for name, value in kwargs.items() if name in ARGUMENTS}
        if passed_over := sorted(kwargs.keys() - taken.keys()):
            _log.warning("FlowtrailInstrumentor takes no %s; passed over", ", ".join(passed_over))
        instrumentation.instrument_at_first_use(**taken)

    def _uninstrument(self, **kwargs: Any) -> None:
        instrumentation.uninstrument()


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
