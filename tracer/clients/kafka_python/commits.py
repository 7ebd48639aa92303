"""Commits: those that the program calls for, and those that the client makes by itself.

kafka-python commits by itself in a poll (when the interval is over), before a rebalance, and in `close`. All that goes
through two methods of its coordinator, which are private: a version without them has no spans for such commits.
"""

import contextvars
import time
from collections.abc import Awaitable, Callable
from typing import Any

from flowtrail.tracer.clients.commits import Positions, tell_commit
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Committed
from flowtrail.tracer.tracing import CHAIN

from .known import WHERE, Known, known_of_coordinator, known_or_none


def commit(original: Callable[..., Any], consumer: Any, offsets: Any, timeout_ms: Any) -> Any:
    """Call the original `commit`, which waits for the broker's answer."""
    started_ns, committed = time.time_ns(), _positions_of(consumer, offsets)
    known = known_or_none(consumer)
    if known is not None:
        known.is_committing = True
        known.last_told.forget()
    try:
        answer = original(offsets, timeout_ms)
    except BaseException as error:
        tell_commit(WHERE, known, committed, started_ns, error)
        raise
    finally:
        if known is not None:
            known.is_committing = False
    tell_commit(WHERE, known, committed, started_ns, None)
    return answer


def commit_async(original: Callable[..., Any], consumer: Any, offsets: Any, callback: Any) -> Any:
    """Call the original `commit_async`; the commit is told to interceptors when its answer comes."""
    started_ns, committed = time.time_ns(), _positions_of(consumer, offsets)
    known, called_in = known_or_none(consumer), contextvars.copy_context()
    if known is not None:
        known.last_told.forget()

    def answered(answer: Any) -> None:
        # The answer comes on another thread; the span belongs where the commit was called.
        called_in.run(tell_commit, WHERE, known, committed, started_ns, _error(answer))

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


def commit_in_poll(original: Callable[..., Any], coordinator: Any, offsets: Any, callback: Any) -> Any:
    """Call the coordinator's `commit_offsets_async`; a commit of its own is known by the callback that it gives."""
    known = known_of_coordinator(coordinator)
    try:
        is_automatic = callback is not None and callback == coordinator._commit_offsets_async_on_complete
    except Exception as error:
        COUNTS.fail(WHERE, "automatic commit", error)
        is_automatic = False
    if known is None or not is_automatic:
        return original(offsets, callback)
    started_ns, committed = time.time_ns(), positions(offsets)
    future = original(offsets, callback)
    try:
        future.add_both(lambda answer: _tell_automatic(known, committed, started_ns, _error(answer)))
    except Exception as error:
        COUNTS.fail(WHERE, "automatic commit", error)
    return future


async def commit_and_wait(original: Callable[..., Awaitable[Any]], coordinator: Any, offsets: Any, timeout: Any) -> Any:
    """Await the coordinator's `_commit_offsets_sync_async`: before a rebalance, at close, in the program's commit."""
    known = known_of_coordinator(coordinator)
    if known is None or known.is_committing:
        return await original(offsets, timeout)
    started_ns, committed = time.time_ns(), positions(offsets)
    try:
        answer = await original(offsets, timeout)
    except BaseException as error:
        _tell_automatic(known, committed, started_ns, error)
        raise
    _tell_automatic(known, committed, started_ns, None)
    return answer


def _tell_automatic(known: Known, offsets: Positions, started_ns: int, error: BaseException | None) -> None:
    """Tell of an automatic commit, but for one that says the same again."""
    try:
        if known.last_told.is_news(offsets, error):
            CHAIN.commit(Committed(known.client(), offsets, started_ns, error, is_automatic=True))
    except Exception as failure:
        COUNTS.fail(WHERE, "automatic commit", failure)


def _error(answer: Any) -> BaseException | None:
    return answer if isinstance(answer, BaseException) else None


def positions(offsets: Any) -> Positions:
    """Return the next offset of each partition, as a program or the client gives them; nothing for a wrong shape."""
    try:
        return {(place.topic, place.partition): position.offset for place, position in offsets.items()}
    except Exception:
        return {}  # the client says so itself


def _positions_of(consumer: Any, offsets: Any) -> Positions:
    """Return the positions that a commit is about: those given, else what was consumed so far."""
    if offsets is not None:
        return positions(offsets)
    try:
        return positions(consumer._subscription.all_consumed_offsets())
    except Exception:
        return {}  # a client of another shape


def _has_no_coordinator(consumer: Any) -> bool:
    try:
        return bool(consumer._coordinator.coordinator_unknown())
    except Exception:
        return False
