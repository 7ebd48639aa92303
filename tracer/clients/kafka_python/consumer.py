"""The traced consumer: a span for each poll that returned records, and for each commit."""

import contextvars
import time
from collections.abc import Callable
from typing import Any

import kafka
from kafka.consumer.fetcher import ConsumerRecord as PlainRecord

from flowtrail.tracer.clients.consumer_record import RECEIVED_THROUGH, client_of, read_record
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client, Committed, Polled
from flowtrail.tracer.tracing import CHAIN

from .known import WHERE, Known, known_of, known_or_none


class ConsumerRecord(PlainRecord):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's own ConsumerRecord that also knows through which client it came.

    A named tuple takes no attributes and no weak references, and two groups in one process poll records that are equal:
    so the record itself must say it. Copies and pickles are plain records, which need no Flowtrail to be read.
    """

    flowtrail_client: Client

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        return PlainRecord, tuple(self)

    def _replace(self, /, **changes: Any) -> Any:
        return _received_through(client_of(self), super()._replace(**changes))


class KafkaConsumer(kafka.KafkaConsumer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's consumer; a span for each poll that returned records, and for each commit."""

    def poll(self, timeout_ms=0, max_records=None, update_offsets=True):  # type: ignore[no-untyped-def]
        return poll(super().poll, self, timeout_ms, max_records, update_offsets)

    def commit(self, offsets=None, timeout_ms=None):  # type: ignore[no-untyped-def]
        return commit(super().commit, self, offsets, timeout_ms)

    def commit_async(self, offsets=None, callback=None):  # type: ignore[no-untyped-def]
        return commit_async(super().commit_async, self, offsets, callback)


def poll(original: Callable[..., Any], consumer: Any, timeout_ms: Any, max_records: Any, update_offsets: Any) -> Any:
    """Call the original `poll`; iterating over a consumer comes through here too."""
    started_ns = time.time_ns()
    polled = original(timeout_ms, max_records, update_offsets)
    if polled:
        try:
            known = known_of(consumer)
            client = known.client()
            for partition, records in polled.items():
                polled[partition] = [_received_through(client, record) for record in records]
            received = [read_record(record) for records in polled.values() for record in records]
            CHAIN.consume(Polled(client, received, started_ns, known.take_events()))
        except Exception as error:
            COUNTS.fail(WHERE, "poll", error)
    return polled


def commit(original: Callable[..., Any], consumer: Any, offsets: Any, timeout_ms: Any) -> Any:
    """Call the original `commit`, which waits for the broker's answer."""
    started_ns, committed = time.time_ns(), _positions(consumer, offsets)
    known = known_or_none(consumer)
    try:
        answer = original(offsets, timeout_ms)
    except BaseException as error:
        _commit(known, committed, started_ns, error)
        raise
    _commit(known, committed, started_ns, None)
    return answer


def commit_async(original: Callable[..., Any], consumer: Any, offsets: Any, callback: Any) -> Any:
    """Call the original `commit_async`; the commit is told to interceptors when its answer comes."""
    started_ns, committed = time.time_ns(), _positions(consumer, offsets)
    known, called_in = known_or_none(consumer), contextvars.copy_context()

    def answered(answer: Any) -> None:
        # The answer comes on another thread; the span belongs where the commit was called.
        error = answer if isinstance(answer, BaseException) else None
        called_in.run(_commit, known, committed, started_ns, error)

    # Without a coordinator the returned future stands for looking one up, and only a callback sees the commit.
    is_looked_up = _has_no_coordinator(consumer)
    looked_up: list[Any] = []

    def called_back(committed_offsets: Any, answer: Any) -> None:
        answered(answer)
        if callback is not None:
            callback(committed_offsets, answer)
        elif not (looked_up and looked_up[0].failed()):
            consumer_config["default_offset_commit_callback"](committed_offsets, answer)

    consumer_config = consumer.config
    try:
        future = original(offsets, called_back if is_looked_up else callback)
    except BaseException as error:
        answered(error)
        raise
    looked_up.append(future)
    if not is_looked_up:
        try:
            future.add_both(answered)
        except Exception as error:
            COUNTS.fail(WHERE, "commit_async", error)
    return future


def _commit(
    known: Known | None, offsets: dict[tuple[str, int], int], started_ns: int, error: BaseException | None
) -> None:
    try:
        CHAIN.commit(Committed(known.client() if known is not None else Client(), offsets, started_ns, error))
    except Exception as failure:
        COUNTS.fail(WHERE, "commit", failure)


def _positions(consumer: Any, offsets: Any) -> dict[tuple[str, int], int]:
    """Return the positions that a commit is about: those given, else what was consumed so far."""
    try:
        given = consumer._subscription.all_consumed_offsets() if offsets is None else offsets
        return {(place.topic, place.partition): position.offset for place, position in given.items()}
    except Exception:
        return {}  # not the shape that a commit takes: the client will say so itself


def _received_through(client: Client, record: Any) -> Any:
    if not isinstance(record, PlainRecord):
        return record  # a fetcher of the program's own
    received = ConsumerRecord._make(record)
    setattr(received, RECEIVED_THROUGH, client)
    return received


def _has_no_coordinator(consumer: Any) -> bool:
    try:
        return bool(consumer._coordinator.coordinator_unknown())
    except Exception:
        return False
