"""What a traced Kafka client does, whatever the library and the broker: the sentences, in one file.

`TracedClientContract` holds on any broker, `TracedGroupContract` on those where groups are quick and whole: Apache
Kafka. A suite inherits them and gives one fixture, `broker: Broker`. Each sentence is held by every library's driver
(`drivers/`), by our subclasses and by the library's own classes after `instrument`. A sentence that needs what some
library cannot do is not held by that one; its driver says what it cannot, and why. Topics must appear on first use.
"""

import gc
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.headers import read
from flowtrail.tracer.interceptor import ABORTED, COMMITTED, UNKNOWN, Interceptor
from flowtrail.tracer.record import Acknowledged, Committed, Header, Outgoing, Polled

from .drivers import DRIVERS
from .drivers.driver import (
    TIMEOUT_S,
    Ability,
    Broker,
    ConsumerOptions,
    DrivenConsumer,
    DrivenProducer,
    Driver,
    Look,
    Place,
    Way,
)
from .spans import Spans, attributes, link_attributes, linked, parent_id, span_id, trace_id, wait_until
from .traced import Traced

NEW_PROTOCOL = Ability.NEW_PROTOCOL


# What another program may have written: names that mean something to us and others, values of any bytes.
_CONTEXT_NAMES = frozenset({"traceparent", "tracestate"})
_VALUES = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00-", b"", b"x" * 9000]),
)
# confluent-kafka ends a name at its first null character.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
_NAMES = st.one_of(st.sampled_from(["traceparent", "tracestate", "baggage", "colour"]), _TEXT)
_HEADERS_ON_THE_WIRE = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)


def examples(check: Callable[[list[Header]], None]) -> Callable[[], None]:
    """Run a check for twenty lists of headers."""
    return settings(max_examples=20, deadline=None)(given(headers=_HEADERS_ON_THE_WIRE)(check))


def needs(*abilities: Ability) -> pytest.MarkDecorator:
    """The sentence is about something that not every library can do."""
    return pytest.mark.needs(*abilities)


# kafka-python leaves it to the garbage collector to close some of its sockets.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
class Contract:
    """The fixtures of the sentences. A suite may hold them by fewer libraries, or in fewer ways."""

    drivers: ClassVar[Sequence[type[Driver]]] = DRIVERS
    ways: ClassVar[Sequence[Way]] = ("subclass", "instrumented")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give a sentence the drivers that can do what it needs, and the protocols of groups that they speak."""
        marker = metafunc.definition.get_closest_marker("needs")
        needed = set(marker.args) if marker else set()
        kinds = [kind for kind in self.drivers if needed <= kind.can]
        if "new_protocol" in metafunc.fixturenames:
            pairs = [(kind, False) for kind in kinds] + [(kind, True) for kind in kinds if NEW_PROTOCOL in kind.can]
            ids = [f"{kind.name}-{'consumer' if is_new else 'classic'}" for kind, is_new in pairs]
            metafunc.parametrize(("driver", "new_protocol"), pairs, indirect=["driver"], ids=ids)
        elif "driver" in metafunc.fixturenames:
            metafunc.parametrize("driver", kinds, indirect=True, ids=[kind.name for kind in kinds])
        if "traced" in metafunc.fixturenames:
            metafunc.parametrize("traced", self.ways, indirect=True)

    @pytest.fixture
    def driver(self, request: pytest.FixtureRequest, broker: Broker) -> Driver:
        kind: type[Driver] = request.param
        return kind(broker)

    @pytest.fixture
    def traced(self, request: pytest.FixtureRequest, driver: Driver) -> Iterator[Traced]:
        """The library's clients, traced while a test runs."""
        with Traced(driver, request.param, Spans()) as traced:
            yield traced

    @pytest.fixture
    def spans(self, traced: Traced) -> Spans:
        """Where the spans of a test go."""
        return traced.spans

    @pytest.fixture
    def producer(self, traced: Traced) -> DrivenProducer:
        return traced.producer()

    @pytest.fixture
    def topic(self) -> str:
        return f"topic-{uuid.uuid4().hex[:12]}"


