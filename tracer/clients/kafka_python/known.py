"""Where kafka-python keeps what is to be known of a client."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import kafka

from flowtrail.tracer.clients import known
from flowtrail.tracer.clients.commits import LastTold
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client

# Whose failures these are, in the log.
WHERE: Final = "kafka-python"
# Headers came with Kafka 0.11 (KIP-82).
_FIRST_WITH_HEADERS: Final = (0, 11)


class Known(known.Known):
    """What is known of one of kafka-python's clients. Raises AttributeError for one of another shape."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        config = client.config
        is_producer = isinstance(client, kafka.KafkaProducer)
        self._cluster = weakref.ref(client._metadata if is_producer else client._cluster)
        self._coordinator = _reference(None if is_producer else client._coordinator)
        address, port = known.first_server(config.get("bootstrap_servers"))
        self._client = Client(
            client_id=config.get("client_id"), group=config.get("group_id"), server_address=address, server_port=port
        )
        # A consumer's member id changes; a producer is known whole once it has seen its cluster.
        self._may_change = True
        self._is_producer = is_producer
        if not is_producer:
            _OF_COORDINATOR[id(client._coordinator)] = self
        # The program's own commit runs: what its coordinator commits now is not automatic.
        self.is_committing = False
        self.last_told = LastTold()
        # Without acknowledgements the client makes an answer up, with an offset that is not true.
        self.learns_offsets = config.get("acks") != 0
        # Its serializers make the bytes that schema ids stand in.
        self.serializes = is_producer and any(config.get(f"{part}_serializer") is not None for part in ("key", "value"))
        # It refuses headers when it speaks to an older broker; the version does not change once a client is made.
        self.takes_headers = is_producer and config["api_version"] >= _FIRST_WITH_HEADERS

    def client(self) -> Client:
        """The cluster id comes with the first metadata, the member id with the first join.

        Both are read where kafka-python keeps them: its public ways wait for locks, or for the network.
        """
        if self._may_change:
            cluster_id = getattr(self._cluster(), "cluster_id", None) or self._client.cluster_id
            member_id = getattr(getattr(self._coordinator(), "_generation", None), "member_id", None) or None
            if cluster_id != self._client.cluster_id or member_id != self._client.member_id:
                self._client = replace(self._client, cluster_id=cluster_id, member_id=member_id)
            self._may_change = cluster_id is None or not self._is_producer
        return self._client


# By the id of a consumer's coordinator, which knows nothing of the consumer.
_OF_COORDINATOR: "weakref.WeakValueDictionary[int, Known]" = weakref.WeakValueDictionary()


def known_of_coordinator(coordinator: Any) -> Known | None:
    """Return what is known of the consumer whose coordinator this is; None before its first traced call."""
    return _OF_COORDINATOR.get(id(coordinator))


# Returns what is known of a client; the first call looks it up. Raises AttributeError for one of another shape.
known_of: Final[Callable[[Any], Known]] = partial(known.known_of, make=Known)


def known_or_none(client: Any) -> Known | None:
    """The same, but None (and counted) instead of raising."""
    try:
        return known_of(client)
    except Exception as error:
        COUNTS.fail(WHERE, "known", error)
        return None


def _reference(thing: Any) -> Any:
    return weakref.ref(thing) if thing is not None else _nothing


def _nothing() -> None:
    return None
