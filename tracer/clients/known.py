"""What is remembered of each traced client, whatever its library: who it is, and what is under way in it."""

import os
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.inferred import Inferred
from flowtrail.tracer.interceptor import UNKNOWN
from flowtrail.tracer.measuring import measure
from flowtrail.tracer.record import Client, Event, Unacknowledged
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending, Transaction

# As many events as the SDK keeps on a span (OTEL_SPAN_EVENT_COUNT_LIMIT): a consumer that gets no records, but seeks
# again and again, does not grow by it.
MOST_EVENTS: Final = 128


class Known(ABC):
    """What is known of one client. Each library has its own subclass, which knows where to look.

    It holds no part of the client: that must go when the program lets it go, and by a rebalance listener of the
    program's own the parts may lead back to the whole.
    """

    def __init__(self) -> None:
        self.unanswered: set[Sending] = set()
        self.transaction: Transaction | None = None
        # What happened to a consumer since the last poll that returned records. Threads come and go here at once.
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)
        # Somebody will look whether they still wait.
        self.is_awaited = False
        # Nothing more is to be told of its close.
        self.is_closed = False
        # What the program does with a consumer's records, as far as it does not say so itself.
        self.inferred = Inferred()

    @abstractmethod
    def client(self) -> Client:
        """Return what is known now; never waits, and the same object as long as nothing changed."""

    def answer(
        self,
        sending: Sending,
        partition: int | None = None,
        offset: int | None = None,
        timestamp_ms: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Tell the chain what became of a send; again is harmless, and nothing is raised."""
        self.unanswered.discard(sending)
        if sending.client.cluster_id is None:
            sending.client = self.client()
        CHAIN.acknowledge(sending, partition, offset, timestamp_ms, error)

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None = None) -> None:
        """Tell the chain a transaction's outcome; another one that was begun meanwhile goes on."""
        if self.transaction is transaction:
            self.transaction = None
        CHAIN.end_transaction(transaction, outcome, error)

    def give_up(self, outcome: str = UNKNOWN) -> int:
        """End every send that has no answer, and return how many: there will be none, or nobody will see it.

        Then the open transaction, with an outcome that is known for another reason.
        """
        unanswered = list(self.unanswered)
        for sending in unanswered:
            self.answer(sending, error=Unacknowledged("no answer before the producer closed"))
        if self.transaction is not None:
            self.end_transaction(self.transaction, outcome)
        return len(unanswered)

    def take_events(self) -> list[Event]:
        """Return the events since the last call."""
        return _taken(self.events)

    @staticmethod
    def tell_events(events: deque[Event], client: Client) -> None:
        """Tell the chain of events that no poll took, and none will; without any, nothing."""
        taken = _taken(events)
        if taken:
            CHAIN.rebalance(client, taken)


def _taken(events: deque[Event]) -> list[Event]:
    taken: list[Event] = []
    while events:
        try:
            taken.append(events.popleft())
        except IndexError:  # another thread had the last one
            break
    return taken


K = TypeVar("K", bound=Known)

# By the client's id, with a weak reference to it: not attributes of the clients, those are the program's. A
# WeakKeyDictionary does the same at eight times the cost.
_KNOWN: dict[int, tuple["weakref.ref[Any]", Known]] = {}


def known_of(client: Any, make: Callable[[Any], K]) -> K:
    """Return what is known of a client; the first call makes it, and raises what `make` raises."""
    try:
        return _KNOWN[id(client)][1]  # type: ignore[return-value]  # each client has one `make`
    except KeyError:
        pass
    measure()  # a meter provider that was set since `instrument`
    number = id(client)
    reference = weakref.ref(client, lambda _: _forget(number))
    return _KNOWN.setdefault(number, (reference, make(client)))[1]  # type: ignore[return-value]


def _forget(number: int) -> None:
    found = _KNOWN.pop(number, None)
    if found is not None:
        found[1].give_up()
        found[1].inferred.let_go()


def is_known(client: Any) -> bool:
    return id(client) in _KNOWN


def everyone() -> list[Known]:
    """Return what is known of each client that exists; other threads may make clients meanwhile."""
    return [known for _, known in list(_KNOWN.values())]


def give_up_unacknowledged() -> None:
    """End, with what is known, every send of this process that was not answered: the process is about to exit."""
    for known in everyone():
        try:
            known.is_closed = True  # a client that is closed later still comes too late for the exporter
            known.give_up()
            known.inferred.let_go()
            known.tell_events(known.events, known.client())
        except Exception as error:
            COUNTS.fail(type(known).__qualname__, "exit", error)


def _forget_parents() -> None:
    # A forked child has copies of the clients, but the answers come to the parent.
    for known in everyone():
        known.unanswered.clear()
        known.inferred.forget()
        known.transaction = None
        known.events.clear()
        known.is_awaited = False


os.register_at_fork(after_in_child=_forget_parents)


def first_server(servers: Any) -> tuple[str | None, int | None]:
    """Return host and port of the first bootstrap server, of a list or a text; None for what is not there."""
    if isinstance(servers, str):
        servers = servers.split(",")
    if not isinstance(servers, Iterable):
        return None, None
    first = str(next(iter(servers), "")).strip()
    host, colon, port = first.rpartition(":")
    if not colon:
        return first or None, None
    return host.strip("[]") or None, int(port) if port.isdigit() else None
