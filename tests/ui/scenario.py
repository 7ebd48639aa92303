"""A shop on a bad night, as the collector would answer: healthy, failing, dead-lettered, crashed, waiting, unread."""

import math
from collections.abc import Callable
from typing import Any, Final

from flowtrail.collector.api.answers import (
    Attempt,
    Coordinates,
    Edge,
    Event,
    Evidence,
    Flow,
    FlowSummary,
    Graph,
    GroupLag,
    Health,
    Hop,
    LagList,
    Node,
    NodeDetail,
    PartitionLag,
    Point,
    Series,
    Span,
    SpanEvent,
    SpanLink,
    State,
    Tone,
    Verdict,
)

MINUTE_MS: Final = 60_000.0
FAILED: Final = "f" * 31 + "1"
HEALTHY: Final = "a" * 31 + "1"
WAITING: Final = "b" * 31 + "1"
CRASHED: Final = "c" * 31 + "1"
UNREAD: Final = "d" * 31 + "1"
NOT_SENT: Final = "e" * 31 + "1"
BIG: Final = "9" * 32
RETRY_TRACE: Final = "7f3a91" + "0" * 26
LAST_TRACE: Final = "c20b4e" + "0" * 26
TIMEOUT: Final = "GatewayTimeout: POST card-gateway/charge, no answer in 2 s"


def _service(name: str, rate: float, p95: float, **more: Any) -> Node:
    facts = {"state": "ok", "tone": Tone.OK, "messages": int(rate * 900)} | more
    return Node.model_validate({"id": f"service:{name}", "kind": "service", "name": name} | _figures(rate, p95) | facts)


def _topic(name: str, rate: float, partitions: int, **more: Any) -> Node:
    facts = {"state": "ok", "tone": Tone.OK, "messages": int(rate * 900), "partitions": partitions} | more
    return Node.model_validate({"id": f"topic:{name}", "kind": "topic", "name": name} | _figures(rate, None) | facts)


def _group(name: str, service: str | None, rate: float, lag: int | None, p95: float, **more: Any) -> Node:
    facts = {"state": "ok", "tone": Tone.OK, "messages": int(rate * 900), "lag": lag, "service": service} | more
    return Node.model_validate({"id": f"group:{name}", "kind": "group", "name": name} | _figures(rate, p95) | facts)


def _figures(rate: float, p95: float | None) -> dict[str, Any]:
    return {"rate_per_s": rate, "error_share": 0.0, "p50_ms": p95 and p95 / 3, "p95_ms": p95}


def _edge(source: str, target: str, kind: str, rate: float, p95: float | None = 3.0, share: float = 0.0) -> Edge:
    return Edge(
        source=source,
        target=target,
        kind=kind,
        messages=int(rate * 900),
        errors=int(rate * 900 * share),
        rate_per_s=rate,
        error_share=share,
        p50_ms=p95 and p95 / 3,
        p95_ms=p95,
    )


