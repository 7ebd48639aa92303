"""Schema ids are found in what Confluent's own serializers write, and not in what only begins like it."""

import struct
import uuid
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.tracer.schema_ids import KEY_HEADER, VALUE_HEADER, schema_id, schema_ids

AVRO = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'
JSON = '{"title": "Order", "type": "object", "properties": {"id": {"type": "string"}}}'
ORDER = {"id": "ORD-1204"}
# A GUID as the registry makes it: the MD5 of the schema, without the bits of a UUID's version.
GUID = uuid.UUID("1d20cbb9-e5e3-5e97-54e7-00da170b6edb")


@pytest.fixture
def registry() -> Any:
    return SchemaRegistryClient.new_client({"url": "mock://"})


@pytest.mark.parametrize(("serializer", "schema"), [(AvroSerializer, AVRO), (JSONSerializer, JSON)])
def test_the_id_that_a_serializer_put_before_a_value_is_found(registry: Any, serializer: Any, schema: str) -> None:
    serialize = serializer(schema, registry) if serializer is JSONSerializer else serializer(registry, schema)
    value = serialize(ORDER, SerializationContext("orders", MessageField.VALUE))
    assert schema_id(value) == str(registry.get_latest_version("orders-value").schema_id)


@pytest.mark.parametrize(("field", "place"), [(MessageField.KEY, 0), (MessageField.VALUE, 1)])
def test_the_guid_that_a_serializer_put_into_a_header_is_found(registry: Any, field: MessageField, place: int) -> None:
    serialize = AvroSerializer(registry, AVRO, conf={"schema.id.serializer": header_schema_id_serializer})
    headers: Any = [("colour", b"red")]
    payload = serialize(ORDER, SerializationContext("orders", field, headers))
    assert schema_id(payload) is None
    found = schema_ids(None, None, headers)
    assert found[place] == registry.get_latest_version(f"orders-{field}").guid
    assert found[1 - place] is None


@given(st.integers(1, 0xFFFFFF), st.binary(min_size=4))
def test_a_number_is_read_as_the_registry_counts(number: int, payload: bytes) -> None:
    assert schema_id(struct.pack(">bI", 0, number) + payload) == str(number)


@pytest.mark.parametrize("shape", [bytes, bytearray, memoryview, lambda data: memoryview(data).cast("b")])
def test_bytes_of_any_kind_are_read(shape: Any) -> None:
    assert schema_id(shape(b"\x00\x00\x00\x00\x07payload")) == "7"
    assert schema_id(shape(b"\x01" + GUID.bytes + b"payload")) == str(GUID)


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        7,
        {"id": 7},
        b"",
        b"\x00",
        b"\x00\x00\x00\x07",
        b'{"id": 7}',
        b"\x00\x00\x00\x00\x00payload",
        b"\x00\xff\x00\x00\x07payload",
        struct.pack(">q", 1_795_362_234_474),
        struct.pack(">q", 7),
        b"\x01" + b"version 1 of our own format",
        b"\x01" + GUID.bytes,
        b"\x01" + struct.pack(">qq", 7, 1_795_362_234_474) + b"payload",
        b"\x02" + GUID.bytes + b"payload",
    ],
    ids=repr,
)
def test_what_only_begins_like_the_wire_format_has_no_id(data: object) -> None:
    assert schema_id(data) is None


def test_a_released_view_has_no_id() -> None:
    view = memoryview(b"\x00\x00\x00\x00\x07payload")
    view.release()
    assert schema_id(view) is None


any_value = st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.binary().map(bytearray))
any_header = st.one_of(any_value, st.tuples(st.sampled_from([KEY_HEADER, VALUE_HEADER]) | any_value, any_value))


@given(any_value, any_value, st.none() | st.lists(any_header))
def test_nothing_that_is_given_makes_reading_raise(key: object, value: object, headers: Any) -> None:
    schema_ids(key, value, headers)


def test_a_header_counts_more_than_the_first_bytes_and_the_last_one_most() -> None:
    first, last = b"\x00\x00\x00\x00\x01", b"\x01" + GUID.bytes
    value = b"\x00\x00\x00\x00\x07payload"
    assert schema_ids(None, value, [(VALUE_HEADER, first), (VALUE_HEADER, last)]) == (None, str(GUID))
    assert schema_ids(None, value, [(VALUE_HEADER, b"nonsense")]) == (None, "7")
