"""Where a forwarded record came from is understood, whoever forwarded it."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.tracer import attributes as names
from flowtrail.tracer import origin as own
from flowtrail.tracer.origin import Origin, origin, origin_attributes


def text(value: object) -> bytes:
    return str(value).encode()


def four(value: int) -> bytes:
    return struct.pack(">i", value)


def eight(value: int) -> bytes:
    return struct.pack(">q", value)


TRACE = ("traceparent", b"00-6d3ae4b222c0838a02d93863106311860-8662dc07c4a2e9b0-03")
WRAPPER = b"org.springframework.kafka.listener.ListenerExecutionFailedException"

# As Spring Kafka 4 wrote them in a real run.
SPRING_DEAD_LETTER = [
    TRACE,
    ("kafka_dlt-exception-fqcn", WRAPPER),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalArgumentException"),
    ("kafka_dlt-exception-message", b"Listener method 'void app.App$Orders$L.on' threw exception"),
    ("kafka_dlt-original-topic", b"spring.orders"),
    ("kafka_dlt-original-partition", four(2)),
    ("kafka_dlt-original-offset", eight(3)),
    ("kafka_dlt-original-timestamp", eight(1_795_362_234_474)),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"orders-workers"),
]
SPRING_RETRY = [
    TRACE,
    ("kafka_exception-fqcn", WRAPPER),
    ("kafka_exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_exception-message", b"Listener failed; card declined"),
    ("kafka_original-topic", b"spring.payments"),
    ("kafka_original-partition", four(0)),
    ("kafka_original-offset", eight(4)),
    ("kafka_original-timestamp", eight(1_795_362_234_474)),
    ("kafka_dlt-original-consumer-group", b"payments-workers"),
    ("retry_topic-original-timestamp", bytes.fromhex("01a203eda146")),
    ("retry_topic-attempts", four(2)),
    ("retry_topic-backoff-timestamp", bytes.fromhex("01a203eda34f")),
    ("retry_topic-original-timestamp", bytes.fromhex("01a203eda146")),
    ("retry_topic-attempts", four(3)),
    ("retry_topic-backoff-timestamp", bytes.fromhex("01a203eda5e8")),
]
# As the code of Kafka's own Connect and Streams writes them, and SmallRye's documentation says.
CONNECT = [
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"1"),
    ("__connect.errors.offset", b"42"),
    ("__connect.errors.connector.name", b"orders-sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"Converting byte[] to Kafka Connect data failed"),
]
STREAMS = [
    ("__streams.errors.exception", b"java.lang.IllegalStateException: order ORD-1204 of Mrs. Miller"),
    ("__streams.errors.message", b"order ORD-1204 of Mrs. Miller"),
    ("__streams.errors.topic", b"orders"),
    ("__streams.errors.partition", b"1"),
    ("__streams.errors.offset", b"42"),
]
SMALLRYE = [
    ("dead-letter-exception-class-name", b"java.lang.RuntimeException"),
    ("dead-letter-reason", b"Something went wrong"),
    ("dead-letter-topic", b"movies"),
    ("dead-letter-partition", b"0"),
    ("dead-letter-offset", b"0"),
]
OURS = [
    TRACE,
    (own.TOPIC, b"orders"),
    (own.PARTITION, b"3"),
    (own.OFFSET, b"7"),
    (own.ATTEMPTS, b"2"),
    (own.ERROR_TYPE, b"ValueError"),
]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        pytest.param(OURS, Origin("orders", 3, 7, 3, "ValueError"), id="Flowtrail"),
        pytest.param(
            SPRING_DEAD_LETTER,
            Origin("spring.orders", 2, 3, None, "java.lang.IllegalArgumentException"),
            id="Spring's dead letter",
        ),
        pytest.param(
            SPRING_RETRY,
            Origin("spring.payments", 0, 4, 3, "java.lang.IllegalStateException"),
            id="Spring's retry topic",
        ),
        pytest.param(
            CONNECT,
            Origin("orders", 1, 42, None, "org.apache.kafka.connect.errors.DataException", "dead_letter"),
            id="Kafka Connect",
        ),
        pytest.param(
            STREAMS,
            Origin("orders", 1, 42, None, "java.lang.IllegalStateException", "dead_letter"),
            id="Kafka Streams",
        ),
        pytest.param(
            SMALLRYE, Origin("movies", 0, 0, None, "java.lang.RuntimeException", "dead_letter"), id="SmallRye"
        ),
        pytest.param([("kafka_deliveryAttempt", four(2))], Origin(attempt=2), id="Spring's container"),
    ],
)
def test_everyones_headers_say_where_a_record_came_from(headers: Any, said: Origin) -> None:
    assert origin(headers) == said


@pytest.mark.parametrize("headers", [None, [], [TRACE], [("colour", b"red")], [("kafka_groupId", b"g")]], ids=repr)
def test_a_record_that_nobody_forwarded_has_no_origin(headers: Any) -> None:
    assert origin(headers) is None
    assert origin_attributes(headers, "orders") == {}


def test_ours_count_before_those_that_they_took_over() -> None:
    found = origin([*SPRING_RETRY, *OURS])
    assert found is not None
    assert found[:3] == ("orders", 3, 7)
    assert (found.attempt, found.error_type) == (3, "ValueError")


def test_a_later_error_of_another_counts_before_ours() -> None:
    found = origin([*OURS, *SPRING_DEAD_LETTER])
    assert found is not None
    assert found[:3] == ("orders", 3, 7)
    assert found.error_type == "java.lang.IllegalArgumentException"


def test_the_first_coordinates_count_when_a_framework_appends_its_own_at_every_hop() -> None:
    again = [
        ("kafka_dlt-original-topic", b"orders-retry"),
        ("kafka_dlt-original-partition", four(0)),
        ("kafka_dlt-original-offset", eight(0)),
    ]
    found = origin(SPRING_DEAD_LETTER + again)
    assert found is not None
    assert found[:3] == ("spring.orders", 2, 3)


def test_the_family_that_came_first_counts_when_two_frameworks_forwarded() -> None:
    found = origin([*CONNECT, *SPRING_DEAD_LETTER])
    assert found is not None
    assert found[:3] == ("orders", 1, 42)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (own.PARTITION, b""),
        (own.PARTITION, b"-1"),
        (own.OFFSET, "٣".encode()),
        (own.OFFSET, b"1" * 30),
        (own.OFFSET, text(2**63)),
        (own.ATTEMPTS, text(2**63 - 1)),
        (own.TOPIC, b"\xff\xfe"),
        (own.TOPIC, b"t" * 1000),
        ("kafka_dlt-original-partition", four(-1)),
        ("kafka_dlt-original-offset", b""),
        ("kafka_dlt-original-offset", b"\x00" * 9),
        ("__connect.errors.partition", b"-1"),
        (own.TOPIC, None),
        (own.TOPIC, "orders"),
    ],
    ids=repr,
)
def test_a_header_that_makes_no_sense_says_nothing(name: str, value: Any) -> None:
    assert origin([(name, value)]) is None


any_name = st.one_of(st.sampled_from(sorted(own._MEANINGS)), st.text(), st.none(), st.binary(), st.lists(st.text()))
any_value = st.one_of(st.none(), st.text(), st.binary(max_size=9), st.integers(), st.integers(0, 2**70).map(text))
any_header = st.one_of(st.none(), st.integers(), st.tuples(any_name, any_value), st.tuples(any_name))


@given(st.one_of(st.none(), st.lists(any_header)))
def test_no_headers_make_reading_raise_and_numbers_fit_a_span(headers: Any) -> None:
    found = origin(headers)
    for number in (found or Origin())[1:4]:
        assert number is None or 0 <= number < 2**63
    origin_attributes(headers, "orders", 1)


def test_a_span_says_where_its_record_came_from() -> None:
    assert origin_attributes([*OURS, (own.RETRY_TO, b"orders.retry")], "orders.retry") == {
        names.ORIGINAL_TOPIC: "orders",
        names.ORIGINAL_PARTITION: "3",
        names.ORIGINAL_OFFSET: 7,
        names.DELIVERY_ATTEMPT: 3,
        names.LAST_ERROR_TYPE: "ValueError",
        names.FORWARDED: "retry",
    }


def test_a_record_with_the_headers_of_a_framework_that_writes_them_on_dead_letters_alone_is_one() -> None:
    for headers, first in ((CONNECT, "orders"), (STREAMS, "orders"), (SMALLRYE, "movies")):
        assert origin_attributes(headers, "parked")[names.FORWARDED] == "dead_letter"
        # Sent back to where it lay first, with all its headers: another try, if anything.
        assert names.FORWARDED not in origin_attributes(headers, first)
        # Another took it up after that, in names that it uses for retries too.
        assert names.FORWARDED not in origin_attributes([*headers, *SPRING_RETRY], "parked")
        assert names.FORWARDED not in origin_attributes([*headers, *OURS], "parked")


def test_headers_that_were_copied_to_another_topic_say_nothing_of_its_event() -> None:
    assert origin_attributes([*OURS, (own.RETRY_TO, b"orders.retry")], "shipments") == {}


def test_what_a_share_group_counts_goes_on_where_the_headers_end() -> None:
    assert origin_attributes(OURS, "orders.retry", 1)[names.DELIVERY_ATTEMPT] == 3
    assert origin_attributes(OURS, "orders.retry", 2)[names.DELIVERY_ATTEMPT] == 4
    assert origin_attributes(CONNECT, "orders.dlq", 2)[names.DELIVERY_ATTEMPT] == 2
    assert origin_attributes([], "orders", 2) == {names.DELIVERY_ATTEMPT: 2}
