"""Batches that the program fills by itself: `create_batch`, `append`, `send_batch`.

Each record has a send span of its own, like any other, and its context goes into the record's headers in `append`:
records that share one context could not be told apart by those who read them. The topic is named only in `send_batch`,
so a sampler decides without it. The span lasts from `append` to the broker's answer. Records of a batch that is never
sent have no spans.
"""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiokafka.producer.message_accumulator import BatchBuilder as PlainBuilder

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Unacknowledged
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .answers import tell
from .headers import is_sendable
from .known import WHERE, Known, known_of

# The topic, until `send_batch` tells it.
_UNKNOWN: Final[Any] = None


class BatchBuilder(PlainBuilder):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's own BatchBuilder that remembers the sends of its records."""

    flowtrail_known: Known
    flowtrail_sendings: list[Sending]

    @functools.wraps(PlainBuilder.append)
    def append(self, *, timestamp, key, value, headers=None):  # type: ignore[no-untyped-def]
        return append(super().append, self, timestamp, key, value, headers)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Once the interpreter takes itself apart, modules may have lost their names; bound early for the same reason.
        if self.flowtrail_sendings and not is_finalizing():
            _discard(self.flowtrail_known, self.flowtrail_sendings)


def create_batch(original: Callable[..., Any], producer: Any) -> Any:
    """Call the original `create_batch`; the batch traces what is appended. One of another shape stays as it is."""
    batch = original()
    try:
        if type(batch) is PlainBuilder:
            batch.flowtrail_known, batch.flowtrail_sendings = known_of(producer), []
            batch.__class__ = BatchBuilder
    except Exception as error:
        COUNTS.fail(WHERE, "create_batch", error)
    return batch


def append(
    original: Callable[..., Any], batch: BatchBuilder, timestamp_ms: Any, key: Any, value: Any, headers: Any
) -> Any:
    """Call the original `append`, which returns None for a record that has no room any more."""
    try:
        known = batch.flowtrail_known
        can_carry = headers is None or is_sendable(headers)
        given = headers if can_carry else None
        sending = CHAIN.send(known.client(), _UNKNOWN, key, value, given, None, timestamp_ms)
        sent = sending.headers if can_carry else headers
    except Exception as error:
        COUNTS.fail(WHERE, "append", error)
        return original(timestamp=timestamp_ms, key=key, value=value, headers=headers)
    try:
        metadata = original(timestamp=timestamp_ms, key=key, value=value, headers=sent)
    except BaseException as error:
        known.answer(sending, error=error)
        raise
    if metadata is None:
        _discard(known, [sending])
    else:
        batch.flowtrail_sendings.append(sending)
    return metadata


async def send_batch(
    original: Callable[..., Awaitable[Any]], producer: Any, batch: Any, topic: Any, partition: Any
) -> Any:
    """Await the original `send_batch`; each record's span ends when the broker has answered to the batch."""
    try:
        known = known_of(producer)
        sendings = _take(batch)
        for sending in sendings:
            CHAIN.address(sending, topic, partition)
            sending.transaction = known.transaction
            known.unanswered.add(sending)
    except Exception as error:
        COUNTS.fail(WHERE, "send_batch", error)
        return await original(batch, topic, partition=partition)
    try:
        future = await original(batch, topic, partition=partition)
    except BaseException as error:
        for sending in sendings:
            known.answer(sending, error=error)
        raise
    if sendings:
        try:
            future.add_done_callback(partial(_tell_answers, known, sendings))
        except Exception as error:
            COUNTS.fail(WHERE, "send_batch", error)
    return future


def _take(batch: Any) -> list[Sending]:
    """Return the sends of a batch, and let it forget them: sent again, its records are no new sends."""
    if not isinstance(batch, BatchBuilder):
        return []
    sendings, batch.flowtrail_sendings = batch.flowtrail_sendings, []
    return sendings


def _tell_answers(known: Known, sendings: list[Sending], future: "asyncio.Future[Any]") -> None:
    try:
        for place, sending in enumerate(sendings):
            tell(known, sending, future, place)
    except Exception as error:
        COUNTS.fail(WHERE, "send_batch", error)


def _discard(known: Known, sendings: list[Sending]) -> None:
    """Let go of records that are never sent: no spans, but the program's interceptors are told."""
    try:
        for sending in sendings:
            sending.discard()
            known.answer(sending, error=Unacknowledged("the batch had no room for the record, or was never sent"))
    except Exception as error:
        COUNTS.fail(WHERE, "batch", error)
