"""The traced producer: a span from the call of `send` to the broker's answer, not to the return of `send`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import aiokafka
from aiokafka.errors import MessageSizeTooLargeError

from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.known import is_known
from flowtrail.tracer.clients.lighter_headers import lighter_headers
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .answers import tell_answer
from .batch import create_batch, send_batch
from .headers import is_sendable
from .known import WHERE, known_of, known_or_none
from .parts import trace_parts
from .serialized import note_serialized, send_serialized
from .transactions import (
    abort_transaction,
    begin_transaction,
    commit_transaction,
    outcome_at_stop,
    send_offsets_to_transaction,
)


class AIOKafkaProducer(aiokafka.AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's producer; a span for each send, from the call to the answer, and for each transaction."""

    async def start(self):  # type: ignore[no-untyped-def]
        trace_parts(self, "client.cluster")
        return await start(super().start, self)

    async def send(self, topic, value=None, key=None, partition=None, timestamp_ms=None, headers=None):  # type: ignore[no-untyped-def]
        return await send(super().send, self, topic, value, key, partition, timestamp_ms, headers)

    def _serialize(self, key, value, headers):  # type: ignore[no-untyped-def]
        serialized = super()._serialize(key, value, headers)
        if self._key_serializer is not None or self._value_serializer is not None:
            note_serialized(headers, serialized)
        return serialized

    def create_batch(self):  # type: ignore[no-untyped-def]
        return create_batch(super().create_batch, self)

    async def send_batch(self, batch, topic, *, partition):  # type: ignore[no-untyped-def]
        return await send_batch(super().send_batch, self, batch, topic, partition)

    async def begin_transaction(self):  # type: ignore[no-untyped-def]
        return await begin_transaction(super().begin_transaction, self)

    async def send_offsets_to_transaction(self, offsets, group_id):  # type: ignore[no-untyped-def]
        return await send_offsets_to_transaction(super().send_offsets_to_transaction, self, offsets, group_id)

    async def commit_transaction(self):  # type: ignore[no-untyped-def]
        return await commit_transaction(super().commit_transaction, self)

    async def abort_transaction(self):  # type: ignore[no-untyped-def]
        return await abort_transaction(super().abort_transaction, self)

    async def stop(self):  # type: ignore[no-untyped-def]
        return await stop(super().stop, self)


async def start(original: Callable[..., Awaitable[Any]], producer: Any) -> Any:
    """Await the original `start`; known before, the producer meets its cluster there."""
    known_or_none(producer)
    return await original()


async def send(
    original: Callable[..., Awaitable[Any]],
    producer: Any,
    topic: Any,
    value: Any,
    key: Any,
    partition: Any,
    timestamp_ms: Any,
    headers: Any,
) -> Any:
    """Await the original `send` with the headers that the interceptors want, and tell them what became of it.

    It is at every record, so it takes few steps.
    """
    try:
        known = known_of(producer)
        can_carry = not headers or is_sendable(headers)
        given = headers if can_carry else None
        sending: Sending = CHAIN.send(
            known.client(), topic, key, value, given, partition, timestamp_ms, known.transaction
        )
        known.unanswered.add(sending)
        sent = sending.headers if can_carry else headers
        if known.serializes:
            original = partial(send_serialized, original, sending)
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
        return await original(topic, value, key, partition, timestamp_ms, headers)
    try:
        if sent is headers:
            future = await original(topic, value, key, partition, timestamp_ms, headers)
        else:
            try:
                future = await original(topic, value, key, partition, timestamp_ms, sent)
            except MessageSizeTooLargeError:  # refused before anything was kept
                future = None
            if future is None:
                lighter = lighter_headers(sending, headers)
                future = await _send_lighter(original, topic, value, key, partition, timestamp_ms, lighter)
    except BaseException as error:
        known.answer(sending, error=error)
        raise
    try:
        future.add_done_callback(partial(tell_answer, known, sending))
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)
    return future


async def stop(original: Callable[..., Awaitable[Any]], producer: Any) -> Any:
    """Await the original `stop`, which flushes; what is unanswered after it will not be answered any more."""
    known = known_or_none(producer) if is_known(producer) else None
    with Closing(WHERE, None if getattr(producer, "_closed", False) else known) as closing:
        try:
            return await original()
        finally:
            try:
                if known is not None:
                    closing.unanswered = known.give_up(outcome_at_stop(producer))
            except Exception as error:
                COUNTS.fail(WHERE, "stop", error)


async def _send_lighter(
    original: Callable[..., Awaitable[Any]],
    topic: Any,
    value: Any,
    key: Any,
    partition: Any,
    timestamp_ms: Any,
    lighter: list[Any],
) -> Any:
    """Send a record that was too large with less in its headers; the last refusal is the program's to see.

    The one case in which a serializer is called again for a record: the client does not say what it returned.
    """
    *others, last = lighter
    for headers in others:
        try:
            future = await original(topic, value, key, partition, timestamp_ms, headers)
        except MessageSizeTooLargeError:
            continue
        COUNTS.drop_headers()
        return future
    future = await original(topic, value, key, partition, timestamp_ms, last)
    COUNTS.drop_headers()
    return future
