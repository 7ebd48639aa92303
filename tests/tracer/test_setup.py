"""The SDK is set up from the standard variables, and only where the program has not done it."""

import os
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from flowtrail.tracer import setup
from flowtrail.tracer.export import CountingProcessor
from flowtrail.tracer.fast_path.otlp_grpc import GrpcExporter


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def made(service: str | None = None) -> TracerProvider:
    provider = setup._make_provider(service)
    assert isinstance(provider, TracerProvider)
    return provider


def processors(provider: TracerProvider) -> list[object]:
    return list(provider._active_span_processor._span_processors)


def test_spans_go_to_the_collector_over_http_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = made("orders")
    (processor,) = processors(provider)
    assert isinstance(processor, CountingProcessor)
    exporter = processor._exporter
    assert type(exporter).__module__ == "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    assert vars(exporter)["_endpoint"] == "http://localhost:4318/v1/traces"
    provider.shutdown()


def test_the_service_and_its_instance_are_named() -> None:
    first, second = made("orders").resource.attributes, made("orders").resource.attributes
    assert first["service.name"] == "orders"
    assert first["service.instance.id"]
    assert "service.name" in second


def test_without_an_argument_the_variables_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "till")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=till-4,region=north")
    found = made().resource.attributes
    assert (found["service.name"], found["service.instance.id"], found["region"]) == ("till", "till-4", "north")


def test_grpc_is_used_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    provider = made()
    (processor,) = processors(provider)
    assert isinstance(processor, CountingProcessor)
    assert isinstance(processor._exporter, GrpcExporter)
    provider.shutdown()


def test_batches_are_as_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "250")
    provider = made()
    (processor,) = processors(provider)
    assert isinstance(processor, CountingProcessor)
    drain = processor._drain
    assert (drain._queue_size, drain._batch_size, drain._delay_s) == (100, 10, 0.25)
    provider.shutdown()


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5"])
def test_a_number_that_makes_no_sense_gives_way_to_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", text)
    assert setup._number("OTEL_BSP_MAX_QUEUE_SIZE", 2048) == 2048
    assert f"{text!r} is not a positive number" in caplog.text


def test_several_exporters_may_be_named_and_an_unknown_one_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console, none, zipkin")
    (processor,) = processors(made())
    assert isinstance(processor, SimpleSpanProcessor)
    assert "'zipkin' is not known here" in caplog.text


def test_an_exporter_that_cannot_be_made_does_not_stop_the_program(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    assert processors(made()) == []
    assert "spans are made but not exported" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "1.5"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"),
    ],
)
def test_a_limit_that_makes_no_sense_gives_way_to_the_default_limits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    default = vars(made()._span_limits)
    monkeypatch.setenv(name, text)
    assert vars(made()._span_limits) == default
    (line,) = caplog.messages
    assert line.startswith(name)
    assert line.endswith("the default limits are used")


def test_a_limit_that_makes_sense_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "7")
    assert made()._span_limits.max_links == 7


NONSENSE = [
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
    ("OTEL_PROPAGATORS", "tracecontext,pigeon"),
    ("OTEL_PYTHON_TRACER_PROVIDER", "nobody"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("OTEL_TRACES_SAMPLER_ARG", "7"),
    ("OTEL_RESOURCE_ATTRIBUTES", "region,=,a=%zz"),
    ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "nose"),
    ("OTEL_TRACES_EXPORTER", "pigeon"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "x"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
    ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
]


@pytest.mark.parametrize("names", [[name] for name, _ in NONSENSE[:3]] + [[name for name, _ in NONSENSE]])
def test_variables_that_make_no_sense_raise_nothing_into_the_program(names: list[str]) -> None:
    nonsense = {name: text for name, text in NONSENSE if name in names}
    printed = run(
        "import flowtrail, types\n"
        "flowtrail.instrument(service='orders')\n"
        "record = types.SimpleNamespace(topic='t', partition=0, offset=1, key=None, value=b'', headers=[])\n"
        "with flowtrail.process(record) as span: print(span.is_recording())",
        nonsense,
    )
    assert printed == "True\n"


def run(program: str, variables: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OTEL_TRACES_EXPORTER": "none"} | (variables or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return finished.stdout


def test_a_provider_that_the_program_has_set_stays() -> None:
    printed = run(
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "theirs = TracerProvider()\n"
        "trace.set_tracer_provider(theirs)\n"
        "import flowtrail\n"
        "flowtrail.set_up(service='orders')\n"
        "print(trace.get_tracer_provider() is theirs)"
    )
    assert printed == "True\n"


def test_a_provider_is_set_once_where_there_is_none() -> None:
    printed = run(
        "from opentelemetry import trace\n"
        "import flowtrail\n"
        "flowtrail.set_up(service='orders')\n"
        "first = trace.get_tracer_provider()\n"
        "flowtrail.set_up(service='other')\n"
        "print(trace.get_tracer_provider() is first, first.resource.attributes['service.name'])"
    )
    assert printed == "True orders\n"


@pytest.mark.parametrize("order", ["make(); make()", "make(); flowtrail.set_up(); make()"])
def test_a_provider_that_is_given_later_gets_the_sends_without_an_answer_too(order: str) -> None:
    printed = run(
        "import flowtrail\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter\n"
        "from flowtrail.tracer.clients.known import Known, known_of\n"
        "from flowtrail.tracer.record import Client\n"
        "from flowtrail.tracer.tracing import CHAIN\n"
        "class Fake(Known):\n"
        "    def client(self): return Client('c')\n"
        "class Producer: pass\n"
        "def make():\n"
        "    provider = TracerProvider()\n"
        "    exporter = ConsoleSpanExporter(formatter=lambda span: span.name + '\\n')\n"
        "    provider.add_span_processor(BatchSpanProcessor(exporter))\n"
        "    flowtrail.set_up(tracer_provider=provider)\n"
        "producer = Producer()\n"
        f"{order}\n"
        "known_of(producer, lambda _: Fake()).unanswered.add(CHAIN.send(Client('c'), 'orders', b'k', b'v', None))\n"
    )
    assert printed == "send orders\n"


def test_another_name_for_the_service_is_passed_over_with_one_warning() -> None:
    printed = run(
        "import logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='%(levelname)s %(message)s')\n"
        "import flowtrail\n"
        "for service in ('orders', 'orders', None, 'other', 'other'): flowtrail.set_up(service)"
    )
    assert printed == "WARNING this process is already the service 'orders'; the name 'other' is not used\n"


def test_the_sdk_can_be_disabled_by_its_own_variable() -> None:
    printed = run(
        "import os; os.environ['OTEL_SDK_DISABLED'] = 'true'\n"
        "import flowtrail, types\n"
        "flowtrail.set_up(service='orders')\n"
        "record = types.SimpleNamespace(topic='t', partition=0, offset=1, key=None, value=b'', headers=[])\n"
        "with flowtrail.process(record) as span: print(span.is_recording(), flowtrail.health().noted)"
    )
    assert printed == "False 0\n"