def graph(now_ms: float, from_ms: float, to_ms: float) -> Graph:
    """The whole shop; rates sway a little with the time, so that a live map changes."""
    sway = 1 + 0.05 * math.sin(now_ms / 7_000)
    payments = {
        "state": "failing",
        "tone": Tone.FAIL,
        "reason": "payments-workers fails 6.2 % of orders",
        "since_ms": now_ms - 261 * MINUTE_MS,
        "error_share": 0.062,
        "errors": 22_850,
    }
    stuck = {
        "state": "stuck",
        "tone": Tone.STUCK,
        "reason": "shipping-stock stopped on stock/4 at offset 1 882 310",
        "since_ms": now_ms - 38.5 * MINUTE_MS,
    }
    unread = {
        "state": "unread",
        "tone": Tone.SLOW,
        "reason": "Nobody reads payments.dlq",
        "since_ms": now_ms - 260 * MINUTE_MS,
    }
    nodes = [
        _service("storefront", 412 * sway, 38),
        _service("orders", 411 * sway, 21),
        _service("payments", 436 * sway, 2_040, **payments),
        _service("inventory", 411 * sway, 47, error_share=0.0003, errors=110),
        _service("shipping", 385 * sway, 64),
        _service("notifications", 802 * sway, 180, error_share=0.0012, errors=860),
        _topic("orders", 412 * sway, 12),
        _topic("payments", 385 * sway, 12),
        _topic("payments.retry", 26 * sway, 3),
        _topic("payments.dlq", 8.7 * sway, 1, **unread),
        _topic("stock", 411 * sway, 6),
        _topic("shipments", 361 * sway, 6),
        _topic("notifications", 796 * sway, 6),
        _group("orders-intake", "orders", 411, 96, 21),
        _group("payments-workers", "payments", 410, 1_204, 2_040, **payments),
        _group("payments-retry", "payments", 26, 318, 2_000),
        _group("inventory-reserve", "inventory", 411, 88, 47),
        _group("shipping-payments", "shipping", 385, 140, 60),
        _group("shipping-stock", "shipping", 0, 41_208, 64, **stuck),
        _group("notify-mail", "notifications", 794, 512, 180),
        _group("notify-tracking", "notifications", 361, 60, 180),
        _group("warehouse-legacy", None, 405, 2_030, 0, p50_ms=None, p95_ms=None),
    ]
    sends = [
        ("storefront", "orders", 412.0),
        ("payments", "payments", 385),
        ("payments", "payments.retry", 26),
        ("payments", "payments.dlq", 8.7),
        ("inventory", "stock", 411),
        ("orders", "notifications", 411),
        ("shipping", "shipments", 361),
        ("shipping", "notifications", 385),
    ]
    reads: list[tuple[str, str, float, float | None, float]] = [
        ("orders", "orders-intake", 411, 21, 0),
        ("orders", "payments-workers", 410, 2_040, 0.062),
        ("orders", "inventory-reserve", 411, 47, 0.0003),
        ("payments.retry", "payments-retry", 26, 2_000, 0),
        ("payments", "shipping-payments", 385, 60, 0),
        ("stock", "shipping-stock", 393, None, 0),
        ("stock", "warehouse-legacy", 405, None, 0),
        ("shipments", "notify-tracking", 361, 180, 0),
        ("notifications", "notify-mail", 794, 180, 0.0012),
    ]
    edges = [_edge(f"service:{a}", f"topic:{b}", "send", rate * sway) for a, b, rate in sends]
    edges += [_edge(f"topic:{a}", f"group:{b}", "process", r * sway, p95, e) for a, b, r, p95, e in reads]
    edges += [_edge(n.id, f"service:{n.service}", "runs", n.rate_per_s or 0, None) for n in nodes if n.service]
    return Graph(
        version=str(int(now_ms)),
        from_ms=from_ms,
        to_ms=to_ms,
        nodes=nodes,
        edges=edges,
        broken=["group:payments-workers", "group:shipping-stock", "topic:payments.dlq"],
    )


def around(whole: Graph, focus: str, depth: int) -> Graph:
    """Only what is within `depth` edges of a node."""
    near = {focus}
    for _ in range(depth):
        near |= {i for e in whole.edges for i in (e.source, e.target) if e.source in near or e.target in near}
    return whole.model_copy(
        update={
            "nodes": [n for n in whole.nodes if n.id in near],
            "edges": [e for e in whole.edges if e.source in near and e.target in near],
        }
    )


def series(now_ms: float, name: str, unit: str, value: Callable[[float], float | None]) -> Series:
    """60 points of the last hour; `value` gets 0 … 1."""
    return Series(
        name=name,
        unit=unit,
        points=[Point(time_ms=now_ms - (59 - i) * MINUTE_MS, value=value(i / 59)) for i in range(60)],
    )


