"""What OTLP knows beside traces, and how each wire names it.

Traces are kept. Metrics and logs are not what this collector is for; yet an SDK sends all three to one address, and one
that is told 404 says so in its program's log for ever. So they are taken and dropped, or refused as OTLP has it: by a
partial success, after which nobody sends again (opentelemetry-proto, "Partial Success").
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from flowtrail.collector.admission import INVALID_ARGUMENT, JSON, Refusal

OtherSignals = Literal["drop", "refuse"]


@dataclass(frozen=True, slots=True)
class Signal:
    """A kind of telemetry. `items` counts what a request holds of it, `rejected` is the field that says how many were
    refused."""

    name: str
    path: str
    service: str
    request: Callable[[], Message]
    response: Callable[[], Message]
    rejected: str
    items: Callable[[Any], int]

    def answer(self, rejected: int = 0, message: str = "") -> Message:
        """Return the response that a request gets; without a partial success nothing is set in it."""
        response: Any = self.response()
        if rejected or message:
            setattr(response.partial_success, self.rejected, rejected)
            response.partial_success.error_message = message
        answer: Message = response
        return answer


def _spans(request: Any) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def _log_records(request: Any) -> int:
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


def _data_points(request: Any) -> int:
    return sum(
        len(getattr(metric, kind).data_points)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if (kind := metric.WhichOneof("data"))
    )


def _signal(name: str, package: str, kind: str, types: tuple[Any, Any], rejected: str, items: Any) -> Signal:
    service = f"opentelemetry.proto.collector.{package}.v1.{kind}Service"
    return Signal(name, f"/v1/{name}", service, *types, rejected, items)


TRACES: Final = _signal(
    "traces", "trace", "Trace", (ExportTraceServiceRequest, ExportTraceServiceResponse), "rejected_spans", _spans
)
METRICS: Final = _signal(
    "metrics",
    "metrics",
    "Metrics",
    (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "rejected_data_points",
    _data_points,
)
LOGS: Final = _signal(
    "logs",
    "logs",
    "Logs",
    (ExportLogsServiceRequest, ExportLogsServiceResponse),
    "rejected_log_records",
    _log_records,
)
SIGNALS: Final = (TRACES, METRICS, LOGS)


def count_items(signal: Signal, data: bytes, content_type: str) -> int:
    """Return how many spans, data points or log records an unfolded body holds. Raises Refusal when it is no request
    of this signal."""
    request = signal.request()
    try:
        if content_type == JSON:
            # Its ids are hex where protobuf's JSON has base64: they come out wrong, and are not looked at.
            json_format.Parse(data, request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(data)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, ValueError, RecursionError) as error:
        message = f"the body is not an OTLP {signal.name} request"
        raise Refusal(400, INVALID_ARGUMENT, "malformed", message) from error
    return signal.items(request)