class TracedClientContract(Contract):
    """Inherit it as `class TestOn…(TracedClientContract)`."""

    # Sending

    def test_a_send_is_a_producer_span_that_says_where_the_record_lies(
        self, traced: Traced, spans: Spans, topic: str, broker: Broker
    ) -> None:
        producer = traced.producer(client_id="till-4")
        stored = producer.send(topic, b"value", key=b"order-7", partition=0)
        span = spans.one(f"send {topic}")
        assert span.kind is SpanKind.PRODUCER
        assert span.status.status_code is StatusCode.UNSET
        host, port = broker.bootstrap_servers.split(",")[0].rsplit(":", 1)
        found = attributes(span)
        assert bool(found.pop(names.CLUSTER_ID, None)) == (Ability.CLUSTER_ID in traced.driver.can)
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

    def test_a_send_lasts_until_the_broker_answered(self, traced: Traced, spans: Spans, topic: str) -> None:
        producer = traced.producer(linger_ms=60)
        producer.send(topic, b"value", partition=0)  # whatever is looked up once is
        producer.send(topic, b"value", partition=0)
        span = spans.wait(f"send {topic}", 2)[1]
        assert _length_ms(span) >= 50

    def test_the_partition_on_a_send_is_the_one_where_the_record_lies(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        producer = traced.producer()
        stored = [producer.send(topic, b"value", key=f"order-{number}".encode()) for number in range(12)]
        found = [attributes(span) for span in spans.wait(f"send {topic}", 12)]
        assert [(each[names.PARTITION], each[names.OFFSET]) for each in found] == [
            (str(partition), offset) for partition, offset in stored
        ]

    def test_the_record_carries_the_context_of_its_send(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        ((name, value),) = traced.driver.headers(record)
        sent = spans.one(f"send {topic}")
        assert name == "traceparent"
        assert value is not None
        assert value.decode().split("-")[1:3] == [f"{trace_id(sent):032x}", f"{span_id(sent):016x}"]

    def test_every_argument_of_send_may_be_given_by_position(
        self, traced: Traced, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send_by_position(topic, b"value", b"key", [("colour", b"red")], 0, 1_700_000_000_000)
        (record,) = traced.polled(traced.consumer(topic))
        driver = traced.driver
        assert (driver.key(record), driver.value(record)) == (b"key", b"value")
        assert driver.timestamp_ms(record) == 1_700_000_000_000
        assert [name for name, _ in driver.headers(record)] == ["colour", "traceparent"]

    def test_a_header_list_that_is_sent_again_and_again_stays_as_it_was(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        headers = [("colour", b"red")]
        for _ in range(3):
            producer.send(topic, b"value", headers=headers, partition=0)
        assert headers == [("colour", b"red")]
        records = traced.polled(traced.consumer(topic), 3)
        carried = [traced.carried(record) for record in records]
        assert carried == [[span_id(span)] for span in spans.wait(f"send {topic}", 3)]

    def test_a_record_without_a_value_is_a_tombstone_on_both_sides(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, key=b"gone", partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        with flowtrail.process(record):
            pass
        for name in (f"send {topic}", f"process {topic}"):
            assert attributes(spans.one(name))[names.TOMBSTONE] is True
        assert traced.of_links(f"poll {topic}", 1)[0][names.TOMBSTONE] is True

    def test_a_key_that_is_no_text_is_left_out(self, spans: Spans, producer: DrivenProducer, topic: str) -> None:
        producer.send(topic, b"value", key=b"\xff\xfe", partition=0)
        assert names.KEY not in attributes(spans.one(f"send {topic}"))

    def test_what_is_known_before_a_send_is_known_to_the_sampler(self, traced: Traced, topic: str) -> None:
        sampler = _Remembering()
        traced.send_spans_to(Spans(sampler=sampler))
        traced.producer().send(topic, b"value", key=b"order-7", partition=0)
        known = {names.SYSTEM, names.OPERATION_NAME, names.OPERATION_TYPE, names.TOPIC, names.PARTITION}
        assert known | {names.KEY, names.SERVER_ADDRESS} <= sampler.seen[f"send {topic}"]

    def test_a_record_that_only_our_header_makes_too_large_is_sent_without_it(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        producer, before = traced.producer(longest_request_bytes=1000), flowtrail.health().headers_dropped
        with _suppressed():
            sizes = [size for size in range(800, 1000, 8) if _takes(producer, topic, size)]
        producer.send(topic, b"v" * sizes[-1], partition=0)
        record = traced.polled(traced.consumer(topic), len(sizes) + 1)[-1]
        assert traced.driver.headers(record) == []
        assert spans.one(f"send {topic}").status.status_code is StatusCode.UNSET
        assert flowtrail.health().headers_dropped == before + 1

    # Wrong use: the client's own error, and nothing of ours in the way

    @pytest.mark.parametrize(
        "headers",
        [
            (("a", b"1"),),
            {"a": b"1"},
            [("a", "text")],
            [("a", None)],
            [["a", b"1"]],
            [(b"a", b"1")],
            [("a", 7)],
            [("a",)],
            [("a", b"1", b"2")],
            [1],
            [None],
            "traceparent",
            7,
        ],
        ids=repr,
    )
    def test_headers_of_every_type_are_taken_or_refused_as_without_us(
        self, traced: Traced, topic: str, headers: Any
    ) -> None:
        before = flowtrail.health().interceptor_errors

        def send(producer: DrivenProducer) -> None:
            producer.send(topic, b"value", headers=headers, partition=0)

        theirs = traced.plain_producer_does(send)
        assert traced.producer_does(send) == theirs
        assert flowtrail.health().interceptor_errors == before
        self._one_send_ended(traced.spans, theirs.error)

    def test_a_record_that_is_too_large_is_refused_as_without_us(self, traced: Traced, topic: str) -> None:
        def send(producer: DrivenProducer) -> None:
            producer.send(topic, b"v" * 2000, partition=0)

        theirs = traced.plain_producer_does(send, longest_request_bytes=1000)
        assert theirs.error
        assert traced.producer_does(send, longest_request_bytes=1000) == theirs
        self._one_send_ended(traced.spans, theirs.error)

    @needs(Ability.VALUE_SERIALIZER)
    def test_a_value_that_cannot_be_serialized_is_refused_as_without_us(self, traced: Traced, topic: str) -> None:
        def refuse(_: Any) -> bytes:
            raise ValueError("not a number")

        def send(producer: DrivenProducer) -> None:
            producer.send(topic, "value", partition=0)

        theirs = traced.plain_producer_does(send, value_serializer=refuse)
        assert "not a number" in theirs.text
        assert traced.producer_does(send, value_serializer=refuse) == theirs
        self._one_send_ended(traced.spans, theirs.error)

    @needs(Ability.VALUE_SERIALIZER)
    def test_the_serializer_is_called_once_for_each_send(self, traced: Traced, topic: str) -> None:
        calls: list[str] = []

        def serialize(value: str) -> bytes:
            calls.append(value)
            return value.encode()

        producer = traced.producer(value_serializer=serialize)
        for number in range(5):
            producer.send(topic, f"order-{number}")
        assert calls == [f"order-{number}" for number in range(5)]

    def test_a_partition_that_is_not_there_is_refused_as_without_us(self, traced: Traced, topic: str) -> None:
        def send(producer: DrivenProducer) -> None:
            producer.send(topic, b"value", partition=0)
            producer.send(topic, b"value", partition=4711)

        theirs = traced.plain_producer_does(send, delivery_timeout_ms=1000)
        assert theirs.error
        assert traced.producer_does(send, delivery_timeout_ms=1000) == theirs
        span = traced.spans.wait(f"send {topic}", 2)[1]
        assert (span.status.status_code, attributes(span)[names.ERROR_TYPE]) == (StatusCode.ERROR, theirs.error)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"topic": None},
            {"topic": 5},
            {"topic": "bad topic!"},
            {"topic": "orders", "value": "text"},
            {"topic": "orders", "value": 5},
            {"topic": "orders", "key": object},
            {"topic": "orders", "partition": "0"},
            {"topic": "orders", "partition": -2},
            {"topic": "orders", "timestamp_ms": "now"},
            {"topic": "orders", "timestamp_ms": -5},
        ],
        ids=repr,
    )
    def test_arguments_of_a_wrong_type_are_taken_or_refused_as_without_us(
        self, traced: Traced, arguments: dict[str, Any]
    ) -> None:
        before = flowtrail.health().interceptor_errors

        def send(producer: DrivenProducer) -> None:
            producer.send(**{"value": b"value"} | arguments)

        theirs = traced.plain_producer_does(send, delivery_timeout_ms=1000)
        assert traced.producer_does(send, delivery_timeout_ms=1000).error == theirs.error
        assert flowtrail.health().interceptor_errors == before

    def test_a_producer_that_is_closed_says_so_as_without_us(self, traced: Traced, topic: str) -> None:
        def send(producer: DrivenProducer) -> None:
            producer.close()
            producer.send(topic, b"value", partition=0)

        theirs = traced.plain_producer_does(send)
        assert theirs.error
        assert traced.producer_does(send) == theirs

    def test_a_consumer_that_is_closed_says_so_as_without_us(self, traced: Traced, topic: str) -> None:
        def poll(consumer: DrivenConsumer) -> None:
            consumer.close()
            consumer.poll()

        theirs = traced.plain_consumer_does(poll)
        assert theirs.error
        assert traced.consumer_does(poll) == theirs

    def test_a_broker_that_is_not_there_is_told_of_as_without_us(self, traced: Traced, topic: str) -> None:
        before = flowtrail.health().interceptor_errors
        nowhere: dict[str, Any] = {"bootstrap_servers": "127.0.0.1:1", "delivery_timeout_ms": 300}

        def send(producer: DrivenProducer) -> None:
            producer.send(topic, b"value", partition=0)

        theirs = traced.plain_producer_does(send, **nowhere)
        assert theirs.error
        assert traced.producer_does(send, **nowhere).error == theirs.error
        assert flowtrail.health().interceptor_errors == before

    # Context

    def test_a_send_is_a_child_of_the_current_span(self, spans: Spans, producer: DrivenProducer, topic: str) -> None:
        with spans.provider.get_tracer("shop").start_as_current_span("checkout"):
            producer.send(topic, b"value", partition=0)
        assert parent_id(spans.one(f"send {topic}")) == span_id(spans.one("checkout"))

    def test_a_context_that_the_application_put_into_the_headers_is_kept_and_linked(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        outbox = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
        producer.send(topic, b"value", headers=outbox, partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        assert traced.driver.headers(record) == outbox
        assert linked(spans.one(f"send {topic}")) == [0xB7AD6B7169203331]

    def test_a_context_that_was_copied_from_the_record_in_hand_is_replaced_and_linked(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        retries, driver = f"{topic}-retry", traced.driver
        producer.send(topic, b"value", headers=[("colour", b"red")], partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        with flowtrail.process(record):
            producer.send(retries, driver.value(record), headers=driver.headers(record), partition=0)
        (again,) = traced.polled(traced.consumer(retries))
        first, second = spans.one(f"send {topic}"), spans.one(f"send {retries}")
        assert traced.carried(again) == [span_id(second)]
        assert driver.headers(again)[0] == ("colour", b"red")
        assert linked(second) == [span_id(first)]
        assert parent_id(second) == span_id(spans.one(f"process {topic}"))

    def test_of_several_contexts_in_a_record_the_last_valid_one_wins_and_the_others_are_linked_too(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        appended = [
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
            ("traceparent", b"not a context"),
        ]
        with _suppressed():
            producer.send(topic, b"value", headers=appended, partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        with flowtrail.process(record):
            pass
        assert linked(spans.one(f"process {topic}")) == [0x00F067AA0BA902B7, 0xB7AD6B7169203331]

    def test_tracestate_is_kept_from_the_headers_to_the_link(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        given = [
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", b"vendor=opaque"),
        ]
        producer.send(topic, b"value", headers=given, partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        with flowtrail.process(record):
            pass
        (link,) = spans.one(f"process {topic}").links
        assert link.context.trace_state.get("vendor") == "opaque"
        assert traced.driver.headers(record) == given

    def test_baggage_goes_along_with_the_record_and_into_its_processing(
        self, traced: Traced, producer: DrivenProducer, topic: str
    ) -> None:
        token = context.attach(baggage.set_baggage("tenant", "north"))
        producer.send(topic, b"value", partition=0)
        context.detach(token)
        (record,) = traced.polled(traced.consumer(topic))
        with flowtrail.process(record):
            assert baggage.get_baggage("tenant") == "north"
        assert baggage.get_baggage("tenant") is None

    def test_another_propagator_that_is_configured_is_the_one_that_is_used(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        with _propagated_by(B3MultiFormat()):
            producer.send(topic, b"value", partition=0)
            (record,) = traced.polled(traced.consumer(topic))
            with flowtrail.process(record):
                pass
        sent = spans.one(f"send {topic}")
        carried = {name.lower(): value for name, value in traced.driver.headers(record)}
        assert carried["x-b3-spanid"] == f"{span_id(sent):016x}".encode()
        assert "traceparent" not in carried
        assert linked(spans.one(f"process {topic}")) == [span_id(sent)]

    def test_suppressed_instrumentation_makes_no_span_and_no_header(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        consumer = traced.consumer(topic, group=f"{topic}-group")
        with _suppressed():
            producer.send(topic, b"value", partition=0)
            (record,) = traced.polled(consumer)
            consumer.commit()
            with flowtrail.process(record):
                pass
            consumer.close()
            producer.close()
        assert traced.driver.headers(record) == []
        assert spans.settled() == []

    # Polling

    @needs(Ability.BATCHES)
    def test_a_poll_is_a_client_span_with_a_link_to_each_record(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        for key in (b"a", b"b"):
            producer.send_without_waiting(topic, b"value", key=key, partition=0)
        producer.flush()
        sent = spans.wait(f"send {topic}", 2)
        consumer = traced.consumer(topic, group=f"{topic}-group", client_id="picker-1")
        records = traced.polled(consumer, 2)
        said = traced.of_links(f"poll {topic}", 2)
        polls = spans.named(f"poll {topic}")
        assert {span.kind for span in polls} == {SpanKind.CLIENT}
        assert [id_ for span in polls for id_ in linked(span)] == [span_id(span) for span in sent]
        assert said == [
            {
                names.TOPIC: topic,
                names.PARTITION: "0",
                names.OFFSET: offset,
                names.KEY: key,
                names.RECORD_TIMESTAMP_MS: traced.driver.timestamp_ms(record),
            }
            for offset, key, record in zip((0, 1), ("a", "b"), records, strict=True)
        ]
        found = attributes(polls[0])
        assert (found[names.OPERATION_NAME], found[names.OPERATION_TYPE]) == names.POLL
        assert found[names.GROUP] == f"{topic}-group"
        assert found[names.CLIENT_ID] == "picker-1"
        assert bool(found.get(names.CLUSTER_ID)) == (Ability.CLUSTER_ID in traced.driver.can)

    def test_a_poll_of_one_record_names_it_on_the_span_too(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        traced.polled(traced.consumer(topic))
        found = attributes(spans.one(f"poll {topic}"))
        assert (found[names.PARTITION], found[names.OFFSET], found[names.MESSAGE_COUNT]) == ("0", 0, 1)

    def test_an_empty_poll_makes_no_span(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        with _suppressed():
            producer.send(topic, b"value", partition=1)
        assert traced.consumer(topic).poll(timeout_ms=50) == []
        assert spans.settled() == []

    def test_iterating_counts_each_record_once(self, traced: Traced, producer: DrivenProducer, topic: str) -> None:
        for _ in range(5):
            producer.send_without_waiting(topic, b"value", partition=0)
        producer.flush()
        seen: list[int] = []
        consumer = traced.consumer(topic, most_records=2)
        consumer.each(5, lambda record: seen.append(traced.driver.coordinates(record)[2]))
        assert seen == [0, 1, 2, 3, 4]
        assert [said[names.OFFSET] for said in traced.of_links(f"poll {topic}", 5)] == seen

    @needs(Ability.BATCHES)
    def test_more_records_than_a_span_takes_links_make_several_poll_spans(self, traced: Traced, topic: str) -> None:
        traced.send_spans_to(Spans(limits=SpanLimits(max_links=4)))
        self._send_together(traced, topic, 10)
        self._polled_and_processed_whole(traced, topic, 10)

    @needs(Ability.BATCHES)
    def test_of_two_hundred_records_in_a_poll_none_is_cut_off(self, traced: Traced, topic: str) -> None:
        self._send_together(traced, topic, 200)
        self._polled_and_processed_whole(traced, topic, 200)

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
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str, headers: list[Header]
    ) -> None:
        with _suppressed():
            producer.send(topic, b"value", headers=headers, partition=0)
        before = flowtrail.health().interceptor_errors
        (record,) = traced.polled(traced.consumer(topic))
        assert traced.driver.headers(record) == headers
        with flowtrail.process(record):
            pass
        assert attributes(spans.one(f"process {topic}"))[names.OFFSET] == 0
        assert flowtrail.health().interceptor_errors == before

    def test_no_headers_of_others_reach_the_loop_or_are_changed(
        self, traced: Traced, producer: DrivenProducer, topic: str
    ) -> None:
        before, consumer = flowtrail.health().interceptor_errors, traced.consumer(topic)

        @examples
        def are_harmless(headers: list[Header]) -> None:
            with _suppressed():
                producer.send(topic, b"value", headers=headers, partition=0)
            (record,) = traced.polled(consumer)
            with flowtrail.process(record):
                assert traced.driver.headers(record) == headers

        are_harmless()
        assert flowtrail.health().interceptor_errors == before

    def test_headers_of_every_content_are_sent_as_they_are_beside_the_context(
        self, traced: Traced, producer: DrivenProducer, topic: str
    ) -> None:
        before, consumer = flowtrail.health().interceptor_errors, traced.consumer(topic)

        @examples
        def are_sent(headers: list[Header]) -> None:
            given_headers = list(headers)
            producer.send(topic, b"value", headers=headers, partition=0)
            assert headers == given_headers
            (record,) = traced.polled(consumer)
            sent = [header for header in traced.driver.headers(record) if header[0] not in _CONTEXT_NAMES]
            assert sent == [header for header in headers if header[0] not in _CONTEXT_NAMES]
            carried = trace.get_current_span(read(traced.driver.headers(record)).context).get_span_context()
            assert carried.is_valid

        are_sent()
        assert flowtrail.health().interceptor_errors == before

    # Processing that the program marks

    def test_processing_is_a_consumer_span_linked_to_the_records_context(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", key=b"order-7", partition=0)
        (record,) = traced.polled(traced.consumer(topic, group=f"{topic}-group", client_id="picker-1"))
        with flowtrail.process(record) as inside:
            assert trace.get_current_span() is inside
        span, sent = spans.one(f"process {topic}"), spans.one(f"send {topic}")
        assert span.kind is SpanKind.CONSUMER
        assert span.parent is None
        assert trace_id(span) != trace_id(sent)
        assert linked(span) == [span_id(sent)]
        found = attributes(span)
        assert bool(found.pop(names.CLUSTER_ID, None)) == (Ability.CLUSTER_ID in traced.driver.can)
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
            names.RECORD_TIMESTAMP_MS: traced.driver.timestamp_ms(record),
        }

    def test_processing_that_raises_is_an_error_and_the_programs_own_exception_goes_on(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        refusal = KeyError("price")
        with pytest.raises(KeyError) as raised, flowtrail.process(record):
            raise refusal
        assert raised.value is refusal
        span = spans.one(f"process {topic}")
        assert (span.status.status_code, attributes(span)[names.ERROR_TYPE]) == (StatusCode.ERROR, "KeyError")

    def test_records_of_two_groups_in_one_process_are_told_apart(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        groups = [f"{topic}-{name}" for name in ("billing", "search")]
        records = [traced.polled(traced.consumer(topic, group=group))[0] for group in groups]
        for record in reversed(records):
            with flowtrail.process(record):
                pass
        found = [attributes(span)[names.GROUP] for span in spans.wait(f"process {topic}", 2)]
        assert found == groups[::-1]

    def test_a_loop_over_processing_makes_a_span_for_each_record_that_holds_its_work(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        for _ in range(3):
            producer.send_without_waiting(topic, b"value", partition=0)
        producer.flush()
        out = f"{topic}-out"
        for _ in flowtrail.processing(traced.polled(traced.consumer(topic), 3)):
            producer.send(out, b"value", partition=0)
        processed, forwarded = traced.processed(topic, 3), spans.wait(f"send {out}", 3)
        assert [attributes(span)[names.OFFSET] for span in processed] == [0, 1, 2]
        assert [parent_id(span) for span in forwarded] == [span_id(span) for span in processed]

    def test_a_batch_is_one_span_whose_links_say_which_records(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        for key in (b"a", b"b", b"c"):
            producer.send_without_waiting(topic, b"value", key=key, partition=0)
        producer.flush()
        records = traced.polled(traced.consumer(topic, group=f"{topic}-group"), 3)
        with flowtrail.process(records):
            pass
        (span,) = traced.processed(topic, 1)
        assert attributes(span)[names.MESSAGE_COUNT] == 3
        assert names.OFFSET not in attributes(span)
        assert [(each[names.OFFSET], each[names.KEY]) for each in link_attributes(span)] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]

    # Processing that the program says nothing about

    def test_a_loop_over_records_makes_a_span_for_each_that_holds_what_its_body_does(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        for _ in range(3):
            producer.send(topic, b"value", partition=0)
        out = f"{topic}-out"
        consumer = traced.consumer(topic, group=f"{topic}-group")
        consumer.each(3, lambda _: producer.send_without_waiting(out, b"value", partition=0))
        producer.flush()
        sent, processed, forwarded = (
            spans.wait(name, 3) for name in (f"send {topic}", f"process {topic}", f"send {out}")
        )
        assert [attributes(span)[names.OFFSET] for span in processed] == [0, 1, 2]
        assert [linked(span) for span in processed] == [[span_id(span)] for span in sent]
        assert [parent_id(span) for span in forwarded] == [span_id(span) for span in processed]
        assert [parent_id(span) for span in processed] == [None] * 3
        for span in processed:
            found = attributes(span)
            assert found[names.INFERRED] is True
            assert names.UNFINISHED not in found
            assert (found[names.GROUP], span.status.status_code) == (f"{topic}-group", StatusCode.UNSET)

    @needs(Ability.BATCHES)
    def test_a_loop_over_polls_makes_a_span_for_each_batch_that_holds_what_its_body_does(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        self._send_together(traced, topic, 3)
        producer, out = traced.producer(), f"{topic}-out"
        batches: list[int] = []

        def forward(records: list[Any]) -> None:
            batches.append(len(records))
            producer.send_without_waiting(out, b"value", partition=0)

        traced.consumer(topic).each_batch(3, forward)
        producer.flush()
        assert [said[names.OFFSET] for said in traced.of_links(f"process {topic}", 3, inferred=True)] == [0, 1, 2]
        processed = spans.wait(f"process {topic}", len(batches))
        assert [attributes(span)[names.MESSAGE_COUNT] for span in processed] == batches
        assert [attributes(span)[names.INFERRED] for span in processed] == [True] * len(batches)
        assert [parent_id(span) for span in spans.wait(f"send {out}", len(batches))] == [
            span_id(span) for span in processed
        ]

    def test_what_follows_the_last_record_of_a_loop_is_no_part_of_its_work(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        traced.consumer(topic).each(1, lambda _: None)
        spans.one(f"process {topic}")
        assert not trace.get_current_span().get_span_context().is_valid
        producer.send(f"{topic}-after", b"value", partition=0)
        assert parent_id(spans.one(f"send {topic}-after")) is None

    def test_a_body_that_never_came_back_for_the_next_record_is_unfinished_and_no_success(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic)
        consumer.each(1, lambda _: None, comes_back=False)
        assert f"process {topic}" not in spans.settled()
        consumer.close()
        found = attributes(spans.one(f"process {topic}"))
        assert (found[names.INFERRED], found[names.UNFINISHED]) == (True, True)
        assert not trace.get_current_span().get_span_context().is_valid

    def test_a_body_that_raises_out_of_the_loop_is_unfinished_and_the_exception_goes_on(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer, refusal = traced.consumer(topic), KeyError("price")

        def refuse(_: Any) -> None:
            raise refusal

        with pytest.raises(KeyError) as raised:
            consumer.each(1, refuse)
        assert raised.value is refusal
        consumer.close()
        assert attributes(spans.one(f"process {topic}"))[names.UNFINISHED] is True

    def test_what_the_program_says_of_its_processing_replaces_what_is_inferred(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        for _ in range(2):
            producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic)

        def work(record: Any) -> None:
            with flowtrail.process(record):
                pass

        consumer.each(2, work)
        consumer.close()
        processed = spans.wait(f"process {topic}", 2)
        assert [attributes(span)[names.OFFSET] for span in processed] == [0, 1]
        assert [parent_id(span) for span in processed] == [None] * 2
        assert not any(names.INFERRED in attributes(span) for span in processed)
        assert spans.settled().count(f"process {topic}") == 2

    # Forwarding

    def test_a_record_that_is_sent_to_a_retry_topic_says_where_it_came_from_and_links_it(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        retries = f"{topic}-retry"
        producer.send(topic, b"value", key=b"order-7", headers=[("colour", b"red")], partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        with flowtrail.process(record):
            producer.send(**flowtrail.retry_to(retries, record, KeyError("price")), partition=0)
        (again,) = traced.polled(traced.consumer(retries))
        with flowtrail.process(again):
            pass
        first, second = spans.one(f"send {topic}"), spans.one(f"send {retries}")
        assert (traced.driver.key(again), traced.driver.value(again)) == (b"order-7", b"value")
        assert traced.driver.headers(again)[0] == ("colour", b"red")
        assert traced.carried(again) == [span_id(second)]
        assert linked(second) == [span_id(first)]
        found = attributes(spans.one(f"process {retries}"))
        assert (found[names.ORIGINAL_TOPIC], found[names.ORIGINAL_PARTITION], found[names.ORIGINAL_OFFSET]) == (
            topic,
            "0",
            0,
        )
        assert (found[names.DELIVERY_ATTEMPT], found[names.LAST_ERROR_TYPE]) == (2, "KeyError")

    def test_a_dead_letter_keeps_where_the_event_lay_first(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        retries, letters = f"{topic}-retry", f"{topic}-dlq"
        producer.send(topic, b"value", partition=0)
        (record,) = traced.polled(traced.consumer(topic))
        producer.send(**flowtrail.retry_to(retries, record), partition=0)
        (again,) = traced.polled(traced.consumer(retries))
        producer.send(**flowtrail.dead_letter_to(letters, again, ValueError("no price")), partition=0)
        (letter,) = traced.polled(traced.consumer(letters))
        with flowtrail.process(letter):
            pass
        found = attributes(spans.one(f"process {letters}"))
        assert (found[names.ORIGINAL_TOPIC], found[names.LAST_ERROR_TYPE]) == (topic, "ValueError")
        assert linked(spans.one(f"send {letters}")) == [span_id(spans.one(f"send {retries}"))]

    # Committing

    def test_a_commit_is_a_span_with_the_positions_of_each_partition(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group")
        traced.polled(consumer)
        consumer.commit()
        span = spans.one(f"commit {topic}")
        found = attributes(span)
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert (found[names.OPERATION_TYPE], found[names.GROUP]) == ("settle", f"{topic}-group")
        assert _committed(span) == [(topic, "0", 1)]
        assert consumer.committed(Place(topic, 0)) == 1

    def test_positions_that_the_program_gives_are_those_that_are_committed(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        for _ in range(3):
            producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group")
        traced.polled(consumer, 3)
        consumer.commit({Place(topic, 0): 2})
        assert _committed(spans.one(f"commit {topic}")) == [(topic, "0", 2)]
        assert consumer.committed(Place(topic, 0)) == 2

    @needs(Ability.ASYNC_COMMIT)
    def test_an_asynchronous_commit_is_a_span_once_it_is_answered(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group")
        traced.polled(consumer)
        answers: list[BaseException | None] = []
        with spans.provider.get_tracer("shop").start_as_current_span("work"):
            consumer.commit_async({Place(topic, 0): 1}, answers.append)

        def is_answered() -> bool:
            consumer.poll(timeout_ms=10)
            return bool(answers)

        wait_until(is_answered, "the commit's callback")
        assert answers == [None]
        span = spans.one(f"commit {topic}")
        assert parent_id(span) == span_id(spans.one("work"))
        assert _committed(span) == [(topic, "0", 1)]
        assert consumer.committed(Place(topic, 0)) == 1

    def test_a_commit_that_fails_is_an_error_and_raises_as_without_us(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        def commit(consumer: DrivenConsumer) -> None:
            consumer.assign(Place(topic, 0))
            consumer.commit()

        theirs = traced.plain_consumer_does(commit)
        assert theirs.error
        assert traced.consumer_does(commit) == theirs
        span = spans.one("commit")
        assert (span.status.status_code, attributes(span)[names.ERROR_TYPE]) == (StatusCode.ERROR, theirs.error)

    @needs(Ability.AUTO_COMMIT)
    def test_a_consumer_that_commits_by_itself_makes_a_span_that_says_so(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group", auto_commit_ms=50)
        traced.polled(consumer)

        def is_committed() -> bool:
            consumer.poll(timeout_ms=10)
            return any(_committed(span) == [(topic, "0", 1)] for span in spans.named(f"commit {topic}"))

        wait_until(is_committed, "an automatic commit of what was polled")
        assert all(attributes(span)[names.AUTOMATIC] is True for span in spans.named(f"commit {topic}"))

    @needs(Ability.COMMIT_ON_CLOSE)
    def test_a_consumer_that_commits_while_it_is_closed_makes_a_span_that_says_so(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group", auto_commit_ms=60_000)
        traced.polled(consumer)
        assert f"commit {topic}" not in spans.settled()
        consumer.close()
        span = spans.one(f"commit {topic}")
        assert attributes(span)[names.AUTOMATIC] is True
        assert _committed(span) == [(topic, "0", 1)]

    # What befalls a consumer

    def test_a_seek_is_an_event_of_the_next_poll(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic)
        traced.polled(consumer)
        consumer.seek(Place(topic, 0), 0)
        traced.polled(consumer)
        first, second = spans.wait(f"poll {topic}", 2)
        assert _events(first) == []
        assert _events(second) == [(names.SEEK_EVENT, {names.TOPIC: topic, names.PARTITION: "0", names.OFFSET: 0})]

    @needs(Ability.BEGIN_OFFSETS)
    def test_a_seek_to_the_beginning_says_that_it_is_one(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic)
        traced.polled(consumer)
        consumer.seek_to_beginning(Place(topic, 0))
        traced.polled(consumer)
        ((name, said),) = _events(spans.wait(f"poll {topic}", 2)[1])
        assert (name, said[names.SEEK_TO]) == (names.SEEK_EVENT, "beginning")

    # The end

    def test_the_close_of_a_producer_is_a_span_that_says_how_many_sends_were_left_unanswered(
        self, traced: Traced, spans: Spans, topic: str, broker: Broker
    ) -> None:
        producer = traced.producer(client_id="till-4")
        producer.send(topic, b"value", partition=0)
        producer.close()
        span = spans.one("close")
        host, port = broker.bootstrap_servers.split(",")[0].rsplit(":", 1)
        found = attributes(span)
        assert bool(found.pop(names.CLUSTER_ID, None)) == (Ability.CLUSTER_ID in traced.driver.can)
        assert found == {
            names.SYSTEM: "kafka",
            names.OPERATION_NAME: "close",
            names.CLIENT_ID: "till-4",
            names.SERVER_ADDRESS: host,
            names.SERVER_PORT: int(port),
            names.UNANSWERED: 0,
        }
        assert (span.kind, span.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
        assert spans.settled() == [f"send {topic}", "close"]

    def test_the_close_of_a_consumer_is_a_span_that_names_its_group_and_no_type_of_operation(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group", client_id="picker-1")
        traced.polled(consumer)
        consumer.close()
        span = spans.one("close")
        found = attributes(span)
        assert (found[names.OPERATION_NAME], found[names.CLIENT_ID]) == ("close", "picker-1")
        assert found[names.GROUP] == f"{topic}-group"
        assert found.keys().isdisjoint({names.OPERATION_TYPE, names.TOPIC, names.UNANSWERED})
        assert (span.kind, span.parent, _events(span)) == (SpanKind.CLIENT, None, [])

    def test_a_close_is_a_child_of_the_current_span_and_of_no_work_on_a_record(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic)
        with spans.provider.get_tracer("shop").start_as_current_span("shutdown"):
            consumer.each(1, lambda record: None, comes_back=False)
            consumer.close()
        assert parent_id(spans.one("close")) == span_id(spans.one("shutdown"))

    def test_a_client_that_is_closed_again_makes_no_span_again(self, traced: Traced, spans: Spans, topic: str) -> None:
        producer, consumer = traced.producer(), traced.consumer(topic)
        for client in (producer, consumer, producer, consumer):
            client.close()
        assert spans.settled() == ["close", "close"]

    def test_a_seek_that_no_poll_followed_is_an_event_of_the_close(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic)
        traced.polled(consumer)
        consumer.seek(Place(topic, 0), 0)
        consumer.close()
        said = {names.TOPIC: topic, names.PARTITION: "0", names.OFFSET: 0}
        assert _events(spans.one("close")) == [(names.SEEK_EVENT, said)]

    # Transactions

    @needs(Ability.TRANSACTIONS)
    def test_an_event_of_a_transaction_that_is_committed_says_so(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        producer = traced.producer(transactional_id=f"{topic}-till")
        producer.begin_transaction()
        for _ in range(2):
            producer.send(topic, b"value", partition=0)
        assert spans.settled() == []  # only the outcome tells whether anybody will see the events
        producer.commit_transaction()
        sent, transaction = spans.wait(f"send {topic}", 2), spans.one("transaction")
        assert [attributes(span)[names.TRANSACTION_OUTCOME] for span in (*sent, transaction)] == [COMMITTED] * 3
        assert attributes(transaction)[names.TRANSACTIONAL_ID] == f"{topic}-till"
        assert [attributes(span)[names.OFFSET] for span in sent] == [0, 1]

    @needs(Ability.TRANSACTIONS)
    def test_an_event_of_a_transaction_that_is_aborted_says_so(self, traced: Traced, spans: Spans, topic: str) -> None:
        producer = traced.producer(transactional_id=f"{topic}-till")
        producer.begin_transaction()
        producer.send(topic, b"value", partition=0)
        producer.abort_transaction()
        for name in (f"send {topic}", "transaction"):
            span = spans.one(name)
            assert attributes(span)[names.TRANSACTION_OUTCOME] == ABORTED
            assert span.status.status_code is StatusCode.UNSET

    @needs(Ability.TRANSACTIONS)
    def test_a_transaction_after_another_has_an_outcome_of_its_own(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        producer = traced.producer(transactional_id=f"{topic}-till")
        for end in (producer.abort_transaction, producer.commit_transaction):
            producer.begin_transaction()
            producer.send(topic, b"value", partition=0)
            end()
        sent = spans.wait(f"send {topic}", 2)
        assert [attributes(span)[names.TRANSACTION_OUTCOME] for span in sent] == [ABORTED, COMMITTED]

    @needs(Ability.TRANSACTIONS)
    def test_positions_in_a_transaction_are_committed_with_it(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group")
        traced.polled(consumer)
        relay = traced.producer(transactional_id=f"{topic}-relay")
        relay.begin_transaction()
        relay.send(f"{topic}-out", b"value", partition=0)
        relay.send_offsets(consumer, {Place(topic, 0): 1})
        assert f"commit {topic}" not in spans.settled()
        relay.commit_transaction()
        span = spans.one(f"commit {topic}")
        assert _committed(span) == [(topic, "0", 1)]
        assert attributes(span)[names.GROUP] == f"{topic}-group"

    @needs(Ability.TRANSACTIONS)
    def test_positions_in_a_transaction_that_is_aborted_are_not_committed(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group")
        traced.polled(consumer)
        relay = traced.producer(transactional_id=f"{topic}-relay")
        relay.begin_transaction()
        relay.send_offsets(consumer, {Place(topic, 0): 1})
        relay.abort_transaction()
        assert attributes(spans.one("transaction"))[names.TRANSACTION_OUTCOME] == ABORTED
        assert f"commit {topic}" not in spans.settled()

    @needs(Ability.TRANSACTIONS)
    def test_a_transaction_that_is_open_when_its_producer_closes_has_no_outcome_that_is_known(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        producer = traced.producer(transactional_id=f"{topic}-till")
        producer.begin_transaction()
        producer.send(topic, b"value", partition=0)
        producer.close()
        found = [attributes(spans.one(name))[names.TRANSACTION_OUTCOME] for name in (f"send {topic}", "transaction")]
        assert found == [UNKNOWN, UNKNOWN]

    @needs(Ability.TRANSACTIONS)
    def test_a_transaction_that_was_not_begun_is_refused_as_without_us(self, traced: Traced, topic: str) -> None:
        options = {"transactional_id": f"{topic}-till"}
        theirs = traced.plain_producer_does(lambda producer: producer.commit_transaction(), **options)
        assert theirs.error
        assert traced.producer_does(lambda producer: producer.commit_transaction(), **options) == theirs

    # Interceptors

    def test_an_interceptor_of_the_program_sees_sends_answers_records_and_commits(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        witness = _Witness()
        with _added(witness):
            producer.send(topic, b"value", partition=0)
            spans.one(f"send {topic}")
            consumer = traced.consumer(topic, group=f"{topic}-group")
            (record,) = traced.polled(consumer)
            consumer.commit()
        outgoing, acknowledged, polled, committed = witness.seen
        assert isinstance(outgoing, Outgoing)
        assert isinstance(acknowledged, Acknowledged)
        assert (acknowledged.offset, acknowledged.outgoing.sequence) == (0, outgoing.sequence)
        assert isinstance(polled, Polled)
        assert [each.offset for each in polled.records] == [0]
        assert isinstance(committed, Committed)
        assert committed.offsets == {(topic, 0): 1}
        assert traced.driver.headers(record)[0] == ("seen-by", b"witness")

    def test_an_interceptor_that_raises_harms_nothing(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        before = flowtrail.health().interceptor_errors
        with _added(_Broken()):
            producer.send(topic, b"value", partition=0)
            spans.one(f"send {topic}")
            consumer = traced.consumer(topic, group=f"{topic}-group")
            traced.polled(consumer)
            consumer.commit()
        assert {f"send {topic}", f"poll {topic}", f"commit {topic}"} <= set(spans.settled())
        assert flowtrail.health().interceptor_errors == before + 4

    # The clients themselves

    def test_the_clients_look_like_the_originals(self, traced: Traced) -> None:
        driver = traced.driver
        producer_look, consumer_look = driver.looks()[:2]
        for kind, plain in (
            (driver.producer_class(traced.way), producer_look),
            (driver.consumer_class(traced.way), consumer_look),
        ):
            found = Look.of(kind)
            assert found.signatures == plain.signatures
            assert found.names == plain.names
            assert (kind.__name__, kind.__doc__ is None) == (plain.plain.__name__, plain.plain.__doc__ is None)
            assert issubclass(kind, plain.plain)

    def test_an_object_is_an_instance_of_the_original_and_shows_itself_as_one(self, traced: Traced, topic: str) -> None:
        producer_look, consumer_look = traced.driver.looks()[:2]
        for ours, look in ((traced.producer(), producer_look), (traced.consumer(topic), consumer_look)):
            assert isinstance(ours.native, look.plain)
            assert look.plain.__name__ in repr(ours.native)
            assert set(dir(ours.native)) >= set(look.names)

    def test_uninstrument_leaves_every_attribute_as_it_was(self, traced: Traced) -> None:
        def identities() -> list[dict[str, int]]:
            return [{name: id(value) for name, value in vars(each).items()} for each in traced.driver.namespaces()]

        with traced.untraced():
            before = identities()
            flowtrail.instrument(tracer_provider=traced.spans.provider)
            assert identities() != before
            flowtrail.uninstrument()
            assert identities() == before

    def test_a_producer_that_is_let_go_is_collected_with_what_we_know_of_it(self, traced: Traced, topic: str) -> None:
        with traced.once() as once:
            producer = once.producer()
            producer.send(topic, b"value", partition=0)
            watched = weakref.ref(producer.native)
            del producer

        def is_gone() -> bool:
            gc.collect()
            return watched() is None

        wait_until(is_gone, "the producer is collected")

    @needs(Ability.THREADS)
    def test_many_threads_send_at_once_and_no_span_is_lost_or_mixed_up(
        self, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        def send(thread: int) -> None:
            for number in range(50):
                producer.send_without_waiting(topic, b"value", key=f"{thread}-{number}".encode(), partition=0)

        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.flush()
        sent = spans.wait(f"send {topic}", 200)
        assert len({attributes(span)[names.KEY] for span in sent}) == 200
        assert sorted(int(str(attributes(span)[names.OFFSET])) for span in sent) == list(range(200))

    # What several sentences say

    def _one_send_ended(self, spans: Spans, error: str) -> None:
        """The one send that was traced ended with this error, or well when there is none."""
        wait_until(lambda: any(name.startswith("send") for name in spans.names()), "a send")
        (span,) = [span for name in set(spans.names()) if name.startswith("send") for span in spans.named(name)]
        assert span.status.status_code is (StatusCode.ERROR if error else StatusCode.UNSET)
        assert attributes(span).get(names.ERROR_TYPE, "") == error
        assert (names.OFFSET in attributes(span)) == (not error)

    def _send_together(self, traced: Traced, topic: str, count: int) -> None:
        """Send records so that they are stored, and so polled, together."""
        producer = traced.producer(linger_ms=50)
        for _ in range(count):
            producer.send_without_waiting(topic, b"value", partition=0)
        producer.flush()

    def _polled_and_processed_whole(self, traced: Traced, topic: str, count: int) -> None:
        """Each record of the batch has its link on a poll span, and on a process span."""
        records = traced.polled(traced.consumer(topic), count)
        with flowtrail.process(records):
            pass
        for name in (f"poll {topic}", f"process {topic}"):
            assert [said[names.OFFSET] for said in traced.of_links(name, count)] == list(range(count))
            assert not any(span.dropped_links for span in traced.spans.named(name))


class TracedGroupContract(Contract):
    """What takes a group whose members come and go, and a broker that knows of transactions when it is read.

    `new_protocol`: the group is of the protocol of KIP-848 (`group.protocol=consumer`).
    """

    def test_members_that_join_and_leave_are_told_on_the_next_poll(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str, new_protocol: bool
    ) -> None:
        self._send_to_all(producer, topic)
        with _Group(traced, topic, new_protocol) as group:
            first = group.join()
            group.wait_until(lambda: len(first.offsets) == 4, "one member has all")
            assert sorted(_partitions(spans, names.ASSIGN_EVENT, first)) == ["0", "1", "2", "3"]
            first.commit()  # else whoever gets a partition reads it from its beginning
            second = group.join()
            group.wait_until(lambda: len(first.owned) == len(second.owned) == 2, "two members share")
            self._send_to_all(producer, topic)
            group.wait_until(lambda: len(first.offsets) + len(second.offsets) == 8, "two members polled")
            shared = {str(place.partition) for place in second.owned}
            assert shared <= set(_partitions(spans, names.REVOKE_EVENT, first))
            assert shared == set(_partitions(spans, names.ASSIGN_EVENT, second))
            first.commit()
            second.commit()
            second.leave()
            group.wait_until(lambda: len(first.owned) == 4, "one member has all again")
            self._send_to_all(producer, topic)
            group.wait_until(lambda: len(first.offsets) + len(second.offsets) == 12, "one member polled again")
            assert shared <= set(_partitions(spans, names.ASSIGN_EVENT, first)[4:])

    def test_a_member_that_leaves_tells_with_its_close_what_it_had(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str, new_protocol: bool
    ) -> None:
        self._send_to_all(producer, topic)
        with _Group(traced, topic, new_protocol) as group:
            member = group.join()
            group.wait_until(lambda: len(member.offsets) == 4, "one member has all")
            member.leave()
            span = spans.one("close")
            ((name, said),) = _events(span)
            assert (name, sorted(said[names.PARTITION])) == (names.REVOKE_EVENT, ["0", "1", "2", "3"])
            assert {attributes(poll)[names.MEMBER_ID] for poll in _polls(spans, member)} == {
                attributes(span)[names.MEMBER_ID]
            }

    def test_each_record_is_on_one_poll_of_the_member_that_has_its_partition(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str, new_protocol: bool
    ) -> None:
        self._send_to_all(producer, topic)
        with _Group(traced, topic, new_protocol) as group:
            members = [group.join(), group.join()]
            group.wait_until(lambda: all(len(each.last_offsets()) == 2 for each in members), "two members polled")
        for member in members:
            polls = _polls(spans, member)
            said = [(each[names.PARTITION], each[names.OFFSET]) for span in polls for each in link_attributes(span)]
            assert said == [(str(partition), offset) for _, partition, offset in member.offsets]
        ids = [{attributes(span)[names.MEMBER_ID] for span in _polls(spans, member)} for member in members]
        assert ids[0].isdisjoint(ids[1])

    def test_a_commit_of_a_member_names_it_and_its_positions(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str, new_protocol: bool
    ) -> None:
        self._send_to_all(producer, topic)
        with _Group(traced, topic, new_protocol) as group:
            members = [group.join(), group.join()]
            group.wait_until(lambda: all(len(each.last_offsets()) == 2 for each in members), "two members polled")
            for member in members:
                member.commit()
            found = spans.wait(f"commit {topic}", 2)
            for span, member in zip(found, members, strict=True):
                assert _client_id(span) == member.client_id
                assert attributes(span)[names.MEMBER_ID] in {
                    attributes(poll)[names.MEMBER_ID] for poll in _polls(spans, member)
                }
                assert set(_committed(span)) == {
                    (topic, str(partition), offset + 1) for partition, offset in member.last_offsets().items()
                }

    @needs(Ability.TRANSACTIONS)
    def test_only_events_that_are_said_to_be_committed_reach_a_reader_of_committed_ones(
        self, traced: Traced, spans: Spans, topic: str
    ) -> None:
        producer = traced.producer(transactional_id=f"{topic}-till")
        for value, end in ((b"no", producer.abort_transaction), (b"yes", producer.commit_transaction)):
            producer.begin_transaction()
            producer.send(topic, value, partition=0)
            end()
        (record,) = traced.polled(traced.consumer(topic, reads_committed=True))
        assert traced.driver.value(record) == b"yes"
        aborted, committed = spans.wait(f"send {topic}", 2)
        assert attributes(aborted)[names.TRANSACTION_OUTCOME] == ABORTED
        assert attributes(committed)[names.TRANSACTION_OUTCOME] == COMMITTED
        assert traced.carried(record) == [span_id(committed)]

    @needs(Ability.TRANSACTIONS)
    def test_the_offset_on_a_commit_in_a_transaction_is_the_groups_position(
        self, traced: Traced, spans: Spans, producer: DrivenProducer, topic: str
    ) -> None:
        producer.send(topic, b"value", partition=0)
        consumer = traced.consumer(topic, group=f"{topic}-group")
        traced.polled(consumer)
        relay = traced.producer(transactional_id=f"{topic}-relay")
        relay.begin_transaction()
        relay.send(f"{topic}-out", b"value", partition=0)
        relay.send_offsets(consumer, {Place(topic, 0): 1})
        relay.commit_transaction()
        assert _committed(spans.one(f"commit {topic}")) == [(topic, "0", 1)]
        wait_until(lambda: consumer.committed(Place(topic, 0)) == 1, "the group's position")

    def _send_to_all(self, producer: DrivenProducer, topic: str) -> None:
        for partition in range(4):
            producer.send(topic, b"value", partition=partition)


class _Member:
    """A member of a group that polls in a thread, and on an event loop, of its own; and what it was told."""

    def __init__(self, traced: Traced, topic: str, options: dict[str, Any]) -> None:
        self.client_id = str(options["client_id"])
        self.owned: set[Place] = set()
        self.offsets: list[tuple[str, int, int]] = []
        # How many records each partition's gain found. A partition that was lost and gained again starts anew: what
        # was polled of it before is nothing to commit.
        self._polled_before: dict[Place, int] = {}
        self._driver = type(traced.driver)(traced.driver.broker)
        self._way = traced.way
        self._options = ConsumerOptions(**options)
        self._topic = topic
        self._asked: SimpleQueue[Callable[[DrivenConsumer], None]] = SimpleQueue()
        self._is_over = False
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._finished = self._thread.submit(self._poll)

    def last_offsets(self) -> dict[int, int]:
        """The last offset that was polled of each partition that is owned now, since it was gained."""
        last: dict[int, int] = {}
        for place in list(self.owned):
            polled = self.offsets[self._polled_before[place] :]
            last.update((partition, offset) for _, partition, offset in polled if partition == place.partition)
        return last

    def commit(self) -> None:
        """Commit what was polled, between two polls."""
        answered: Future[None] = Future()

        def commit(consumer: DrivenConsumer) -> None:
            consumer.commit()
            answered.set_result(None)

        self._asked.put(commit)
        answered.result(TIMEOUT_S)

    def check(self) -> None:
        """Raise what its loop raised."""
        if self._finished.done():
            self._finished.result()

    def leave(self) -> None:
        """Close the consumer; again is harmless."""
        self._is_over = True
        self._finished.result(TIMEOUT_S)
        self._thread.shutdown()

    def _poll(self) -> None:
        consumer = self._driver.make_consumer(self._way, self._options)
        try:
            consumer.subscribe(self._topic, self._gain, self._lose)
            while not self._is_over:
                # In shorter polls a kafka-python that is busy with others may never come to the end of its joining.
                self.offsets.extend(map(self._driver.coordinates, consumer.poll(timeout_ms=500)))
                while not self._asked.empty():
                    self._asked.get()(consumer)
        finally:
            consumer.close()
            self._driver.close()

    def _gain(self, places: list[Place]) -> None:
        self._polled_before |= dict.fromkeys(places, len(self.offsets))
        self.owned |= set(places)

    def _lose(self, places: list[Place]) -> None:
        self.owned -= set(places)


class _Group:
    """A group of a topic; leaving the block closes its members."""

    def __init__(self, traced: Traced, topic: str, new_protocol: bool) -> None:
        self._members: list[_Member] = []
        self._traced = traced
        self._topic = topic
        self._options: dict[str, Any] = {"group": f"{topic}-group", "new_protocol": new_protocol, "heartbeat_ms": 100}

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.leave()

    def join(self) -> _Member:
        """Make a member that asks to join."""
        options = {"client_id": f"picker-{len(self._members)}"} | self._options
        self._members.append(_Member(self._traced, self._topic, options))
        return self._members[-1]

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            for member in self._members:
                member.check()
            return condition()

        wait_until(holds, f"{what}: {[(member.owned, member.offsets) for member in self._members]}")


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


@contextmanager
def _added(interceptor: Interceptor) -> Iterator[None]:
    flowtrail.add_interceptor(interceptor)
    try:
        yield
    finally:
        flowtrail.remove_interceptor(interceptor)


@contextmanager
def _suppressed() -> Iterator[None]:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def _propagated_by(propagator: Any) -> Iterator[None]:
    configured = propagate.get_global_textmap()
    propagate.set_global_textmap(propagator)
    try:
        yield
    finally:
        propagate.set_global_textmap(configured)


def _takes(producer: DrivenProducer, topic: str, size: int) -> bool:
    """Whether the producer takes a value of this many bytes."""
    try:
        producer.send(topic, b"v" * size, partition=0)
    except Exception:
        return False
    return True


def _committed(span: ReadableSpan) -> list[tuple[object, object, object]]:
    """The positions on a commit span: topic, partition, next offset."""
    said = [dict(event.attributes or {}) for event in span.events if event.name == names.COMMIT_EVENT]
    return [(each[names.TOPIC], each[names.PARTITION], each[names.COMMITTED_OFFSET]) for each in said]


def _events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    """What befell the consumer since the poll before, as a poll span tells it."""
    return [(event.name, dict(event.attributes or {})) for event in span.events]


def _polls(spans: Spans, member: _Member) -> list[ReadableSpan]:
    """The spans of a member's polls, in the order in which they ended."""
    names_of_polls = {name for name in spans.settled() if name.startswith("poll")}
    return [span for name in names_of_polls for span in spans.named(name) if _client_id(span) == member.client_id]


def _partitions(spans: Spans, event: str, member: _Member) -> list[str]:
    """The partitions that events of a member's polls name, in the order in which they happened."""
    happened = [each for span in _polls(spans, member) for each in _events(span)]
    return [partition for name, said in happened if name == event for partition in said[names.PARTITION]]


def _client_id(span: ReadableSpan) -> object:
    return attributes(span)[names.CLIENT_ID]


def _length_ms(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e6
