"""The graph of services, topics and groups from counted edges, with the state of each node. Pure.

    service ──send──▶ topic ──process (or receive)──▶ group ──runs──▶ service          service ──call──▶ service

States. A service or group is `failing` when of its events of the last five minutes at least half a percent failed: one
failure in a quiet service counts, one in ten thousand does not. A group is `stuck` when its lag says so. A topic is
`unread` when something was sent and no group is known for it; a dead-letter topic too, but quietly.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import networkx as nx

from flowtrail.collector.api.answers import Edge, Graph, GroupLag, Node, Tone
from flowtrail.collector.flows.rows import LogRow
from flowtrail.collector.flows.topics import TopicRoles
from flowtrail.collector.flows.wording import counted, share
from flowtrail.collector.store.queries import CallCount, EdgeCount, duration_of_bucket

RECENT_MS: Final = 300_000
FAILING_SHARE: Final = 0.005
# A topic's first group takes some seconds to join.
UNREAD_AFTER_MS: Final = 15_000
# Counts are kept by ten seconds, so a shorter time says nothing of a rate.
BUCKET_MS: Final = 10_000
_WORST: Final = {"failing": 0, "stuck": 1, "unread": 2, "unknown": 3}


@dataclass(frozen=True)
class Seen:
    """What a graph is made of, over `from_ms` to `to_ms`. `recent` is the same count over its last minutes, `read` the
    topics that any group has read lately, in this range or not."""

    from_ms: float
    to_ms: float
    edges: Sequence[EdgeCount]
    recent: Sequence[EdgeCount] = ()
    calls: Sequence[CallCount] = ()
    lags: Sequence[GroupLag] = ()
    logs: Sequence[LogRow] = ()
    read: frozenset[str] = frozenset()
    roles: TopicRoles = field(default_factory=TopicRoles)


@dataclass
class _Sum:
    """Counts that belong together."""

    messages: int = 0
    errors: int = 0
    durations: dict[int, int] = field(default_factory=dict)
    first_ms: float | None = None
    last_ms: float | None = None

    def add(self, row: EdgeCount) -> None:
        self.messages += row.messages
        self.errors += row.errors
        # A poll's length is the wait for events: who only polls is not known to work slowly or fast.
        for bucket, number in row.durations.items() if row.operation != "receive" else ():
            self.durations[bucket] = self.durations.get(bucket, 0) + number
        self.first_ms = row.first_ms if self.first_ms is None else min(self.first_ms, row.first_ms)
        self.last_ms = row.last_ms if self.last_ms is None else max(self.last_ms, row.last_ms)


def quantile(durations: Mapping[int, int], part: float) -> float | None:
    """The duration in ms below which `part` of the counted events stay (±9 %); None of no events."""
    total = sum(durations.values())
    if total == 0:
        return None
    below = 0
    for bucket in sorted(durations):
        below += durations[bucket]
        if below >= part * total:
            return duration_of_bucket(bucket)
    return duration_of_bucket(max(durations))


def build(seen: Seen) -> Graph:
    """Return the whole graph; `version` is a hash of what it holds."""
    edges = _edges(seen)
    nodes = _nodes(seen, edges)
    of_groups = {(f"service:{node.service}", node.state, node.reason) for node in nodes if node.kind == "group"}
    broken = sorted(
        # A service whose group says the same of the same trouble is not a second one.
        (node for node in nodes if node.state != "ok" and (node.id, node.state, node.reason) not in of_groups),
        key=lambda node: (_WORST[node.state], node.tone is Tone.QUIET, -node.errors, -(node.lag or 0), node.id),
    )
    return with_version(
        Graph(
            version="",
            from_ms=seen.from_ms,
            to_ms=seen.to_ms,
            nodes=nodes,
            edges=edges,
            broken=[node.id for node in broken],
        )
    )


def with_version(graph: Graph) -> Graph:
    """Return the graph with the version that its content has."""
    content = graph.model_dump_json(include={"nodes", "edges", "broken", "truncated"})
    return graph.model_copy(update={"version": hashlib.sha256(content.encode()).hexdigest()[:16]})


def around(graph: Graph, focus: str, depth: int) -> Graph | None:
    """Return the part of a graph within `depth` edges of a node, either way; None when there is no such node."""
    whole: nx.Graph[str] = nx.Graph()
    whole.add_nodes_from(node.id for node in graph.nodes)
    whole.add_edges_from((edge.source, edge.target) for edge in graph.edges)
    if focus not in whole:
        return None
    near = set(nx.single_source_shortest_path_length(whole, focus, cutoff=depth))
    return with_version(
        graph.model_copy(
            update={
                "nodes": [node for node in graph.nodes if node.id in near],
                "edges": [edge for edge in graph.edges if edge.source in near and edge.target in near],
                "broken": [node_id for node_id in graph.broken if node_id in near],
            }
        )
    )


def _edges(seen: Seen) -> list[Edge]:
    processing = {(row.topic, row.group, row.service) for row in seen.edges if row.operation == "process"}
    sums: dict[tuple[str, str, str], _Sum] = {}
    for row in seen.edges:
        reader = f"group:{row.group}" if row.group else f"service:{row.service}"
        if row.operation == "send":
            keys = [(f"service:{row.service}", f"topic:{row.topic}", "send")]
        elif row.operation == "receive" and (row.topic, row.group, row.service) in processing:
            continue
        else:
            keys = [(f"topic:{row.topic}", reader, row.operation)]
            if row.group and row.service:
                keys.append((reader, f"service:{row.service}", "runs"))
        for key in keys:
            sums.setdefault(key, _Sum()).add(row)
    found = [_edge(*key, total, seen) for key, total in sorted(sums.items())]
    for lag in seen.lags:
        for topic in lag.topics:
            if not any(edge.source == f"topic:{topic}" and edge.target == f"group:{lag.group}" for edge in found):
                found.append(Edge(source=f"topic:{topic}", target=f"group:{lag.group}", kind="receive"))
    return found + [
        Edge(
            source=f"service:{call.source}",
            target=f"service:{call.target}",
            kind="call",
            messages=call.calls,
            errors=call.errors,
            rate_per_s=call.calls / max(1.0, (seen.to_ms - seen.from_ms) / 1000),
            error_share=call.errors / call.calls if call.calls else None,
            p50_ms=call.p50_ms,
            p95_ms=call.p95_ms,
            last_seen_ms=call.last_ms,
        )
        for call in sorted(seen.calls, key=lambda call: (call.source, call.target))
    ]


def _edge(source: str, target: str, kind: str, total: _Sum, seen: Seen) -> Edge:
    return Edge(
        source=source,
        target=target,
        kind=kind,
        messages=total.messages,
        errors=total.errors,
        rate_per_s=_rate(total, seen),
        error_share=total.errors / total.messages if total.messages else None,
        p50_ms=quantile(total.durations, 0.5),
        p95_ms=quantile(total.durations, 0.95),
        last_seen_ms=total.last_ms,
    )


def _rate(total: _Sum, seen: Seen) -> float:
    """Over the range, or the part of it since the first event: a young service is not slow."""
    until_ms = (seen.to_ms // BUCKET_MS + 1) * BUCKET_MS
    began_ms = max(seen.from_ms, total.first_ms if total.first_ms is not None else seen.from_ms)
    return total.messages / max(BUCKET_MS, until_ms - began_ms) * 1000


def _nodes(seen: Seen, edges: Sequence[Edge]) -> list[Node]:
    lags = {lag.group: lag for lag in seen.lags}
    services = {row.service for row in seen.edges if row.service}
    services |= {name for call in seen.calls for name in (call.source, call.target)}
    topics = {row.topic for row in seen.edges} | {topic for lag in seen.lags for topic in lag.topics}
    groups = {row.group for row in seen.edges if row.group} | set(lags)
    services_of = {edge.source: edge.target.partition(":")[2] for edge in edges if edge.kind == "runs"}
    partitions: dict[str, int] = {}
    for log in seen.logs:
        partitions[log.topic] = partitions.get(log.topic, 0) + 1
    return [
        *(_service(name, seen) for name in sorted(services)),
        *(_topic(name, seen, partitions.get(name), lags.values()) for name in sorted(topics)),
        *(_group(name, seen, lags.get(name), services_of.get(f"group:{name}")) for name in sorted(groups)),
    ]


def _service(name: str, seen: Seen) -> Node:
    own = [row for row in seen.edges if row.service == name]
    handled = [row for row in own if row.operation == "process"] or [row for row in own if row.operation == "receive"]
    sends = [row for row in own if row.operation == "send"]
    recent = [row for row in seen.recent if row.service == name and row.operation in ("process", "send")]
    total = _total(handled or sends)
    if handled:
        total.errors += sum(row.errors for row in sends)
    state, tone, reason, since_ms = _failing(recent)
    return _node("service", name, state, tone, reason, since_ms, total, seen, _total(handled or sends).durations)


def _group(name: str, seen: Seen, lag: GroupLag | None, service: str | None) -> Node:
    own = [row for row in seen.edges if row.group == name]
    handled = [row for row in own if row.operation == "process"] or [row for row in own if row.operation == "receive"]
    recent = [row for row in seen.recent if row.group == name and row.operation == "process"]
    total = _total(handled)
    state, tone, reason, since_ms = _failing(recent)
    if state == "ok" and lag is not None and lag.state in ("stuck", "no_member", "growing"):
        state, tone, reason = "stuck", Tone.STUCK, lag.reason
        moved = [row.committed_at_ms for row in lag.partitions if row.lag and row.committed_at_ms is not None]
        since_ms = min(moved, default=None)
        if since_ms is not None and lag.oldest_ms is not None:
            # A partition may have been quiet for long before the event that waits there came.
            since_ms = max(since_ms, seen.to_ms - lag.oldest_ms)
    node = _node("group", name, state, tone, reason, since_ms, total, seen, total.durations)
    return node.model_copy(
        update={
            "service": service or (lag.service if lag else None),
            "lag": lag.lag if lag else None,
            "members": lag.members if lag else None,
        }
    )


def _topic(name: str, seen: Seen, partitions: int | None, lags: Iterable[GroupLag]) -> Node:
    sends = [row for row in seen.edges if row.topic == name and row.operation == "send"]
    readers = [row for row in seen.edges if row.topic == name and row.operation in ("receive", "process")]
    total = _total(sends)
    by_group = [lag for lag in lags if name in lag.topics]
    state, tone, reason, since_ms = "ok", Tone.OK, None, None
    is_sent = total.messages > total.errors and total.first_ms is not None
    if is_sent and not readers and not by_group and name not in seen.read:
        since_ms = total.first_ms
        if since_ms is not None and seen.to_ms - since_ms > UNREAD_AFTER_MS:
            is_dead = seen.roles.is_dead_letter(name)
            state, tone = "unread", Tone.QUIET if is_dead else Tone.SLOW
            lying = counted(total.messages - total.errors, "event")
            reason = f"Nobody reads {name}; {lying} {'lies' if total.messages == 1 else 'lie'} there."
    lag = [row.lag for one in by_group for row in one.partitions if row.topic == name and row.lag is not None]
    node = _node("topic", name, state, tone, reason, since_ms if state != "ok" else None, total, seen, total.durations)
    return node.model_copy(update={"partitions": partitions, "lag": max(lag) if lag else None})


def _failing(recent: Sequence[EdgeCount]) -> tuple[str, Tone, str | None, float | None]:
    """Whether a node's recent events failed often enough to say so, and where most."""
    messages, errors = sum(row.messages for row in recent), sum(row.errors for row in recent)
    if errors == 0 or errors / max(1, messages) < FAILING_SHARE:
        return "ok", Tone.OK, None, None
    worst = max(recent, key=lambda row: (row.errors, row.topic))
    part = share(worst.errors / max(1, worst.messages))
    who = worst.group or worst.service
    if worst.operation == "send":
        reason = f"{worst.service} could not send {part} of its events to {worst.topic} in the last five minutes."
    else:
        reason = f"{who} fails {part} of {worst.topic} in the last five minutes."
    return "failing", Tone.FAIL, reason, min(row.first_ms for row in recent if row.errors)


def _node(
    kind: str,
    name: str,
    state: str,
    tone: Tone,
    reason: str | None,
    since_ms: float | None,
    total: _Sum,
    seen: Seen,
    durations: Mapping[int, int],
) -> Node:
    return Node(
        id=f"{kind}:{name}",
        kind=kind,
        name=name,
        state=state,
        tone=tone,
        reason=reason,
        since_ms=since_ms,
        messages=total.messages,
        errors=total.errors,
        rate_per_s=_rate(total, seen) if total.messages else None,
        error_share=total.errors / total.messages if total.messages else None,
        p50_ms=quantile(durations, 0.5),
        p95_ms=quantile(durations, 0.95),
    )


def _total(rows: Iterable[EdgeCount]) -> _Sum:
    total = _Sum()
    for row in rows:
        total.add(row)
    return total
