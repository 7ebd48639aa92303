"""What the store knows, as plain rows: spans, events by coordinates, links, and what the broker said of groups.

Times are nanoseconds since the epoch where a span's client took them (`_ns`), else milliseconds (`_ms`). Ids are
lower-case hex. Absent text is '', absent numbers are None, so that rows can be compared and sorted by their ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from flowtrail.tracer.attributes import INFERRED, OF_CLIENT, OPERATION_NAME, UNFINISHED

# Values of `SpanRow.kind`: OTLP's SpanKind.
KINDS: Final = ("internal", "internal", "server", "client", "producer", "consumer")


class Context(NamedTuple):
    """Identity of a span: what a message's headers carry and what a link points at."""

    trace_id: str
    span_id: str


class Place(NamedTuple):
    """Coordinates of an event without its cluster, which many clients do not know."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


Lane: TypeAlias = tuple[str, int]  # topic, partition


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link of a span: to the context of a message, with its coordinates where the client says them."""

    to: Context
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    place: Place | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class SpanEventRow:
    """Something that happened within a span, such as an exception."""

    time_ns: int
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One ended span. `operation` is the conventions' operation type, '' for a span that is not messaging."""

    context: Context
    parent_span_id: str
    name: str
    service: str
    start_ns: int
    duration_ns: int
    kind: int = 1
    instance: str = ""
    scope: str = ""
    status_code: int = 0
    status_message: str = ""
    operation: str = ""
    topic: str = ""
    group: str = ""
    partition: int | None = None
    offset: int | None = None
    key: str = ""
    client_id: str = ""
    member_id: str = ""
    cluster_id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    links: tuple[LinkRow, ...] = ()
    events: tuple[SpanEventRow, ...] = ()

    @property
    def place(self) -> Place | None:
        """The one event that this span speaks of; None for a batch, or where the client does not say."""
        if not self.topic or self.partition is None or self.offset is None:
            return None
        return Place(self.topic, self.partition, self.offset)

    @property
    def parent(self) -> Context | None:
        return Context(self.context.trace_id, self.parent_span_id) if self.parent_span_id else None

    @property
    def start_ms(self) -> float:
        return self.start_ns / 1e6

    @property
    def end_ms(self) -> float:
        return (self.start_ns + self.duration_ns) / 1e6

    @property
    def is_error(self) -> bool:
        return self.status_code == 2

    @property
    def is_send(self) -> bool:
        return self.operation == "send"

    @property
    def is_receive(self) -> bool:
        return self.operation == "receive"

    @property
    def is_process(self) -> bool:
        return self.operation == "process"

    @property
    def is_of_client(self) -> bool:
        """Whether a client tells of itself alone, such as its end: such a span is about no event."""
        return not self.operation and self.attributes.get(OPERATION_NAME) in OF_CLIENT

    @property
    def is_inferred(self) -> bool:
        """Whether a process span was made by the client, from one record or poll to the next."""
        return self.attributes.get(INFERRED) == "true"

    @property
    def is_unfinished(self) -> bool:
        """Whether the end of a process span is only when nobody could come back to it: the work did not end there."""
        return self.attributes.get(UNFINISHED) == "true"


@dataclass(frozen=True, slots=True)
class SpeakerRow:
    """A span that speaks of the event at `place`: where to look for its producer and its readers."""

    place: Place
    operation: str
    context: Context
    cluster_id: str = ""


@dataclass(frozen=True, slots=True)
class LinkedRow:
    """A link seen from the context that it points at: `source` is the span that has the link."""

    target: Context
    source: Context


@dataclass(frozen=True, slots=True)
class CloseRow:
    """A consumer of a group that its program closed, as its `close` span says. One that failed to close is none."""

    context: Context
    service: str
    instance: str
    group: str
    member_id: str
    client_id: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class GroupRow:
    """What spans told of one reader of one topic, up to now.

    `group` is '' where the client does not say its group; then `service` is all that is known. `longest_ms` is the
    longest recent processing (0 without one), `processes_from_ms` when the first one began (None without one), `per_s`
    the recent rate of events that it handled.
    """

    topic: str
    group: str
    service: str
    first_ms: float
    last_ms: float
    processes_from_ms: float | None = None
    longest_ms: float = 0.0
    per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CommitRow:
    """A group's position in one partition as the poller saw it: last, when last seen, when it last moved."""

    group: str
    topic: str
    partition: int
    committed: int | None
    seen_ms: float
    moved_ms: float | None
    first_ms: float
    first_committed: int | None


@dataclass(frozen=True, slots=True)
class LogRow:
    """Start and end of one partition's log (positions) as the poller saw them last."""

    topic: str
    partition: int
    log_start: int
    log_end: int
    seen_ms: float


@dataclass(frozen=True, slots=True)
class MembersRow:
    """A group's members as the broker listed them last; `is_listed` false: this broker does not tell."""

    group: str
    state: str
    is_listed: bool
    members: frozenset[str]
    seen_ms: float
    cluster_id: str = ""
