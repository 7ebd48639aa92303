"""What happens inside of a client, where no method of its own tells: metadata, rebalances, automatic commits.

The parts and their methods are private. One that a version does not have is left out: then the cluster has no id, or
there are no events, or spans, of it. The program's rebalance listener is the one that the client sees.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from aiokafka.cluster import ClusterMetadata as PlainCluster
from aiokafka.consumer.group_coordinator import GroupCoordinator as PlainCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState as PlainSubscription

from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.consumer_events import note_rebalance
from flowtrail.tracer.clients.methods import Replacement
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS

from .commits import commit_offsets
from .known import WHERE, Known, known_of_part


class ClusterMetadata(PlainCluster):  # type: ignore[misc]  # aiokafka is not typed
    """What our clients know of their cluster."""

    def update_metadata(self, metadata):  # type: ignore[no-untyped-def]
        return update_metadata(super().update_metadata, self, metadata)


class SubscriptionState(PlainSubscription):  # type: ignore[misc]  # aiokafka is not typed
    """What our consumers are subscribed to, and what they were assigned."""

    def assign_from_subscribed(self, assignment):  # type: ignore[no-untyped-def]
        return assign(super().assign_from_subscribed, self, assignment)

    def begin_reassignment(self):  # type: ignore[no-untyped-def]
        return begin_reassignment(super().begin_reassignment, self)

    def unsubscribe(self):  # type: ignore[no-untyped-def]
        return unsubscribe(super().unsubscribe, self)


class GroupCoordinator(PlainCoordinator):  # type: ignore[misc]  # aiokafka is not typed
    """The coordinator of our consumers."""

    async def _do_commit_offsets(self, assignment, offsets):  # type: ignore[no-untyped-def]
        return await commit_offsets(super()._do_commit_offsets, self, assignment, offsets)


def trace_parts(client: Any, *paths: str) -> None:
    """Make the parts of one of our clients ours. Those of another shape stay as they are. Never raises."""
    for path in paths:
        try:
            part = attrgetter(path)(client)
            for ours in _OURS:
                if type(part) is ours.__base__ and _has_methods(ours):
                    part.__class__ = ours
        except Exception as error:
            COUNTS.fail(WHERE, "start", error)


def update_metadata(original: Callable[..., Any], cluster: Any, metadata: Any) -> Any:
    """Call the original, which does not keep the cluster's id."""
    try:
        known, cluster_id = known_of_part(cluster), getattr(metadata, "cluster_id", None)
        if known is not None and isinstance(cluster_id, str) and cluster_id:
            known.meet_cluster(cluster_id)
    except Exception as error:
        COUNTS.fail(WHERE, "update_metadata", error)
    return original(metadata)


def assign(original: Callable[..., Any], subscription: Any, assignment: Any) -> Any:
    """Call the original, which takes what the group gave; that is noted for the next poll's span."""
    answer = original(assignment)
    try:
        known = known_of_part(subscription)
        if known is not None:
            known.assigned = frozenset(assignment)
            note_rebalance(known, names.ASSIGN_EVENT, known.assigned)
    except Exception as error:
        COUNTS.fail(WHERE, "rebalance", error)
    return answer


def begin_reassignment(original: Callable[..., Any], subscription: Any) -> Any:
    """Call the original: a rebalance begins, and what the member had is not its own any more."""
    _note_gone(subscription, lambda known: names.LOST_EVENT if known.is_generation_lost() else names.REVOKE_EVENT)
    return original()


def unsubscribe(original: Callable[..., Any], subscription: Any) -> Any:
    """Call the original: the member leaves its group."""
    _note_gone(subscription, lambda _: names.REVOKE_EVENT)
    return original()


def _note_gone(subscription: Any, name: Callable[[Known], str]) -> None:
    try:
        known = known_of_part(subscription)
        if known is not None:
            gone, known.assigned = known.assigned, frozenset()
            note_rebalance(known, name(known), gone)
    except Exception as error:
        COUNTS.fail(WHERE, "rebalance", error)


def _replace(act: Callable[..., Any]) -> Callable[[Any, Switch], Callable[..., Any]]:
    """For methods that are not awaited."""

    def replace(original: Any, switch: Switch) -> Callable[..., Any]:
        def traced(self, *given, **named):  # type: ignore[no-untyped-def]
            bound = original.__get__(self)
            if isinstance(self, _OURS) or not switch.is_on or named:
                return bound(*given, **named)
            return act(bound, self, *given)

        return traced

    return replace


def _replace_commit(original, switch):  # type: ignore[no-untyped-def]
    async def traced(self, assignment, offsets):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return await bound(assignment, offsets)
        return await commit_offsets(bound, self, assignment, offsets)

    return traced


def _has_methods(ours: type) -> bool:
    plain = ours.__base__
    return all(name in vars(plain) for kind, name, _ in _METHODS if kind is plain)


_OURS: Final = (ClusterMetadata, SubscriptionState, GroupCoordinator)
_METHODS: Final[tuple[Replacement, ...]] = (
    (PlainCluster, "update_metadata", _replace(update_metadata)),
    (PlainSubscription, "assign_from_subscribed", _replace(assign)),
    (PlainSubscription, "begin_reassignment", _replace(begin_reassignment)),
    (PlainSubscription, "unsubscribe", _replace(unsubscribe)),
    (PlainCoordinator, "_do_commit_offsets", _replace_commit),
)
REPLACEMENTS: Final = tuple(each for each in _METHODS if each[1] in vars(each[0]))
