"""The traced consumer: spans for polls that returned records and for commits, and for the work between polls.

Iterating calls `poll` for the next batch and hands its records out one by one: then the batch is one poll, and the work
is inferred for each record.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import kafka

from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.consumer_events import note_seek, note_seek_to
from flowtrail.tracer.clients.consumer_record import read_record
from flowtrail.tracer.clients.known import is_known
from flowtrail.tracer.clients.methods import Replacement
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.clients.undeserialized import tell_undeserialized
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Polled, Received
from flowtrail.tracer.tracing import CHAIN

from . import coordinator
from .commits import commit, commit_async
from .known import WHERE, known_of, known_or_none
from .received import ConsumerRecord, receive

__all__ = ["REPLACEMENTS", "ConsumerRecord", "KafkaConsumer"]


class KafkaConsumer(kafka.KafkaConsumer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's consumer; a span for each poll that returned records, each commit, and the work in between."""

    def __init__(self, *topics, **configs):  # type: ignore[no-untyped-def]
        super().__init__(*topics, **configs)
        coordinator.trace_coordinator(self)

    def __next__(self):  # type: ignore[no-untyped-def]
        return next_record(super().__next__, self)

    def poll(self, timeout_ms=0, max_records=None, update_offsets=True):  # type: ignore[no-untyped-def]
        return poll(super().poll, self, timeout_ms, max_records, update_offsets)

    def commit(self, offsets=None, timeout_ms=None):  # type: ignore[no-untyped-def]
        return commit(super().commit, self, offsets, timeout_ms)

    def commit_async(self, offsets=None, callback=None):  # type: ignore[no-untyped-def]
        return commit_async(super().commit_async, self, offsets, callback)

    def seek(self, partition, offset):  # type: ignore[no-untyped-def]
        return seek(super().seek, self, partition, offset)

    def seek_to_beginning(self, *partitions):  # type: ignore[no-untyped-def]
        return seek_to(super().seek_to_beginning, self, partitions, "beginning")

    def seek_to_end(self, *partitions):  # type: ignore[no-untyped-def]
        return seek_to(super().seek_to_end, self, partitions, "end")

    def close(self, autocommit=True, timeout_ms=None):  # type: ignore[no-untyped-def]
        return close(super().close, self, autocommit, timeout_ms)


def poll(original: Callable[..., Any], consumer: Any, timeout_ms: Any, max_records: Any, update_offsets: Any) -> Any:
    """Call the original `poll`. Iterating comes through here too, without `update_offsets`."""
    started_ns = time.time_ns()
    known = known_or_none(consumer)
    if known is not None and update_offsets:
        known.inferred.end()
    try:
        polled = original(timeout_ms, max_records, update_offsets)
    except Exception as error:
        if known is not None:
            tell_undeserialized(known, error)
        raise
    if polled and known is not None:
        try:
            client = known.client()
            received: list[Received] = []
            for partition, records in polled.items():
                polled[partition] = receive(client, records, received)
            CHAIN.consume(Polled(client, received, started_ns, known.take_events() if known.events else ()))
            if update_offsets:
                known.inferred.begin(received, True)
        except Exception as error:
            COUNTS.fail(WHERE, "poll", error)
    return polled


def next_record(original: Callable[..., Any], consumer: Any) -> Any:
    """Call the original `__next__`; asking for the next record ends the work on the one before."""
    try:
        inferred = known_of(consumer).inferred
    except Exception as error:
        COUNTS.fail(WHERE, "next", error)
        return original()
    inferred.end()
    record = original()
    try:
        inferred.begin((read_record(record),), False)
    except Exception as error:
        COUNTS.fail(WHERE, "next", error)
    return record


def seek(original: Callable[..., Any], consumer: Any, partition: Any, offset: Any) -> Any:
    """Call the original `seek`; an event of the next poll's span."""
    answer = original(partition, offset)
    try:
        note_seek(known_of(consumer), partition, offset)
    except Exception as error:
        COUNTS.fail(WHERE, "seek", error)
    return answer


def seek_to(original: Callable[..., Any], consumer: Any, partitions: tuple[Any, ...], where: str) -> Any:
    """Call the original `seek_to_…`: without partitions it is for all that are assigned."""
    answer = original(*partitions)
    try:
        places = partitions or consumer._subscription.assigned_partitions()
        note_seek_to(known_of(consumer), places, where)
    except Exception as error:
        COUNTS.fail(WHERE, "seek", error)
    return answer


def close(original: Callable[..., Any], consumer: Any, autocommit: Any, timeout_ms: Any) -> Any:
    """Call the original `close`, which may commit; nobody comes back for another record after it."""
    known = known_or_none(consumer) if is_known(consumer) or not getattr(consumer, "_closed", True) else None
    with Closing(WHERE, known):
        try:
            return original(autocommit, timeout_ms)
        finally:
            if known is not None:
                known.inferred.let_go()


def _replace_next(original, switch):  # type: ignore[no-untyped-def]
    def next_traced(self):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound()
        return next_record(bound, self)

    return next_traced


def _replace_poll(original, switch):  # type: ignore[no-untyped-def]
    def poll_traced(self, timeout_ms=0, max_records=None, update_offsets=True):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(timeout_ms, max_records, update_offsets)
        return poll(bound, self, timeout_ms, max_records, update_offsets)

    return poll_traced


def _replace_commit(original, switch):  # type: ignore[no-untyped-def]
    def commit_traced(self, offsets=None, timeout_ms=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(offsets, timeout_ms)
        return commit(bound, self, offsets, timeout_ms)

    return commit_traced


def _replace_commit_async(original, switch):  # type: ignore[no-untyped-def]
    def commit_async_traced(self, offsets=None, callback=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(offsets, callback)
        return commit_async(bound, self, offsets, callback)

    return commit_async_traced


def _replace_seek(original, switch):  # type: ignore[no-untyped-def]
    def seek_traced(self, partition, offset):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(partition, offset)
        return seek(bound, self, partition, offset)

    return seek_traced


def _replace_seek_to(where: str) -> Callable[[Any, Switch], Callable[..., Any]]:
    def replace(original: Any, switch: Switch) -> Callable[..., Any]:
        def seek_traced(self, *partitions):  # type: ignore[no-untyped-def]
            bound = original.__get__(self)
            if isinstance(self, KafkaConsumer) or not switch.is_on:
                return bound(*partitions)
            return seek_to(bound, self, partitions, where)

        return seek_traced

    return replace


def _replace_close(original, switch):  # type: ignore[no-untyped-def]
    def close_traced(self, autocommit=True, timeout_ms=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(autocommit, timeout_ms)
        return close(bound, self, autocommit, timeout_ms)

    return close_traced


REPLACEMENTS: Final[tuple[Replacement, ...]] = (
    (kafka.KafkaConsumer, "__next__", _replace_next),
    (kafka.KafkaConsumer, "poll", _replace_poll),
    (kafka.KafkaConsumer, "commit", _replace_commit),
    (kafka.KafkaConsumer, "commit_async", _replace_commit_async),
    (kafka.KafkaConsumer, "seek", _replace_seek),
    (kafka.KafkaConsumer, "seek_to_beginning", _replace_seek_to("beginning")),
    (kafka.KafkaConsumer, "seek_to_end", _replace_seek_to("end")),
    (kafka.KafkaConsumer, "close", _replace_close),
    *coordinator.REPLACEMENTS,
)
