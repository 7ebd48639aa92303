"""What the HTTP API answers: the contract between the collector and everything that shows something.

Times are milliseconds since the epoch, durations milliseconds, both floats with a microsecond's precision; names end in
their unit. Ids of traces and spans are lower-case hex. A fact that is not known is null, never 0, and where a person
would ask why, a sentence stands beside it. `/openapi.json` is made from these models.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of every answer: immutable, and unknown fields of a newer collector are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────────


class State(StrEnum):
    """How far an event came with one group, or a flow as a whole (then `complete` may stand too)."""

    COMPLETE = "complete"
    NOT_SENT = "not_sent"
    ABORTED = "aborted"
    PROCESSED = "processed"
    READ = "read"
    FAILED = "failed"
    RETRYING = "retrying"
    DEAD_LETTERED = "dead_lettered"
    IN_FLIGHT = "in_flight"
    CRASHED = "crashed"
    WAITING = "waiting"
    STALLED = "stalled"
    NO_MEMBER = "no_member"
    SKIPPED = "skipped"
    UNINSTRUMENTED = "uninstrumented"
    EXPIRED = "expired"
    UNCONSUMED = "unconsumed"
    UNKNOWN = "unknown"


class Tone(StrEnum):
    """How loud a state is: `fail` broke, `stuck` does not move, `slow` can wait, `quiet` is under way, `ok` is done."""

    FAIL = "fail"
    STUCK = "stuck"
    SLOW = "slow"
    QUIET = "quiet"
    OK = "ok"


class Coordinates(Answer):
    """Where an event lies. `partition` and `offset` are null for an event that never reached the log."""

    topic: str
    partition: int | None = None
    offset: int | None = None
    cluster_id: str | None = None

    def __str__(self) -> str:
        """`topic/partition/offset`, or the topic alone."""
        return self.topic if self.offset is None else f"{self.topic}/{self.partition}/{self.offset}"


class Evidence(Answer):
    """One fact that a state rests on: a span, a commit, an end offset, a member list, or the lack of one."""

    kind: str = Field(description="span, commit, end, members, silence, link or missing")
    text: str = Field(description="the fact as a sentence")
    time_ms: float | None = None
    trace_id: str | None = None
    span_id: str | None = None


class Verdict(Answer):
    """Why a flow failed or is stuck: the first failing hop in causal order and what came of it, or `complete`.

    `hop_topic` and `hop_group` name the hop; `hop_group` is null where no group is involved (not_sent, unconsumed).
    """

    flow: str
    state: State
    tone: Tone
    sentence: str = Field(description="what happened, for a person; at most two lines of a terminal")
    consequence: str | None = Field(None, description="what came of it downstream")
    coordinates: Coordinates | None = None
    hop_topic: str | None = None
    hop_group: str | None = None
    service: str | None = None
    error: str | None = Field(None, description="type and message of the first error")
    attempt: int | None = None
    time_ms: float | None = Field(None, description="when the failure was seen first, or waiting began")
    last_good: Coordinates | None = Field(None, description="the last event before it that went well")
    last_good_service: str | None = None
    next_step: str | None = Field(None, description="what to do next")
    evidence: list[Evidence] = []
    missing: list[str] = Field([], description="what could not be known, and why")


# ── flows ───────────────────────────────────────────────────────────────────────────────────────────────────


class Attempt(Answer):
    """One delivery of an event to a group: polled, then (perhaps) processed."""

    number: int
    service: str | None = None
    member_id: str | None = None
    polled_ms: float | None = None
    started_ms: float | None = None
    ended_ms: float | None = None
    error: str | None = None
    trace_id: str | None = None
    span_id: str | None = Field(None, description="the process span, else the poll span")


class Hop(Answer):
    """One event and one group. Without a group: an event that nobody reads, or that was never sent."""

    id: str = Field(description="stable within a flow: `topic/partition/offset>group`")
    coordinates: Coordinates
    group: str | None
    service: str | None = Field(None, description="whose process span or poll it was")
    state: State
    tone: Tone
    sentence: str
    error: str | None = None
    sent_ms: float | None = None
    in_kafka_ms: float | None = Field(
        None, description="from the record's send to its processing (or poll); null while unread"
    )
    processing_ms: float | None = None
    attempts: list[Attempt] = []
    evidence: list[Evidence] = []
    missing: list[str] = Field([], description="what could not be known, and why")
    caused: list[Coordinates] = Field([], description="events that its processing sent")
    on_failing_path: bool = False


class Event(Answer):
    """One record, as its producer's span and its consumers' links tell."""

    coordinates: Coordinates
    key: str | None = None
    producer: str | None = Field(None, description="the service that sent it")
    sent_ms: float | None = None
    acknowledged_ms: float | None = None
    error: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    groups: list[Hop] = []
    flow: str | None = None


class SpanLink(Answer):
    """One end of a span link: the span at its other end, with the link's attributes as text."""

    trace_id: str
    span_id: str
    attributes: dict[str, str] = {}


