"""The graph out of the store: counts are read anew each time, what is dear and slow to change for some seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowtrail.collector.api.answers import FlowSummary, Graph, LagList, NodeDetail
from flowtrail.collector.flows.deliveries import error_text
from flowtrail.collector.flows.rows import LogRow
from flowtrail.collector.flows.topics import TopicRoles
from flowtrail.collector.flows.wording import clipped
from flowtrail.collector.lag.lookup import all_lag
from flowtrail.collector.store.queries import CallCount, EdgeCount, Queries

from .change import compare
from .detail import detail
from .kept import Kept
from .topology import RECENT_MS, Seen, around, build

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
NOW_MS: Final = 60_000
# Exporters batch for five seconds by default: a step of a series that ended later would seem to fall to nothing.
SPANS_ON_THEIR_WAY_MS: Final = 5_000
# A map that is looked at asks every second or two; lag is polled every few seconds at most.
LAG_KEPT_S: Final = 1.0
CALLS_KEPT_S: Final = 10.0
# The join of callers and called stays within these, newest data first.
CALLS_RANGE_MS: Final = 900_000
CALLS_SPANS: Final = 50_000


class GraphLookup:
    """Answers graphs and nodes. Safe from any thread."""

    def __init__(self, queries: Queries, *, silent_after_ms: float, roles: TopicRoles) -> None:
        self._queries = queries
        self._silent_after_ms = silent_after_ms
        self._roles = roles
        self._lag: Kept[None, LagList] = Kept(LAG_KEPT_S)
        self._calls: Kept[tuple[int, int], list[CallCount]] = Kept(CALLS_KEPT_S)
        self._around: Kept[tuple[int, int], _Around] = Kept(LAG_KEPT_S)

    def lag(self, now_ms: float) -> LagList:
        """Every group's lag, a second old at most where the store keeps up."""
        return self._lag.get(None, lambda: all_lag(self._queries, now_ms, self._silent_after_ms))

    def graph(
        self,
        from_ms: float,
        to_ms: float,
        now_ms: float,
        *,
        focus: str | None = None,
        depth: int = 1,
        compare_to_ms: float | None = None,
    ) -> Graph | None:
        """The graph of a range; None when there is no node `focus`. `compare_to_ms` ends an equally long range."""
        graph = self._build(from_ms, to_ms, now_ms)
        if compare_to_ms is not None:
            before = self._build(compare_to_ms - (to_ms - from_ms), compare_to_ms, now_ms)
            graph = compare(before, graph)
        return graph if focus is None else around(graph, focus, depth)

    def node(
        self, node_id: str, now_ms: float, example: Callable[[str, str, bool], FlowSummary | None]
    ) -> NodeDetail | None:
        """One node with its last hour, in steps of a minute, or of ten seconds while the data is young."""
        kind, _, name = node_id.partition(":")
        graph = self._build(now_ms - HOUR_MS, now_ms, now_ms)
        node = next((one for one in graph.nodes if one.id == node_id), None)
        if node is None:
            return None
        where = {{"service": "service", "topic": "topic", "group": "group_name"}[kind]: name}
        first_ms = min(
            (row.first_ms for row in self._queries.edge_series(now_ms - HOUR_MS, now_ms, 60_000, where)), default=now_ms
        )
        step_ms = 60_000 if now_ms - first_ms > 20 * 60_000 else 10_000
        counts = self._queries.edge_series(now_ms - HOUR_MS, now_ms, step_ms, where)
        begin = int(max(first_ms, now_ms - HOUR_MS) // step_ms)
        end = int((now_ms - SPANS_ON_THEIR_WAY_MS) // step_ms)
        steps = [float(step * step_ms) for step in range(begin, max(end, begin + 1))]
        failed = self._queries.frequent_errors(where, now_ms - HOUR_MS, now_ms)
        lag = next((one for one in self.lag(now_ms).groups if one.group == name), None) if kind == "group" else None
        return detail(
            graph,
            node_id,
            counts,
            lag,
            steps,
            example=example(kind, name, node.state == "failing"),
            error=clipped(error_text(failed[0])) if failed else None,
        )

    def _build(self, from_ms: float, to_ms: float, now_ms: float) -> Graph:
        # Lag is known as it is now; it does not belong into a picture of an earlier time.
        is_now = to_ms > now_ms - NOW_MS
        calls_from_ms = max(from_ms, to_ms - CALLS_RANGE_MS)
        calls = self._calls.get(
            (int(calls_from_ms // 60_000), int(to_ms // 60_000)),
            lambda: self._queries.calls(calls_from_ms, to_ms, CALLS_SPANS),
        )
        near = self._around.get(
            (int(from_ms // 10_000), int(to_ms // 10_000)),
            lambda: self._look_around(from_ms, to_ms, now_ms, is_now),
        )
        return build(
            Seen(
                from_ms=from_ms,
                to_ms=to_ms,
                edges=self._queries.edges(from_ms, to_ms),
                recent=near.recent,
                calls=calls,
                lags=self.lag(now_ms).groups if is_now else [],
                logs=near.logs,
                read=near.read,
                roles=self._roles,
            )
        )

    def _look_around(self, from_ms: float, to_ms: float, now_ms: float, is_now: bool) -> "_Around":
        return _Around(
            recent=self._queries.edges(max(from_ms, to_ms - RECENT_MS), to_ms),
            logs=self._queries.logs(None, now_ms - DAY_MS) if is_now else [],
            read=frozenset(row.topic for row in self._queries.groups(to_ms - DAY_MS, now_ms)),
        )


@dataclass(frozen=True)
class _Around:
    """What a graph needs beside its counts, and what may be a second old."""

    recent: list[EdgeCount]
    logs: list[LogRow]
    read: frozenset[str]
