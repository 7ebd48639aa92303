"""The traced producer: a span from the call of `send` to the acknowledgement."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import kafka
from kafka.errors import MessageSizeTooLargeError

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.interceptor import SEQUENCE
from flowtrail.tracer.record import Acknowledged, Header, Outgoing, Unacknowledged
from flowtrail.tracer.tracing import CHAIN

from .known import KNOWN, WHERE, Known, everyone, known_of

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
        can_carry = _is_sendable(headers) and producer.config["api_version"] >= _FIRST_WITH_HEADERS
        given: Sequence[Header] = tuple(headers) if can_carry and headers is not None else ()
        outgoing = CHAIN.send(
            Outgoing(known.client(), topic, key, value, given, partition, timestamp_ms, sequence=next(SEQUENCE))
        )
        sent = list(outgoing.headers) if can_carry and outgoing.headers is not given else headers
        known.unacknowledged[outgoing.sequence] = outgoing
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
        return original(topic, value, key, headers, partition, timestamp_ms)
    try:
        future = _send_fitting(original, topic, value, key, headers, sent, partition, timestamp_ms)
    except BaseException as error:
        _acknowledge(known, outgoing, error=error)
        raise
    try:
        future.add_callback(lambda metadata: _acknowledge(known, outgoing, metadata=metadata))
        future.add_errback(lambda error: _acknowledge(known, outgoing, error=error))
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
            if producer._closed and (known := KNOWN.get(producer)) is not None:
                _give_up(known)
        except Exception as error:
            COUNTS.fail(WHERE, "close", error)


def give_up_unacknowledged() -> None:
    """End, with what is known, every send of this process that was not answered: the process is about to exit."""
    try:
        for known in everyone():
            _give_up(known)
    except Exception as error:
        COUNTS.fail(WHERE, "exit", error)


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


def _acknowledge(known: Known, outgoing: Outgoing, *, metadata: Any = None, error: BaseException | None = None) -> None:
    """Tell interceptors the fate of a send, once."""
    try:
        if known.unacknowledged.pop(outgoing.sequence, None) is None:
            return
        if outgoing.client.cluster_id is None:
            outgoing = replace(outgoing, client=known.client())
        if metadata is None:
            CHAIN.acknowledge(Acknowledged(outgoing, error=error))
            return
        offset = metadata.offset if known.learns_offsets else None
        timestamp_ms = metadata.timestamp
        CHAIN.acknowledge(
            Acknowledged(
                outgoing,
                partition=metadata.partition,
                offset=offset if offset is not None and offset >= 0 else None,
                timestamp_ms=timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None,
            )
        )
    except Exception as failure:
        COUNTS.fail(WHERE, "send", failure)


def _give_up(known: Known) -> None:
    for outgoing in list(known.unacknowledged.values()):
        _acknowledge(known, outgoing, error=Unacknowledged("no answer before the producer closed"))


def _is_sendable(headers: Any) -> bool:
    """Whether the client will take these headers; what it refuses, it gets as it is."""
    return headers is None or (
        isinstance(headers, list)
        and all(
            isinstance(header, tuple)
            and len(header) == 2
            and isinstance(header[0], str)
            and isinstance(header[1], bytes)
            for header in headers
        )
    )