class SpanEvent(Answer):
    """Something that a span noted on its way, such as an exception."""

    time_ms: float
    name: str
    attributes: dict[str, str] = {}


class Span(Answer):
    """A span of the flow. `parent` is the span that the timeline hangs it under: its own parent, else the
    send span of the event that it processes, so that one tree holds all trace ids."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    parent: str | None = Field(None, description="span id of the causal parent within this flow")
    name: str
    service: str
    kind: str = Field(description="internal, server, client, producer or consumer")
    operation: str | None = Field(None, description="send, receive, process, settle; null for other spans")
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    group: str | None = None
    start_ms: float
    duration_ms: float
    is_error: bool = False
    error: str | None = None
    hop: str | None = Field(None, description="id of the hop that it processes")
    on_failing_path: bool = False
    attributes: dict[str, str] = {}
    links: list[SpanLink] = []
    linked_from: list[SpanLink] = []
    events: list[SpanEvent] = []


class Flow(Answer):
    """All events and spans that one cause led to. `id` is the trace id of the first span."""

    id: str
    title: str = Field(description="the business key and first topic, else the first span's name")
    key: str | None = None
    began_ms: float
    ended_ms: float | None = Field(None, description="end of the last span; null while something is under way")
    trace_ids: list[str]
    services: list[str]
    verdict: Verdict
    events: list[Event] = []
    hops: list[Hop] = Field([], description="in causal order")
    spans: list[Span] = Field([], description="in order of start, parents before children")
    causes: list[Coordinates] = Field([], description="events of other flows that led here together (a batch)")
    gaps: list[str] = Field([], description="where the trail is broken, in sentences")
    truncated: bool = False
    bounds: str = Field("", description="the bounds that stitching keeps to, and the one that was met")


class FlowSummary(Answer):
    """A line of the flow search."""

    id: str
    title: str
    key: str | None = None
    began_ms: float
    duration_ms: float | None = None
    first_service: str
    first_topic: str | None = None
    services: list[str]
    events: int
    spans: int
    truncated: bool = Field(False, description="the flow is larger than a line reads: this tells its beginning")
    state: State
    tone: Tone
    sentence: str


class FlowList(Answer):
    """Flows that match, latest first. `truncated`: more may match than were looked at (`examined` flows)."""

    flows: list[FlowSummary]
    examined: int
    truncated: bool
    from_ms: float
    to_ms: float


# ── graph ───────────────────────────────────────────────────────────────────────────────────────────────────


class Node(Answer):
    """A service, topic or group. `id` is `kind:name`. Rates are events a second over the range that was asked for."""

    id: str
    kind: str = Field(description="service, topic, group or cluster")
    name: str
    state: str = Field(description="ok, failing, stuck, unread or unknown")
    tone: Tone
    reason: str | None = Field(None, description="one sentence on a state that is not ok")
    since_ms: float | None = None
    service: str | None = Field(None, description="a group's service, where its spans name one")
    messages: int = 0
    errors: int = 0
    rate_per_s: float | None = None
    error_share: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    lag: int | None = None
    members: int | None = None
    partitions: int | None = None
    change: str | None = Field(None, description="with compare_to: appeared, vanished, slower or null")


class Edge(Answer):
    """service → topic (`send`), topic → group (`process`, or `receive` where nothing is processed), group → service
    (`runs`), or service → service (`call`: parent and child span of two services)."""

    source: str
    target: str
    kind: str
    messages: int = 0
    errors: int = 0
    rate_per_s: float | None = None
    error_share: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    last_seen_ms: float | None = None
    change: str | None = None


class Graph(Answer):
    """Who talks to whom. `version` changes when anything in it does."""

    version: str
    from_ms: float
    to_ms: float
    nodes: list[Node]
    edges: list[Edge]
    truncated: bool = False
    broken: list[str] = Field([], description="ids of nodes that are not ok, worst first")


class Point(Answer):
    """One step of a series; null where nothing was seen."""

    time_ms: float
    value: float | None


class Series(Answer):
    """A quantity over time, oldest step first; empty when nothing was seen."""

    name: str
    unit: str
    points: list[Point]


class NodeDetail(Answer):
    """A node with its neighbours and its last hour: `handled` (1/s), `failed` (share), `p95` (ms), `lag` (events)."""

    node: Node
    edges: list[Edge]
    neighbours: list[Node]
    series: list[Series]
    example_flow: FlowSummary | None = Field(None, description="a flow that is broken here, else the latest")
    error: str | None = Field(None, description="the most frequent error here")


# ── lag ─────────────────────────────────────────────────────────────────────────────────────────────────────


class PartitionLag(Answer):
    """Committed lag: log end − committed, never negative; null without a commit."""

    topic: str
    partition: int
    committed: int | None
    log_start: int | None
    log_end: int | None
    lag: int | None
    lost: int | None = Field(None, description="records that retention removed before the group read them")
    committed_at_ms: float | None = Field(None, description="when the committed position was last seen to move")


class GroupLag(Answer):
    """A group's committed lag. `lag` sums the partitions with a commit; `no_commit` counts those without."""

    group: str
    cluster_id: str | None
    service: str | None = None
    state: str = Field(description="ok, lagging, growing, stuck, no_member, no_commit or unknown")
    tone: Tone
    reason: str
    members: int | None = Field(description="null where the broker lists none")
    topics: list[str]
    lag: int | None
    no_commit: int
    consumed_per_s: float | None = None
    produced_per_s: float | None = None
    time_to_drain_ms: float | None = Field(None, description="null when growing or unknown")
    oldest_ms: float | None = Field(None, description="age of the oldest unprocessed event, where a span tells it")
    partitions: list[PartitionLag] = []
    trend: Series