def node_detail(whole: Graph, node_id: str, now_ms: float) -> NodeDetail:
    """A node of the graph with what it is connected to."""
    node = next(n for n in whole.nodes if n.id == node_id)
    edges = [e for e in whole.edges if node_id in (e.source, e.target)]
    ids = {e.source for e in edges} | {e.target for e in edges}
    lag = node.lag or 0
    shown = [
        series(now_ms, "handled", "1/s", lambda t: (node.rate_per_s or 0) * (1 + 0.05 * math.sin(t * 40))),
        series(now_ms, "failed", "share", lambda t: (node.error_share or 0) if t > 0.35 else 0.0),
    ]
    if node.p95_ms is not None:
        shown.append(series(now_ms, "p95", "ms", lambda t: (node.p95_ms or 0) * (1 if t > 0.35 else 0.1)))
    if node.lag is not None:
        shown.append(series(now_ms, "lag", "events", lambda t: max(40.0, lag * (t - 0.4) / 0.6)))
    broken = node.tone is Tone.FAIL
    return NodeDetail(
        node=node,
        edges=edges,
        neighbours=[n for n in whole.nodes if n.id in ids - {node_id}],
        series=shown,
        example_flow=summary(failed_flow(now_ms)) if node.tone is not Tone.OK else None,
        error=TIMEOUT if broken else None,
    )


# ── flows ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Story:
    """Writes the spans of a flow, one call a line."""

    def __init__(self, flow: str, began_ms: float) -> None:
        self.trace, self.began_ms = flow, began_ms
        self.spans: list[Span] = []

    def span(
        self,
        name: str,
        service: str,
        operation: str | None,
        begin_s: float,
        end_s: float,
        parent: str | None = None,
        at: Coordinates | None = None,
        **more: Any,
    ) -> str:
        """Add a span and return its id."""
        span_id = f"{len(self.spans) + 1:016x}"
        kinds = {"send": "producer", "process": "consumer", "receive": "client"}
        facts: dict[str, Any] = {
            "trace_id": self.trace,
            "span_id": span_id,
            "parent_span_id": parent if operation != "process" else None,
            "parent": parent,
            "name": name,
            "service": service,
            "kind": kinds.get(operation or "", "internal"),
            "operation": operation,
            "start_ms": self.began_ms + begin_s * 1000,
            "duration_ms": (end_s - begin_s) * 1000,
            "attributes": {"messaging.system": "kafka", "service.instance.id": f"{service}-0"},
        }
        if at is not None:
            facts |= {"topic": at.topic, "partition": at.partition, "offset": at.offset}
        self.spans.append(Span.model_validate(facts | more))
        return span_id

    def event(self, at: Coordinates, producer: str, span_id: str, key: str, *hops: Hop) -> Event:
        """The event that a send span wrote."""
        span = next(s for s in self.spans if s.span_id == span_id)
        return Event(
            coordinates=at,
            key=key,
            producer=producer,
            sent_ms=span.start_ms,
            acknowledged_ms=span.start_ms + span.duration_ms,
            trace_id=span.trace_id,
            span_id=span_id,
            groups=list(hops),
            flow=self.trace,
        )


def _hop_id(at: Coordinates, group: str | None) -> str:
    return f"{at}>{group or ''}"


