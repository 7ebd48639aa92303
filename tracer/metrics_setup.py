"""OpenTelemetry's SDK for metrics, set up from the standard variables where a program asks for it and has none.

Read here: OTEL_METRICS_EXPORTER (otlp, console, none), OTEL_EXPORTER_OTLP_PROTOCOL and …_METRICS_PROTOCOL
(http/protobuf, grpc). The SDK and its exporter read the others: OTEL_METRIC_EXPORT_INTERVAL,
OTEL_METRICS_EXEMPLAR_FILTER, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT and so on.

Unset, nothing is exported, though the specification would have it otherwise: not every receiver of spans takes metrics,
Flowtrail's collector does not, and a service that starts to fail at something once a minute has not asked for it.
"""

import atexit
import logging
import os
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, trace

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader

_log = logging.getLogger("flowtrail.tracer")

EXPORTER: Final = "OTEL_METRICS_EXPORTER"
# A collector that hangs may hold up the exit for so long.
SHUTDOWN_TIMEOUT_MS: Final = 2000

_made: "MeterProvider | None" = None
_is_exit_watched = False


def watch_exit() -> None:
    """Shut the provider down at exit: after the spans' own where that is made later (last in, first out)."""
    global _is_exit_watched
    if not _is_exit_watched:
        _is_exit_watched = True
        atexit.register(_shut_down)


def make_provider() -> None:
    """Make the global meter provider that the variables ask for; nothing when there is one, or none is asked for.

    Its resource is that of the spans. Raises nothing: what cannot be set up is told of in one line.
    """
    global _made
    try:
        if not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics"):
            return
        readers = [reader for name in os.environ.get(EXPORTER, "").split(",") if (reader := _reader(name.strip()))]
        if readers:
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.resources import Resource

            resource = getattr(trace.get_tracer_provider(), "resource", None)
            _made = MeterProvider(readers, resource or Resource.create({}), shutdown_on_exit=False)
            metrics.set_meter_provider(_made)
    except Exception as error:
        _log.error("no metrics are exported, %s: %s", EXPORTER, error)


def _reader(name: str) -> "MetricReader | None":
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

    exporter: MetricExporter
    match name:
        case "" | "none":
            return None
        case "console":
            exporter = ConsoleMetricExporter()
        case "otlp":
            exporter = _otlp_exporter()
        case _:
            _log.warning("%s: %r is not known here (otlp, console, none); it is left out", EXPORTER, name)
            return None
    return PeriodicExportingMetricReader(exporter)


def _otlp_exporter() -> "MetricExporter":
    common = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or "http/protobuf"
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "").strip() or common
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter()
    if protocol != "http/protobuf":
        _log.warning("OTEL_EXPORTER_OTLP_PROTOCOL: %r is not known here; http/protobuf is used", protocol)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    return HttpExporter()


def _shut_down() -> None:
    if _made is not None:
        try:
            _made.shutdown(timeout_millis=SHUTDOWN_TIMEOUT_MS)
        except Exception as error:  # the SDK raises for a reader that needed longer
            _log.warning("the last metrics were not exported: %s", error)
