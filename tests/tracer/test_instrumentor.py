"""`opentelemetry-instrument` traces a program as it is; OpenTelemetry's own instrumentations never trace beside us."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import instrumentation, instrumentor
from flowtrail.tracer.clients import aiokafka, confluent, kafka_python
from flowtrail.tracer.configuration import Options
from flowtrail.tracer.instrumentor import CLIENTS, FlowtrailInstrumentor
from tests.tracer import contrib_packages

OPENTELEMETRY_INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"
# By the folder that traces it: sends a record to `topic` and returns the headers with which it is read.
CLIENT_PROGRAMS = {
    "kafka_python": f"""
import kafka
options = {KAFKA_PYTHON_OPTIONS!r}

def send_and_read():
    with kafka.KafkaProducer(bootstrap_servers=servers, **options) as producer:
        producer.send(topic, b"x").get(20)
    with kafka.KafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", **options) as consumer:
        consumer.assign([kafka.TopicPartition(topic, partition) for partition in range(4)])
        return next(consumer).headers
""",
    "confluent": """
import confluent_kafka

def send_and_read():
    producer = confluent_kafka.Producer({"bootstrap.servers": servers})
    producer.produce(topic, b"x")
    assert producer.flush(20) == 0
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, partition) for partition in range(4)])
    message = consumer.poll(20)
    while message is None or message.error():
        message = consumer.poll(20)
    consumer.close()
    return message.headers() or []
""",
    "aiokafka": """
import aiokafka, asyncio

async def send_and_read_now():
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait(topic, b"x")
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    async with consumer:
        consumer.assign([aiokafka.TopicPartition(topic, partition) for partition in range(4)])
        return (await consumer.getone()).headers

def send_and_read():
    return asyncio.run(send_and_read_now())
""",
}
# Prints what was traced, and by whom, as JSON; the program sets the SDK up by itself, and late.
COLLECTED = """
def collected():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    headers = send_and_read()
    provider.force_flush()
    spans = exporter.get_finished_spans()
    print(json.dumps({
        "sends": [span.instrumentation_scope.name for span in spans if "send" in span.name],
        "scopes": sorted({span.instrumentation_scope.name for span in spans}),
        "contexts": sum(name == "traceparent" for name, _ in headers),
    }))