def failed_flow(now_ms: float) -> Flow:
    """Order 81 204: charged three times in vain, over a retry topic, then dead-lettered where nobody reads."""
    began = now_ms - 258 * MINUTE_MS
    s = _Story(FAILED, began)
    key = "order 81204"
    at = {
        name: Coordinates(topic=topic, partition=p, offset=o)
        for name, topic, p, o in (
            ("order", "orders", 7, 918_244),
            ("note", "notifications", 2, 551_907),
            ("stock", "stock", 4, 1_871_022),
            ("retry1", "payments.retry", 1, 40_118),
            ("retry2", "payments.retry", 1, 40_391),
            ("dead", "payments.dlq", 0, 1_882),
        )
    }
    hour = 4.2095 * 3600
    path: dict[str, Any] = {"on_failing_path": True}
    bad: dict[str, Any] = path | {"is_error": True, "error": TIMEOUT}
    gate: dict[str, Any] = bad | {"kind": "client"}

    def work(name: str, group: str) -> dict[str, Any]:
        return {"hop": _hop_id(at[name], group), "group": group}

    root = s.span("POST /checkout", "storefront", None, 0, 0.042, **path)
    order = s.span("send orders", "storefront", "send", 0.030, 0.036, root, at["order"], **path)
    intake = s.span("process orders", "orders", "process", 0.051, 0.068, order, **work("order", "orders-intake"))
    note = s.span("send notifications", "orders", "send", 0.064, 0.067, intake, at["note"])
    s.span("process notifications", "notifications", "process", 0.094, 0.171, note, **work("note", "notify-mail"))
    reserve = s.span(
        "process orders", "inventory", "process", 0.049, 0.096, order, **work("order", "inventory-reserve")
    )
    s.span("UPDATE stock", "inventory", None, 0.053, 0.085, reserve, kind="client")
    stock = s.span("send stock", "inventory", "send", 0.090, 0.095, reserve, at["stock"])
    s.span("process stock", "shipping", "process", 0.118, 0.130, stock, **work("stock", "shipping-stock"))
    link = SpanLink(trace_id=FAILED, span_id=order, attributes={"messaging.destination.name": "orders"})
    charge1 = s.span(
        "process orders",
        "payments",
        "process",
        0.058,
        2.063,
        order,
        links=[link],
        events=[
            SpanEvent(
                time_ms=began + 2_061,
                name="exception",
                attributes={"exception.type": "GatewayTimeout", "exception.message": "no answer in 2 s"},
            )
        ],
        **bad,
        **work("order", "payments-workers"),
    )
    s.span("POST card-gateway/charge", "payments", None, 0.061, 2.061, charge1, **gate)
    retry1 = s.span("send payments.retry", "payments", "send", 2.061, 2.063, charge1, at["retry1"], **path)
    s.trace = RETRY_TRACE
    charge2 = s.span(
        "process payments.retry",
        "payments",
        "process",
        32.07,
        34.075,
        retry1,
        **bad,
        **work("retry1", "payments-retry"),
    )
    s.span("POST card-gateway/charge", "payments", None, 32.073, 34.073, charge2, **gate)
    retry2 = s.span("send payments.retry", "payments", "send", 34.073, 34.075, charge2, at["retry2"], **path)
    s.trace = LAST_TRACE
    charge3 = s.span(
        "process payments.retry",
        "payments",
        "process",
        hour,
        hour + 2.004,
        retry2,
        links=[SpanLink(trace_id=HEALTHY, span_id="00000000000000ff", attributes={"why": "replayed"})],
        **bad,
        **work("retry2", "payments-retry"),
    )
    s.span("POST card-gateway/charge", "payments", None, hour + 0.003, hour + 2.003, charge3, **gate)
    dead = s.span("send payments.dlq", "payments", "send", hour + 2.001, hour + 2.004, charge3, at["dead"], **path)
    s.trace = FAILED

    def hop(
        name: str,
        group: str | None,
        service: str | None,
        state: State,
        tone: Tone,
        sentence: str,
        sent_s: float,
        waits_s: float | None,
        works_s: float | None,
        caused: list[str] | None = None,
    ) -> Hop:
        failing = tone in (Tone.FAIL, Tone.SLOW)
        return Hop(
            id=_hop_id(at[name], group),
            coordinates=at[name],
            group=group,
            service=service,
            state=state,
            tone=tone,
            sentence=sentence,
            error=TIMEOUT if tone is Tone.FAIL else None,
            sent_ms=began + sent_s * 1000,
            in_kafka_ms=None if waits_s is None else waits_s * 1000,
            processing_ms=None if works_s is None else works_s * 1000,
            on_failing_path=failing,
            caused=[at[c] for c in caused or []],
            evidence=[Evidence(kind="span", text=f"a process span of {service or 'nobody'}: {sentence}")],
        )

    ok, bad_tone = Tone.OK, Tone.FAIL
    done, fail = State.PROCESSED, State.FAILED
    hops = [
        hop("order", "orders-intake", "orders", done, ok, "went well", 0.036, 0.015, 0.017, ["note"]),
        hop("order", "inventory-reserve", "inventory", done, ok, "went well", 0.036, 0.013, 0.047, ["stock"]),
        hop("note", "notify-mail", "notifications", done, ok, "went well", 0.067, 0.027, 0.077),
        hop("stock", "shipping-stock", "shipping", done, ok, "went well", 0.095, 0.023, 0.012),
        hop("order", "payments-workers", "payments", fail, bad_tone, "sent again", 0.036, 0.022, 2.005, ["retry1"]),
        hop("retry1", "payments-retry", "payments", fail, bad_tone, "sent again", 2.063, 30.007, 2.005, ["retry2"]),
        hop(
            "retry2",
            "payments-retry",
            "payments",
            State.DEAD_LETTERED,
            bad_tone,
            "the last attempt",
            34.075,
            hour - 34.075,
            2.004,
            ["dead"],
        ),
        hop(
            "dead",
            None,
            None,
            State.UNCONSUMED,
            Tone.SLOW,
            "no group is known for payments.dlq",
            hour + 2.004,
            None,
            None,
        ),
    ]
    senders = {
        "order": (order, "storefront"),
        "note": (note, "orders"),
        "stock": (stock, "inventory"),
        "retry1": (retry1, "payments"),
        "retry2": (retry2, "payments"),
        "dead": (dead, "payments"),
    }
    events = [s.event(at[name], who, span, key) for name, (span, who) in senders.items()]
    verdict = Verdict(
        flow=FAILED,
        state=State.DEAD_LETTERED,
        tone=Tone.FAIL,
        sentence="payments-workers could not charge order 81204: card-gateway timed out, three times.",
        consequence="The event lies in payments.dlq, which nobody reads. Stock is held; nothing was shipped.",
        coordinates=at["order"],
        hop_topic="orders",
        hop_group="payments-workers",
        service="payments",
        error=TIMEOUT,
        attempt=3,
        time_ms=began + 2_063,
        last_good=at["order"],
        last_good_service="storefront",
        next_step="See why card-gateway gives no answer within 2 s. Once it is well, send payments.dlq/0/1882 again.",
        evidence=[
            Evidence(
                kind="span", text="process span of payments-workers ended with GatewayTimeout", time_ms=began + 2_063
            ),
            Evidence(kind="link", text="payments.dlq/0/1882 links back to payments.retry/1/40391"),
        ],
        missing=["the broker lists no members, so who held the partition is not known"],
    )
    return Flow(
        id=FAILED,
        title=key,
        key=key,
        began_ms=began,
        ended_ms=began + (hour + 2.004) * 1000,
        trace_ids=[FAILED, RETRY_TRACE, LAST_TRACE],
        services=["storefront", "orders", "payments", "inventory", "shipping", "notifications"],
        verdict=verdict,
        events=events,
        hops=hops,
        spans=s.spans,
        bounds="up to 20 000 spans and 7 days",
    )


