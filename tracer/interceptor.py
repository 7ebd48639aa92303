"""The shape of an interceptor (KIP-42), and the chain that runs them around every traced client.

Yours run before Flowtrail's own tracing, in the order in which they were added:

    class CountOrders(Interceptor):
        def on_send(self, outgoing):
            orders.labels(outgoing.topic).inc()

    flowtrail.add_interceptor(CountOrders())

An interceptor cannot harm the program: an exception is logged once of its kind, counted, and goes no further.
"""

import itertools
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

from .counts import COUNTS
from .record import Acknowledged, Client, Closed, Committed, Event, Header, Outgoing, Polled
from .under_way import Sending, Transaction

# How a transaction can end.
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"
UNKNOWN: Final = "unknown"

# Numbers the sends of this process (`Outgoing.sequence`).
SEQUENCE: Final = itertools.count(1)


class Interceptor:
    """Sees what goes through the clients; override what you need.

    Methods run on the caller's thread, `on_acknowledgement` and an asynchronous `on_commit` on the client's own:
    be quick, and never block.
    """

    def on_send(self, outgoing: Outgoing) -> Sequence[Header] | None:
        """See a record before it is serialized; return the headers to send instead, or None to leave them.

        Names are text, values are bytes. `outgoing.headers` itself belongs to the caller: never change it.
        """
        return None

    def on_acknowledgement(self, acknowledged: Acknowledged) -> None:
        """See where a record lies, or why it was not sent. Comes once for every `on_send`."""

    def on_consume(self, polled: Polled) -> None:
        """See what a poll returned; an empty poll is not shown."""

    def on_commit(self, committed: Committed) -> None:
        """See the positions of a commit that the program called for, once it is answered."""


class Last(Protocol):
    """What runs after the program's own interceptors: tracing. It gets plain arguments, since it is at every record."""

    def start_send(self, sending: Sending, topic: str, key: object, value: object, partition: int | None) -> None:
        """Begin `sending.span`; replace `sending.headers` (what is sent now) to have others sent."""

    def finish_send(
        self, sending: Sending, partition: int | None, offset: int | None, error: BaseException | None
    ) -> None:
        """End `sending.span`, if there is one. Called once for each `start_send`."""

    def polled(self, polled: Polled) -> None: ...

    def committed(self, committed: Committed) -> object: ...

    def closed(self, closed: Closed) -> None: ...

    def rebalanced(self, client: Client, events: Sequence[Event]) -> None: ...

    def begin_transaction(self, transaction: Transaction) -> None: ...

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None) -> None: ...


