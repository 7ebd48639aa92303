"""What is kept of confluent-kafka's clients: they can't be asked for their configuration, so it is read as it is given.

Only what spans say is kept, and the program's own callbacks: never a secret.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any, Final

from flowtrail.tracer.clients import known
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client

# Whose failures these are, in the log.
WHERE: Final = "confluent-kafka"
# Commits whose answer is waited for; a consumer that is never polled again gets none.
MOST_PENDING: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A commit that the program called for, without waiting. `offsets` is None when the client knows them alone.

    No two are equal: to find one in a queue runs no code, in which another thread could change that.
    """

    offsets: dict[tuple[str, int], int] | None
    started_ns: int
    called_in: Context


class Known(known.Known):
    """What is known of one client; nothing, of one that was made before it could be traced."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = Client()
        # Whether the configuration was seen: without it nobody knows which callback of the program's is the default.
        self.is_configured = False
        # The producer's callback for records that are sent without one of their own.
        self.on_delivery: Callable[..., Any] | None = None
        self.reports_errors_only = False
        self.transactional_id: str | None = None
        # A group member's id is asked for after each rebalance: the client answers that from a thread of its own.
        self.is_member_stale = True
        # A share consumer's messages say how often they were delivered.
        self.counts_deliveries = False
        self.pending: deque[Pending] = deque(maxlen=MOST_PENDING)
        # An asyncio client drives this one from other threads, and is itself the one whose calls are followed.
        self.is_driven = False

    def client(self) -> Client:
        return self._client

    def configure(self, config: Mapping[Any, Any]) -> None:
        """Keep what is to be known of a configuration. Raises nothing for values that the client will refuse."""
        address, port = known.first_server(config.get("bootstrap.servers", config.get("metadata.broker.list")))
        self._client = Client(
            # librdkafka's default.
            client_id=_text(config.get("client.id")) or "rdkafka",
            group=_text(config.get("group.id")),
            server_address=address,
            server_port=port,
        )
        self.is_configured = True
        self.transactional_id = _text(config.get("transactional.id"))
        self.reports_errors_only = bool(config.get("delivery.report.only.error"))
        # The client takes the one that comes last.
        for name in config:
            if name in ("on_delivery", "dr_cb"):
                self.on_delivery = config[name]

    def see_member(self, consumer: Any) -> None:
        """Ask a consumer for its member id, which a share consumer keeps. Raises RuntimeError when it is closed."""
        self.is_member_stale = False
        if not hasattr(consumer, "memberid"):
            return
        member_id = consumer.memberid() or None
        if member_id != self._client.member_id:
            self._client = replace(self._client, member_id=member_id)


def known_or_none(client: Any, method: str) -> Known | None:
    """Return what is known of a client; None (and counted) for one that cannot be followed."""
    try:
        return known.known_of(client, Known)
    except Exception as error:
        COUNTS.fail(WHERE, method, error)
        return None


def configuration(arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[Any, Any]:
    """Return what a client was made with: a mapping, and keywords that come before it."""
    given = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
    return {**given, **options}


def asked_partition(partition: Any) -> int | None:
    """Return the partition that a send asks for; None when the client is to choose, or will refuse it."""
    return partition if type(partition) is int and partition >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
