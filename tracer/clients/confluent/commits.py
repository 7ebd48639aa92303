"""A consumer's commits: those that the program waits for, those that are answered later, and the client's own.

The client reports the last two by one callback, `on_commit` in the configuration. It is always set for a traced
consumer, with the program's own behind it. What answers no call of the program's is the client's own.
"""

import contextvars
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from flowtrail.tracer.clients.commits import tell_commit
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Committed
from flowtrail.tracer.tracing import CHAIN

from .known import WHERE, Known, Pending, known_or_none
from .transactions import positions_of


def on_commit(known: Known, theirs: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the callback for a consumer's configuration."""
    return partial(_reported, known, theirs)


def _reported(known: Known, theirs: Callable[..., Any] | None, error: Any, places: Any) -> Any:
    try:
        _take_report(known, error, places)
    except Exception as failure:
        COUNTS.fail(WHERE, "on_commit", failure)
    return theirs(error, places) if theirs is not None else None


def _take_report(known: Known, error: Any, places: Any) -> None:
    offsets, reason = positions_of(places), _reason(error, places)
    # A copy: another thread may call for a commit meanwhile.
    for pending in known.pending.copy():
        if (pending.offsets is None or pending.offsets == offsets) and _take(known, pending):
            pending.called_in.run(
                CHAIN.commit, Committed(known.client(), offsets or pending.offsets or {}, pending.started_ns, reason)
            )
            return
    # By itself the client commits at intervals, whether there is something to commit or not.
    if offsets:
        CHAIN.commit(Committed(known.client(), offsets, time.time_ns(), reason, is_automatic=True))


def commit(plain: Any, switch: Switch) -> Callable[..., Any]:
    def commit(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        known = known_or_none(self, "commit") if switch.is_on else None
        if known is None:
            return plain.commit(self, *arguments, **options)
        # Before the call, since another thread may be polling: the report may come before the call returns.
        pending = Pending(_positions(arguments, options), time.time_ns(), contextvars.copy_context())
        known.pending.append(pending)
        try:
            answer = plain.commit(self, *arguments, **options)
        except BaseException as error:
            _answer(known, pending, pending.offsets or {}, error)
            raise
        if isinstance(answer, list):  # the client waited; it reports such a commit to no one else
            _answer(known, pending, positions_of(answer), _reason(None, answer))
        elif not known.is_configured:
            _take(known, pending)  # there is no callback of ours
        return answer

    return commit


def _take(known: Known, pending: Pending) -> bool:
    """Wait for a commit's answer no more; False when another thread was first, or there were too many."""
    try:
        known.pending.remove(pending)
    except ValueError:
        return False
    return True


def _answer(known: Known, pending: Pending, offsets: dict[tuple[str, int], int], error: BaseException | None) -> None:
    _take(known, pending)
    tell_commit(WHERE, known, offsets, pending.started_ns, error)


def _positions(arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[tuple[str, int], int] | None:
    """Return the positions that a commit names; None when it leaves them to the client."""
    try:
        given = dict(zip(("message", "offsets"), arguments, strict=False)) | options
        message, offsets = given.get("message"), given.get("offsets")
        if message is not None:
            return {(message.topic(), message.partition()): message.offset() + 1}
        return positions_of(offsets) if offsets is not None else None
    except Exception:
        return None  # not the shape that a commit takes: the client will say so itself


def _reason(error: Any, places: Any) -> BaseException | None:
    """The error of a commit as a whole, else that of its first partition that has one."""
    for found in (error, *(getattr(place, "error", None) for place in places or ())):
        if isinstance(found, KafkaError):
            return KafkaException(found)
    return None
