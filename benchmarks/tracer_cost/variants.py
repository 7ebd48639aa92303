"""Each way of tracing that is measured: switched on and off in one process, so that a chunk with it and a chunk
without it are a pair that sees the same machine.

The others are not installed where Flowtrail is developed, hence `import_module`.
"""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar, Final

FLUSH_TIMEOUT_MS: Final = 60_000


class Variant(ABC):
    """A way of tracing. `headers` go with every send while it is on."""

    headers: ClassVar[Any] = None

    @abstractmethod
    def switch_on(self) -> None: ...

    @abstractmethod
    def switch_off(self) -> None: ...

    @abstractmethod
    def flush(self) -> None:
        """Return when every finished span has been handed to the receiver."""


class Bare(Variant):
    """Nothing at all: what it adds to itself is the noise of the measurement."""

    def switch_on(self) -> None:
        """Nothing to do."""

    def switch_off(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """There are no spans."""


class OneHeader(Bare):
    """A header that never changes: what any tracing must add, to the client's own work."""

    headers: ClassVar[Any] = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]


class Flowtrail(Variant):
    """Flowtrail, set up by its own `instrument`."""

    def switch_on(self) -> None:
        import flowtrail

        flowtrail.instrument(service="benchmark")

    def switch_off(self) -> None:
        import flowtrail

        flowtrail.uninstrument()

    def flush(self) -> None:
        from opentelemetry import trace

        provider: Any = trace.get_tracer_provider()
        if not provider.force_flush(FLUSH_TIMEOUT_MS):
            raise TimeoutError("the spans were not exported in time")


class Contrib(Variant):
    """OpenTelemetry's own instrumentation, with the SDK's batch processor and the stock OTLP exporter over HTTP."""

    _INSTRUMENTORS: Final = {
        "kafka-python": ("opentelemetry.instrumentation.kafka", "KafkaInstrumentor"),
        "confluent-kafka": ("opentelemetry.instrumentation.confluent_kafka", "ConfluentKafkaInstrumentor"),
        "aiokafka": ("opentelemetry.instrumentation.aiokafka", "AIOKafkaInstrumentor"),
    }

    def __init__(self, client: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)
        module, name = self._INSTRUMENTORS[client]
        self._instrumentor = getattr(import_module(module), name)()

    def switch_on(self) -> None:
        self._instrumentor.instrument()

    def switch_off(self) -> None:
        self._instrumentor.uninstrument()

    def flush(self) -> None:
        if not self._provider.force_flush(FLUSH_TIMEOUT_MS):
            raise TimeoutError("the spans were not exported in time")


class Datadog(Variant):
    """ddtrace with its propagation switched on (by default it sends no context), to an agent."""

    _MODULES: Final = {"confluent-kafka": "kafka", "aiokafka": "aiokafka"}

    def __init__(self, client: str) -> None:
        self._tracer = import_module("ddtrace.trace").tracer
        self._patch = import_module(f"ddtrace.contrib.internal.{self._MODULES[client]}.patch")

    def switch_on(self) -> None:
        self._patch.patch()

    def switch_off(self) -> None:
        self._patch.unpatch()

    def flush(self) -> None:
        self._tracer.flush()


def variant_of(name: str, client: str) -> Variant:
    """Return the variant of this name. Raises KeyError when there is none for the client."""
    match name:
        case "bare":
            return Bare()
        case "header":
            return OneHeader()
        case "flowtrail":
            return Flowtrail()
        case "contrib":
            return Contrib(client)
        case "ddtrace":
            return Datadog(client)
    raise KeyError(name)
