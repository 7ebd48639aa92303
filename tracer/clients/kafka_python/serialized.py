"""The schema ids of keys and values that the producer's own serializers make: seen where kafka-python calls them."""

from collections.abc import Callable
from typing import Any, Final

import kafka

from flowtrail.tracer.clients.methods import Methods
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.schema_ids import schema_id, schema_ids
from flowtrail.tracer.under_way import Sending

from .known import WHERE

# Sends whose record is being serialized, by the id of the header list that goes with it into `_serialize`: it is one
# send's own, and lives until that returns. Beside each whether its key was serialized already: that comes first.
_UNDER_WAY: dict[int, list[Any]] = {}


def send_serialized(
    original: Callable[..., Any],
    sending: Sending,
    topic: Any,
    value: Any,
    key: Any,
    headers: Any,
    partition: Any,
    timestamp_ms: Any,
) -> Any:
    """Call the original `send`; what `serialize` sees meanwhile with these headers is this send's."""
    if headers is None:
        return original(topic, value, key, headers, partition, timestamp_ms)
    _UNDER_WAY[id(headers)] = [sending, False]
    try:
        return original(topic, value, key, headers, partition, timestamp_ms)
    finally:
        _UNDER_WAY.pop(id(headers), None)


def _replace_serialize(original, switch):  # type: ignore[no-untyped-def]
    def serialize_traced(self, serializer, topic, headers, data):  # type: ignore[no-untyped-def]
        serialized = original(self, serializer, topic, headers, data)
        if serializer is not None and switch.is_on:
            note_serialized(self, serializer, headers, serialized)
        return serialized

    return serialize_traced


# Called twice for every record, so put in once a producer has a serializer. A version of kafka-python that serializes
# elsewhere just says no schemas.
METHODS: Final = Methods(
    [(kind, "_serialize", _replace_serialize) for kind in (kafka.KafkaProducer,) if "_serialize" in vars(kind)],
    is_needed=False,
)


def note_serialized(producer: Any, serializer: Any, headers: Any, data: Any) -> None:
    """Note which schema a serializer wrote into its bytes, or into the headers; raises nothing."""
    under_way = _UNDER_WAY.get(id(headers))
    if under_way is None:
        return
    try:
        sending, is_key_done = under_way
        key_schema, value_schema = sending.schemas or (None, None)
        of_key, of_value = schema_ids(None, None, headers)
        if serializer is producer.config["key_serializer"] and not is_key_done:
            under_way[1] = True
            key_schema = of_key or schema_id(data)
        else:
            value_schema = of_value or schema_id(data)
        sending.schemas = key_schema, value_schema
    except Exception as error:
        COUNTS.fail(WHERE, "serialize", error)
