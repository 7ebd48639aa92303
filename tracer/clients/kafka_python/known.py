"""What is remembered of each client: who it is, and what it sent without an answer so far."""

import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import kafka

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client, Outgoing

# Whose failures these are, in the log.
WHERE: Final = "kafka-python"


class Known:
    """What is known of one client: who it is, and for a producer what it sent without an answer so far.

    It holds no part of the client: that must go when the program lets it go, and by a rebalance listener of the
    program's own the parts may lead back to the whole.
    """

    def __init__(self, config: Mapping[str, Any], cluster: Any, coordinator: Any = None) -> None:
        self._cluster = weakref.ref(cluster)
        self._coordinator = weakref.ref(coordinator) if coordinator is not None else _nothing
        address, port = _first_server(config.get("bootstrap_servers"))
        self._client = Client(
            client_id=config.get("client_id"), group=config.get("group_id"), server_address=address, server_port=port
        )
        # Without acknowledgements the client makes an answer up, with an offset that is not true.
        self.learns_offsets = config.get("acks") != 0
        self.unacknowledged: dict[int, Outgoing] = {}

    def client(self) -> Client:
        """Return what is known now: the cluster id comes with the first metadata, the member id with the first join.

        Both are read where kafka-python keeps them: its public ways wait for locks, or for the network.
        """
        cluster_id = getattr(self._cluster(), "cluster_id", None) or self._client.cluster_id
        member_id = getattr(getattr(self._coordinator(), "_generation", None), "member_id", None) or None
        if cluster_id != self._client.cluster_id or member_id != self._client.member_id:
            self._client = replace(self._client, cluster_id=cluster_id, member_id=member_id)
        return self._client


# By client, and gone with it. Not attributes of the clients: those are the program's.
KNOWN: "weakref.WeakKeyDictionary[Any, Known]" = weakref.WeakKeyDictionary()


def everyone() -> list[Known]:
    """Return what is known of each client that exists; other threads may make clients meanwhile."""
    # `KNOWN.values()` would raise then: it goes through the dictionary step by step, `keyrefs` copies it at once.
    clients = [reference() for reference in KNOWN.keyrefs()]
    return [known for client in clients if client is not None and (known := KNOWN.get(client)) is not None]


def _forget_sends_of_parent() -> None:
    for known in everyone():
        known.unacknowledged.clear()


# A forked child has copies of the clients, but the answers come to the parent.
os.register_at_fork(after_in_child=_forget_sends_of_parent)


def _nothing() -> None:
    return None


def known_of(client: Any) -> Known:
    """Return what is known of a client; the first call looks it up. Raises AttributeError for one of another shape."""
    known = KNOWN.get(client)
    if known is None:
        if isinstance(client, kafka.KafkaProducer):
            known = Known(client.config, client._metadata)
        else:
            known = Known(client.config, client._cluster, client._coordinator)
        known = KNOWN.setdefault(client, known)
    return known


def known_or_none(client: Any) -> Known | None:
    """The same, but None (and counted) instead of raising."""
    try:
        return known_of(client)
    except Exception as error:
        COUNTS.fail(WHERE, "commit", error)
        return None


def _first_server(servers: Any) -> tuple[str | None, int | None]:
    """Return host and port of the first bootstrap server; None for what is not there."""
    if isinstance(servers, str):
        servers = servers.split(",")
    if not isinstance(servers, Iterable):
        return None, None
    first = str(next(iter(servers), "")).strip()
    host, colon, port = first.rpartition(":")
    if not colon:
        return first or None, None
    return host.strip("[]") or None, int(port) if port.isdigit() else None
