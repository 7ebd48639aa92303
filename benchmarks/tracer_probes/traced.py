"""The ways of tracing as the probes see them: switched on, switched off, and their finished spans in one shape."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState, get_current_span, set_tracer_provider

# Spans of what a client tells of itself alone, about no event; only Flowtrail has such.
OF_CLIENT: Final = ("close", "rebalance")


class Wrong(Exception):
    """What an instrumentation does that it should not; the message says it."""


class NotMeant(Exception):
    """The question makes no sense here, by the way of tracing or the version of the client; the message says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A finished span. Ids are lower-case hexadecimal; `parent_id` is empty for a root, `links` are span ids."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    linked_traces: tuple[str, ...] = ()
    is_error: bool = False

    def has(self, *parts: str) -> bool:
        """Whether name or attributes speak of one of these operations, in whatever convention."""
        said = f"{self.name} {' '.join(str(value) for value in self.attributes.values())}".lower()
        return any(part in said for part in parts)


SEND: Final = ("send", "produce", "publish")
RECEIVE: Final = ("recv", "receive", "poll", "consume", "process")


class Traced(ABC):
    """A way of tracing one client."""

    name: str
    # Attributes that it gave a sampler at the start of each span; None where there is no such thing.
    sampled_with: list[dict[str, Any]] | None = None

    @abstractmethod
    def switch_on(self) -> None: ...

    @abstractmethod
    def switch_off(self) -> None: ...

    @abstractmethod
    def spans(self) -> list[Seen]:
        """Return the spans that are finished."""

    @abstractmethod
    def current_span_id(self) -> str:
        """Return the id of the span that is current here; empty when there is none."""

    def sends(self) -> list[Seen]:
        """Return the finished spans of sends, in their order. Raises Wrong when there is none."""
        found = [span for span in self.spans() if span.has(*SEND) and not span.has("commit", "transaction ")]
        if not found:
            raise Wrong("no span")
        return found


def untold(attributes: dict[str, Any], **wanted: str) -> list[str]:
    """Return which of these facts no attribute tells: one whose name has the fact's, in any form of its value."""
    return [
        fact
        for fact, value in wanted.items()
        if not any(
            fact in name and str(told) in (value, f"b'{value}'", f"{value}.0") for name, told in attributes.items()
        )
    ]


class Bare(Traced):
    """Nobody traces: what a probe raises here but `Wrong` is the client's own, or the probe's."""

    name = "bare"

    def switch_on(self) -> None:
        """Nothing to do."""

    def switch_off(self) -> None:
        """Nothing to do."""

    def spans(self) -> list[Seen]:
        return []

    def current_span_id(self) -> str:
        return ""


class _Sampler(Sampler):
    """Takes every span, and remembers what it was asked with."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        self.asked.append(dict(attributes or {}))
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "remembers"


class OpenTelemetry(Traced):
    """What makes its spans by OpenTelemetry's SDK."""

    def __init__(self) -> None:
        sampler = _Sampler()
        self.sampled_with = sampler.asked
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(sampler=sampler)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        set_tracer_provider(self._provider)

    def spans(self) -> list[Seen]:
        self._provider.force_flush()
        seen = [_seen(span) for span in self._exporter.get_finished_spans()]
        return [span for span in seen if span.name not in OF_CLIENT]

    def current_span_id(self) -> str:
        context = get_current_span().get_span_context()
        return f"{context.span_id:016x}" if context.is_valid else ""


def _seen(span: ReadableSpan) -> Seen:
    assert span.context is not None
    return Seen(
        span.name,
        f"{span.context.trace_id:032x}",
        f"{span.context.span_id:016x}",
        f"{span.parent.span_id:016x}" if span.parent else "",
        dict(span.attributes or {}),
        tuple(f"{link.context.span_id:016x}" for link in span.links),
        tuple(f"{link.context.trace_id:032x}" for link in span.links),
        span.status.status_code is StatusCode.ERROR,
    )


class Flowtrail(OpenTelemetry):
    name = "flowtrail"

    def switch_on(self) -> None:
        import flowtrail

        flowtrail.instrument(tracer_provider=self._provider)

    def switch_off(self) -> None:
        import flowtrail

        flowtrail.uninstrument()


class Contrib(OpenTelemetry):
    name = "contrib"
    _INSTRUMENTORS: Final = {
        "kafka-python": ("opentelemetry.instrumentation.kafka", "KafkaInstrumentor"),
        "confluent-kafka": ("opentelemetry.instrumentation.confluent_kafka", "ConfluentKafkaInstrumentor"),
        "aiokafka": ("opentelemetry.instrumentation.aiokafka", "AIOKafkaInstrumentor"),
    }

    def __init__(self, client: str) -> None:
        super().__init__()
        module, name = self._INSTRUMENTORS[client]
        self.instrumentor: Any = getattr(import_module(module), name)()

    def switch_on(self) -> None:
        self.instrumentor.instrument()

    def switch_off(self) -> None:
        self.instrumentor.uninstrument()


class Datadog(Traced):
    name = "ddtrace"
    _MODULES: Final = {"confluent-kafka": "kafka", "aiokafka": "aiokafka"}

    def __init__(self, client: str) -> None:
        self._tracer: Any = import_module("ddtrace.trace").tracer
        self._patch: Any = import_module(f"ddtrace.contrib.internal.{self._MODULES[client]}.patch")
        self._spans: list[Any] = []
        kept = self._spans
        trace_filter: Any = import_module("ddtrace.trace").TraceFilter

        class Keep(trace_filter):  # type: ignore[misc]  # not installed where types are checked
            def process_trace(self, trace: list[Any]) -> None:
                kept.extend(trace)  # and nothing goes to an agent

        self._tracer.configure(trace_processors=[Keep()])

    def switch_on(self) -> None:
        self._patch.patch()

    def switch_off(self) -> None:
        self._patch.unpatch()

    def spans(self) -> list[Seen]:
        self._tracer.flush()
        return [
            Seen(
                span.name,
                f"{span.trace_id:032x}",
                f"{span.span_id:016x}",
                f"{span.parent_id:016x}" if span.parent_id else "",
                {**span.get_tags(), **span.get_metrics()},
                is_error=bool(span.error),
            )
            for span in self._spans
        ]

    def current_span_id(self) -> str:
        span = self._tracer.current_span()
        return f"{span.span_id:016x}" if span is not None else ""


def traced_by(way: str, client: str) -> Traced:
    """Return the way of tracing, not yet switched on. Raises KeyError when it has nothing for this client."""
    match way:
        case "bare":
            return Bare()
        case "flowtrail":
            return Flowtrail()
        case "contrib":
            return Contrib(client)
        case "ddtrace":
            return Datadog(client)
    raise KeyError(way)
