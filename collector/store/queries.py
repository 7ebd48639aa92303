"""Every SELECT that answers are made of: rows of the store as the pure parts take them.

Each function asks once for many ids, names or places; an empty list asks nothing and gets []. Times go in and out in
ms (float), span starts come out in ns. Rows of `spans` and `events` may lie there twice until a merge, so each query
takes a span once (LIMIT 1 BY) or counts what is aggregated on the way in.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowtrail.collector.flows.rows import (
    CloseRow,
    CommitRow,
    Context,
    GroupRow,
    Lane,
    LinkedRow,
    LogRow,
    MembersRow,
    Place,
    SpanRow,
    SpeakerRow,
)
from flowtrail.tracer import attributes as names

from .closes import closes
from .connection import ONE_ROW_PER_SPAN, Store
from .span_rows import SPAN_COLUMNS, position, span_row

# Spans that begin no flow: polls, commits, and what a client tells of itself alone, such as its end.
_NO_FLOW = (
    "(operation IN ('settle', 'receive') OR operation = '' AND system = 'kafka' AND name IN "
    f"({', '.join(repr(name) for name in sorted(names.OF_CLIENT))}))"
)


@dataclass(frozen=True, slots=True)
class EdgeCount:
    """Events of one service, operation, topic and group, counted over a range. `durations` is by bucket: see edges."""

    service: str
    operation: str
    topic: str
    group: str
    messages: int
    errors: int
    durations: Mapping[int, int]
    first_ms: float
    last_ms: float
    bucket_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CallCount:
    """Calls from one service to another outside of Kafka, over a range."""

    source: str
    target: str
    calls: int
    errors: int
    p50_ms: float
    p95_ms: float
    last_ms: float


class Queries:
    """Questions to one store. Safe from any thread, as the store is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database = store.database

    # ── spans, links, events ────────────────────────────────────────────────────────────────────────────────

    def spans(self, trace_ids: Iterable[str], limit: int, of_a_trace: int | None = None) -> list[SpanRow]:
        """All spans of these traces, at most `limit`, and of each trace at most `of_a_trace`."""
        ids = sorted(set(trace_ids))
        if not ids:
            return []
        rows = self._query(
            f"""SELECT {SPAN_COLUMNS}
            FROM (
                SELECT * FROM {self._database}.spans
                WHERE trace_id IN (SELECT toFixedString(unhex(arrayJoin({{ids:Array(String)}})), 16))
                {ONE_ROW_PER_SPAN}
            ) AS spans
            LIMIT {{of_a_trace:UInt32}} BY spans.trace_id LIMIT {{limit:UInt32}}""",
            {"ids": ids, "limit": limit, "of_a_trace": of_a_trace or limit},
        )
        return [span_row(row) for row in rows]

    def links_to(self, trace_ids: Iterable[str], limit: int) -> list[LinkedRow]:
        """All links that point at spans of these traces."""
        ids = sorted(set(trace_ids))
        if not ids:
            return []
        rows = self._query(
            f"""SELECT DISTINCT lower(hex(trace_id)), lower(hex(span_id)), lower(hex(other_trace_id)),
                lower(hex(other_span_id))
            FROM {self._database}.links
            WHERE direction = 'from' AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({{ids:Array(String)}})), 16))
            LIMIT {{limit:UInt32}}""",
            {"ids": ids, "limit": limit},
        )
        return [LinkedRow(Context(one[0], one[1]), Context(one[2], one[3])) for one in rows]

    def speakers(self, places: Iterable[Place], limit: int) -> list[SpeakerRow]:
        """The spans that speak of these events."""
        asked = sorted(set(places))
        if not asked:
            return []
        rows = self._query(
            f"""SELECT DISTINCT topic, partition, offset, operation, lower(hex(trace_id)), lower(hex(span_id)),
                cluster_id
            FROM {self._database}.events
            WHERE (topic, partition, offset) IN (SELECT arrayJoin({{places:Array(Tuple(String, Int32, Int64))}}))
            LIMIT {{limit:UInt32}}""",
            {"places": asked, "limit": limit},
        )
        return [SpeakerRow(Place(row[0], row[1], row[2]), row[3], Context(row[4], row[5]), row[6]) for row in rows]

    # ── readers of topics ───────────────────────────────────────────────────────────────────────────────────
    #
    # `clusters` keeps to what is said of these clusters, or without naming one; none means of any.

    def groups(self, since_ms: float, now_ms: float, clusters: Collection[str] = ()) -> list[GroupRow]:
        """What spans told of every reader of every topic since then."""
        of_clusters, named = _of_clusters(clusters)
        rows = self._query(
            f"""SELECT topic, group_name, service, toUnixTimestamp(min(bucket)),
                toUnixTimestamp64Nano(max(last_seen)), countIf(operation = 'process'),
                toUnixTimestamp(minIf(bucket, operation = 'process')),
                maxIf(arrayMax(mapKeys(durations)), operation = 'process' AND notEmpty(mapKeys(durations))),
                sumIf(messages, operation = 'process' AND bucket >= toDateTime({{recent:UInt32}})),
                sumIf(messages, operation = 'receive' AND bucket >= toDateTime({{recent:UInt32}}))
            FROM {self._database}.edges
            WHERE operation IN ('receive', 'process') AND topic != '' AND bucket >= toDateTime({{since:UInt32}})
                {of_clusters}
            GROUP BY topic, group_name, service""",
            {"since": _seconds(since_ms), "recent": _seconds(now_ms - 300_000), **named},
        )
        return [
            GroupRow(
                topic=row[0],
                group=row[1],
                service=row[2],
                first_ms=row[3] * 1000.0,
                last_ms=row[4] / 1e6,
                processes_from_ms=row[6] * 1000.0 if row[5] else None,
                longest_ms=duration_of_bucket(row[7]) if row[7] else 0.0,
                per_s=(row[8] or row[9]) / min(300.0, max(10.0, now_ms / 1000 - row[3])),
            )
            for row in rows
        ]

    def commits(self, lanes: Iterable[Lane] | None, since_ms: float, clusters: Collection[str] = ()) -> list[CommitRow]:
        """Each group's position in these partitions (None: all) as the poller saw it since then."""
        asked = None if lanes is None else sorted(set(lanes))
        if asked == []:
            return []
        which, named = _of_lanes(asked, clusters)
        rows = self._query(
            f"""SELECT group_name, topic, partition, argMax(committed, last), toUnixTimestamp64Milli(max(last)),
                toUnixTimestamp64Milli(argMax(first, last)), toUnixTimestamp64Milli(min(first)),
                argMin(committed, first), count()
            FROM (
                SELECT group_name, topic, partition, committed, min(time) AS first, max(time) AS last
                FROM {self._database}.group_offsets
                WHERE time >= fromUnixTimestamp64Milli({{since:Int64}}) {which}
                GROUP BY group_name, topic, partition, committed
            )
            GROUP BY group_name, topic, partition""",
            {"since": int(since_ms), **named},
        )
        return [
            CommitRow(
                group=row[0],
                topic=row[1],
                partition=row[2],
                committed=position(row[3]),
                seen_ms=float(row[4]),
                moved_ms=float(row[5]) if row[8] > 1 else None,
                first_ms=float(row[6]),
                first_committed=position(row[7]),
            )
            for row in rows
        ]

    def passed(
        self, places: Iterable[Place], since_ms: float, clusters: Collection[str] = ()
    ) -> dict[tuple[str, Place], float]:
        """When each group's commit was first seen past each of these events."""
        asked = sorted(set(places))
        if not asked:
            return {}
        of_clusters, named = _of_clusters(clusters)
        rows = self._query(
            f"""SELECT group_name, topic, partition, place.3 AS at, toUnixTimestamp64Milli(min(time))
            FROM {self._database}.group_offsets AS seen
            INNER JOIN (SELECT arrayJoin({{places:Array(Tuple(String, Int32, Int64))}}) AS place) AS asked
                ON seen.topic = asked.place.1 AND seen.partition = asked.place.2
            WHERE time >= fromUnixTimestamp64Milli({{since:Int64}}) AND committed > place.3
                {of_clusters}
            GROUP BY group_name, topic, partition, at""",
            {"places": asked, "since": int(since_ms), **named},
        )
        return {(row[0], Place(row[1], row[2], row[3])): float(row[4]) for row in rows}

    def logs(self, lanes: Iterable[Lane] | None, since_ms: float, clusters: Collection[str] = ()) -> list[LogRow]:
        """Log start and end of these partitions (None: all), the last that were seen since then."""
        asked = None if lanes is None else sorted(set(lanes))
        if asked == []:
            return []
        which, named = _of_lanes(asked, clusters)
        rows = self._query(
            f"""SELECT topic, partition, argMax(log_start, time), argMax(log_end, time),
                toUnixTimestamp64Milli(max(time))
            FROM {self._database}.topic_offsets WHERE time >= fromUnixTimestamp64Milli({{since:Int64}}) {which}
            GROUP BY topic, partition""",
            {"since": int(since_ms), **named},
        )
        return [LogRow(row[0], row[1], row[2], row[3], float(row[4])) for row in rows]

    def members(self, since_ms: float, clusters: Collection[str] = ()) -> list[MembersRow]:
        """The last member list of every group."""
        of_clusters, named = _of_clusters(clusters)
        rows = self._query(
            f"""SELECT group_name, argMax(state, time), argMax(is_listed, time),
                argMax(arrayMap(m -> m.1, members), time), toUnixTimestamp64Milli(max(time)), argMax(cluster_id, time)
            FROM {self._database}.group_states
            WHERE time >= fromUnixTimestamp64Milli({{since:Int64}}) {of_clusters}
            GROUP BY group_name""",
            {"since": int(since_ms), **named},
        )
        return [MembersRow(row[0], row[1], bool(row[2]), frozenset(row[3]), float(row[4]), row[5]) for row in rows]

    def last_spans(self, services: Iterable[str], since_ms: float) -> dict[tuple[str, str], float]:
        """When the last span of each process (service, instance) ended."""
        asked = sorted(set(services))
        if not asked:
            return {}
        rows = self._query(
            f"""SELECT service, instance, max(toUnixTimestamp64Nano(start) + duration_ns)
            FROM {self._database}.spans
            WHERE service IN (SELECT arrayJoin({{services:Array(String)}})) AND start >= {_SINCE}
            GROUP BY service, instance""",
            {"services": asked, "since": int(since_ms)},
        )
        return {(row[0], row[1]): row[2] / 1e6 for row in rows}

    def closes(self, services: Iterable[str], groups: Iterable[str], since_ms: float) -> list[CloseRow]:
        """The consumers of these services and groups that their programs closed since then, the first to end first."""
        return closes(self._store, services, groups, since_ms)

    def processed_until(
        self, lanes: Iterable[Lane], since_ms: float, clusters: Collection[str] = ()
    ) -> dict[tuple[str, Lane], int]:
        """The highest offset that each group processed in each of these partitions."""
        asked = sorted(set(lanes))
        if not asked:
            return {}
        which, named = _of_lanes(asked, clusters)
        rows = self._query(
            f"""SELECT group_name, topic, partition, max(offset) FROM {self._database}.events
            WHERE operation = 'process' AND start >= {_SINCE} {which}
            GROUP BY group_name, topic, partition""",
            {"since": int(since_ms), **named},
        )
        return {(row[0], (row[1], row[2])): row[3] for row in rows}

    def last_poll_ms(self) -> float | None:
        """When the poller last wrote what the broker said; None when it never did."""
        rows = self._query(
            f"""SELECT max(time_ms) FROM (
                SELECT toUnixTimestamp64Milli(max(time)) AS time_ms FROM {self._database}.topic_offsets
                UNION ALL SELECT toUnixTimestamp64Milli(max(time)) FROM {self._database}.group_states
            )""",
            {},
        )
        return float(rows[0][0]) if rows and rows[0][0] > 0 else None

    # ── where flows can be found ────────────────────────────────────────────────────────────────────────────

    def traces_of_key(self, key: str, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces with an event of this key, latest first."""
        return self._traces("events", "key = {key:String}", {"key": key}, from_ms, to_ms, limit)

    def traces_of_attribute(self, name: str, value: str, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces with a span that carries this attribute."""
        where = "attributes[{name:String}] = {value:String} AND mapContains(attributes, {name:String})"
        return self._traces("spans", where, {"name": name, "value": value}, from_ms, to_ms, limit)

    def traces_of_topic(self, topic: str, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces that sent to a topic or read from it."""
        return self._traces("events", "topic = {topic:String}", {"topic": topic}, from_ms, to_ms, limit)

    def traces_of_service(self, service: str, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces with a span of a service, but for those that begin no flow."""
        where = f"service = {{service:String}} AND NOT {_NO_FLOW}"
        return self._traces("spans", where, {"service": service}, from_ms, to_ms, limit)

    def traces_with_errors(self, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces with a failed span."""
        return self._traces("spans", "status_code = 2", {}, from_ms, to_ms, limit)

    def traces_with_errors_or_forwards(self, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces with a failed span, or with a send for another try or as a dead letter: its error may be caught.

        Attributes are read for it, so it is slower than `traces_with_errors`.
        """
        where = "(status_code = 2 OR operation = 'send' AND attributes[{name:String}] != '')"
        return self._traces("spans", where, {"name": names.FORWARDED}, from_ms, to_ms, limit)

    def first_traces(self, from_ms: float, to_ms: float, limit: int) -> list[str]:
        """Traces that begin a flow: their first span has neither a parent nor a link."""
        where = f"parent_span_id = toFixedString('', 8) AND empty(links) AND NOT {_NO_FLOW}"
        return self._traces("spans", where, {}, from_ms, to_ms, limit)

    def latest_traces(
        self, where: Mapping[str, str], from_ms: float, to_ms: float, is_failing: bool, limit: int
    ) -> list[str]:
        """Traces with a span of one service, topic or group (`where`: column → value); `is_failing`: a failed one."""
        conditions = " AND ".join(f"{column} = {{{column}:String}}" for column in sorted(where))
        failing = "status_code = 2" if is_failing else f"NOT {_NO_FLOW}"
        return self._traces("spans", f"{conditions} AND {failing}", dict(where), from_ms, to_ms, limit)

    def _traces(
        self, table: str, where: str, parameters: dict[str, Any], from_ms: float, to_ms: float, limit: int
    ) -> list[str]:
        rows = self._query(
            f"""SELECT lower(hex(trace_id)) FROM {self._database}.{table}
            WHERE {where} AND start >= fromUnixTimestamp64Milli({{from:Int64}})
                AND start <= fromUnixTimestamp64Milli({{to:Int64}})
            GROUP BY trace_id ORDER BY max(start) DESC, trace_id LIMIT {{limit:UInt32}}""",
            {**parameters, "from": int(from_ms), "to": math.ceil(to_ms), "limit": limit},
        )
        return [row[0] for row in rows]

    # ── counts ──────────────────────────────────────────────────────────────────────────────────────────────

    def edges(self, from_ms: float, to_ms: float) -> list[EdgeCount]:
        """Events by service, operation, topic and group, over a range."""
        rows = self._query(
            f"""SELECT service, operation, topic, group_name, sum(messages), sum(errors), sumMap(durations),
                toUnixTimestamp(min(bucket)), toUnixTimestamp64Nano(max(last_seen))
            FROM {self._database}.edges
            WHERE topic != '' AND bucket >= toDateTime({{from:UInt32}}) AND bucket <= toDateTime({{to:UInt32}})
            GROUP BY service, operation, topic, group_name""",
            {"from": _seconds(from_ms), "to": _seconds(to_ms)},
        )
        return [_edge_count(row) for row in rows]

    def edge_series(self, from_ms: float, to_ms: float, step_ms: float, where: Mapping[str, str]) -> list[EdgeCount]:
        """The same by steps of time (`bucket_ms`), for one service, topic or group (`where`: column → value)."""
        conditions = "".join(f" AND {column} = {{{column}:String}}" for column in sorted(where))
        rows = self._query(
            f"""SELECT service, operation, topic, group_name, sum(messages), sum(errors), sumMap(durations),
                toUnixTimestamp(min(bucket)), toUnixTimestamp64Nano(max(last_seen)),
                intDiv(toUnixTimestamp(bucket), {{step:UInt32}}) * {{step:UInt32}} AS step_s
            FROM {self._database}.edges
            WHERE topic != '' AND bucket >= toDateTime({{from:UInt32}}) AND bucket <= toDateTime({{to:UInt32}})
                {conditions}
            GROUP BY service, operation, topic, group_name, step_s""",
            {"from": _seconds(from_ms), "to": _seconds(to_ms), "step": max(1, int(step_ms / 1000)), **where},
        )
        return [_edge_count(row) for row in rows]

    def calls(self, from_ms: float, to_ms: float, limit: int) -> list[CallCount]:
        """Calls between services: server spans whose parent is another service's span."""
        rows = self._query(
            f"""SELECT caller.service, called.service, count(), countIf(called.status_code = 2),
                quantile(0.5)(called.duration_ns), quantile(0.95)(called.duration_ns),
                toUnixTimestamp64Nano(max(called.start))
            FROM (
                SELECT trace_id, parent_span_id, service, status_code, duration_ns, start FROM {self._database}.spans
                WHERE operation = '' AND kind IN (1, 2) AND parent_span_id != toFixedString('', 8)
                    AND start >= fromUnixTimestamp64Milli({{from:Int64}})
                    AND start <= fromUnixTimestamp64Milli({{to:Int64}})
                {ONE_ROW_PER_SPAN} LIMIT {{limit:UInt32}}
            ) AS called
            INNER JOIN (
                SELECT trace_id, span_id, service FROM {self._database}.spans
                WHERE start >= fromUnixTimestamp64Milli({{from:Int64}} - 60000)
                    AND start <= fromUnixTimestamp64Milli({{to:Int64}}) AND operation NOT IN ('receive', 'settle')
                {ONE_ROW_PER_SPAN} LIMIT {{limit:UInt32}}
            ) AS caller ON called.trace_id = caller.trace_id AND called.parent_span_id = caller.span_id
            WHERE caller.service != called.service
            GROUP BY caller.service, called.service""",
            {"from": int(from_ms), "to": int(to_ms), "limit": limit},
        )
        return [CallCount(row[0], row[1], row[2], row[3], row[4] / 1e6, row[5] / 1e6, row[6] / 1e6) for row in rows]

    def frequent_errors(self, where: Mapping[str, str], from_ms: float, to_ms: float) -> list[SpanRow]:
        """One failed span of the most frequent kind of error of a service, topic or group."""
        conditions = "".join(f" AND {column} = {{{column}:String}}" for column in sorted(where))
        rows = self._query(
            f"""SELECT lower(hex(argMax(trace_id, start))), service, name, attributes['error.type'] AS kind, count()
            FROM {self._database}.spans
            WHERE status_code = 2 AND start >= fromUnixTimestamp64Milli({{from:Int64}})
                AND start <= fromUnixTimestamp64Milli({{to:Int64}}) {conditions}
            GROUP BY service, name, kind ORDER BY count() DESC LIMIT 1""",
            {"from": int(from_ms), "to": int(to_ms), **where},
        )
        found = self.spans([row[0] for row in rows], 1000)
        return [
            span
            for span in found
            for row in rows
            if span.status_code == 2 and span.service == row[1] and span.name == row[2]
        ][:1]

    def lag_history(
        self, since_ms: float, step_ms: float, group: str | None = None
    ) -> list[tuple[str, str, int, float, int]]:
        """(group, topic, partition, step's begin in ms, committed at its end), commits only."""
        which = "" if group is None else "AND group_name = {group:String}"
        rows = self._query(
            f"""SELECT group_name, topic, partition,
                intDiv(toUnixTimestamp64Milli(time), {{step:Int64}}) * {{step:Int64}} AS step, argMax(committed, time)
            FROM {self._database}.group_offsets
            WHERE time >= fromUnixTimestamp64Milli({{since:Int64}}) {which}
            GROUP BY group_name, topic, partition, step ORDER BY step""",
            {"since": int(since_ms), "step": int(step_ms)} | ({} if group is None else {"group": group}),
        )
        return [(row[0], row[1], row[2], float(row[3]), row[4]) for row in rows]

    def end_history(self, since_ms: float, step_ms: float) -> list[tuple[str, int, float, int, int]]:
        """(topic, partition, step's begin in ms, log start, log end at its end)."""
        rows = self._query(
            f"""SELECT topic, partition,
                intDiv(toUnixTimestamp64Milli(time), {{step:Int64}}) * {{step:Int64}} AS step,
                argMax(log_start, time), argMax(log_end, time)
            FROM {self._database}.topic_offsets
            WHERE time >= fromUnixTimestamp64Milli({{since:Int64}})
            GROUP BY topic, partition, step ORDER BY step""",
            {"since": int(since_ms), "step": int(step_ms)},
        )
        return [(row[0], row[1], float(row[2]), row[3], row[4]) for row in rows]

    def event_times(self, places: Iterable[Place]) -> dict[Place, float]:
        """When these events were sent, where a span tells it: the record's timestamp, else the send span's start."""
        asked = sorted(set(places))
        if not asked:
            return {}
        rows = self._query(
            f"""SELECT topic, partition, offset, max(record_timestamp_ms),
                minIf(toUnixTimestamp64Nano(start), operation = 'send'), countIf(operation = 'send')
            FROM {self._database}.events
            WHERE (topic, partition, offset) IN (SELECT arrayJoin({{places:Array(Tuple(String, Int32, Int64))}}))
            GROUP BY topic, partition, offset""",
            {"places": asked},
        )
        found = {}
        for row in rows:
            if row[5]:
                found[Place(row[0], row[1], row[2])] = row[4] / 1e6
            elif row[3] >= 0:
                found[Place(row[0], row[1], row[2])] = float(row[3])
        return found

    def _query(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._store.query(sql, dict(parameters))


_SINCE = "fromUnixTimestamp64Milli({since:Int64})"


def _of_clusters(clusters: Collection[str]) -> tuple[str, dict[str, Any]]:
    """A condition on the clusters, and its parameters."""
    if not clusters:
        return "", {}
    return "AND cluster_id IN (SELECT arrayJoin({clusters:Array(String)}))", {"clusters": ["", *sorted(clusters)]}


def _of_lanes(lanes: Sequence[Lane] | None, clusters: Collection[str]) -> tuple[str, dict[str, Any]]:
    """A condition on partitions (None: all) and their clusters, and its parameters."""
    condition, named = _of_clusters(clusters)
    if lanes is None:
        return condition, named
    which = "AND (topic, partition) IN (SELECT arrayJoin({lanes:Array(Tuple(String, Int32))}))"
    return f"{which} {condition}", {"lanes": lanes, **named}


def duration_of_bucket(bucket: float) -> float:
    """The duration in ms that stands for a bucket of `edges.durations`: its middle."""
    return float(2 ** ((bucket + 0.5) / 4)) / 1e6


def _edge_count(row: tuple[Any, ...]) -> EdgeCount:
    service, operation, topic, group, messages, errors, durations, first_s, last_ns, *step_s = row
    return EdgeCount(
        service=service,
        operation=operation,
        topic=topic,
        group=group,
        messages=int(messages),
        errors=int(errors),
        durations={int(bucket): int(number) for bucket, number in durations.items()},
        first_ms=first_s * 1000.0,
        last_ms=last_ns / 1e6,
        bucket_ms=step_s[0] * 1000.0 if step_s else 0.0,
    )


def _seconds(ms: float) -> int:
    return max(0, int(ms / 1000))
