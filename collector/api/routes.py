"""The HTTP API's paths: one table from which both the routing and the OpenAPI description are made.

A handler is a plain function of a `Question`; it runs in a thread and returns an answer, or raises NotThere.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from flowtrail.collector.flows.lookup import Lookup
from flowtrail.collector.flows.rows import Place
from flowtrail.collector.flows.search import STATES, Search, search
from flowtrail.collector.flows.story import summarise, tell, tell_event
from flowtrail.collector.graph.lookup import GraphLookup
from flowtrail.collector.lag.lookup import all_lag
from flowtrail.collector.store.queries import Queries

from .answers import (
    Answer,
    Event,
    Flow,
    FlowList,
    FlowSummary,
    Graph,
    GroupLag,
    Health,
    LagList,
    NodeDetail,
    Verdict,
)
from .parameters import INT64, BadParameter, Parameter, time_ms

GRAPH_RANGE_MS: Final = 900_000
FLOWS_RANGE_MS: Final = 24 * 3_600_000
SEARCH_RANGE_MS: Final = 30 * FLOWS_RANGE_MS
_ARRIVE = "Spans arrive a few seconds after the fact; if it was a moment ago, ask again."


class NotThere(Exception):
    """What was asked for is not stored; the text says what to do."""


@dataclass(frozen=True)
class Sources:
    """What handlers answer from."""

    queries: Queries
    lookup: Lookup
    graphs: GraphLookup
    health: Callable[[], Health]
    silent_after_ms: float
    is_polling: bool


@dataclass(frozen=True)
class Question:
    """One request: its validated parameters and the time at which it is answered."""

    values: dict[str, Any]
    now_ms: float
    sources: Sources

    def range_ms(self, default_ms: float) -> tuple[float, float]:
        """`from` and `to`, by default the time up to now. Raises BadParameter when they are the wrong way round."""
        to_ms = float(self.values.get("to", self.now_ms))
        from_ms = float(self.values.get("from", max(0.0, to_ms - default_ms)))
        if from_ms > to_ms:
            raise BadParameter("from must not be later than to")
        return from_ms, to_ms


@dataclass(frozen=True)
class Path:
    """A row of the table. `path` is Starlette's; `has_version`: the answer's `version` is its ETag."""

    path: str
    answer: type[Answer]
    summary: str
    handler: Callable[[Question], Answer]
    parameters: tuple[Parameter, ...] = ()
    may_be_missing: bool = False
    has_version: bool = field(default=False)

    @property
    def openapi_path(self) -> str:
        """The path as OpenAPI writes it: without Starlette's converters."""
        return re.sub(r"\{(\w+):\w+\}", r"{\1}", self.path)


def _graph(asked: Question) -> Graph:
    from_ms, to_ms = asked.range_ms(GRAPH_RANGE_MS)
    focus = asked.values.get("focus")
    graph = asked.sources.graphs.graph(
        from_ms,
        to_ms,
        asked.now_ms,
        focus=focus,
        depth=asked.values.get("depth", 1),
        compare_to_ms=asked.values.get("compare_to"),
    )
    if graph is None:
        raise NotThere(f"No node {focus} was seen between from and to. A node's id is kind:name, such as topic:orders.")
    return graph


def _node(asked: Question) -> NodeDetail:
    node_id = asked.values["id"]

    def example(kind: str, name: str, is_failing: bool) -> FlowSummary | None:
        return _example(asked, kind, name, is_failing)

    found = asked.sources.graphs.node(node_id, asked.now_ms, example)
    if found is None:
        raise NotThere(f"No node {node_id} was seen in the last hour. A node's id is kind:name, such as topic:orders.")
    return found


def _example(asked: Question, kind: str, name: str, is_failing: bool) -> FlowSummary | None:
    """A flow that is broken at a node, else its latest."""
    column = {"service": "service", "topic": "topic", "group": "group_name"}[kind]
    hour_ms = 3_600_000
    seeds = asked.sources.queries.latest_traces({column: name}, asked.now_ms - hour_ms, asked.now_ms, is_failing, 5)
    lookup = asked.sources.lookup
    lines = [summarise(trail, facts) for trail, facts in lookup.with_facts(lookup.trails(seeds), asked.now_ms)]
    loud = [line for line in lines if line.tone.value in ("fail", "stuck")]
    return next(iter(loud or lines), None)


def _flows(asked: Question) -> FlowList:
    values = asked.values
    from_ms, to_ms = asked.range_ms(SEARCH_RANGE_MS if "q" in values else FLOWS_RANGE_MS)
    wanted = Search(
        from_ms=from_ms,
        to_ms=to_ms,
        q=values.get("q"),
        topic=values.get("topic"),
        service=values.get("service"),
        state=values.get("state"),
        limit=values.get("limit", 50),
    )
    return search(asked.sources.queries, asked.sources.lookup, wanted, asked.now_ms)


