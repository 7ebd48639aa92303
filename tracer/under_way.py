"""What is under way between two calls of a client: a record that waits for its answer, and a transaction.

Made by the chain (`interceptor.py`), kept by the clients, completed by tracing. Plain objects: one is made for every
record.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.trace import Link

from . import attributes as names
from . import spans
from .record import Appended, Client, Committed, Header, Outgoing
from .shapes import Shape, shape_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

    from .fast_path.deferring import Deferring

# The ids of key and value, None for one that is not known.
Schemas: TypeAlias = tuple[str | None, str | None]
SpanEvent: TypeAlias = tuple[str, Mapping[str, Any], int]


# librdkafka's mock cluster answers that it appended every record 1234 ms after the epoch.
_EARLIEST_MS: Final = 1_000_000_000_000


class Sending:
    """A record from `send` to its answer, and on the fast path its span as well.

    `headers` are what is to be sent: the very object that the program gave when nothing is to be changed.
    `outgoing` is for interceptors of the program, None when there was none at the send. `schemas` are the ids of key
    and value as soon as their bytes are known, None when neither has one.

    The span is the SDK's (`span`), or only noted here (`deferring` is set then, and what is only annotated below), or
    there is none. One object for all: what lives from the send to the export is what the garbage collector goes through
    again and again.
    """

    __slots__ = (
        "captured",
        "client",
        "deferring",
        "end_ns",
        "headers",
        "is_answered",
        "is_tombstone",
        "key",
        "offset",
        "outcome",
        "outgoing",
        "own",
        "parent",
        "partition",
        "schemas",
        "shape",
        "span",
        "span_id",
        "start_ns",
        "topic",
        "trace_flags",
        "trace_id",
        "transaction",
    )  # fmt: skip

    # A send has neither when it went well.
    own_links: Sequence[Link] = ()
    own_events: Sequence[SpanEvent] = ()

    if TYPE_CHECKING:
        topic: str
        key: object
        is_tombstone: bool
        captured: Sequence[Header] | None
        trace_id: int
        span_id: int
        trace_flags: int
        parent: SpanContext | None
        start_ns: int
        end_ns: int
        partition: int | None
        offset: int | None
        outcome: str | None
        shape: Shape
        own: spans.Attributes

    def __init__(self, client: Client, headers: Any, transaction: "Transaction | None" = None) -> None:
        self.client = client
        self.headers = headers
        self.transaction = transaction
        self.outgoing: Outgoing | None = None
        self.span: Span | None = None
        self.schemas: Schemas | None = None
        self.is_answered = False
        self.deferring: Deferring | None = None

    def discard(self) -> None:
        """Have no span: the record is never sent, or not to be traced."""
        self.span = self.deferring = None

    def answered(self, partition: int | None, offset: int | None) -> None:
        """Note where the record lies; nothing of the program's is kept longer."""
        if partition is not None:
            self.partition = partition
        self.offset = offset
        self.end_ns = time.time_ns()
        self.headers = self.outgoing = None

    def appended(self, timestamp_ms: int) -> None:
        """Note the time that the broker gave the record, as it does on topics with LogAppendTime.

        Nearly no record has one, so it has no slot of its own.
        """
        if timestamp_ms < _EARLIEST_MS:
            return
        if self.span is not None:
            self.span.set_attribute(names.RECORD_TIMESTAMP_MS, timestamp_ms)
        elif self.deferring is not None:
            self.captured = Appended(self.captured or (), timestamp_ms)

    def described(self) -> Sequence["Sending"]:
        """Say what was noted: sets `shape` and `own`. Needs `answered` before, but for its times."""
        self.shape = shape_of(names.SEND, self.client, self.topic)
        own = spans.sent_attributes(self.key, self.is_tombstone, self.partition, self.captured)
        if self.offset is not None:
            own[names.OFFSET] = self.offset
        if self.schemas is not None:
            own |= spans.schema_attributes(*self.schemas)
        transaction = self.transaction
        if transaction is not None:
            if self.outcome is not None:
                own[names.TRANSACTION_OUTCOME] = self.outcome
            elif transaction.id is not None:
                own[names.TRANSACTIONAL_ID] = transaction.id
        self.own = own
        return (self,)


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
        self.held: deque[tuple[Span | Sending, int]] = deque()
        # Positions that the transaction commits for consumer groups.
        self.offsets: list[Committed] = []
