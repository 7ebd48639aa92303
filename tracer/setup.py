"""The OpenTelemetry SDK, set up from the standard `OTEL_*` variables, for programs that have not done it themselves.

Read here: OTEL_TRACES_EXPORTER (otlp, console, none), OTEL_EXPORTER_OTLP_PROTOCOL and …_TRACES_PROTOCOL
(http/protobuf, grpc), OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_SCHEDULE_DELAY (ms). The SDK
and its exporter read the others: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_ENDPOINT, …_HEADERS, …_TIMEOUT, OTEL_PROPAGATORS, OTEL_SDK_DISABLED.
"""

import atexit
import logging
import os
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

from opentelemetry import trace
from opentelemetry.trace import TracerProvider

from . import metrics_setup
from .children import connect_anew, finish_children
from .configuration import CONFIGURATION, Options
from .counts import COUNTS
from .measuring import measure
from .metrics import METRICS
from .tracing import TRACING

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import SpanLimits
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("flowtrail.tracer")

# Of attributes, events and links, as the specification has it ("Attribute limits", "Span limits").
DEFAULT_LIMIT: Final = 128

# The provider before whose shutdown the sends without an answer are ended.
_watched: TracerProvider | None = None
# The service that the provider made here names, and the other names that were asked for since.
_service: str | None = None
_passed_over: set[str] = set()


def set_up(
    service: str | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: "MeterProvider | None" = None,
    **options: Unpack[Options],
) -> None:
    """Make sure that spans go somewhere. Calling it again changes nothing but the providers and options that are given.

    A given `tracer_provider` is used for Flowtrail's spans. Otherwise the global one is; when the program has set none,
    one is made that exports over OTLP, and becomes the global one. `service` is its `service.name`, before
    OTEL_SERVICE_NAME; it stays so, and another name given later is only told of. Raises nothing for a variable that
    cannot be understood: the default counts, and a line says so.

    Metrics go to `meter_provider`, else to the global one; when the program has set none, one is made only if
    OTEL_METRICS_EXPORTER asks for it. The other options are those of `Configuration`. Raises TypeError or ValueError
    for a wrong one.
    """
    global _service
    CONFIGURATION.configure(options)
    wants_metrics = meter_provider is None and os.environ.get("OTEL_METRICS_EXPORTER", "").strip() not in {"", "none"}
    if wants_metrics:
        metrics_setup.watch_exit()
    if tracer_provider is None and not _has_provider():
        try:
            provider = _make_provider(service)
            trace.set_tracer_provider(provider)
            finish_children(partial(_finish, provider))
            _service = str(provider.resource.attributes.get("service.name"))
        except Exception as error:
            _log.error("no spans are made, the OpenTelemetry SDK cannot be set up: %s", error)
    elif tracer_provider is None and service is not None and _service is not None:
        if service != _service and service not in _passed_over:
            _passed_over.add(service)
            _log.warning("this process is already the service %r; the name %r is not used", _service, service)
    elif service is not None:
        _warn_of_unused(service)
    TRACING.use(tracer_provider)
    if wants_metrics:
        metrics_setup.make_provider()
    METRICS.use(meter_provider)
    measure()
    _watch_exit()


def _warn_of_unused(service: str) -> None:
    if service not in _passed_over:
        _passed_over.add(service)
        _log.warning("the program's own tracer provider names the service; the name %r is not used", service)


def _has_provider() -> bool:
    """Whether the program has set a global tracer provider."""
    try:
        return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    except Exception as error:  # there is none of the name that the variable gives
        _log.warning("OTEL_PYTHON_TRACER_PROVIDER is not known here, it is left out: %s", error or type(error).__name__)
        return False


def _make_provider(service: str | None) -> "SdkTracerProvider":
    # Imported late: a program with a provider of its own may have no SDK, and importing Flowtrail stays quick.
    from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    from .export import BATCH_SIZE, QUEUE_SIZE, CountingProcessor

    resource = Resource.create({SERVICE_NAME: service} if service else {})
    if not resource.attributes.get(SERVICE_INSTANCE_ID):
        resource = resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid.uuid4())}))
    provider = SdkProvider(resource=resource, span_limits=_limits())
    for name in _variable("OTEL_TRACES_EXPORTER", "otlp").split(","):
        match name.strip():
            case "otlp":
                try:
                    exporter = _otlp_exporter()
                except Exception as error:
                    _log.error("spans are made but not exported, OTEL_EXPORTER_OTLP_…: %s", error)
                    continue
                provider.add_span_processor(
                    CountingProcessor(
                        exporter,
                        COUNTS,
                        queue_size=_number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SIZE),
                        batch_size=_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SIZE),
                        delay_ms=_number("OTEL_BSP_SCHEDULE_DELAY", 5000),
                    )
                )
            case "console":
                provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
            case "none":
                continue
            case other:
                _log.warning("OTEL_TRACES_EXPORTER: %r is not known here (otlp, console, none); it is left out", other)
    return provider


def _limits() -> "SpanLimits":
    """The limits that the variables set. One that is no number makes the SDK raise: then all have their defaults."""
    from opentelemetry.sdk.trace import SpanLimits

    try:
        return SpanLimits()
    except ValueError as error:
        _log.warning("%s; the default limits are used", error)
    default, none = DEFAULT_LIMIT, SpanLimits.UNSET
    return SpanLimits(default, default, default, default, default, default, none, none)


def _otlp_exporter() -> "SpanExporter":
    protocol = _variable(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", _variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    )
    if protocol == "grpc":
        from .fast_path.otlp_grpc import GrpcExporter

        return GrpcExporter()
    if protocol != "http/protobuf":
        _log.warning("OTEL_EXPORTER_OTLP_PROTOCOL: %r is not known here; http/protobuf is used", protocol)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    exporter = HttpExporter()
    connect_anew(exporter)
    return exporter


def _variable(name: str, default: str) -> str:
    return os.environ.get(name, "").strip() or default


def _number(name: str, default: int) -> int:
    text = _variable(name, str(default))
    if text.isdecimal() and int(text) > 0:
        return int(text)
    _log.warning("%s: %r is not a positive number; %d is used", name, text, default)
    return default


def _watch_exit() -> None:
    """At exit, end the sends that were not answered, before the provider shuts down.

    Exit functions run last in, first out: producers that were made after this close first, so their last answers count.
    A provider that came later would shut down first of all, so with another one this is last in again.
    """
    global _watched
    provider = TRACING.provider()
    if _watched is None or _watched is not provider:
        _watched = provider
        atexit.unregister(_end_unacknowledged)
        atexit.register(_end_unacknowledged)


def _finish(provider: "SdkTracerProvider") -> None:
    """What the exit functions do, where they do not run."""
    _end_unacknowledged()
    provider.shutdown()


def _end_unacknowledged() -> None:
    known = sys.modules.get("flowtrail.tracer.clients.known")  # there is none when no client was traced
    if known is not None:
        known.give_up_unacknowledged()
