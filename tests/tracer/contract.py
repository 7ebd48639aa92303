"""What a traced Kafka client does, on any broker: one class of sentences.

A suite inherits `TracedClientContract` and gives two fixtures: `bootstrap_servers: str`, and `client_options: dict`
that every client is made with. Each sentence is held by the subclasses, and by kafka-python's own classes after
`instrument`. Topics must appear on first use.
"""

import inspect
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import kafka
import pytest
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import MessageSizeTooLargeError
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import kafka_python
from flowtrail.tracer.clients.known import is_known
from flowtrail.tracer.interceptor import Interceptor
from flowtrail.tracer.record import Acknowledged, Committed, Header, Outgoing, Polled

from .spans import Spans, attributes, link_attributes, linked, parent_id, span_id, trace_id, wait_until

TIMEOUT_S = 20


# kafka-python leaves it to the garbage collector to close some of its sockets.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
class TracedClientContract:
    """Inherit it as `class TestOn…(TracedClientContract)`."""

    @pytest.fixture(params=["subclass", "instrumented"])
    def way(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def spans(self, way: str) -> Iterator[Spans]:
        """Where the spans of a test go; the clients are traced while it runs."""
        spans = Spans()
        if way == "instrumented":
            flowtrail.instrument(tracer_provider=spans.provider)
        else:
            flowtrail.set_up(tracer_provider=spans.provider)
        yield spans
        flowtrail.uninstrument()

    @pytest.fixture
    def opened(self, spans: Spans) -> Iterator[ExitStack]:
        """Clients that are closed at the end of a test, while they are still traced."""
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def make_producer(
        self, way: str, opened: ExitStack, bootstrap_servers: str, client_options: dict[str, Any]
    ) -> Callable[..., Any]:
        kind = kafka.KafkaProducer if way == "instrumented" else kafka_python.KafkaProducer

        def make(**options: Any) -> Any:
            producer = kind(**{"bootstrap_servers": bootstrap_servers} | client_options | options)
            opened.callback(producer.close, timeout=5)
            return producer

        return make

    @pytest.fixture
    def make_consumer(
        self, way: str, opened: ExitStack, bootstrap_servers: str, client_options: dict[str, Any]
    ) -> Callable[..., Any]:
        kind = kafka.KafkaConsumer if way == "instrumented" else kafka_python.KafkaConsumer

        def make(topic: str, **options: Any) -> Any:
            given = {"bootstrap_servers": bootstrap_servers, "auto_offset_reset": "earliest"}
            consumer = kind(**given | client_options | options)
            opened.callback(consumer.close, timeout_ms=5000)
            consumer.assign([kafka.TopicPartition(topic, 0)])
            return consumer

        return make

    @pytest.fixture
    def producer(self, make_producer: Callable[..., Any]) -> Any:
        return make_producer()

    @pytest.fixture
    def topic(self) -> str:
        return f"topic-{uuid.uuid4().hex[:12]}"

    # Sending

    def test_a_send_is_a_producer_span_that_says_where_the_record_lies(
        self, spans: Spans, make_producer: Callable[..., Any], topic: str, bootstrap_servers: str
    ) -> None:
        producer = make_producer(client_id="till-4")
        stored = producer.send(topic, b"value", key=b"order-7", partition=0).get(TIMEOUT_S)
        span = spans.one(f"send {topic}")
        assert span.kind is SpanKind.PRODUCER
        assert span.status.status_code is StatusCode.UNSET
        host, port = bootstrap_servers.split(",")[0].rsplit(":", 1)
        found = attributes(span)
        assert found.pop(names.CLUSTER_ID)
        assert found == {
            names.SYSTEM: "kafka",
            names.OPERATION_NAME: "send",
            names.OPERATION_TYPE: "send",
            names.TOPIC: topic,
            names.PARTITION: "0",
            names.OFFSET: stored.offset,
            names.KEY: "order-7",
            names.CLIENT_ID: "till-4",
            names.SERVER_ADDRESS: host,
            names.SERVER_PORT: int(port),
        }

    def test_the_record_carries_the_context_of_its_send(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic))
        ((name, value),) = record.headers
        sent = spans.one(f"send {topic}")
        assert name == "traceparent"
        assert value.decode().split("-")[1:3] == [f"{trace_id(sent):032x}", f"{span_id(sent):016x}"]

    def test_every_argument_of_send_may_be_given_by_position(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", b"key", [("colour", b"red")], 0, 1_700_000_000_000).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic))
        assert (record.key, record.value, record.timestamp) == (b"key", b"value", 1_700_000_000_000)
        assert record.headers[0] == ("colour", b"red")
        assert record.headers[1][0] == "traceparent"

    def test_a_header_list_that_is_sent_again_and_again_stays_as_it_was(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        headers = [("colour", b"red")]
        for _ in range(3):
            producer.send(topic, b"value", headers=headers, partition=0).get(TIMEOUT_S)
        assert headers == [("colour", b"red")]
        records = _polled(make_consumer(topic), 3)
        carried = [_carried(record) for record in records]
        assert carried == [[span_id(span)] for span in spans.wait(f"send {topic}", 3)]

    def test_a_record_without_a_value_is_a_tombstone_on_both_sides(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, key=b"gone", partition=0).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic))
        with flowtrail.process(record):
            pass
        for name in (f"send {topic}", f"process {topic}"):
            assert attributes(spans.one(name))[names.TOMBSTONE] is True

    def test_a_key_that_is_no_text_is_left_out(self, spans: Spans, producer: Any, topic: str) -> None:
        producer.send(topic, b"value", key=b"\xff\xfe", partition=0).get(TIMEOUT_S)
        assert names.KEY not in attributes(spans.one(f"send {topic}"))

    def test_what_is_known_before_a_send_is_known_to_the_sampler(
        self, way: str, make_producer: Callable[..., Any], topic: str
    ) -> None:
        sampler = _Remembering()
        flowtrail.set_up(tracer_provider=Spans(sampler=sampler).provider)
        make_producer().send(topic, b"value", key=b"order-7", partition=0).get(TIMEOUT_S)
        known = {names.SYSTEM, names.OPERATION_NAME, names.OPERATION_TYPE, names.TOPIC, names.PARTITION}
        assert known | {names.KEY, names.SERVER_ADDRESS} <= sampler.seen[f"send {topic}"]

    def test_a_record_that_is_too_large_is_refused_by_the_clients_own_error(
        self, spans: Spans, make_producer: Callable[..., Any], topic: str
    ) -> None:
        producer = make_producer(max_request_size=1000)
        producer.partitions_for(topic)
        with pytest.raises(MessageSizeTooLargeError, match="The message is"):
            producer.send(topic, b"v" * 2000, partition=0)
        span = spans.one(f"send {topic}")
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)[names.ERROR_TYPE] == "kafka.errors.MessageSizeTooLargeError"
        assert names.OFFSET not in attributes(span)

    def test_a_record_that_only_our_header_makes_too_large_is_sent_without_it(
        self, spans: Spans, make_producer: Callable[..., Any], make_consumer: Callable[..., Any], topic: str
    ) -> None:
        make_producer().send(topic, b"v" * 900, partition=0).get(TIMEOUT_S)
        consumer = make_consumer(topic)
        _polled(consumer)
        make_producer(max_request_size=1000).send(topic, b"v" * 900, partition=0).get(TIMEOUT_S)
        (record,) = _polled(consumer)
        assert record.headers == []
        assert spans.wait(f"send {topic}", 2)[1].status.status_code is StatusCode.UNSET

    def test_a_value_that_cannot_be_serialized_raises_what_the_serializer_raised(
        self, spans: Spans, make_producer: Callable[..., Any], topic: str
    ) -> None:
        refusal = ValueError("not a number")
        producer = make_producer(value_serializer=_Refusing(refusal))
        with pytest.raises(ValueError, match="not a number") as raised:
            producer.send(topic, "value")
        assert raised.value is refusal
        assert raised.value.__context__ is None
        span = spans.one(f"send {topic}")
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "not a number")
        assert attributes(span)[names.ERROR_TYPE] == "ValueError"

    def test_a_partition_that_is_not_there_is_refused_by_the_clients_own_error(
        self, spans: Spans, producer: Any, topic: str
    ) -> None:
        with pytest.raises(ValueError, match="Unrecognized partition"):
            producer.send(topic, b"value", partition=4711)
        assert spans.one(f"send {topic}").status.status_code is StatusCode.ERROR

    @pytest.mark.parametrize(
        "headers",
        [(("a", b"1"),), {"a": b"1"}, [("a", "text")], [("a", None)], [["a", b"1"]], [("a",)], [1], "traceparent", 7],
        ids=repr,
    )
    def test_headers_of_a_wrong_type_are_refused_by_the_clients_own_error(
        self, spans: Spans, producer: Any, topic: str, headers: Any
    ) -> None:
        with pytest.raises(TypeError, match="header"):
            producer.send(topic, b"value", headers=headers)
        assert spans.one(f"send {topic}").status.status_code is StatusCode.ERROR

    def test_bad_calls_raise_the_same_as_without_us(
        self, spans: Spans, producer: Any, topic: str, bootstrap_servers: str, client_options: dict[str, Any]
    ) -> None:
        before = flowtrail.health().interceptor_errors
        plain = kafka.KafkaProducer.send
        original = inspect.unwrap(plain)
        for arguments in ((), (topic,), (5, b"value"), ("bad topic!", b"value"), (topic, b"v", b"k", None, -1)):
            with pytest.raises((TypeError, ValueError, AssertionError)) as ours:
                producer.send(*arguments)
            with pytest.raises(type(ours.value)) as theirs:
                original(producer, *arguments)
            assert str(ours.value) == str(theirs.value)
        assert flowtrail.health().interceptor_errors == before

    def test_a_closed_producer_says_so_itself(self, spans: Spans, producer: Any, topic: str) -> None:
        producer.close()
        with pytest.raises(kafka.errors.IllegalStateError, match="KafkaProducer already closed"):
            producer.send(topic, b"value")

    # Context

    def test_a_send_is_a_child_of_the_current_span(self, spans: Spans, producer: Any, topic: str) -> None:
        with spans.provider.get_tracer("shop").start_as_current_span("checkout"):
            producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        assert parent_id(spans.one(f"send {topic}")) == span_id(spans.one("checkout"))

    def test_a_context_that_the_application_put_into_the_headers_is_kept_and_linked(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        outbox = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
        producer.send(topic, b"value", headers=outbox, partition=0).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic))
        assert record.headers == outbox
        assert linked(spans.one(f"send {topic}")) == [0xB7AD6B7169203331]

    def test_a_context_that_was_copied_from_the_record_in_hand_is_replaced_and_linked(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        retries = f"{topic}-retry"
        producer.send(topic, b"value", headers=[("colour", b"red")], partition=0).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic))
        with flowtrail.process(record):
            producer.send(retries, record.value, headers=record.headers, partition=0).get(TIMEOUT_S)
        (again,) = _polled(make_consumer(retries))
        first, second = spans.one(f"send {topic}"), spans.one(f"send {retries}")
        assert _carried(again) == [span_id(second)]
        assert again.headers[0] == ("colour", b"red")
        assert linked(second) == [span_id(first)]
        assert parent_id(second) == span_id(spans.one(f"process {topic}"))

    def test_baggage_goes_along_with_the_record_and_into_its_processing(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        token = context.attach(baggage.set_baggage("tenant", "north"))
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        context.detach(token)
        (record,) = _polled(make_consumer(topic))
        with flowtrail.process(record):
            assert baggage.get_baggage("tenant") == "north"
        assert baggage.get_baggage("tenant") is None

    def test_suppressed_instrumentation_makes_no_span_and_no_header(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        consumer = make_consumer(topic, group_id=f"{topic}-group")
        token = context.attach(context.set_value("suppress_instrumentation", True))
        try:
            producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
            (record,) = _polled(consumer)
            consumer.commit()
            with flowtrail.process(record):
                pass
        finally:
            context.detach(token)
        assert record.headers == []
        assert spans.names() == []

    # Polling

    def test_a_poll_is_a_client_span_with_a_link_to_each_record(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        for key in (b"a", b"b"):
            producer.send(topic, b"value", key=key, partition=0)
        producer.flush()
        sent = spans.wait(f"send {topic}", 2)
        consumer = make_consumer(topic, group_id=f"{topic}-group", client_id="picker-1")
        records = _polled(consumer, 2)
        polls = spans.named(f"poll {topic}")
        assert {span.kind for span in polls} == {SpanKind.CLIENT}
        assert [id_ for span in polls for id_ in linked(span)] == [span_id(span) for span in sent]
        assert [found for span in polls for found in link_attributes(span)] == [
            {
                names.TOPIC: topic,
                names.PARTITION: "0",
                names.OFFSET: offset,
                names.KEY: key,
                names.RECORD_TIMESTAMP_MS: record.timestamp,
            }
            for offset, key, record in zip((0, 1), ("a", "b"), records, strict=True)
        ]
        found = attributes(polls[0])
        assert (found[names.OPERATION_NAME], found[names.OPERATION_TYPE]) == names.POLL
        assert found[names.GROUP] == f"{topic}-group"
        assert found[names.CLIENT_ID] == "picker-1"
        assert found[names.CLUSTER_ID]

    def test_a_poll_of_one_record_names_it_on_the_span_too(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        _polled(make_consumer(topic))
        found = attributes(spans.one(f"poll {topic}"))
        assert (found[names.PARTITION], found[names.OFFSET], found[names.MESSAGE_COUNT]) == ("0", 0, 1)

    def test_an_empty_poll_makes_no_span(self, spans: Spans, make_consumer: Callable[..., Any], topic: str) -> None:
        assert make_consumer(topic).poll(timeout_ms=50) == {}
        assert spans.names() == []

    def test_iterating_counts_each_record_once(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        for _ in range(5):
            producer.send(topic, b"value", partition=0)
        producer.flush()
        consumer = make_consumer(topic, max_poll_records=2, consumer_timeout_ms=1000)
        assert [record.offset for record in consumer] == [0, 1, 2, 3, 4]
        polls = spans.named(f"poll {topic}")
        assert [found[names.OFFSET] for span in polls for found in link_attributes(span)] == [0, 1, 2, 3, 4]

    def test_more_records_than_a_span_takes_links_make_several_poll_spans(
        self, way: str, make_producer: Callable[..., Any], make_consumer: Callable[..., Any], topic: str
    ) -> None:
        spans = Spans(limits=SpanLimits(max_links=4))
        flowtrail.set_up(tracer_provider=spans.provider)
        producer = make_producer(linger_ms=50)
        for _ in range(10):
            producer.send(topic, b"value", partition=0)
        producer.flush()
        records = _polled(make_consumer(topic), 10)
        with flowtrail.process(records):
            pass
        for name in (f"poll {topic}", f"process {topic}"):
            offsets = [found[names.OFFSET] for span in spans.named(name) for found in link_attributes(span)]
            assert offsets == list(range(10))
            assert sum(span.dropped_links for span in spans.named(name)) == 0

    @pytest.mark.parametrize(
        "headers",
        [
            [("traceparent", b"\xff\xfe\x00")],
            [("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01")],
            [("traceparent", b"x" * 100_000)],
            [("traceparent", b"")] * 50,
            [("tracestate", b"\x00"), ("baggage", b"\xff=;;")],
        ],
        ids=["not UTF-8", "zeroes", "huge", "often", "state without parent"],
    )
    def test_headers_of_others_that_make_no_sense_do_not_reach_the_loop(
        self, spans: Spans, make_consumer: Callable[..., Any], topic: str, headers: list[Header], producer: Any
    ) -> None:
        with _suppressed():
            producer.send(topic, b"value", headers=headers, partition=0).get(TIMEOUT_S)
        before = flowtrail.health().interceptor_errors
        (record,) = _polled(make_consumer(topic))
        assert record.headers == headers
        with flowtrail.process(record):
            pass
        assert attributes(spans.one(f"process {topic}"))[names.OFFSET] == 0
        assert flowtrail.health().interceptor_errors == before

    def test_records_are_what_the_client_makes(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", key=b"key", partition=0).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic))
        plain = ConsumerRecord(*record)
        assert isinstance(record, ConsumerRecord)
        assert record == plain
        assert repr(record) == repr(plain)
        assert hash(record.value) == hash(plain.value)

    # Processing

    def test_processing_is_a_consumer_span_linked_to_the_records_context(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", key=b"order-7", partition=0).get(TIMEOUT_S)
        (record,) = _polled(make_consumer(topic, group_id=f"{topic}-group", client_id="picker-1"))
        with flowtrail.process(record) as inside:
            assert trace.get_current_span() is inside
        span, sent = spans.one(f"process {topic}"), spans.one(f"send {topic}")
        assert span.kind is SpanKind.CONSUMER
        assert span.parent is None
        assert trace_id(span) != trace_id(sent)
        assert linked(span) == [span_id(sent)]
        found = attributes(span)
        assert found.pop(names.CLUSTER_ID)
        assert found.pop(names.SERVER_ADDRESS)
        assert found.pop(names.SERVER_PORT)
        assert found == {
            names.SYSTEM: "kafka",
            names.OPERATION_NAME: "process",
            names.OPERATION_TYPE: "process",
            names.TOPIC: topic,
            names.PARTITION: "0",
            names.OFFSET: 0,
            names.KEY: "order-7",
            names.GROUP: f"{topic}-group",
            names.CLIENT_ID: "picker-1",
            names.RECORD_TIMESTAMP_MS: record.timestamp,
        }

    def test_records_of_two_groups_in_one_process_are_told_apart(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        groups = [f"{topic}-{name}" for name in ("billing", "search")]
        consumers = [make_consumer(topic, group_id=group) for group in groups]
        records = [_polled(consumer)[0] for consumer in consumers]
        assert records[0] == records[1]
        for record in reversed(records):
            with flowtrail.process(record):
                pass
        found = [attributes(span)[names.GROUP] for span in spans.named(f"process {topic}")]
        assert found == groups[::-1]

    def test_the_loop_over_a_consumer_makes_a_span_for_each_record_that_holds_its_work(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        for _ in range(3):
            producer.send(topic, b"value", partition=0)
        producer.flush()
        out = f"{topic}-out"
        for record in flowtrail.processing(make_consumer(topic, consumer_timeout_ms=1000)):
            producer.send(out, b"%d" % record.offset, partition=0).get(TIMEOUT_S)
        processed, forwarded = spans.named(f"process {topic}"), spans.wait(f"send {out}", 3)
        assert [attributes(span)[names.OFFSET] for span in processed] == [0, 1, 2]
        assert [parent_id(span) for span in forwarded] == [span_id(span) for span in processed]
        assert not trace.get_current_span().get_span_context().is_valid

    def test_a_batch_is_one_span_whose_links_say_which_records(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        for key in (b"a", b"b", b"c"):
            producer.send(topic, b"value", key=key, partition=0)
        producer.flush()
        records = _polled(make_consumer(topic, group_id=f"{topic}-group"), 3)
        with flowtrail.process(records):
            pass
        span = spans.one(f"process {topic}")
        found = attributes(span)
        assert found[names.MESSAGE_COUNT] == 3
        assert found[names.GROUP] == f"{topic}-group"
        assert names.OFFSET not in found
        assert [(each[names.OFFSET], each[names.KEY]) for each in link_attributes(span)] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]

    # Committing

    def test_a_commit_is_a_span_with_the_positions_of_each_partition(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        consumer = make_consumer(topic, group_id=f"{topic}-group", enable_auto_commit=False)
        _polled(consumer)
        consumer.commit()
        span = spans.one(f"commit {topic}")
        found = attributes(span)
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert (found[names.OPERATION_TYPE], found[names.GROUP]) == ("settle", f"{topic}-group")
        assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
            (names.COMMIT_EVENT, {names.TOPIC: topic, names.PARTITION: "0", names.COMMITTED_OFFSET: 1})
        ]

    @pytest.mark.parametrize("is_first", [True, False], ids=["coordinator unknown", "coordinator known"])
    def test_an_asynchronous_commit_is_a_span_once_it_is_answered(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str, is_first: bool
    ) -> None:
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        consumer = make_consumer(topic, group_id=f"{topic}-group", enable_auto_commit=False)
        place = kafka.TopicPartition(topic, 0)
        positions = {place: kafka.OffsetAndMetadata(1, "", -1)}
        answers: list[Any] = []
        consumer.topics()  # connects; a consumer that never did cannot look for its coordinator
        if not is_first:
            consumer.commit(positions)
        with spans.provider.get_tracer("shop").start_as_current_span("work"):
            consumer.commit_async(positions, callback=lambda offsets, answer: answers.append((offsets, answer)))

        def is_answered() -> bool:
            consumer.poll(timeout_ms=10)
            return bool(answers)

        wait_until(is_answered, "the commit's callback")
        assert len(answers) == 1
        assert answers[0][0] == positions
        assert not isinstance(answers[0][1], Exception)
        span = spans.wait(f"commit {topic}", 1 if is_first else 2)[-1]
        assert parent_id(span) == span_id(spans.one("work"))
        assert (span.events[0].attributes or {})[names.COMMITTED_OFFSET] == 1
        assert consumer.committed(place) == 1

    def test_a_commit_that_fails_is_an_error_and_raises_as_before(
        self, spans: Spans, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        consumer = make_consumer(topic)
        for method in (consumer.commit, consumer.commit_async):
            with pytest.raises(kafka.errors.IllegalStateError, match="Requires group_id"):
                method()
        assert [span.status.status_code for span in spans.named("commit")] == [StatusCode.ERROR] * 2

    # Interceptors

    def test_an_interceptor_of_the_program_sees_sends_answers_records_and_commits(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        witness = _Witness()
        flowtrail.add_interceptor(witness)
        try:
            producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
            spans.one(f"send {topic}")
            consumer = make_consumer(topic, group_id=f"{topic}-group", enable_auto_commit=False)
            (record,) = _polled(consumer)
            consumer.commit()
        finally:
            flowtrail.remove_interceptor(witness)
        outgoing, acknowledged, polled, committed = witness.seen
        assert isinstance(outgoing, Outgoing)
        assert isinstance(acknowledged, Acknowledged)
        assert (acknowledged.offset, acknowledged.outgoing.sequence) == (0, outgoing.sequence)
        assert isinstance(polled, Polled)
        assert [each.offset for each in polled.records] == [0]
        assert isinstance(committed, Committed)
        assert committed.offsets == {(topic, 0): 1}
        assert record.headers[0] == ("seen-by", b"witness")

    def test_an_interceptor_that_raises_harms_nothing(
        self, spans: Spans, producer: Any, make_consumer: Callable[..., Any], topic: str
    ) -> None:
        before = flowtrail.health().interceptor_errors
        broken = _Broken()
        flowtrail.add_interceptor(broken)
        try:
            producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
            spans.one(f"send {topic}")
            consumer = make_consumer(topic, group_id=f"{topic}-group", enable_auto_commit=False)
            _polled(consumer)
            consumer.commit()
        finally:
            flowtrail.remove_interceptor(broken)
        assert {f"send {topic}", f"poll {topic}", f"commit {topic}"} <= set(spans.names())
        assert flowtrail.health().interceptor_errors == before + 4

    # The clients themselves

    def test_the_clients_look_like_the_originals(self, spans: Spans, producer: Any) -> None:
        for ours, original in (
            (kafka_python.KafkaProducer, kafka.KafkaProducer),
            (kafka_python.KafkaConsumer, kafka.KafkaConsumer),
        ):
            assert issubclass(ours, original)
            assert dir(ours) == dir(original)
            assert inspect.signature(ours) == inspect.signature(original)
            for name, method in inspect.getmembers(inspect.unwrap(original), callable):
                if not name.startswith("_"):
                    found = inspect.signature(getattr(ours, name))
                    assert found == inspect.signature(inspect.unwrap(method)), name
        assert isinstance(producer, kafka.KafkaProducer)
        assert str(producer).startswith("<KafkaProducer client_id=")

    def test_a_producer_that_is_let_go_is_collected_with_what_we_know_of_it(
        self, spans: Spans, make_producer: Callable[..., Any], opened: ExitStack, topic: str
    ) -> None:
        producer = make_producer()
        producer.send(topic, b"value", partition=0).get(TIMEOUT_S)
        assert is_known(producer)
        opened.pop_all().close()
        watched = weakref.ref(producer)
        del producer
        wait_until(lambda: watched() is None, "the producer is collected")

    def test_many_threads_send_at_once_and_no_span_is_lost_or_mixed_up(
        self, spans: Spans, producer: Any, topic: str
    ) -> None:
        def send(thread: int) -> None:
            for number in range(50):
                producer.send(topic, b"value", key=f"{thread}-{number}".encode(), partition=0)

        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.flush()
        sent = spans.wait(f"send {topic}", 200)
        assert len({attributes(span)[names.KEY] for span in sent}) == 200
        assert sorted(int(str(attributes(span)[names.OFFSET])) for span in sent) == list(range(200))


class _Witness(Interceptor):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_send(self, outgoing: Outgoing) -> Sequence[Header]:
        self.seen.append(outgoing)
        return [*outgoing.headers, ("seen-by", b"witness")]

    def on_acknowledgement(self, acknowledged: Acknowledged) -> None:
        self.seen.append(acknowledged)

    def on_consume(self, polled: Polled) -> None:
        self.seen.append(polled)

    def on_commit(self, committed: Committed) -> None:
        self.seen.append(committed)


class _Broken(Interceptor):
    def on_send(self, outgoing: Outgoing) -> Sequence[Header]:
        raise RuntimeError("broken on_send")

    def on_acknowledgement(self, acknowledged: Acknowledged) -> None:
        raise RuntimeError("broken on_acknowledgement")

    def on_consume(self, polled: Polled) -> None:
        raise RuntimeError("broken on_consume")

    def on_commit(self, committed: Committed) -> None:
        raise RuntimeError("broken on_commit")


class _Refusing(kafka.Serializer):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, refusal: Exception) -> None:
        self._refusal = refusal

    def serialize(self, topic: str, headers: list[Header], data: object) -> bytes:
        raise self._refusal


class _Remembering(Sampler):
    """Samples everything, and remembers which attributes it was shown, by span name."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}

    def should_sample(  # type: ignore[no-untyped-def]  # the SDK's signature, of which two matter
        self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None
    ) -> SamplingResult:
        self.seen[name] = set(attributes or {})
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "remembering"


class _suppressed:
    def __enter__(self) -> None:
        self._token = context.attach(context.set_value("suppress_instrumentation", True))

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)


def _polled(consumer: Any, count: int = 1) -> list[Any]:
    """Poll until `count` records are there."""
    records: list[Any] = []

    def is_there() -> bool:
        for polled in consumer.poll(timeout_ms=200).values():
            records.extend(polled)
        return len(records) >= count

    wait_until(is_there, f"{count} records")
    return records


def _carried(record: Any) -> list[int]:
    """The span ids in a record's traceparent headers."""
    return [int(value.decode().split("-")[2], 16) for name, value in record.headers if name == "traceparent"]
