"""A consumer's coordinator, where kafka-python commits by itself and takes part in rebalances.

Its methods are private. One that a version does not have is left out: then there are no spans, or events, of it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from kafka.coordinator.assignors.abstract import RebalanceProtocol
from kafka.coordinator.consumer import ConsumerCoordinator as PlainCoordinator

from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.consumer_events import note_rebalance
from flowtrail.tracer.clients.methods import Replacement
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS

from .commits import commit_and_wait, commit_in_poll
from .known import WHERE, known_of_coordinator

# A version without it tells nobody of what a member had when it left.
_AT_CLOSE: Final = "_on_close_prepare_async"


class ConsumerCoordinator(PlainCoordinator):  # type: ignore[misc]  # kafka-python has no types
    """The coordinator of our consumers."""

    def commit_offsets_async(self, offsets, callback=None):  # type: ignore[no-untyped-def]
        return commit_in_poll(super().commit_offsets_async, self, offsets, callback)

    async def _commit_offsets_sync_async(self, offsets, timeout_ms=None):  # type: ignore[no-untyped-def]
        return await commit_and_wait(super()._commit_offsets_sync_async, self, offsets, timeout_ms)

    async def _on_join_prepare_async(self, generation, member_id, timeout_ms=None):  # type: ignore[no-untyped-def]
        given = (generation, member_id, timeout_ms)
        return await join_prepare(super()._on_join_prepare_async, self, *given)

    async def _on_join_complete_async(self, generation, member_id, protocol, member_assignment_bytes):  # type: ignore[no-untyped-def]
        given = (generation, member_id, protocol, member_assignment_bytes)
        return await join_complete(super()._on_join_complete_async, self, *given)

    async def _on_close_prepare_async(self):  # type: ignore[no-untyped-def]
        return await close_prepare(super()._on_close_prepare_async, self)


def trace_coordinator(consumer: Any) -> None:
    """Make a consumer's coordinator ours. One of the program's own stays as it is. Never raises."""
    try:
        if (
            type(consumer._coordinator) is PlainCoordinator
            and _METHODS.keys() - {_AT_CLOSE} <= vars(PlainCoordinator).keys()
        ):
            consumer._coordinator.__class__ = ConsumerCoordinator
    except Exception as error:
        COUNTS.fail(WHERE, "coordinator", error)


async def join_prepare(original: Callable[..., Awaitable[Any]], coordinator: Any, *given: Any) -> Any:
    """Await the original, which lets partitions go; those are noted for the next poll's span."""
    owned, is_lost = _owned(coordinator), _is_lost(coordinator)
    try:
        return await original(*given)
    finally:
        if is_lost:
            _note(coordinator, names.LOST_EVENT, owned)
        elif _is_eager(coordinator):
            # They stay in the assignment until the new one comes, but nobody may count on them.
            _note(coordinator, names.REVOKE_EVENT, owned)
        else:
            _note(coordinator, names.REVOKE_EVENT, owned - _owned(coordinator))


async def join_complete(original: Callable[..., Awaitable[Any]], coordinator: Any, *given: Any) -> Any:
    """Await the original, which takes the new assignment; what it brings is noted for the next poll's span."""
    owned = _owned(coordinator)
    try:
        return await original(*given)
    finally:
        assigned = _owned(coordinator)
        if _is_eager(coordinator):
            _note(coordinator, names.ASSIGN_EVENT, assigned)
        else:
            _note(coordinator, names.REVOKE_EVENT, owned - assigned)
            _note(coordinator, names.ASSIGN_EVENT, assigned - owned)


async def close_prepare(original: Callable[..., Awaitable[Any]], coordinator: Any, *given: Any) -> Any:
    """Await the original, by which a member that leaves lets its partitions go: noted for the span of the close."""
    owned, name = _owned(coordinator), names.LOST_EVENT if _is_lost(coordinator) else names.REVOKE_EVENT
    try:
        return await original(*given)
    finally:
        _note(coordinator, name, owned - _owned(coordinator))


def _owned(coordinator: Any) -> set[Any]:
    try:
        return set(coordinator._subscription.assigned_partitions())
    except Exception as error:
        COUNTS.fail(WHERE, "rebalance", error)
        return set()


def _is_eager(coordinator: Any) -> bool:
    return bool(getattr(coordinator, "_rebalance_protocol", None) == RebalanceProtocol.EAGER)


def _is_lost(coordinator: Any) -> bool:
    try:
        return bool(coordinator._generation.is_lost())
    except Exception as error:
        COUNTS.fail(WHERE, "rebalance", error)
        return False


def _note(coordinator: Any, name: str, places: set[Any]) -> None:
    try:
        known = known_of_coordinator(coordinator)
        if known is not None:
            note_rebalance(known, name, places)
    except Exception as error:
        COUNTS.fail(WHERE, "rebalance", error)


def _replace_commit(original, switch):  # type: ignore[no-untyped-def]
    def commit_traced(self, offsets, callback=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, ConsumerCoordinator) or not switch.is_on:
            return bound(offsets, callback)
        return commit_in_poll(bound, self, offsets, callback)

    return commit_traced


def _replace_commit_and_wait(original, switch):  # type: ignore[no-untyped-def]
    async def commit_traced(self, offsets, timeout_ms=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, ConsumerCoordinator) or not switch.is_on:
            return await bound(offsets, timeout_ms)
        return await commit_and_wait(bound, self, offsets, timeout_ms)

    return commit_traced


def _replace_join(join: Callable[..., Awaitable[Any]]) -> Callable[[Any, Switch], Callable[..., Any]]:
    def replace(original: Any, switch: Switch) -> Callable[..., Any]:
        async def join_traced(self, *given, **named):  # type: ignore[no-untyped-def]
            bound = original.__get__(self)
            if isinstance(self, ConsumerCoordinator) or not switch.is_on:
                return await bound(*given, **named)

            async def called(*given: Any) -> Any:
                return await bound(*given, **named)

            return await join(called, self, *given)

        return join_traced

    return replace


_METHODS: Final[dict[str, Callable[[Any, Switch], Callable[..., Any]]]] = {
    "commit_offsets_async": _replace_commit,
    "_commit_offsets_sync_async": _replace_commit_and_wait,
    "_on_join_prepare_async": _replace_join(join_prepare),
    "_on_join_complete_async": _replace_join(join_complete),
    _AT_CLOSE: _replace_join(close_prepare),
}
REPLACEMENTS: Final[tuple[Replacement, ...]] = tuple(
    (PlainCoordinator, method, make) for method, make in _METHODS.items() if method in PlainCoordinator.__dict__
)
