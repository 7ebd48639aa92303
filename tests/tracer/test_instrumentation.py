"""Tracing goes into a running program's clients, and comes out without a trace."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import kafka
import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer.clients import kafka_python
from flowtrail.tracer.interceptor import Interceptor
from flowtrail.tracer.record import Client, Outgoing
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .spans import LaterSpans, Spans

CLIENTS = (kafka.KafkaProducer, kafka.KafkaConsumer)
TIMEOUT_S = 20


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def spans() -> Iterator[Spans]:
    yield Spans()
    flowtrail.uninstrument()


def processors(spans: Spans) -> list[SpanProcessor]:
    return list(spans.provider._active_span_processor._span_processors)


def send(producer: Any, topic: str) -> None:
    producer.send(topic, b"value", partition=0).get(TIMEOUT_S)


def identities() -> list[dict[str, int]]:
    return [{name: id(value) for name, value in vars(client).items()} for client in CLIENTS]


def test_uninstrument_leaves_every_attribute_of_the_clients_as_it_was(spans: Spans) -> None:
    before = identities()
    flowtrail.instrument(tracer_provider=spans.provider)
    assert identities() != before
    flowtrail.uninstrument()
    assert identities() == before


def test_instrumenting_twice_traces_once_and_one_uninstrument_is_enough(spans: Spans, broker: EmbeddedBroker) -> None:
    before = identities()
    flowtrail.instrument(tracer_provider=spans.provider)
    flowtrail.instrument(tracer_provider=spans.provider)
    with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        send(producer, "twice")
        spans.one("send twice")
    flowtrail.uninstrument()
    flowtrail.uninstrument()
    assert identities() == before


def sent(topic: str) -> Sending:
    """A send that waits for its answer."""
    return CHAIN.send(Client("c"), topic, b"k", b"v", None)


def test_what_is_under_way_outlives_another_instrument() -> None:
    spans = LaterSpans()
    flowtrail.instrument(tracer_provider=spans.provider)
    under_way = sent("orders")
    with flowtrail.process(SimpleNamespace(topic="orders", partition=0, offset=1, key=None, value=b"", headers=[])):
        before = processors(spans)
        flowtrail.instrument(tracer_provider=spans.provider)
        assert processors(spans) == before
    CHAIN.acknowledge(under_way, 0, 1)
    flowtrail.uninstrument()
    assert spans.settled() == ["process orders", "send orders"]


def test_uninstrument_leaves_the_providers_processors_as_they_were_and_hands_over_what_is_under_way() -> None:
    spans = LaterSpans()
    before = processors(spans)
    flowtrail.instrument(tracer_provider=spans.provider)
    ended, under_way = sent("ended"), sent("under-way")
    CHAIN.acknowledge(ended, 0, 1)
    assert processors(spans) != before
    flowtrail.uninstrument()
    assert processors(spans) == before
    assert spans.names() == ["send ended"]
    CHAIN.acknowledge(under_way, 0, 2)
    assert spans.settled() == ["send ended", "send under-way"]


def test_a_processor_that_wants_every_start_leaves_nothing_of_ours_beside_it() -> None:
    class Starts(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            """What a span that is only noted would not come to."""

    spans = LaterSpans()
    before = processors(spans)
    flowtrail.instrument(tracer_provider=spans.provider)
    under_way = sent("under-way")
    starts = Starts()
    spans.provider.add_span_processor(starts)
    CHAIN.acknowledge(sent("orders"), 0, 1)
    assert processors(spans) == [*before, starts]
    CHAIN.acknowledge(under_way, 0, 2)
    flowtrail.uninstrument()
    assert spans.settled() == ["send orders", "send under-way"]


def test_a_producer_from_before_is_traced_while_instrumented_and_not_after(
    spans: Spans, broker: EmbeddedBroker
) -> None:
    with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        before = dict(vars(producer))
        send(producer, "before")
        flowtrail.instrument(tracer_provider=spans.provider)
        send(producer, "while")
        spans.one("send while")
        flowtrail.uninstrument()
        send(producer, "after")
        assert spans.names() == ["send while"]
        assert vars(producer) == before


def test_a_subclass_of_the_programs_own_is_traced_once(spans: Spans, broker: EmbeddedBroker) -> None:
    class Shouting(kafka.KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
        def send(self, topic: str, value: bytes, **options: Any) -> Any:
            return super().send(topic, value.upper(), **options)

    flowtrail.instrument(tracer_provider=spans.provider)
    with Shouting(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        send(producer, "shouted")
        spans.one("send shouted")


def test_our_own_subclass_is_traced_once_while_instrumented_and_still_after(
    spans: Spans, broker: EmbeddedBroker
) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    with kafka_python.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        send(producer, "while")
        spans.one("send while")
        flowtrail.uninstrument()
        send(producer, "after")
        spans.one("send after")
    assert spans.names() == ["send while", "send after", "close"]


def test_what_others_wrapped_around_ours_stays_and_ours_is_switched_off(
    spans: Spans, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    ours = kafka.KafkaProducer.send
    calls: list[str] = []

    def theirs(self: Any, topic: str, *arguments: Any, **options: Any) -> Any:
        calls.append(topic)
        return ours(self, topic, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kafka.KafkaProducer, "send", theirs)
        flowtrail.uninstrument()
        assert kafka.KafkaProducer.send is theirs
        with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
            send(producer, "wrapped")
    assert calls == ["wrapped"]
    assert spans.names() == []
    assert "KafkaProducer.send was wrapped again" in caplog.text


def test_given_interceptors_run_until_uninstrument(spans: Spans, broker: EmbeddedBroker) -> None:
    class Listening(Interceptor):
        def __init__(self) -> None:
            self.topics: list[str | None] = []

        def on_send(self, outgoing: Outgoing) -> None:
            self.topics.append(outgoing.topic)

    listening = Listening()
    flowtrail.instrument(tracer_provider=spans.provider, interceptors=[listening])
    with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        send(producer, "heard")
        flowtrail.uninstrument()
        flowtrail.instrument(tracer_provider=spans.provider)
        send(producer, "unheard")
    assert listening.topics == ["heard"]


def run(program: str) -> str:
    """Run a program in a Python of its own; return what it printed, errors included."""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return finished.stdout + finished.stderr


HIDE_ALL = "sys.modules.update(dict.fromkeys(['kafka', 'confluent_kafka', 'aiokafka']))"
OLD_KAFKA_PYTHON = "import types; sys.modules['kafka'] = kafka = types.ModuleType('kafka'); kafka.__version__ = '2.0.2'"


def test_importing_flowtrail_imports_the_tracer_alone() -> None:
    printed = run(
        "import sys, flowtrail\n"
        "heavy = {'kafka', 'requests', 'pydantic', 'opentelemetry.sdk', 'opentelemetry.exporter',"
        " 'flowtrail.collector', 'flowtrail.client', 'flowtrail.ui'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert printed == "[]\n"


def test_without_any_client_instrument_says_what_to_install() -> None:
    printed = run(f"import sys; {HIDE_ALL}\nimport flowtrail; flowtrail.instrument()")
    assert "ImportError: no Kafka client is installed: pip install 'kafka-python>=3.0.12' crc32c" in printed


def test_with_a_client_too_old_alone_instrument_says_what_to_install() -> None:
    printed = run(f"import sys; {HIDE_ALL}; {OLD_KAFKA_PYTHON}\nimport flowtrail; flowtrail.instrument()")
    assert "ImportError: kafka-python 2.0.2 is too old to be traced: pip install 'kafka-python>=3.0.12'" in printed


def test_a_client_too_old_is_passed_over_with_a_line_and_the_others_are_traced() -> None:
    printed = run(
        f"import sys; {OLD_KAFKA_PYTHON}; sys.modules['kafka'] = kafka\n"
        "import flowtrail, confluent_kafka; plain = confluent_kafka.Producer; flowtrail.instrument()\n"
        "print(confluent_kafka.Producer is not plain)"
    )
    assert "kafka-python 2.0.2 is too old to be traced" in printed
    assert printed.startswith("True\n")


def test_without_kafka_python_processing_works_on_any_record() -> None:
    printed = run(
        "import sys; sys.modules['kafka'] = None\n"
        "import flowtrail, types\n"
        "record = types.SimpleNamespace(topic='t', partition=0, offset=1, key=None, value=b'', headers=[])\n"
        "with flowtrail.process(record): print('worked')\n"
        "print(flowtrail.health().interceptor_errors)"
    )
    assert printed == "worked\n0\n"
