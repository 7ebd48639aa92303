"""Metrics are exported only where a program asks for them, by the standard variables, and never hold up its exit."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

PROGRAM = """
import flowtrail
flowtrail.set_up(service="till")
from flowtrail.tracer import attributes
from flowtrail.tracer.metrics import METRICS
METRICS.finished(attributes.SEND, {attributes.TOPIC: "orders"}, 1_000_000, 1)
"""


class Receiver:
    """Takes OTLP metrics over HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/metrics":
                    receiver.requests.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a test's output is its own."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def names(self) -> set[str]:
        return {
            metric.name
            for request in self.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def services(self) -> set[str]:
        return {
            attribute.value.string_value
            for request in self.requests
            for resource in request.resource_metrics
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join()


@contextmanager
def hanging() -> Iterator[str]:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def run(program: str = PROGRAM, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "FLOWTRAIL_"))}
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OTEL_TRACES_EXPORTER": "none"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


def test_unless_it_is_asked_for_no_meter_provider_is_made(receiver: Receiver) -> None:
    printed = run(
        PROGRAM + "from opentelemetry import metrics\nimport sys\n"
        "print(type(metrics.get_meter_provider()).__name__, 'opentelemetry.sdk.metrics.export' in sys.modules)\n"
        "print(METRICS.is_on)",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
    ).stdout
    assert printed.endswith("False\n")
    assert printed.startswith("_ProxyMeterProvider")
    assert receiver.requests == []


def test_otlp_exports_what_was_measured_when_the_program_ends(receiver: Receiver) -> None:
    run(OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    assert {"messaging.client.sent.messages", "messaging.client.operation.duration"} <= receiver.names()
    assert "flowtrail.tracer.spans.noted" in receiver.names()
    assert receiver.services() == {"till"}


def test_the_console_prints_them() -> None:
    assert '"name": "messaging.client.sent.messages"' in run(OTEL_METRICS_EXPORTER="console").stdout


def test_a_provider_of_the_programs_own_stays() -> None:
    own = (
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "own = MeterProvider()\n"
        "metrics.set_meter_provider(own)\n"
    )
    printed = run(own + PROGRAM + "print(metrics.get_meter_provider() is own)", OTEL_METRICS_EXPORTER="console").stdout
    assert printed == "True\n"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_METRICS_EXPORTER": "pigeon"}, "OTEL_METRICS_EXPORTER: 'pigeon' is not known here"),
        (
            {"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "-1"},
            "no metrics are exported, OTEL_METRICS_EXPORTER: interval value -1",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line_and_the_program_goes_on(variables: dict[str, str], said: str) -> None:
    logged = run(**variables).stderr
    assert said in logged
    assert "Traceback" not in logged


def test_a_collector_that_hangs_holds_up_the_exit_for_no_longer_than_it_is_given() -> None:
    with hanging() as endpoint:
        # Far longer than `run` waits.
        run(OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="600")
