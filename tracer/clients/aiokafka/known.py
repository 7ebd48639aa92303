"""Where aiokafka keeps what is to be known of a client."""

import weakref
from asyncio import Task, current_task
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import aiokafka

from flowtrail.tracer.clients import known
from flowtrail.tracer.clients.commits import LastTold
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client

# Whose failures these are, in the log.
WHERE: Final = "aiokafka"


class Known(known.Known):
    """What is known of one of aiokafka's clients. Raises AttributeError for one of another shape."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        is_producer = isinstance(client, aiokafka.AIOKafkaProducer)
        network = client.client if is_producer else client._client
        address, port = known.first_server(network._bootstrap_servers)
        self._client = Client(
            client_id=network._client_id,
            group=None if is_producer else client._group_id,
            server_address=address,
            server_port=port,
        )
        # Weak: none of this may keep the client.
        self._consumer: weakref.ref[Any] | None = None if is_producer else weakref.ref(client)
        # Its serializers make the bytes that schema ids stand in.
        self.serializes = is_producer and (client._key_serializer, client._value_serializer) != (None, None)
        # The task that got the records which are in hand.
        self._polled_in: weakref.ref[Task[Any]] | None = None
        # What the group gave to this member.
        self.assigned: frozenset[Any] = frozenset()
        if not is_producer and client._subscription.partitions_auto_assigned():
            self.assigned = frozenset(client._subscription.assigned_partitions())
        self.last_told = LastTold()
        _OF_PART[id(network.cluster)] = self
        if not is_producer:
            _OF_PART[id(client._subscription)] = self
            self.meet_coordinator(client)

    def client(self) -> Client:
        """The cluster id comes with the first metadata, the member id with the first join."""
        if self._consumer is not None:
            # Without a group there is no such thing; before it was joined, and after it was left, it is empty.
            member_id = getattr(getattr(self._consumer(), "_coordinator", None), "member_id", None) or None
            if member_id != self._client.member_id:
                self._client = replace(self._client, member_id=member_id)
        return self._client

    def meet_cluster(self, cluster_id: str) -> None:
        """Take the cluster's id from its metadata; aiokafka itself forgets it."""
        if cluster_id != self._client.cluster_id:
            self._client = replace(self._client, cluster_id=cluster_id)

    def meet_coordinator(self, consumer: Any) -> None:
        """Know the consumer by its coordinator, which it has once it was started."""
        if consumer._coordinator is not None:
            _OF_PART[id(consumer._coordinator)] = self

    def is_generation_lost(self) -> bool:
        """Whether the group has put this member out: its partitions may be another's already."""
        consumer = self._consumer() if self._consumer is not None else None
        generation = getattr(getattr(consumer, "_coordinator", None), "generation", None)
        return isinstance(generation, int) and generation < 0

    def note_task(self) -> None:
        """Remember that this task got records."""
        task = current_task()
        if self._polled_in is None or self._polled_in() is not task:
            self._polled_in = None if task is None else weakref.ref(task)

    def may_come_back(self) -> bool:
        """Whether the task that has records in hand is another one that still runs: it will end its work by itself."""
        task = self._polled_in() if self._polled_in is not None else None
        return task is not None and task is not current_task() and not task.done()


# By the ids of a client's parts, which know nothing of the client.
_OF_PART: "weakref.WeakValueDictionary[int, Known]" = weakref.WeakValueDictionary()


def known_of_part(part: Any) -> Known | None:
    """Return what is known of the client whose part this is; None before the client's first traced call."""
    return _OF_PART.get(id(part))


# Returns what is known of a client; the first call looks it up. Raises AttributeError for one of another shape.
known_of: Final[Callable[[Any], Known]] = partial(known.known_of, make=Known)


def known_or_none(client: Any) -> Known | None:
    """The same, but None (and counted) instead of raising."""
    try:
        return known.known_of(client, Known)
    except Exception as error:
        COUNTS.fail(WHERE, "known", error)
        return None
