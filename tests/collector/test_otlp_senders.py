"""OpenTelemetry's own exporters, live: Python, Node, Java; and the compressions that the Collector sends."""

import gzip
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from flowtrail.collector.http_server import serving as serving_http
from flowtrail.collector.journal.contract import JournalFull
from flowtrail.collector.receivers.otlp_grpc import OtlpGrpcReceiver
from flowtrail.collector.receivers.otlp_grpc import serving as serving_grpc
from flowtrail.collector.receivers.otlp_http import OtlpHttpReceiver

from . import senders
from .otlp_intake import IntakeHere

DATA = Path(__file__).parent.parent / "data"
RECORDED = DATA / "others"
# Bodies that the Collector's compression library (klauspost/compress) made in Go.
FOLDED = DATA / "collector"


class Collector(IntakeHere):
    """Both receivers, on ports of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, max_body_bytes=10**8)
        self.ended = threading.Event()
        self._open = ExitStack()
        listening = self._open.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        by_http = serving_http(OtlpHttpReceiver(self.intake), listening, "http", lambda _name: self.ended.set())
        by_grpc = serving_grpc(OtlpGrpcReceiver(self.intake), "127.0.0.1", 0, self.ended.set)
        self._open.enter_context(by_http)
        self.http_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.grpc_url = f"http://127.0.0.1:{self._open.enter_context(by_grpc)}"

    def spans(self) -> dict[str, Span]:
        """What came so far, by name."""
        return {
            span.name: span
            for data in self.bodies
            for resource in ExportTraceServiceRequest.FromString(data).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    def close(self) -> None:
        assert not self.ended.is_set()
        self._open.close()
        super().close()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with closing(Collector(tmp_path)) as collector:
        yield collector


PYTHON: dict[str, Callable[[Collector], SpanExporter]] = {
    "http": lambda collector: HttpExporter(f"{collector.http_url}/v1/traces"),
    "http gzip": lambda collector: HttpExporter(f"{collector.http_url}/v1/traces", compression=Compression.Gzip),
    "grpc": lambda collector: GrpcExporter(collector.grpc_url, insecure=True),
    "grpc gzip": lambda collector: GrpcExporter(collector.grpc_url, insecure=True, compression=grpc.Compression.Gzip),
}


class Telling(SpanExporter):
    """Keeps what an exporter says of an export."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.results: list[SpanExportResult] = []
        self._exporter = exporter

    def export(self, spans: Any) -> SpanExportResult:
        result = self._exporter.export(spans)
        self.results.append(result)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def sent_by(exporter: SpanExporter, name: str) -> list[SpanExportResult]:
    """Send one span by the SDK; return what the exporter said."""
    telling = Telling(exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(telling))
    with provider.get_tracer("senders").start_as_current_span(name, attributes={"messaging.kafka.offset": 7}):
        pass
    provider.shutdown()
    return telling.results


@pytest.mark.parametrize("way", PYTHON)
def test_pythons_exporters_are_understood(collector: Collector, way: str) -> None:
    assert sent_by(PYTHON[way](collector), way) == [SpanExportResult.SUCCESS]
    span = collector.spans()[way]
    assert (len(span.trace_id), len(span.span_id), span.attributes[0].value.int_value) == (16, 8, 7)


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_pythons_exporters_come_back_once_the_journal_has_room(
    collector: Collector, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JournalFull, "retry_after_s", 1)
    append = collector.journal.append
    asked: list[int] = []

    def full_once(bodies: Any) -> Any:
        collector.journal.is_full = not asked
        asked.append(len(bodies))
        return append(bodies)

    monkeypatch.setattr(collector.journal, "append", full_once)
    assert sent_by(PYTHON[way](collector), way) == [SpanExportResult.SUCCESS]
    assert asked == [1, 1]
    assert collector.intake.refused == {"journal_full": 1}
    assert list(collector.spans()) == [way]


def test_pythons_metrics_leave_no_complaint_in_the_programs_log(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{collector.http_url}/v1/metrics"))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("senders").create_counter("orders").add(1)
    with caplog.at_level(logging.WARNING):
        provider.shutdown()
    assert caplog.records == []
    assert collector.intake.dropped == {"metrics": 1}


@pytest.mark.parametrize("vendor", sorted(path.name.removesuffix(".pb.gz") for path in RECORDED.glob("*.pb.gz")))
def test_what_other_instrumentations_sent_is_taken_on_both_wires(collector: Collector, vendor: str) -> None:
    folded = (RECORDED / f"{vendor}.pb.gz").read_bytes()
    headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
    answer = requests.post(f"{collector.http_url}/v1/traces", folded, headers=headers, timeout=30)
    assert answer.status_code == 200
    with grpc.insecure_channel(collector.grpc_url.removeprefix("http://")) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        export(gzip.decompress(folded), timeout=30, compression=grpc.Compression.Gzip)
    assert collector.bodies == [gzip.decompress(folded)]
    assert (collector.intake.received, collector.intake.duplicates) == (2, 1)


def run(program: Callable[[], tuple[list[str], dict[str, str]]], collector: Collector) -> str:
    """Run a sender to its end; return what it printed."""
    try:
        command, environment = program()
    except senders.SenderMissing as missing:
        pytest.skip(str(missing))
    others = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [*command, collector.http_url, collector.grpc_url],
        env={**others, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ENDINGS = ("", " gzip")


@pytest.mark.senders
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("program", "ways"),
    [
        (senders.node, [f"node {way}{end}" for way in ("json", "protobuf", "grpc") for end in ENDINGS]),
        (senders.java, [f"java {way}{end}" for way in ("okhttp", "jdk", "grpc") for end in ENDINGS]),
    ],
    ids=["node", "java"],
)
def test_the_exporters_of_other_languages_are_understood(
    collector: Collector, program: Callable[[], tuple[list[str], dict[str, str]]], ways: list[str]
) -> None:
    run(program, collector)
    spans = collector.spans()
    assert sorted(spans) == sorted(ways)
    assert {(len(span.trace_id), len(span.span_id)) for span in spans.values()} == {(16, 8)}
    assert {span.attributes[0].value.int_value for span in spans.values()} == {7}
    assert collector.intake.refused == {}


@pytest.mark.parametrize("level", ["fastest", "best"])
def test_what_the_collectors_zstd_folds_is_understood(collector: Collector, level: str) -> None:
    headers = {"content-type": "application/x-protobuf", "content-encoding": "zstd"}
    folded = (FOLDED / f"{level}.pb.zst").read_bytes()
    assert requests.post(f"{collector.http_url}/v1/traces", folded, headers=headers, timeout=30).status_code == 200
    assert list(collector.spans()) == [f"collector http zstd {level}"]


def test_what_the_collector_folds_by_snappy_is_refused_for_good_and_told_what_is_read(collector: Collector) -> None:
    headers = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
    folded = (FOLDED / "refused.pb.snappy").read_bytes()
    answer = requests.post(f"{collector.http_url}/v1/traces", folded, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "zstd, gzip")
