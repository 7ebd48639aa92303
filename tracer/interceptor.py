"""The shape of an interceptor (KIP-42), and the chain that runs them around every traced client.

Tracing itself is one interceptor. Yours run beside it, before it, in the order in which they were added:

    class CountOrders(Interceptor):
        def on_send(self, outgoing):
            orders.labels(outgoing.topic).inc()

    flowtrail.add_interceptor(CountOrders())

An interceptor cannot harm the program: an exception is logged once of its kind, counted, and goes no further.
"""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace

from .counts import COUNTS
from .record import Acknowledged, Committed, Header, Outgoing, Polled

# Numbers the sends of this process (`Outgoing.sequence`).
SEQUENCE = itertools.count(1)


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


class Chain:
    """Runs interceptors one after the other; none of its methods raises."""

    def __init__(self, last: Interceptor | None = None) -> None:
        self._last = (last,) if last is not None else ()
        self._added: tuple[Interceptor, ...] = ()
        self._lock = threading.Lock()

    def add(self, interceptor: Interceptor) -> None:
        """Add at the end, but before the last one; adding what is there already changes nothing.

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

    def send(self, outgoing: Outgoing) -> Outgoing:
        """Return what is to be sent: `outgoing`, or one with the headers that an interceptor returned."""
        for interceptor in (*self._added, *self._last):
            headers = _run(interceptor, "on_send", outgoing)
            if headers is None or headers is outgoing.headers:
                continue
            try:
                outgoing = replace(outgoing, headers=_checked(headers, outgoing.headers))
            except Exception as error:
                COUNTS.fail(type(interceptor).__qualname__, "on_send", error)
        return outgoing

    def acknowledge(self, acknowledged: Acknowledged) -> None:
        for interceptor in (*self._added, *self._last):
            _run(interceptor, "on_acknowledgement", acknowledged)

    def consume(self, polled: Polled) -> None:
        for interceptor in (*self._added, *self._last):
            _run(interceptor, "on_consume", polled)

    def commit(self, committed: Committed) -> None:
        for interceptor in (*self._added, *self._last):
            _run(interceptor, "on_commit", committed)


def _run(interceptor: Interceptor, method: str, given: object) -> Sequence[Header] | None:
    try:
        returned: Sequence[Header] | None = getattr(interceptor, method)(given)
    except Exception as error:
        COUNTS.fail(type(interceptor).__qualname__, method, error)
        return None
    return returned


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