def short_flow(flow_id: str, state: State, tone: Tone, sentence: str, now_ms: float) -> Flow:
    """A flow of one event that came as far as `state`."""
    began = now_ms - 3 * MINUTE_MS
    s = _Story(flow_id, began)
    at = Coordinates(topic="orders", partition=3, offset=None if state is State.NOT_SENT else 918_300)
    failing = tone is not Tone.OK
    unsent: dict[str, Any] = {"is_error": True, "error": "RecordTooLarge"} if state is State.NOT_SENT else {}
    root = s.span("POST /checkout", "storefront", None, 0, 0.02, on_failing_path=failing)
    sent = s.span("send orders", "storefront", "send", 0.01, 0.014, root, at, on_failing_path=failing, **unsent)
    group = None if state in (State.UNCONSUMED, State.NOT_SENT) else "orders-intake"
    read = state in (State.PROCESSED, State.COMPLETE, State.CRASHED)
    hop = Hop(
        id=_hop_id(at, group),
        coordinates=at,
        group=group,
        service="orders" if read else None,
        state=State.PROCESSED if state is State.COMPLETE else state,
        tone=tone,
        sentence=sentence,
        sent_ms=began + 14,
        in_kafka_ms=12 if read else None,
        processing_ms=17 if read and state is not State.CRASHED else None,
        attempts=[Attempt(number=1, service="orders", polled_ms=began + 26)] if read else [],
        on_failing_path=failing,
    )
    if read and state is not State.CRASHED:
        s.span("process orders", "orders", "process", 0.026, 0.043, sent, hop=hop.id, group=group)
    elif read:
        s.span("poll orders", "orders", "receive", -0.4, 0.026, sent, group=group)
    return Flow(
        id=flow_id,
        title=f"order {flow_id[:4]}",
        key=f"order {flow_id[:4]}",
        began_ms=began,
        ended_ms=began + 43,
        trace_ids=[flow_id],
        services=["storefront", *(["orders"] if read else [])],
        verdict=Verdict(
            flow=flow_id,
            state=state,
            tone=tone,
            sentence=sentence,
            coordinates=at,
            hop_topic="orders",
            hop_group=group,
            time_ms=began + 14,
            next_step=None if state is State.COMPLETE else "Look at the group.",
        ),
        events=[s.event(at, "storefront", sent, "order", hop)],
        hops=[hop],
        spans=s.spans,
        gaps=["the poll of orders carried no context"] if state is State.CRASHED else [],
    )


