"""What changed between two graphs: nodes and edges that appeared, vanished or got slower. Pure."""

from typing import Final

from flowtrail.collector.api.answers import Edge, Graph, Node

from .topology import with_version

# Slower: half as long again and by more than the buckets' width and a machine's whim.
SLOWER_BY: Final = 1.5
SLOWER_MS: Final = 5.0
FEWEST_EVENTS: Final = 20


def compare(before: Graph, now: Graph) -> Graph:
    """Return `now` with every `change` filled in; what vanished since `before` is in it, with no events."""
    nodes = {node.id: node for node in before.nodes}
    edges = {(edge.source, edge.target, edge.kind): edge for edge in before.edges}
    found_nodes = [node.model_copy(update={"change": _change(nodes.pop(node.id, None), node)}) for node in now.nodes]
    found_edges = [
        edge.model_copy(update={"change": _change(edges.pop((edge.source, edge.target, edge.kind), None), edge)})
        for edge in now.edges
    ]
    gone = {"change": "vanished", "messages": 0, "errors": 0, "rate_per_s": 0.0, "error_share": None}
    calm = {"state": "ok", "tone": "ok", "reason": None, "since_ms": None, "lag": None}
    return with_version(
        now.model_copy(
            update={
                "nodes": found_nodes + [Node(**{**node.model_dump(), **gone, **calm}) for node in nodes.values()],
                "edges": found_edges + [Edge(**{**edge.model_dump(), **gone}) for edge in edges.values()],
            }
        )
    )


def _change(before: Node | Edge | None, now: Node | Edge) -> str | None:
    if before is None:
        return "appeared"
    if before.p95_ms is None or now.p95_ms is None or min(before.messages, now.messages) < FEWEST_EVENTS:
        return None
    is_slower = now.p95_ms > before.p95_ms * SLOWER_BY and now.p95_ms - before.p95_ms > SLOWER_MS
    return "slower" if is_slower else None