class Chain:
    """Runs the program's interceptors, then tracing; none of its methods raises (but `add`, for a wrong argument).

    Traced clients call it, and nothing else of ours, around each operation.
    """

    def __init__(self, last: Last | None = None) -> None:
        self._last = last
        self._added: tuple[Interceptor, ...] = ()
        self._lock = threading.Lock()

    def add(self, interceptor: Interceptor) -> None:
        """Add at the end, before tracing; adding what is there already changes nothing.

        Raises TypeError for what is no instance of `Interceptor`.
        """
        if not isinstance(interceptor, Interceptor):
            given = f"the class {interceptor.__qualname__}" if isinstance(interceptor, type) else repr(interceptor)
            raise TypeError(f"an interceptor is an instance of a subclass of flowtrail.Interceptor, not {given}")
        with self._lock:
            if not any(interceptor is there for there in self._added):
                self._added = (*self._added, interceptor)

    def remove(self, interceptor: Interceptor) -> None:
        """Take out; removing what is not there is harmless."""
        with self._lock:
            self._added = tuple(there for there in self._added if there is not interceptor)

    def send(
        self,
        client: Client,
        topic: str,
        key: object,
        value: object,
        headers: Sequence[Header] | None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        transaction: Transaction | None = None,
        kind: type[Sending] = Sending,
    ) -> Sending:
        """Begin a send. `headers` are the program's own, never changed; the returned ones are to be sent instead.

        They are the same object when nothing changed. Call `acknowledge` with what is returned, whatever happens; it
        is of the class `kind`.
        """
        sending = kind(client, headers, transaction)
        if self._added:
            self._show(sending, Outgoing(client, topic, key, value, headers or (), partition, timestamp_ms))
        if self._last is not None:
            try:
                self._last.start_send(sending, topic, key, value, partition)
            except Exception as error:
                COUNTS.fail(type(self._last).__qualname__, "send", error)
        return sending

    def address(self, sending: Sending, topic: str, partition: int | None) -> None:
        """Tell where a record goes that was begun without a topic (None): before its answer, and before it leaves."""
        if sending.outgoing is not None:
            sending.outgoing = sending.outgoing._replace(topic=topic, partition=partition)
        if self._last is not None:
            _run(self._last, "address", sending, topic, partition)

    def acknowledge(
        self,
        sending: Sending,
        partition: int | None = None,
        offset: int | None = None,
        timestamp_ms: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Tell the answer, or the error that the client gave instead; only the first call for a `Sending` counts."""
        if sending.is_answered:
            return
        sending.is_answered = True
        if sending.outgoing is not None:
            outgoing = sending.outgoing._replace(client=sending.client)
            acknowledged = Acknowledged(outgoing, partition, offset, timestamp_ms, error)
            for interceptor in self._added:
                _run(interceptor, "on_acknowledgement", acknowledged)
        if self._last is not None:
            try:
                self._last.finish_send(sending, partition, offset, error)
            except Exception as failure:
                COUNTS.fail(type(self._last).__qualname__, "acknowledge", failure)

    def consume(self, polled: Polled) -> None:
        """Tell what a poll returned; not for an empty poll."""
        for interceptor in self._added:
            _run(interceptor, "on_consume", polled)
        if self._last is not None:
            try:
                self._last.polled(polled)
            except Exception as error:
                COUNTS.fail(type(self._last).__qualname__, "polled", error)

    def commit(self, committed: Committed) -> None:
        """Tell of a commit, once it is answered."""
        for interceptor in self._added:
            _run(interceptor, "on_commit", committed)
        if self._last is not None:
            _run(self._last, "committed", committed)

    def close(self, closed: Closed) -> None:
        """Tell of a client's end: once, and after everything else of it."""
        if self._last is not None:
            _run(self._last, "closed", closed)

    def rebalance(self, client: Client, events: Sequence[Event]) -> None:
        """Tell what befell a consumer, at least one event in the order of time, where no poll will tell it."""
        if self._last is not None:
            _run(self._last, "rebalanced", client, events)

    def begin_transaction(self, client: Client, transactional_id: str | None) -> Transaction:
        """Begin a transaction: give what is returned to every `send` in it, then to `end_transaction`."""
        transaction = Transaction(client, transactional_id)
        if self._last is not None:
            _run(self._last, "begin_transaction", transaction)
        return transaction

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None = None) -> None:
        """Tell a transaction's outcome: "committed", "aborted", or "unknown" (the call raised, or never came).

        Positions in `transaction.offsets` count as committed with it, and only when it is.
        """
        offsets, transaction.offsets = transaction.offsets, []
        if self._last is not None:
            _run(self._last, "end_transaction", transaction, outcome, error)
        if outcome == COMMITTED:
            for committed in offsets:
                self.commit(committed)

    def _show(self, sending: Sending, outgoing: Outgoing) -> None:
        """Let the program's interceptors see a record, and change its headers."""
        outgoing = outgoing._replace(sequence=next(SEQUENCE))
        for interceptor in self._added:
            headers = _run(interceptor, "on_send", outgoing)
            if headers is None or headers is outgoing.headers:
                continue
            try:
                outgoing = outgoing._replace(headers=_checked(headers, outgoing.headers))
                sending.headers = outgoing.headers
            except Exception as error:
                COUNTS.fail(type(interceptor).__qualname__, "on_send", error)
        sending.outgoing = outgoing


def _run(interceptor: object, method: str, *given: object) -> Any:
    try:
        return getattr(interceptor, method)(*given)
    except Exception as error:
        COUNTS.fail(type(interceptor).__qualname__, method, error)
        return None


def _checked(headers: Sequence[Header], before: Sequence[Header]) -> list[Header]:
    """Return headers that a client takes: a bad one would raise out of `send`, into the program."""
    for header in headers:
        is_fit = (
            isinstance(header, tuple)
            and len(header) == 2
            and isinstance(header[0], str)
            and (isinstance(header[1], bytes) or header in before)
        )
        if not is_fit:
            raise TypeError(f"a header is a tuple of str and bytes, not {header!r}")
    return list(headers)
