"""OTLP requests for tests: short ways to say what a span is."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

AttributeValue = str | bool | int | float

START_NS: Final = 1_790_000_000_123_456_789

_ids = itertools.count(1)


def attributes(values: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def link(trace_id: bytes, span_id: bytes, values: Mapping[str, AttributeValue] | None = None) -> Span.Link:
    return Span.Link(trace_id=trace_id, span_id=span_id, attributes=attributes(values or {}))


def span(
    values: Mapping[str, AttributeValue] | None = None,
    *,
    trace_id: bytes | None = None,
    span_id: bytes | None = None,
    name: str = "work",
    kind: int = 1,
    start_ns: int = START_NS,
    duration_ns: int = 1_000_000,
    links: Sequence[Span.Link] = (),
    is_error: bool = False,
) -> Span:
    """A span with ids that no other span of this process has, unless they are given."""
    number = next(_ids)
    return Span(
        trace_id=number.to_bytes(16, "big") if trace_id is None else trace_id,
        span_id=number.to_bytes(8, "big") if span_id is None else span_id,
        name=name,
        kind=Span.SpanKind.ValueType(kind),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + duration_ns,
        attributes=attributes(values or {}),
        links=links,
        status=Status(code=Status.StatusCode.STATUS_CODE_ERROR) if is_error else None,
    )


def request(*spans: Span, service: str = "orders") -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=attributes({"service.name": service, "service.instance.id": "one"})),
                scope_spans=[ScopeSpans(spans=spans)],
            )
        ]
    )


def body(*spans: Span, service: str = "orders") -> bytes:
    """The bytes of one request."""
    return request(*spans, service=service).SerializeToString()


def send(topic: str, partition: int, offset: int, **others: str) -> dict[str, AttributeValue]:
    """Attributes of a send span whose record was acknowledged."""
    return {**_messaging("send", "send", topic), **_coordinates(partition, offset), **others}


def process(topic: str, partition: int, offset: int, group: str, **others: str) -> dict[str, AttributeValue]:
    """Attributes of a process span of one record."""
    return {
        **_messaging("process", "process", topic),
        **_coordinates(partition, offset),
        "messaging.consumer.group.name": group,
        **others,
    }


def poll(topic: str, group: str) -> dict[str, AttributeValue]:
    """Attributes of a poll span; its records stand on its links."""
    return {**_messaging("poll", "receive", topic), "messaging.consumer.group.name": group}


def record_link(trace_id: bytes, span_id: bytes, topic: str, partition: int, offset: int) -> Span.Link:
    """A poll span's link to one record that it returned."""
    return link(trace_id, span_id, {"messaging.destination.name": topic, **_coordinates(partition, offset)})


def _messaging(name: str, kind: str, topic: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": topic,
    }


def _coordinates(partition: int, offset: int) -> dict[str, AttributeValue]:
    return {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}


def _value(value: AttributeValue) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=value)


def metrics(data_points: int) -> ExportMetricsServiceRequest:
    """A request of metrics: half of its points, rounded up, in a sum, the others in a histogram."""
    summed, histogram = [NumberDataPoint(as_int=1)] * (data_points - data_points // 2), data_points // 2
    told = [
        Metric(name="messaging.client.sent.messages", sum=Sum(data_points=summed)),
        Metric(name="messaging.process.duration", histogram=Histogram(data_points=[HistogramDataPoint()] * histogram)),
        Metric(name="nothing"),
    ]
    return ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=told)])])


def logs(records: int) -> ExportLogsServiceRequest:
    """A request of log records."""
    told = [LogRecord(body=AnyValue(string_value="paid"), trace_id=b"\1" * 16)] * records
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=told)])])
