"""Commits: those that the program calls for, and those that the client makes by itself.

aiokafka commits by itself in a background task when the interval is over, before a rebalance, and in `stop`. All that,
and the program's own commits, goes through one method of its coordinator (`parts.py`). Those are told apart by the
context in which it runs.
"""

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context
from opentelemetry.context import Context

from flowtrail.tracer.clients.commits import Positions, tell_commit
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.left_out import is_suppressed
from flowtrail.tracer.record import Committed
from flowtrail.tracer.tracing import CHAIN

from .known import WHERE, Known, known_of_part, known_or_none

# The program's own commit runs here: what its coordinator commits in this context is not automatic.
_IS_CALLED_FOR: Final[ContextVar[bool]] = ContextVar("flowtrail_commit_is_called_for", default=False)


async def commit(original: Callable[..., Awaitable[Any]], consumer: Any, offsets: Any) -> Any:
    """Await the original `commit`, which waits for the broker's answer."""
    started_ns, committed = time.time_ns(), _positions_of(consumer, offsets)
    known = known_or_none(consumer)
    if known is not None:
        known.last_told.forget()
    _IS_CALLED_FOR.set(True)
    try:
        answer = await original(offsets)
    except BaseException as error:
        tell_commit(WHERE, known, committed, started_ns, error)
        raise
    finally:
        _IS_CALLED_FOR.set(False)
    tell_commit(WHERE, known, committed, started_ns, None)
    return answer


async def commit_offsets(
    original: Callable[..., Awaitable[Any]], coordinator: Any, assignment: Any, offsets: Any
) -> Any:
    """Await the coordinator's commit, which is told here when the program did not call for it."""
    known = known_of_part(coordinator)
    if known is None or _IS_CALLED_FOR.get():
        return await original(assignment, offsets)
    started_ns, committed = time.time_ns(), positions(offsets)
    try:
        answer = await original(assignment, offsets)
    except BaseException as error:
        _tell_automatic(known, committed, started_ns, error)
        raise
    _tell_automatic(known, committed, started_ns, None)
    return answer


def positions(offsets: Any) -> Positions:
    """Return the next offset of each partition, as a program or the client gives them; nothing for a wrong shape."""
    try:
        return {
            (place.topic, place.partition): offset if isinstance(offset, int) else offset[0]
            for place, offset in offsets.items()
        }
    except Exception:
        return {}  # the client says so itself


def _positions_of(consumer: Any, offsets: Any) -> Positions:
    """Return the positions that a commit is about: those given, else what was consumed so far."""
    if offsets is not None:
        return positions(offsets)
    try:
        return positions(consumer._subscription.subscription.assignment.all_consumed_offsets())
    except Exception:
        return {}  # nothing is assigned: the client says so itself


def _tell_automatic(known: Known, offsets: Positions, started_ns: int, error: BaseException | None) -> None:
    """Tell of an automatic commit, but for one that says the same again."""
    try:
        if is_suppressed() or not known.last_told.is_news(offsets, error):
            return
        # The task has the context in which the consumer was started: what was current there is no cause of this.
        token = context.attach(Context())
        try:
            CHAIN.commit(Committed(known.client(), offsets, started_ns, error, is_automatic=True))
        finally:
            context.detach(token)
    except Exception as failure:
        COUNTS.fail(WHERE, "automatic commit", failure)
