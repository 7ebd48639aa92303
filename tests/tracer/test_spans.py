"""What spans say of records follows the conventions, for every record there can be."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.tracer import attributes as names
from flowtrail.tracer.capture import LONGEST, captured_key
from flowtrail.tracer.clients.consumer_record import read_record
from flowtrail.tracer.configuration import Configuration
from flowtrail.tracer.record import Client
from flowtrail.tracer.spans import (
    error_type,
    link,
    operation_attributes,
    record_attributes,
    sent_attributes,
    span_name,
)


def key_text(key: object) -> str | None:
    return captured_key(key, Configuration())


@given(st.text(max_size=LONGEST))
def test_a_key_is_the_same_text_for_producer_and_consumer(key: str) -> None:
    try:
        sent = key.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate cannot be sent as text
    assert key_text(key) == key_text(sent) == key


@given(st.binary())
def test_a_key_that_is_no_text_is_no_attribute(key: bytes) -> None:
    text = key_text(key)
    assert text is None or text.encode() == key


@pytest.mark.parametrize("key", [None, True, 1.5, {"id": 7}, ("a",), object(), "x" * (LONGEST + 1), b"\xff"])
def test_a_key_without_a_canonical_text_is_left_out(key: object) -> None:
    assert key_text(key) is None


@pytest.mark.parametrize(("key", "text"), [(7, "7"), (UUID(int=1), "00000000-0000-0000-0000-000000000001"), ("", "")])
def test_numbers_and_ids_have_a_text(key: object, text: str) -> None:
    assert key_text(key) == text


def test_an_error_is_named_in_full_and_a_builtin_by_its_name() -> None:
    assert error_type(ValueError()) == "ValueError"
    assert error_type(UnicodeDecodeError("a", b"", 0, 1, "")) == "UnicodeDecodeError"
    assert error_type(Unusual()) == f"{__name__}.Unusual"


class Unusual(Exception):
    pass


def test_a_span_without_a_topic_is_named_by_its_operation() -> None:
    assert span_name(names.POLL, None) == "poll"
    assert span_name(names.POLL, "orders") == "poll orders"


class Record:
    def __init__(self, **values: object) -> None:
        self.topic, self.partition, self.offset, self.key, self.value = "orders", 3, 7, None, b"value"
        self.timestamp: object = -1
        self.headers: object = []
        vars(self).update(values)


def test_what_is_not_known_is_no_attribute() -> None:
    assert record_attributes(read_record(Record())) == {
        names.PARTITION: "3",
        names.OFFSET: 7,
    }
    assert sent_attributes(None, False) == {}
    assert operation_attributes(names.SEND, Client(), "orders") == {
        names.SYSTEM: "kafka",
        names.OPERATION_NAME: "send",
        names.OPERATION_TYPE: "send",
        names.TOPIC: "orders",
    }


any_header = st.one_of(
    st.none(),
    st.integers(),
    st.text(),
    st.tuples(st.sampled_from(["traceparent", "tracestate", "baggage"]), st.one_of(st.none(), st.binary(), st.text())),
    st.tuples(st.binary(), st.binary()),
    st.tuples(st.text()),
)


@given(st.one_of(st.none(), st.lists(any_header), st.tuples(any_header)))
def test_no_headers_of_others_make_reading_a_record_raise(headers: object) -> None:
    record = read_record(Record(headers=headers))
    assert len(link(record, with_attributes=True)) >= 1
    assert link(record, with_attributes=False) == []


@pytest.mark.parametrize("timestamp", [None, -1, "now", 1.5], ids=repr)
def test_a_timestamp_that_is_not_known_is_none(timestamp: object) -> None:
    assert read_record(Record(timestamp=timestamp)).timestamp_ms is None


def test_a_deserialized_none_is_not_a_tombstone_when_the_client_knows_better() -> None:
    assert not read_record(Record(value=None, serialized_value_size=4)).is_tombstone
    assert read_record(Record(value=None, serialized_value_size=-1)).is_tombstone
    assert read_record(Record(value=None)).is_tombstone