class LagList(Answer):
    """Every group known from the broker or from spans, worst first. `polled_at_ms` null: no broker is polled."""

    groups: list[GroupLag]
    polled_at_ms: float | None
    note: str | None = Field(None, description="what the broker does not tell, or why nothing is polled")


# ── the collector itself ────────────────────────────────────────────────────────────────────────────────────


class ReaderHealth(Answer):
    """A reader of the journal (the loader, an exporter)."""

    name: str
    behind_requests: int
    behind_bytes: int
    skipped_requests: int = Field(
        0, description="requests that it lost, ever, because the journal was full; only an exporter skips"
    )
    set_aside_requests: int = Field(
        0, description="requests that its destination refused for good; the journal keeps them, an exporter's last 1000"
    )
    last_error: str | None = None
    last_error_ms: float | None = None
    last_success_ms: float | None = None


class Health(Answer):
    """The collector's own state. Requests are counted since its start, those set aside or skipped over all starts,
    spans as the store holds them. What cannot be read (`reason` says why) counts 0."""

    version: str
    ready: bool
    reason: str | None = Field(None, description="why it is not ready")
    received_requests: int
    duplicate_requests: int
    rejected_requests: dict[str, int] = Field(description="refused bodies by reason")
    dropped_items: dict[str, int] = Field(
        {}, description="metrics' data points and log records that came and were not kept, by signal"
    )
    altered_items: dict[str, int] = Field(
        {}, description="what was redacted, or over a limit, in requests that were taken, by kind"
    )
    set_aside_requests: int = Field(description="accepted bodies that the store could not take; kept in the journal")
    journal_bytes: int
    journal_requests: int
    stored_spans: int
    rejected_spans: int = Field(
        0, description="spans of accepted requests that the store left out: ids or a time that make no sense"
    )
    readers: list[ReaderHealth]
    broker: str | None = Field(None, description="what the poller last said about the broker")


class Problem(Answer):
    """Body of an error: what was wrong and what to do (the shape of RFC 9457)."""

    status: int
    title: str
    detail: str