def big_flow(now_ms: float, spans: int = 20_000) -> Flow:
    """A chain and fan of many spans, every 250th of them failed."""
    began = now_ms - 60 * MINUTE_MS
    s = _Story(BIG, began)
    parents: list[str] = []
    for i in range(spans):
        depth = i % 7
        bad: dict[str, Any] = {"is_error": True, "error": "boom"} if i % 250 == 249 else {}
        parent = parents[depth - 1] if depth else (parents[0] if parents else None)
        operation = ("process", "send", None)[i % 3]
        span = s.span(f"step {i}", f"service-{i % 9}", operation, i * 0.05, i * 0.05 + 0.3, parent, **bad)
        parents[depth:] = [span]
    return Flow(
        id=BIG,
        title="a large batch",
        began_ms=began,
        ended_ms=s.spans[-1].start_ms + 300,
        trace_ids=[BIG],
        services=[f"service-{i}" for i in range(9)],
        verdict=Verdict(flow=BIG, state=State.FAILED, tone=Tone.FAIL, sentence="step 249 failed: boom."),
        spans=s.spans,
        truncated=True,
        bounds="20 000 spans is the most that is stitched.",
    )


def flows(now_ms: float) -> dict[str, Flow]:
    """Every flow by its id; trace ids of the failed one lead to it too."""
    short = [
        (HEALTHY, State.COMPLETE, Tone.OK, "Every group that reads it processed it."),
        (WAITING, State.WAITING, Tone.QUIET, "orders/3/918300 waits for orders-intake, 12 events before it."),
        (CRASHED, State.CRASHED, Tone.FAIL, "orders-intake polled orders/3/918300 and was never heard of again."),
        (UNREAD, State.UNCONSUMED, Tone.SLOW, "No group is known for orders."),
        (NOT_SENT, State.NOT_SENT, Tone.FAIL, "storefront could not send to orders: the record is too large."),
    ]
    made = {flow_id: short_flow(flow_id, state, tone, text, now_ms) for flow_id, state, tone, text in short}
    failed = failed_flow(now_ms)
    return {FAILED: failed, RETRY_TRACE: failed, LAST_TRACE: failed, **made}


