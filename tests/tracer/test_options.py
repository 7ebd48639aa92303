"""What a program chooses is so, on both ways that spans are made."""

from collections.abc import Iterator
from typing import Any

import kafka
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import flowtrail
from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.configuration import CONFIGURATION, Configuration
from flowtrail.tracer.tracing import TRACING
from tests.tracer.spans import attributes, link_attributes, linked, parent_id, span_id, trace_id, wait_until


class Collecting(SpanProcessor):
    """Keeps what was finished; leaves the fast path open."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Tracer:
    """A provider by one of the two ways, and what was finished in it."""

    def __init__(self, is_fast: bool) -> None:
        self.provider = TracerProvider()
        self._collecting, self._exporter = Collecting(), InMemorySpanExporter()
        self.is_fast = is_fast
        self.provider.add_span_processor(self._collecting if is_fast else SimpleSpanProcessor(self._exporter))

    def finished(self) -> list[ReadableSpan]:
        self.provider.force_flush()
        return self._collecting.spans if self.is_fast else list(self._exporter.get_finished_spans())

    def one(self, operation: str) -> ReadableSpan:
        """Wait for the one span of an operation."""
        wait_until(lambda: any(span.name.split()[0] == operation for span in self.finished()), operation)
        (span,) = [span for span in self.finished() if span.name.split()[0] == operation]
        return span


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=[True, False], ids=["noted", "made at once"])
def tracer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracer]:
    tracer = Tracer(request.param)
    monkeypatch.setattr(CONFIGURATION, "now", Configuration())
    monkeypatch.setattr(CONFIGURATION, "_given", {})
    yield tracer
    flowtrail.uninstrument()
    TRACING.use(None)
    tracer.provider.shutdown()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return f"options-{abs(hash(request.node.nodeid))}"


def send_and_read(broker: EmbeddedBroker, topic: str, key: bytes, headers: list[tuple[str, bytes]]) -> Any:
    """Send a record, read it back with one poll, and return it."""
    with kafka.KafkaProducer(bootstrap_servers=broker.bootstrap_servers, **KAFKA_PYTHON_OPTIONS) as producer:
        producer.send(topic, b"x", key=key, headers=headers, partition=0).get(20)
    with kafka.KafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", **KAFKA_PYTHON_OPTIONS
    ) as consumer:
        consumer.assign([kafka.TopicPartition(topic, 0)])
        found: dict[Any, list[Any]] = {}
        while not found:
            found = consumer.poll(1000)
    ((record,),) = found.values()
    return record


def everywhere(tracer: Tracer, record: Any) -> list[dict[str, object]]:
    """What is said of a record on its send, on its poll (one record: on the span), and on its processing."""
    with flowtrail.process([record, record]):
        pass
    process = tracer.one("process")
    return [attributes(tracer.one("send")), attributes(tracer.one("poll")), *link_attributes(process)]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "order-7"),
        ({"capture_keys": "hash"}, "df8cf80227ec3237"),
        ({"capture_keys": "hash", "hash_secret": "pepper"}, None),
        ({"capture_keys": "off"}, ...),
        ({"redact": lambda name, text: text.replace("7", "*")}, "order-*"),
        ({"redact": lambda name, text: None}, ...),
    ],
    ids=["text", "hash", "hash with a secret", "off", "redacted", "redacted away"],
)
def test_the_key_is_noted_as_it_was_chosen_everywhere(
    broker: EmbeddedBroker, tracer: Tracer, topic: str, options: Any, key: Any
) -> None:
    flowtrail.instrument(tracer_provider=tracer.provider, infer_processing=False, **options)
    noted = [found.get(names.KEY, ...) for found in everywhere(tracer, send_and_read(broker, topic, b"order-7", []))]
    if key is None:  # whatever it is, it is one and the same, and not the plain hash
        (key,) = set(noted)
        assert key not in {"order-7", "df8cf80227ec3237", ...}
    assert noted == [key] * 4


def test_headers_are_noted_where_they_are_asked_for(broker: EmbeddedBroker, tracer: Tracer, topic: str) -> None:
    flowtrail.instrument(
        tracer_provider=tracer.provider,
        infer_processing=False,
        capture_headers=["tenant", "token"],
        redact=lambda name, text: "***" if name.endswith("token") else text,
    )
    record = send_and_read(broker, topic, b"k", [("tenant", b"a"), ("other", b"o"), ("token", b"t"), ("tenant", b"b")])
    for found in everywhere(tracer, record):
        assert found["messaging.header.tenant"] == ("a", "b")
        assert found["messaging.header.token"] == ("***",)
        assert not any("other" in name for name in found)


def test_an_excluded_topic_has_no_spans_and_no_header_of_ours(
    broker: EmbeddedBroker, tracer: Tracer, topic: str
) -> None:
    flowtrail.instrument(tracer_provider=tracer.provider, excluded_topics=["options-*"])
    record = send_and_read(broker, topic, b"k", [("mine", b"1")])
    with flowtrail.process(record) as span:
        assert not span.is_recording()
    assert record.headers == [("mine", b"1")]
    assert {span.name for span in tracer.finished()} == {"close"}  # of the clients, which are about other topics too


def test_an_exceptions_text_is_redacted_and_its_stack_left_out(
    broker: EmbeddedBroker, tracer: Tracer, topic: str
) -> None:
    flowtrail.instrument(
        tracer_provider=tracer.provider,
        infer_processing=False,
        redact=lambda name, text: text.replace("jo@x.org", "***"),
    )
    record = send_and_read(broker, topic, b"k", [])
    with pytest.raises(ValueError, match="jo@"), flowtrail.process(record):
        raise ValueError("no customer jo@x.org")
    process = tracer.one("process")
    assert process.status.description == "no customer ***"
    (event,) = process.events
    assert "jo@" not in str(dict(event.attributes or {}))
    assert dict(event.attributes or {})["exception.message"] == "no customer ***"


def test_processing_of_one_record_is_below_its_send_when_that_is_chosen_and_links_what_was_current(
    broker: EmbeddedBroker, tracer: Tracer, topic: str
) -> None:
    flowtrail.instrument(tracer_provider=tracer.provider, infer_processing=False, process_relation="parent")
    record = send_and_read(broker, topic, b"k", [])
    test = trace.get_tracer("test", tracer_provider=tracer.provider)
    with test.start_as_current_span("around") as around, flowtrail.process(record):
        pass
    send, process = tracer.one("send"), tracer.one("process")
    assert (trace_id(process), parent_id(process)) == (trace_id(send), span_id(send))
    assert around.get_span_context().span_id in linked(process)


def test_a_batch_only_links_whatever_is_chosen(broker: EmbeddedBroker, tracer: Tracer, topic: str) -> None:
    flowtrail.instrument(tracer_provider=tracer.provider, infer_processing=False, process_relation="parent")
    record = send_and_read(broker, topic, b"k", [])
    with flowtrail.process([record, record]):
        pass
    send, process = tracer.one("send"), tracer.one("process")
    assert trace_id(process) != trace_id(send)
    assert linked(process) == [span_id(send)] * 2


def test_without_the_fast_path_a_span_is_finished_when_its_work_is(
    broker: EmbeddedBroker, tracer: Tracer, topic: str
) -> None:
    flowtrail.instrument(tracer_provider=tracer.provider, infer_processing=False, fast_path=False)
    record = send_and_read(broker, topic, b"k", [])
    with flowtrail.process(record) as span:
        assert isinstance(span, ReadableSpan)
    finished = tracer._collecting.spans if tracer.is_fast else tracer._exporter.get_finished_spans()
    assert span in finished or span_id(span) in [span_id(each) for each in finished]


def test_a_wrong_option_raises_before_anything_is_put_in() -> None:
    plain = kafka.KafkaProducer.send
    with pytest.raises(TypeError, match="there is no option capture_key"):
        flowtrail.instrument(capture_key="off")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="capture_keys is one of"):
        flowtrail.set_up(capture_keys="sometimes")  # type: ignore[arg-type]
    assert kafka.KafkaProducer.send is plain
