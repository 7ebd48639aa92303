"""The traced producer: a span from the call of `send` to the acknowledgement."""

from collections.abc import Callable
from typing import Any, Final

import kafka
from kafka.errors import MessageSizeTooLargeError

from flowtrail.tracer.clients.known import is_known
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .known import WHERE, Known, known_of

# Headers came with Kafka 0.11 (KIP-82); kafka-python refuses them when it speaks to an older broker.
_FIRST_WITH_HEADERS: Final = (0, 11)


class KafkaProducer(kafka.KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's producer; a span for each send, from the call to the acknowledgement."""

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        return send(super().send, self, topic, value, key, headers, partition, timestamp_ms)

    def close(self, timeout=None, null_logger=False):  # type: ignore[no-untyped-def]
        return close(super().close, self, timeout, null_logger)


def send(
    original: Callable[..., Any],
    producer: Any,
    topic: Any,
    value: Any,
    key: Any,
    headers: Any,
    partition: Any,
    timestamp_ms: Any,
) -> Any:
    """Call the original `send` with the headers that the interceptors want, and tell them what became of it."""
    try:
        known = known_of(producer)
        can_carry = (headers is None or _is_sendable(headers)) and producer.config["api_version"] >= _FIRST_WITH_HEADERS
        given = headers if can_carry else None
        sending = CHAIN.send(known.client(), topic, key, value, given, partition, timestamp_ms, known.transaction)
        known.unanswered.add(sending)
        sent = sending.headers if can_carry else headers
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
        return original(topic, value, key, headers, partition, timestamp_ms)
    try:
        future = _send_fitting(original, topic, value, key, headers, sent, partition, timestamp_ms)
    except BaseException as error:
        known.answer(sending, error=error)
        raise
    try:
        future.add_callback(lambda metadata: _acknowledge(known, sending, metadata))
        future.add_errback(lambda error: known.answer(sending, error=error))
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
    return future


def close(original: Callable[..., Any], producer: Any, timeout: Any, null_logger: Any) -> Any:
    """Call the original `close`; what is unanswered after it will not be answered any more."""
    try:
        return original(timeout, null_logger)
    finally:
        try:
            # A close that failed to flush leaves the producer open, and the answers may still come.
            if producer._closed and is_known(producer):
                known_of(producer).give_up()
        except Exception as error:
            COUNTS.fail(WHERE, "close", error)


def _send_fitting(
    original: Callable[..., Any],
    topic: Any,
    value: Any,
    key: Any,
    headers: Any,
    sent: Any,
    partition: Any,
    timestamp_ms: Any,
) -> Any:
    """Send with our headers, and without them when they are what makes the record too large: the record comes first."""
    if sent is not headers:
        try:
            return original(topic, value, key, sent, partition, timestamp_ms)
        except MessageSizeTooLargeError:
            pass  # refused before anything was kept; the caller's own record decides below
    return original(topic, value, key, headers, partition, timestamp_ms)


def _acknowledge(known: Known, sending: Sending, metadata: Any) -> None:
    try:
        offset, timestamp_ms = metadata.offset, metadata.timestamp
        known.answer(
            sending,
            metadata.partition,
            offset if known.learns_offsets and offset is not None and offset >= 0 else None,
            timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None,
        )
    except Exception as failure:
        COUNTS.fail(WHERE, "send", failure)


def _is_sendable(headers: Any) -> bool:
    """Whether the client will take these headers; what it refuses, it gets as it is."""
    return isinstance(headers, list) and all(
        isinstance(header, tuple) and len(header) == 2 and isinstance(header[0], str) and isinstance(header[1], bytes)
        for header in headers
    )
