"""The traced consumer: spans for polls that returned records and for commits, and for the work between polls.

`async for` asks `getone` for each record: then each is a poll of its own, and the work is inferred for each. `getmany`
is one poll, and the work is inferred for all that it returned.
"""

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import aiokafka

from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.consumer_events import note_rebalance, note_seek, note_seek_to
from flowtrail.tracer.clients.known import is_known
from flowtrail.tracer.clients.undeserialized import tell_undeserialized
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Polled, polled_of
from flowtrail.tracer.tracing import CHAIN

from .commits import commit
from .known import WHERE, Known, known_of, known_or_none
from .parts import trace_parts
from .received import receive

_Plain: Any = aiokafka.AIOKafkaConsumer


class AIOKafkaConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's consumer; a span for each poll that returned records, each commit, and the work in between."""

    async def start(self):  # type: ignore[no-untyped-def]
        trace_parts(self, "_client.cluster", "_subscription")
        try:
            return await start(super().start, self)
        finally:
            trace_parts(self, "_coordinator")

    @wraps(_Plain.getone)
    async def getone(self, *partitions):  # type: ignore[no-untyped-def]
        known, started_ns = ask(self), time.time_ns()
        try:
            record = await super().getone(*partitions)
        except Exception as error:
            if known is not None:
                tell_undeserialized(known, error)
            raise
        if known is not None:
            got(known, record, started_ns)
        return record

    @wraps(_Plain.getmany)
    async def getmany(self, *partitions, timeout_ms=0, max_records=None):  # type: ignore[no-untyped-def]
        return await getmany(super().getmany, self, partitions, timeout_ms, max_records)

    async def commit(self, offsets=None):  # type: ignore[no-untyped-def]
        return await commit(super().commit, self, offsets)

    def seek(self, partition, offset):  # type: ignore[no-untyped-def]
        return seek(super().seek, self, partition, offset)

    async def seek_to_beginning(self, *partitions):  # type: ignore[no-untyped-def]
        return await seek_to(super().seek_to_beginning, self, partitions, "beginning")

    async def seek_to_end(self, *partitions):  # type: ignore[no-untyped-def]
        return await seek_to(super().seek_to_end, self, partitions, "end")

    async def seek_to_committed(self, *partitions):  # type: ignore[no-untyped-def]
        return await seek_to_committed(super().seek_to_committed, self, partitions)

    async def stop(self):  # type: ignore[no-untyped-def]
        return await stop(super().stop, self)


async def start(original: Callable[..., Awaitable[Any]], consumer: Any) -> Any:
    """Await the original `start`; known before, the consumer meets its cluster, and its group's first gift, there."""
    known = known_or_none(consumer)
    try:
        return await original()
    finally:
        try:
            if known is not None:
                known.meet_coordinator(consumer)
        except Exception as error:
            COUNTS.fail(WHERE, "start", error)


def ask(consumer: Any) -> Known | None:
    """Take that the program asks for the next record: that ends the work on the one before. It is at every record."""
    try:
        known = known_of(consumer)
    except Exception as error:
        COUNTS.fail(WHERE, "getone", error)
        return None
    known.inferred.end()
    return known


def got(known: Known, record: Any, started_ns: int) -> None:
    """Tell what `getone` returned, and begin what is inferred of its processing. It is at every record."""
    try:
        client = known.client()
        received = (receive(client, record),)
        CHAIN.consume(polled_of((client, received, started_ns, known.take_events() if known.events else ())))
        known.note_task()
        known.inferred.begin(received, False)
    except Exception as error:
        COUNTS.fail(WHERE, "getone", error)


async def getmany(
    original: Callable[..., Awaitable[Any]],
    consumer: Any,
    partitions: tuple[Any, ...],
    timeout_ms: Any,
    max_records: Any,
) -> Any:
    """Await the original `getmany`; asking for more ends the work on what came before."""
    known = known_or_none(consumer)
    if known is None:
        return await original(*partitions, timeout_ms=timeout_ms, max_records=max_records)
    known.inferred.end()
    started_ns = time.time_ns()
    try:
        polled = await original(*partitions, timeout_ms=timeout_ms, max_records=max_records)
    except Exception as error:
        tell_undeserialized(known, error)
        raise
    if polled:
        try:
            client = known.client()
            received = [receive(client, record) for records in polled.values() for record in records]
            CHAIN.consume(Polled(client, received, started_ns, known.take_events() if known.events else ()))
            known.note_task()
            known.inferred.begin(received, True)
        except Exception as error:
            COUNTS.fail(WHERE, "getmany", error)
    return polled


def seek(original: Callable[..., Any], consumer: Any, partition: Any, offset: Any) -> Any:
    """Call the original `seek`; an event of the next poll's span."""
    answer = original(partition, offset)
    try:
        note_seek(known_of(consumer), partition, offset)
    except Exception as error:
        COUNTS.fail(WHERE, "seek", error)
    return answer


async def seek_to(
    original: Callable[..., Awaitable[Any]], consumer: Any, partitions: tuple[Any, ...], where: str
) -> Any:
    """Await the original `seek_to_…`: without partitions it is for all that are assigned."""
    answer = await original(*partitions)
    try:
        places = partitions or consumer._subscription.assigned_partitions()
        note_seek_to(known_of(consumer), places, where)
    except Exception as error:
        COUNTS.fail(WHERE, "seek", error)
    return answer


async def seek_to_committed(original: Callable[..., Awaitable[Any]], consumer: Any, partitions: tuple[Any, ...]) -> Any:
    """Await the original, which returns where it went; a partition without a committed position it leaves alone."""
    answer = await original(*partitions)
    try:
        known = known_of(consumer)
        for place, offset in answer.items():
            if offset:
                note_seek(known, place, offset)
    except Exception as error:
        COUNTS.fail(WHERE, "seek", error)
    return answer


async def stop(original: Callable[..., Awaitable[Any]], consumer: Any) -> Any:
    """Await the original `stop`, which may commit, and leaves the group.

    Another task that still works on a record will come back for the next one, and be told that there is none.
    """
    known = known_or_none(consumer) if is_known(consumer) else None
    with Closing(WHERE, None if getattr(consumer, "_closed", False) else known):
        try:
            return await original()
        finally:
            try:
                if known is not None:
                    gone, known.assigned = known.assigned, frozenset()
                    note_rebalance(known, names.REVOKE_EVENT, gone)
                    if not known.may_come_back():
                        known.inferred.let_go()
            except Exception as error:
                COUNTS.fail(WHERE, "stop", error)
