"""The traced producer: a span from the call of `send` to the acknowledgement. Its length is the time in the queue."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import kafka
from kafka.errors import MessageSizeTooLargeError
from kafka.future import Future

from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.known import is_known, known_of
from flowtrail.tracer.clients.lighter_headers import lighter_headers
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from . import serialized
from .known import WHERE, Known
from .transactions import (
    abort_transaction,
    begin_transaction,
    commit_transaction,
    outcome_at_close,
    send_offsets_to_transaction,
)

# kafka-python's own way to take both callbacks at once; without it there are two calls, at twice the cost.
_HAS_ONE_CALL: Final = hasattr(Future, "_add_cb_eb")


class KafkaProducer(kafka.KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's producer; a span for each send, from the call to the acknowledgement, and for each transaction."""

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        return send(super().send, self, topic, value, key, headers, partition, timestamp_ms)

    def close(self, timeout=None, null_logger=False):  # type: ignore[no-untyped-def]
        return close(super().close, self, timeout, null_logger)

    def _serialize(self, serializer, topic, headers, data):  # type: ignore[no-untyped-def]
        found = super()._serialize(serializer, topic, headers, data)
        if serializer is not None and not serialized.METHODS.are_on:
            serialized.note_serialized(self, serializer, headers, found)
        return found

    def begin_transaction(self):  # type: ignore[no-untyped-def]
        return begin_transaction(super().begin_transaction, self)

    def send_offsets_to_transaction(self, offsets, group_metadata):  # type: ignore[no-untyped-def]
        return send_offsets_to_transaction(super().send_offsets_to_transaction, self, offsets, group_metadata)

    def commit_transaction(self):  # type: ignore[no-untyped-def]
        return commit_transaction(super().commit_transaction, self)

    def abort_transaction(self):  # type: ignore[no-untyped-def]
        return abort_transaction(super().abort_transaction, self)


class AnsweredSending(Sending):
    """A sending that is its future's callback: so nothing more is made for each record, and collected again."""

    __slots__ = ("known",)

    known: Known

    def __call__(self, answer: Any) -> None:
        """Take what a future holds: the record's metadata, or the error. Runs on the client's own thread."""
        known = self.known
        try:
            if isinstance(answer, BaseException):
                known.answer(self, error=answer)
                return
            offset, timestamp_ms = answer.offset, answer.timestamp
            known.answer(
                self,
                answer.partition,
                offset if known.learns_offsets and offset is not None and offset >= 0 else None,
                timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None,
            )
        except Exception as failure:
            COUNTS.fail(WHERE, "send", failure)


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
    """Call the original `send` with the headers that the interceptors want, and tell them what became of it.

    It is at every record, so it takes few steps: this and the answer's part cost about a microsecond together.
    """
    try:
        known = known_of(producer, Known)
        can_carry = known.takes_headers and (headers is None or _is_sendable(headers))
        given = headers if can_carry else None
        sending: Any = CHAIN.send(
            known.client(), topic, key, value, given, partition, timestamp_ms, known.transaction, kind=AnsweredSending
        )
        sending.known = known
        known.unanswered.add(sending)
        sent = sending.headers if can_carry else headers
        if known.serializes:
            serialized.METHODS.need()
            original = partial(serialized.send_serialized, original, sending)
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
        return original(topic, value, key, headers, partition, timestamp_ms)
    try:
        if sent is headers:
            future = original(topic, value, key, headers, partition, timestamp_ms)
        else:
            try:
                future = original(topic, value, key, sent, partition, timestamp_ms)
            except MessageSizeTooLargeError:  # refused before anything was kept
                future = None
            if future is None:
                lighter = lighter_headers(sending, headers)
                future = _send_lighter(original, topic, value, key, lighter, partition, timestamp_ms)
    except BaseException as error:
        known.answer(sending, error=error)
        raise
    try:
        if _HAS_ONE_CALL:
            future._add_cb_eb(sending, sending)
        else:
            future.add_callback(sending)
            future.add_errback(sending)
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
    return future


def close(original: Callable[..., Any], producer: Any, timeout: Any, null_logger: Any) -> Any:
    """Call the original `close`; what is unanswered after it will not be answered any more."""
    with Closing(WHERE, _closed_by_program(producer, null_logger)) as closing:
        try:
            return original(timeout, null_logger)
        finally:
            try:
                # One whose construction failed is closed too, by the garbage collector, and has not got so far.
                if is_known(producer):
                    known = known_of(producer, Known)
                    # A close that failed to flush leaves the producer open, and the answers may still come.
                    closing.unanswered = (
                        known.give_up(outcome_at_close(producer)) if producer._closed else len(known.unanswered)
                    )
            except Exception as error:
                COUNTS.fail(WHERE, "close", error)


def _closed_by_program(producer: Any, null_logger: Any) -> Known | None:
    """What is known of a producer that is open. Its own closes, when it is collected and at exit, log nothing."""
    try:
        return None if null_logger or producer._closed else known_of(producer, Known)
    except Exception as error:
        COUNTS.fail(WHERE, "close", error)
        return None


def _send_lighter(
    original: Callable[..., Any], topic: Any, value: Any, key: Any, lighter: Any, partition: Any, timestamp_ms: Any
) -> Any:
    """Send a record that was too large with less in its headers; the last refusal is the program's to see."""
    *others, last = lighter
    for headers in others:
        try:
            future = original(topic, value, key, headers, partition, timestamp_ms)
        except MessageSizeTooLargeError:
            continue
        COUNTS.drop_headers()
        return future
    future = original(topic, value, key, last, partition, timestamp_ms)
    COUNTS.drop_headers()
    return future


def _is_sendable(headers: Any) -> bool:
    """Whether the client will take these headers; what it refuses, it gets as it is."""
    return isinstance(headers, list) and all(
        isinstance(header, tuple) and len(header) == 2 and isinstance(header[0], str) and isinstance(header[1], bytes)
        for header in headers
    )