"""
BEGIN = """
import json, os
servers, topic = os.environ["SERVERS"], "t" + str(os.getpid())
"""
PROGRAM = BEGIN + CLIENT_PROGRAMS["kafka_python"] + COLLECTED
# Of each client that is traced: the module and class that activate OpenTelemetry's own instrumentation.
CONTRIB = {
    "kafka_python": ("kafka", "KafkaInstrumentor"),
    "confluent": ("confluent_kafka", "ConfluentKafkaInstrumentor"),
    "aiokafka": ("aiokafka", "AIOKafkaInstrumentor"),
}
ACTIVATE = "from opentelemetry.instrumentation.kafka import KafkaInstrumentor\nKafkaInstrumentor().instrument()\n"
OURS = {"sends": ["flowtrail.tracer"], "scopes": ["flowtrail.tracer"], "contexts": 1}
THEIRS = {
    "sends": ["opentelemetry.instrumentation.kafka"],
    "scopes": ["opentelemetry.instrumentation.kafka"],
    "contexts": 1,
}


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="module")
def contrib() -> Path:
    return contrib_packages.folder()


def run(
    program: str,
    *,
    contrib: Path | None = None,
    by: tuple[Path, ...] = (),
    broker: EmbeddedBroker | None = None,
    **more: str,
) -> tuple[str, str]:
    """Run a program; return what it printed, and what it logged."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "FLOWTRAIL_"))}
    environment |= {"OTEL_TRACES_EXPORTER": "none", "SERVERS": broker.bootstrap_servers if broker else ""} | more
    if contrib is not None:
        environment["PYTHONPATH"] = str(contrib)
    finished = subprocess.run(
        [*by, sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, finished.stderr


def traced(program: str, **named: Any) -> Any:
    return json.loads(run(PROGRAM + program, **named)[0])


def test_the_command_traces_a_program_without_a_changed_line(broker: EmbeddedBroker) -> None:
    printed, _ = run(
        PROGRAM + "send_and_read()",
        by=(OPENTELEMETRY_INSTRUMENT,),
        broker=broker,
        OTEL_TRACES_EXPORTER="console",
        OTEL_SERVICE_NAME="till",
    )
    assert '"name": "send t' in printed
    assert '"name": "poll t' in printed
    assert '"service.name": "till"' in printed


def test_under_the_command_a_provider_that_the_program_sets_up_later_is_used(broker: EmbeddedBroker) -> None:
    assert traced("collected()", by=(OPENTELEMETRY_INSTRUMENT,), broker=broker) == OURS


def test_the_command_leaves_it_out_when_it_is_told_to(broker: EmbeddedBroker) -> None:
    seen = traced(
        "collected()",
        by=(OPENTELEMETRY_INSTRUMENT,),
        broker=broker,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="flowtrail",
    )
    assert seen == {"sends": [], "scopes": [], "contexts": 0}


def test_the_command_sets_up_nothing_in_a_program_without_kafka() -> None:
    printed, logged = run(
        "import sys\nfrom opentelemetry import trace\n"
        "print(type(trace.get_tracer_provider()).__name__, 'opentelemetry.sdk.trace' in sys.modules)",
        by=(OPENTELEMETRY_INSTRUMENT,),
    )
    assert (printed, logged) == ("ProxyTracerProvider False\n", "")


@pytest.mark.parametrize("disabled", ["", "flowtrail"])
def test_under_the_command_only_one_of_two_instrumentations_traces(
    broker: EmbeddedBroker, contrib: Path, disabled: str
) -> None:
    named = {"by": (OPENTELEMETRY_INSTRUMENT,), "broker": broker, "contrib": contrib}
    seen = traced("collected()", **named, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)
    assert seen == (THEIRS if disabled else OURS)


@pytest.mark.parametrize(
    "order",
    [
        "THEIRS\nimport flowtrail; flowtrail.instrument()",
        "import flowtrail; flowtrail.instrument()\nTHEIRS",
        "THEIRS\nimport flowtrail; flowtrail.instrument()\nTHEIRS",
        "THEIRS\nfrom flowtrail.tracer.instrumentor import FlowtrailInstrumentor; FlowtrailInstrumentor().instrument()",
    ],
    ids=["theirs, ours", "ours, theirs", "theirs, ours, theirs", "theirs, ours as an instrumentor"],
)
@pytest.mark.parametrize("client", instrumentation._FOLDERS.values())
def test_ours_counts_whichever_was_activated_first(
    broker: EmbeddedBroker, contrib: Path, order: str, client: str
) -> None:
    module, name = CONTRIB[client]
    activate = f"from opentelemetry.instrumentation.{module} import {name}; {name}().instrument()"
    program = BEGIN + order.replace("THEIRS", activate) + CLIENT_PROGRAMS[client] + COLLECTED + "collected()"
    assert json.loads(run(program, broker=broker, contrib=contrib)[0]) == OURS


def test_a_producer_that_ours_traces_is_not_wrapped_by_theirs_either(broker: EmbeddedBroker, contrib: Path) -> None:
    wrapped = CLIENT_PROGRAMS["confluent"].replace(
        "    producer.produce(", "    producer = Theirs.instrument_producer(producer)\n    producer.produce("
    )
    program = (
        "import flowtrail; flowtrail.instrument()\n"
        "from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor as Theirs\n"
    )
    printed, _ = run(BEGIN + program + wrapped + COLLECTED + "collected()", broker=broker, contrib=contrib)
    assert json.loads(printed) == OURS


def test_the_one_that_is_turned_off_is_named_once(contrib: Path) -> None:
    _, logged = run(ACTIVATE + "import flowtrail; flowtrail.instrument()", contrib=contrib)
    assert logged.count("opentelemetry-instrumentation-kafka-python is turned off") == 1


def test_one_that_is_only_installed_is_not_spoken_of(contrib: Path) -> None:
    assert run("import flowtrail; flowtrail.instrument()", contrib=contrib)[1] == ""


def test_when_ours_is_taken_out_theirs_traces_again_as_it_did(broker: EmbeddedBroker, contrib: Path) -> None:
    again = "import flowtrail; flowtrail.instrument(); flowtrail.uninstrument()\n"
    assert traced(ACTIVATE + again + "collected()", broker=broker, contrib=contrib) == THEIRS
    assert traced(again + ACTIVATE + "collected()", broker=broker, contrib=contrib) == THEIRS


@pytest.mark.parametrize("was_active", [True, False])
def test_taking_ours_out_leaves_every_attribute_as_it_was(contrib: Path, was_active: bool) -> None:
    program = f"""
        import importlib, sys
        import flowtrail
        owners = []
        for module, classes in (
            ("kafka", ("KafkaProducer", "KafkaConsumer")),
            ("aiokafka", ("AIOKafkaProducer", "AIOKafkaConsumer")),
            ("confluent_kafka", ()),
        ):
            owners += [importlib.import_module(module), *(getattr(sys.modules[module], name) for name in classes)]
        for module in ("kafka", "aiokafka", "confluent_kafka"):
            theirs = importlib.import_module("opentelemetry.instrumentation." + module)
            owners += [value for value in vars(theirs).values() if isinstance(value, type)]
            for value in list(vars(theirs).values()):
                if getattr(value, "__module__", "") == theirs.__name__ and value.__name__.endswith("Instrumentor"):
                    owners.append(value())
                    if {was_active}: value().instrument()
        def state(): return [(owner, dict(vars(owner))) for owner in owners]
        before = state()
        flowtrail.instrument()
        flowtrail.uninstrument()
        for (owner, old), (_, new) in zip(before, state(), strict=True):
            if owner in sys.modules.values():  # a part of it may have been imported
                new = {{name: value for name, value in new.items() if name in old}}
            for name in old.keys() | new.keys():
                if old.get(name) is not new.get(name): print(owner, name)
        print(len(before))
    """
    printed, _ = run(program, contrib=contrib)
    assert printed.strip().isdecimal(), printed


def test_the_instrumentor_takes_what_instrument_takes() -> None:
    assert {"service", "tracer_provider", "meter_provider", "interceptors", *Options.__annotations__} == (
        instrumentor.ARGUMENTS
    )


def test_arguments_that_are_meant_for_other_instrumentors_are_passed_over() -> None:
    _, logged = run(
        "from flowtrail.tracer.instrumentor import FlowtrailInstrumentor\n"
        "FlowtrailInstrumentor().instrument(enable_commenter=True, capture_keys='off')\n"
        "from flowtrail.tracer.configuration import CONFIGURATION\n"
        "assert CONFIGURATION.now.capture_keys == 'off'"
    )
    assert logged == "FlowtrailInstrumentor takes no enable_commenter; passed over\n"


def test_the_instrumentor_takes_the_tracing_out_again() -> None:
    run(
        "import kafka\nfrom flowtrail.tracer.instrumentor import FlowtrailInstrumentor\n"
        "plain = kafka.KafkaProducer.send\n"
        "FlowtrailInstrumentor().instrument(); assert kafka.KafkaProducer.send is not plain\n"
        "FlowtrailInstrumentor().uninstrument(); assert kafka.KafkaProducer.send is plain"
    )


def test_the_distribution_says_what_it_instruments() -> None:
    wanted = {requirement.replace(" ", "") for requirement in CLIENTS}
    declared = {
        requirement.partition(";")[0].strip()
        for requirement in metadata.requires("flowtrail") or ()
        if "instruments-any" in requirement
    }
    assert declared == wanted
    assert set(FlowtrailInstrumentor().instrumentation_dependencies()) <= set(CLIENTS)


@pytest.mark.parametrize(
    ("distribution", "folder"),
    [("kafka-python", kafka_python), ("confluent-kafka", confluent), ("aiokafka", aiokafka)],
)
def test_the_oldest_version_that_is_named_is_the_oldest_that_is_taken(distribution: str, folder: Any) -> None:
    (named,) = (client.rpartition(" ")[2] for client in CLIENTS if client.startswith(distribution + " "))
    oldest = folder.OLDEST_VERSION
    version = tuple(int(number) for number in named.split("."))
    assert (version if isinstance(oldest, tuple) else version[0]) == oldest


def test_importing_flowtrail_imports_no_more_than_it_needs() -> None:
    printed, _ = run(
        "import sys, flowtrail\n"
        "slow = {'asyncio', 'ssl', 'hashlib', 'hmac', 'opentelemetry.sdk', 'opentelemetry.instrumentation', 'wrapt',"
        " 'requests', 'google.protobuf', 'importlib.metadata'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    assert printed == "[]\n"
