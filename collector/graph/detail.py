"""One node of the graph with its neighbours and its last hour. Pure."""

from collections.abc import Iterable, Sequence

from flowtrail.collector.api.answers import FlowSummary, Graph, GroupLag, NodeDetail, Point, Series
from flowtrail.collector.store.queries import EdgeCount

from .topology import quantile


def detail(
    graph: Graph,
    node_id: str,
    counts: Sequence[EdgeCount],
    lag: GroupLag | None,
    steps: Sequence[float],
    *,
    example: FlowSummary | None = None,
    error: str | None = None,
) -> NodeDetail | None:
    """Return a node's page; None when the graph has no such node. `counts` are its own, by the `steps`' begins."""
    node = next((one for one in graph.nodes if one.id == node_id), None)
    if node is None:
        return None
    edges = [edge for edge in graph.edges if node_id in (edge.source, edge.target)]
    near = {end for edge in edges for end in (edge.source, edge.target)} - {node_id}
    series = _series(node.kind, counts, steps)
    if lag is not None:
        series.append(lag.trend)
    return NodeDetail(
        node=node,
        edges=edges,
        neighbours=[one for one in graph.nodes if one.id in near],
        series=series,
        example_flow=example,
        error=error,
    )


def _series(kind: str, counts: Sequence[EdgeCount], steps: Sequence[float]) -> list[Series]:
    """`handled` (1/s), `failed` (share), `p95` (ms). A topic handles what is sent to it, and fails where it is read."""
    processed = [row for row in counts if row.operation == "process"]
    sent = [row for row in counts if row.operation == "send"]
    received = [row for row in counts if row.operation == "receive"]
    work = processed or received
    handled = sent if kind == "topic" else work or sent
    step_ms = steps[1] - steps[0] if len(steps) > 1 else 60_000.0
    handled_points, failed_points, slow_points = [], [], []
    for step in steps:
        now = _at(handled, step)
        measured = _at(work or sent, step)
        messages, errors = sum(row.messages for row in measured), sum(row.errors for row in measured)
        durations: dict[int, int] = {}
        for row in (row for row in measured if row.operation != "receive"):
            for bucket, number in row.durations.items():
                durations[bucket] = durations.get(bucket, 0) + number
        handled_points.append(Point(time_ms=step, value=sum(row.messages for row in now) / step_ms * 1000))
        failed_points.append(Point(time_ms=step, value=errors / messages if messages else None))
        slow_points.append(Point(time_ms=step, value=quantile(durations, 0.95)))
    return [
        Series(name="handled", unit="1/s", points=handled_points),
        Series(name="failed", unit="share", points=failed_points),
        Series(name="p95", unit="ms", points=slow_points),
    ]


def _at(rows: Iterable[EdgeCount], step: float) -> list[EdgeCount]:
    return [row for row in rows if row.bucket_ms == step]
