"""What is under way between two calls of a client: a record that waits for its answer, and a transaction.

Made by the chain (`interceptor.py`), kept by the clients, completed by tracing. Plain objects: one is made for every
record.
"""

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from .record import Client, Committed, Outgoing

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Sending:
    """A record from `send` to its answer.

    `headers` are what is to be sent: the very object that the program gave when nothing is to be changed.
    `outgoing` is for interceptors of the program, None when there was none at the send. `schemas` are the ids of key
    and value as soon as their bytes are known, None when neither has one.
    """

    __slots__ = ("client", "headers", "is_answered", "outgoing", "schemas", "span", "transaction")

    def __init__(self, client: Client, headers: Any, transaction: "Transaction | None" = None) -> None:
        self.client = client
        self.headers = headers
        self.transaction = transaction
        self.outgoing: Outgoing | None = None
        self.span: Span | None = None
        self.schemas: tuple[str | None, str | None] | None = None
        self.is_answered = False


class Transaction:
    """A producer's transaction from `begin` to its outcome.

    Ended send spans are held until then, since only the outcome tells whether a reader will ever see their events.
    """

    __slots__ = ("client", "held", "id", "offsets", "outcome", "span", "started_ns")

    def __init__(self, client: Client, transactional_id: str | None) -> None:
        self.client = client
        self.id = transactional_id
        self.started_ns = time.time_ns()
        self.span: Span | None = None
        self.outcome: str | None = None
        # Ended, but for saying so: span and end (ns since the epoch).
        self.held: deque[tuple[Span, int]] = deque()
        # Positions that the transaction commits for consumer groups.
        self.offsets: list[Committed] = []
