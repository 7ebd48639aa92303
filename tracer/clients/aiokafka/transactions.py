"""A producer's transactions, from begin to the outcome; sends in between belong to them.

A commit that raises because of a refused record leaves the transaction open: the program can only abort it, and is to
do that. Any other commit that raises, or is cancelled, has an outcome that is not known here.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from aiokafka.producer.transaction_manager import TransactionState

from flowtrail.tracer.clients.commits import keep_for_commit
from flowtrail.tracer.clients.transactions import end_transaction, open_transaction
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.interceptor import ABORTED, COMMITTED, UNKNOWN
from flowtrail.tracer.record import Committed
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Transaction

from .commits import positions
from .known import WHERE, Known, known_of, known_or_none

# Nothing was decided by the call that raised.
_STILL_OPEN: Final = frozenset({TransactionState.IN_TRANSACTION, TransactionState.ABORTABLE_ERROR})
# Another task's call decides it.
_IS_DECIDED: Final = frozenset({TransactionState.COMMITTING_TRANSACTION, TransactionState.ABORTING_TRANSACTION})


async def begin_transaction(original: Callable[..., Awaitable[Any]], producer: Any) -> Any:
    """Await the original `begin_transaction`; every send from now on belongs to what it began."""
    answer = await original()
    try:
        known = known_of(producer)
        known.transaction = CHAIN.begin_transaction(known.client(), producer._txn_manager.transactional_id)
    except Exception as error:
        COUNTS.fail(WHERE, "begin_transaction", error)
    return answer


async def send_offsets_to_transaction(
    original: Callable[..., Awaitable[Any]], producer: Any, offsets: Any, group_id: Any
) -> Any:
    """Await the original: the positions are committed with the transaction; refused, they are a commit that failed."""
    started_ns, (known, transaction) = time.time_ns(), open_transaction(known_or_none(producer))
    try:
        answer = await original(offsets, group_id)
    except BaseException as error:
        _commit(known, None, offsets, group_id, started_ns, error)
        raise
    _commit(known, transaction, offsets, group_id, started_ns, None)
    return answer


async def commit_transaction(original: Callable[..., Awaitable[Any]], producer: Any) -> Any:
    """Await the original `commit_transaction`, which waits for the broker's answer."""
    known, transaction = open_transaction(known_or_none(producer))
    before = _state(producer)
    try:
        answer = await original()
    except BaseException as error:
        is_open = _state(producer) in _STILL_OPEN or before in _IS_DECIDED
        end_transaction(known, transaction, None if is_open else UNKNOWN, error)
        raise
    end_transaction(known, transaction, COMMITTED, None)
    return answer


async def abort_transaction(original: Callable[..., Awaitable[Any]], producer: Any) -> Any:
    """Await the original `abort_transaction`, which waits for the broker's answer.

    One that raises is an abort all the same: nobody can commit any more, and the broker aborts when it has waited long
    enough.
    """
    known, transaction = open_transaction(known_or_none(producer))
    before = _state(producer)
    try:
        answer = await original()
    except BaseException as error:
        end_transaction(known, transaction, None if before in _IS_DECIDED else ABORTED, error)
        raise
    end_transaction(known, transaction, ABORTED, None)
    return answer


def outcome_at_stop(producer: Any) -> str:
    """Return what is known of a transaction that is open when its producer has stopped.

    One that has failed can only have been aborted. Of any other the broker was told nothing, and nobody is there to see
    what it does.
    """
    failed = (TransactionState.ABORTABLE_ERROR, TransactionState.FATAL_ERROR)
    return ABORTED if _state(producer) in failed else UNKNOWN


def _commit(
    known: Known | None,
    transaction: Transaction | None,
    offsets: Any,
    group_id: Any,
    started_ns: int,
    error: BaseException | None,
) -> None:
    if known is None:
        return
    try:
        client = replace(known.client(), group=group_id if isinstance(group_id, str) else None)
        committed = Committed(client, positions(offsets), started_ns, error)
        keep_for_commit(transaction, committed)
    except Exception as failure:
        COUNTS.fail(WHERE, "send_offsets_to_transaction", failure)


def _state(producer: Any) -> TransactionState | None:
    """Where the client says its transaction is; None for one without transactions, or of another shape."""
    found = getattr(getattr(producer, "_txn_manager", None), "state", None)
    return found if isinstance(found, TransactionState) else None