def _flow(asked: Question) -> Flow:
    lookup, flow_id = asked.sources.lookup, asked.values["id"].lower()
    trail = lookup.trail(flow_id)
    if trail is None:
        raise NotThere(f"No span of trace {flow_id} is stored. {_ARRIVE}")
    return tell(trail, lookup.facts([trail], asked.now_ms), lookup.bounds)


def _why(asked: Question) -> Verdict:
    return _flow(asked).verdict


def _event(asked: Question) -> Event:
    lookup, values = asked.sources.lookup, asked.values
    place = Place(values["topic"], values["partition"], values["offset"])
    cluster = values.get("cluster")
    trail = lookup.trail(place, cluster)
    found = tell_event(trail, lookup.facts([trail], asked.now_ms), place, cluster) if trail else None
    if found is None:
        raise NotThere(f"No span speaks of {place}. {_ARRIVE} Otherwise neither its sender nor a reader has a tracer.")
    return found


def _lag(asked: Question) -> LagList:
    found = asked.sources.graphs.lag(asked.now_ms)
    if found.polled_at_ms is None and asked.sources.is_polling:
        return found.model_copy(
            update={"note": "The broker has told of no group and no topic yet; see broker in health."}
        )
    return found


def _group_lag(asked: Question) -> GroupLag:
    group = asked.values["group"]
    found = all_lag(asked.sources.queries, asked.now_ms, asked.sources.silent_after_ms, only=group).groups
    if not found:
        raise NotThere(f"No group {group} is known from the broker or from spans. {_ARRIVE}")
    return found[0]


def _health(asked: Question) -> Health:
    return asked.sources.health()


_RANGE = (time_ms("from", "begin, ms since the epoch"), time_ms("to", "end, ms since the epoch; default: now"))
_FLOW_ID = Parameter("id", "a flow's id, or any trace id in it", where="path", pattern="[0-9a-fA-F]{32}", longest=32)
_TOPIC_NAME = "[a-zA-Z0-9._-]+"

PATHS: Final[tuple[Path, ...]] = (
    Path(
        "/v1/graph",
        Graph,
        "Who talks to whom over which topic; by default in the last 15 minutes.",
        _graph,
        (
            *_RANGE,
            Parameter("focus", "id of the node to stay around, such as topic:orders"),
            Parameter("depth", "how many edges away from focus; default 1", "integer", minimum=0, maximum=100),
            time_ms("compare_to", "end of an equally long range to compare with, ms since the epoch"),
        ),
        may_be_missing=True,
        has_version=True,
    ),
    Path(
        "/v1/nodes/{id:path}",
        NodeDetail,
        "One node with its neighbours and its last hour.",
        _node,
        (
            Parameter(
                "id", "kind:name, such as group:payments-workers", where="path", pattern="(service|topic|group):.+"
            ),
        ),
        may_be_missing=True,
    ),
    Path(
        "/v1/flows",
        FlowList,
        "Search for flows, latest first; by default of the last 24 hours, with q of the last 30 days.",
        _flows,
        (
            Parameter("q", "a business key, attribute=value, a trace id, or topic/partition/offset"),
            Parameter("topic", "only flows that touch this topic"),
            Parameter("service", "only flows that touch this service"),
            Parameter("state", "only flows of this state or tone", choices=STATES),
            *_RANGE,
            Parameter("limit", "most flows to return; default 50", "integer", minimum=1, maximum=500),
        ),
    ),
    Path(
        "/v1/flows/{id}",
        Flow,
        "A flow: its events, hops, attempts and spans over every trace id.",
        _flow,
        (_FLOW_ID,),
        may_be_missing=True,
    ),
    Path(
        "/v1/flows/{id}/why",
        Verdict,
        "Why a flow failed or is stuck.",
        _why,
        (_FLOW_ID,),
        may_be_missing=True,
    ),
    Path(
        "/v1/events/{topic}/{partition}/{offset}",
        Event,
        "One event: its producer, key, and how far it came with every group.",
        _event,
        (
            Parameter("topic", "the topic", where="path", pattern=_TOPIC_NAME, longest=249),
            Parameter("partition", "the partition", "integer", "path", minimum=0, maximum=2**31 - 1),
            Parameter("offset", "the offset", "integer", "path", minimum=0, maximum=INT64),
            Parameter("cluster", "the cluster's id, where several have such a topic"),
        ),
        may_be_missing=True,
    ),
    Path("/v1/lag", LagList, "Committed lag of every group, worst first.", _lag),
    Path(
        "/v1/lag/{group:path}",
        GroupLag,
        "Committed lag of one group, by partition.",
        _group_lag,
        (Parameter("group", "the group", where="path"),),
        may_be_missing=True,
    ),
    Path("/v1/health", Health, "The collector itself.", _health),
)
