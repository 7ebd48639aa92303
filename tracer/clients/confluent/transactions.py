"""A producer's transactions: what is known of their outcome, and when."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, cimpl

from flowtrail.tracer.clients.commits import keep_for_commit
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.interceptor import ABORTED, COMMITTED, UNKNOWN
from flowtrail.tracer.record import Committed
from flowtrail.tracer.tracing import CHAIN

from .known import WHERE, Known, known_or_none

# How librdkafka writes down a group's metadata: this, the generation (4 bytes), then texts that end with a zero byte,
# the group first.
_GROUP_MAGIC: Final = b"CGMDv2:"
_GENERATION_BYTES: Final = 4


def begin_transaction(plain: Any, switch: Switch) -> Callable[..., Any]:
    def begin_transaction(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        begun = plain.begin_transaction(self, *arguments, **options)
        if switch.is_on:
            known = known_or_none(self, "begin_transaction")
            if known is not None:
                known.transaction = CHAIN.begin_transaction(known.client(), known.transactional_id)
        return begun

    return begin_transaction


def commit_transaction(plain: Any, switch: Switch) -> Callable[..., Any]:
    def commit_transaction(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return _end(self, plain.commit_transaction, COMMITTED, switch, arguments, options)

    return commit_transaction


def abort_transaction(plain: Any, switch: Switch) -> Callable[..., Any]:
    def abort_transaction(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return _end(self, plain.abort_transaction, ABORTED, switch, arguments, options)

    return abort_transaction


def send_offsets_to_transaction(plain: Any, switch: Switch) -> Callable[..., Any]:
    def send_offsets_to_transaction(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        original = plain.send_offsets_to_transaction
        known = known_or_none(self, "send_offsets_to_transaction") if switch.is_on else None
        if known is None:
            return original(self, *arguments, **options)
        started_ns = time.time_ns()
        try:
            answer = original(self, *arguments, **options)
        except BaseException as error:
            _note_offsets(known, arguments, options, started_ns, error)
            raise
        _note_offsets(known, arguments, options, started_ns, None)
        return answer

    return send_offsets_to_transaction


def _end(
    producer: Any,
    original: Callable[..., Any],
    outcome: str,
    switch: Switch,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    known = known_or_none(producer, "end_transaction") if switch.is_on else None
    transaction = known.transaction if known is not None else None
    if known is None or transaction is None:
        return original(producer, *arguments, **options)
    try:
        answer = original(producer, *arguments, **options)
    except BaseException as error:
        if not _is_still_open(error):
            known.end_transaction(transaction, UNKNOWN, error)
        raise
    known.end_transaction(transaction, outcome)
    return answer


def _is_still_open(error: BaseException) -> bool:
    """Whether the program is to call again, or to abort: the transaction has no outcome yet."""
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else None
    if not isinstance(reason, cimpl.KafkaError):
        return not isinstance(error, Exception)  # interrupted in the midst of the call: it may be called again
    if reason.fatal():
        return False
    # A call in the wrong state changed nothing.
    return reason.retriable() or reason.txn_requires_abort() or reason.code() == KafkaError._STATE


def _note_offsets(
    known: Known,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    started_ns: int,
    error: BaseException | None,
) -> None:
    """Keep positions for the transaction's commit, or tell at once that they were refused outside of one."""
    try:
        given = dict(zip(("positions", "group_metadata"), arguments, strict=False)) | options
        client = replace(known.client(), group=group_of(given.get("group_metadata")))
        committed = Committed(client, positions_of(given.get("positions")), started_ns, error)
        keep_for_commit(known.transaction, committed)
    except Exception as failure:
        COUNTS.fail(WHERE, "send_offsets_to_transaction", failure)


def positions_of(places: Any) -> dict[tuple[str, int], int]:
    """Return the positions that TopicPartitions name; those without an offset (logical ones) are left out."""
    found = places if isinstance(places, Iterable) else ()
    return {
        (place.topic, place.partition): place.offset
        for place in found
        if isinstance(place, cimpl.TopicPartition) and place.offset >= 0
    }


def group_of(metadata: Any) -> str | None:
    """Return the group of a consumer's group metadata; None when it is written in a way not known here."""
    if not isinstance(metadata, bytes) or not metadata.startswith(_GROUP_MAGIC):
        return None
    group, zero, _ = metadata[len(_GROUP_MAGIC) + _GENERATION_BYTES :].partition(b"\0")
    return group.decode("utf-8", "replace") if zero and group else None
