"""The traced producer's transactions: what is known of their outcome, and when.

    begin ── send … ── send_offsets ──▶ commit ──▶ committed
                                          │  └───▶ unknown    the broker was asked, and no clear answer came
                                          ▼
                          (still open)  abort ───▶ aborted

What the broker was never asked to commit no one can commit any more once the producer has failed for good: it is
aborted, by the broker at the latest when the transaction times out. A producer that closes in the midst of one says
nothing to the broker, and nobody is there to see the end: unknown.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from kafka.producer.transaction_manager import TransactionState

from flowtrail.tracer.clients.commits import keep_for_commit
from flowtrail.tracer.clients.transactions import end_transaction, open_transaction
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.interceptor import ABORTED, COMMITTED, UNKNOWN
from flowtrail.tracer.record import Committed
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Transaction

from .commits import positions
from .known import WHERE, Known, known_of, known_or_none

# The client gave the transaction up by itself: it failed for good, or has taken (is taking) a new epoch.
_OVER: Final = frozenset(
    {TransactionState.FATAL_ERROR, TransactionState.READY, TransactionState.BUMPING_PRODUCER_EPOCH}
)


def begin_transaction(original: Callable[..., Any], producer: Any) -> Any:
    """Call the original `begin_transaction`; every send from now on belongs to what it began."""
    answer = original()
    try:
        known = known_of(producer)
        known.transaction = CHAIN.begin_transaction(known.client(), producer.config["transactional_id"])
    except Exception as error:
        COUNTS.fail(WHERE, "begin_transaction", error)
    return answer


def send_offsets_to_transaction(original: Callable[..., Any], producer: Any, offsets: Any, group_metadata: Any) -> Any:
    """Call the original: the positions are committed with the transaction; refused, they are a commit that failed."""
    started_ns, (known, transaction) = time.time_ns(), open_transaction(known_or_none(producer))
    try:
        answer = original(offsets, group_metadata)
    except BaseException as error:
        if known is not None:
            _commit(known, None, offsets, group_metadata, started_ns, error)
        raise
    if known is not None:
        _commit(known, transaction, offsets, group_metadata, started_ns, None)
    return answer


def commit_transaction(original: Callable[..., Any], producer: Any) -> Any:
    """Call the original `commit_transaction`, which waits for the broker's answer."""
    known, transaction = open_transaction(known_or_none(producer))
    before = _state(producer)
    try:
        answer = original()
    except BaseException as error:
        end_transaction(known, transaction, _after_failed_commit(before, _state(producer)), error)
        raise
    end_transaction(known, transaction, COMMITTED, None)
    return answer


def abort_transaction(original: Callable[..., Any], producer: Any) -> Any:
    """Call the original `abort_transaction`, which waits for the broker's answer."""
    known, transaction = open_transaction(known_or_none(producer))
    try:
        answer = original()
    except BaseException as error:
        # Another thread is committing it: that one will know.
        is_committing = _state(producer) is TransactionState.COMMITTING_TRANSACTION
        end_transaction(known, transaction, None if is_committing else ABORTED, error)
        raise
    end_transaction(known, transaction, ABORTED, None)
    return answer


def outcome_at_close(producer: Any) -> str:
    """Return what is known of a transaction that is open when its producer has closed."""
    return ABORTED if _state(producer) is TransactionState.FATAL_ERROR else UNKNOWN


def _after_failed_commit(before: TransactionState | None, after: TransactionState | None) -> str | None:
    """Return the outcome, by the client's states around a commit that raised; None while the transaction is open."""
    if after is TransactionState.ABORTABLE_ERROR:
        return None  # it can only be aborted, and the program is to do that
    if before is TransactionState.IN_TRANSACTION:
        return UNKNOWN  # the broker may have been asked
    return ABORTED if after in _OVER else UNKNOWN


def _commit(
    known: Known,
    transaction: Transaction | None,
    offsets: Any,
    group_metadata: Any,
    started_ns: int,
    error: BaseException | None,
) -> None:
    try:
        group = group_metadata if isinstance(group_metadata, str) else getattr(group_metadata, "group_id", None)
        member_id = getattr(group_metadata, "member_id", None) or None
        client = replace(known.client(), group=group, member_id=member_id)
        committed = Committed(client, positions(offsets), started_ns, error)
        keep_for_commit(transaction, committed)
    except Exception as failure:
        COUNTS.fail(WHERE, "send_offsets_to_transaction", failure)


def _state(producer: Any) -> TransactionState | None:
    """Where the client says its transaction is; None for one without transactions, or of another shape."""
    found = getattr(getattr(producer, "_transaction_manager", None), "_current_state", None)
    return found if isinstance(found, TransactionState) else None
