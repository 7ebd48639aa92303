"""The schema ids of keys and values that the producer's own serializers make: seen where aiokafka calls them."""

from collections.abc import Awaitable, Callable
from typing import Any

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.schema_ids import schema_ids
from flowtrail.tracer.under_way import Sending

from .known import WHERE

# Sends whose record is on its way to `_serialize`, by the id of the header list that goes with it: it is one send's
# own, and lives until the send is done. Other tasks send meanwhile.
_UNDER_WAY: dict[int, Sending] = {}


async def send_serialized(
    original: Callable[..., Awaitable[Any]],
    sending: Sending,
    topic: Any,
    value: Any,
    key: Any,
    partition: Any,
    timestamp_ms: Any,
    headers: Any,
) -> Any:
    """Await the original `send`; what is serialized meanwhile with these headers is this send's."""
    if not headers:
        return await original(topic, value, key, partition, timestamp_ms, headers)
    _UNDER_WAY[id(headers)] = sending
    try:
        return await original(topic, value, key, partition, timestamp_ms, headers)
    finally:
        _UNDER_WAY.pop(id(headers), None)


def note_serialized(headers: Any, serialized: Any) -> None:
    """Note which schemas stand in the serialized key and value, or in the headers; raises nothing."""
    sending = _UNDER_WAY.get(id(headers))
    if sending is None:
        return
    try:
        key, value = serialized
        sending.schemas = schema_ids(key, value, headers)
    except Exception as error:
        COUNTS.fail(WHERE, "serialize", error)