def summary(flow: Flow) -> FlowSummary:
    """The line of the search for a flow."""
    return FlowSummary(
        id=flow.id,
        title=flow.title,
        key=flow.key,
        began_ms=flow.began_ms,
        duration_ms=None if flow.ended_ms is None else flow.ended_ms - flow.began_ms,
        first_service=flow.services[0],
        first_topic="orders",
        services=flow.services,
        events=len(flow.events),
        spans=len(flow.spans),
        state=flow.verdict.state,
        tone=flow.verdict.tone,
        sentence=flow.verdict.sentence,
    )


# ── lag and health ──────────────────────────────────────────────────────────────────────────────────────────


def lag(now_ms: float) -> LagList:
    """Ten groups, worst first."""
    stuck, slow, quiet, ok = Tone.STUCK, Tone.SLOW, Tone.QUIET, Tone.OK
    rows: list[tuple[str, str, str, Tone, str, int | None, float | None, float | None, float]] = [
        ("shipping-stock", "stock", "stuck", stuck, "stock/4 stands at 1 882 310", 41_208, 2_310_000, None, 0),
        ("payments-workers", "orders", "growing", stuck, "consumes 411/s, 412/s arrive", 1_204, 3_100, None, 411),
        (
            "warehouse-legacy",
            "stock",
            "lagging",
            slow,
            "two of six partitions carry 81 % of the lag",
            2_030,
            6_200,
            58_000,
            405,
        ),
        ("analytics-mirror", "payments", "no_commit", quiet, "no commit seen yet", None, None, None, 0),
        ("payments-retry", "payments.retry", "ok", ok, "", 318, 31_000, 12_000, 26),
        ("notify-mail", "notifications", "ok", ok, "", 512, 1_300, 4_000, 794),
        ("shipping-payments", "payments", "ok", ok, "", 140, 400, 400, 385),
        ("orders-intake", "orders", "ok", ok, "", 96, 200, 200, 411),
    ]
    groups = []
    for name, topic, state, tone, reason, behind, oldest, drain, rate in rows:
        grows = state in ("stuck", "growing")
        groups.append(
            GroupLag(
                group=name,
                cluster_id="demo",
                service=name.split("-")[0],
                state=state,
                tone=tone,
                reason=reason,
                members=None if name == "analytics-mirror" else 3,
                topics=[topic],
                lag=behind,
                no_commit=6 if behind is None else 0,
                consumed_per_s=rate,
                produced_per_s=412.0,
                time_to_drain_ms=drain,
                oldest_ms=oldest,
                partitions=[
                    PartitionLag(
                        topic=topic,
                        partition=p,
                        committed=None if behind is None else 1_882_310,
                        log_start=0,
                        log_end=1_882_310 + (behind or 0) // (1 if p == 4 else 400),
                        lag=None if behind is None else behind // (1 if p == 4 else 400),
                        lost=0,
                        committed_at_ms=None if behind is None else now_ms - (38.5 * MINUTE_MS if p == 4 else 400),
                    )
                    for p in range(6)
                ],
                trend=series(
                    now_ms,
                    "lag",
                    "events",
                    lambda t, most=behind, up=grows: (  # type: ignore[misc]
                        None
                        if most is None
                        else max(40.0, most * (t - 0.35) / 0.65)
                        if up
                        else most * (1 + 0.2 * math.sin(t * 60))
                    ),
                ),
            )
        )
    return LagList(groups=groups, polled_at_ms=now_ms - 2_000, note="The broker lists no members of groups.")


def health(stored_spans: int) -> Health:
    """A collector that is well."""
    return Health(
        version="0.1.0",
        ready=True,
        received_requests=stored_spans // 10,
        duplicate_requests=0,
        rejected_requests={},
        set_aside_requests=0,
        journal_bytes=1_000_000,
        journal_requests=3,
        stored_spans=stored_spans,
        readers=[],
    )
