"""The graph from counts: who is failing, stuck or unread, and what changed."""

from flowtrail.collector.api.answers import Graph, GroupLag, Node, PartitionLag, Series, Tone
from flowtrail.collector.flows.rows import LogRow
from flowtrail.collector.graph.change import compare
from flowtrail.collector.graph.topology import Seen, around, build, quantile
from flowtrail.collector.store.queries import CallCount, EdgeCount, duration_of_bucket

TO_MS = 1_000_000.0
FROM_MS = 100_000.0


def count(
    service: str, operation: str, topic: str, group: str = "", messages: int = 10, errors: int = 0, bucket: int = 80
) -> EdgeCount:
    return EdgeCount(service, operation, topic, group, messages, errors, {bucket: messages}, FROM_MS, TO_MS - 1000)


def lag_of(group: str, state: str, reason: str, lag: int | None = 5) -> GroupLag:
    return GroupLag(
        group=group,
        cluster_id=None,
        state=state,
        tone=Tone.STUCK,
        reason=reason,
        members=None,
        topics=["orders"],
        lag=lag,
        no_commit=0,
        trend=Series(name="lag", unit="events", points=[]),
    )


def standing_since(committed_at_ms: float, oldest_ms: float) -> GroupLag:
    """A lag whose one partition last moved at that time, and whose oldest event has waited for that long."""
    row = PartitionLag(
        topic="orders",
        partition=0,
        committed=5,
        log_start=0,
        log_end=10,
        lag=5,
        lost=0,
        committed_at_ms=committed_at_ms,
    )
    return lag_of("legacy", "stuck", "It stands.").model_copy(update={"partitions": [row], "oldest_ms": oldest_ms})


def graph_of(*edges: EdgeCount, recent: bool = True, **more: object) -> Graph:
    return build(Seen(FROM_MS, TO_MS, edges, edges if recent else (), **more))  # type: ignore[arg-type]


def node(graph: Graph, node_id: str) -> Node:
    return next(one for one in graph.nodes if one.id == node_id)


ORDERS = (count("storefront", "send", "orders"), count("payments", "process", "orders", "workers"))


def test_a_healthy_path_is_ok_and_nothing_is_broken() -> None:
    graph = graph_of(*ORDERS)
    assert {one.state for one in graph.nodes} == {"ok"}
    assert graph.broken == []
    assert [(edge.source, edge.kind, edge.target) for edge in graph.edges] == [
        ("group:workers", "runs", "service:payments"),
        ("service:storefront", "send", "topic:orders"),
        ("topic:orders", "process", "group:workers"),
    ]


def test_polls_are_an_edge_only_where_nothing_is_processed() -> None:
    graph = graph_of(
        *ORDERS, count("payments", "receive", "orders", "workers"), count("audit", "receive", "orders", "a")
    )
    kinds = {(edge.target, edge.kind) for edge in graph.edges if edge.source == "topic:orders"}
    assert kinds == {("group:workers", "process"), ("group:a", "receive")}
    assert next(edge.messages for edge in graph.edges if edge.target == "group:workers") == 10


def test_a_reader_that_does_not_say_its_group_is_its_service() -> None:
    graph = graph_of(ORDERS[0], count("legacy", "process", "orders"))
    assert ("topic:orders", "service:legacy") in {(edge.source, edge.target) for edge in graph.edges}


def test_recent_failures_make_group_and_service_failing_and_say_how_many() -> None:
    graph = graph_of(ORDERS[0], count("payments", "process", "orders", "workers", messages=100, errors=6))
    assert node(graph, "group:workers").state == "failing"
    assert node(graph, "group:workers").reason == "workers fails 6\u202f% of orders in the last five minutes."
    assert node(graph, "service:payments").state == "failing"
    assert graph.broken == ["group:workers"], "one trouble is told once"


def test_a_group_that_is_called_like_its_service_is_broken_too() -> None:
    graph = graph_of(ORDERS[0], count("payments", "process", "orders", "payments", messages=100, errors=6))
    assert graph.broken == ["group:payments"]


def test_the_wait_of_a_poll_is_nobodys_slowness() -> None:
    graph = graph_of(ORDERS[0], count("audit", "receive", "orders", "audit", bucket=140))
    assert node(graph, "group:audit").p95_ms is None
    assert node(graph, "service:audit").p95_ms is None
    assert {edge.p95_ms for edge in graph.edges if edge.source in ("topic:orders", "group:audit")} == {None}


def test_one_failure_in_ten_thousand_does_not_make_a_node_failing() -> None:
    graph = graph_of(ORDERS[0], count("payments", "process", "orders", "workers", messages=10_000, errors=1))
    assert graph.broken == []


def test_failures_of_an_hour_ago_are_over() -> None:
    failed = count("payments", "process", "orders", "workers", errors=5)
    assert graph_of(ORDERS[0], failed, recent=False).broken == []


def test_refused_sends_make_the_producer_failing() -> None:
    graph = graph_of(count("storefront", "send", "orders", errors=1), ORDERS[1])
    told = "storefront could not send 10\u202f% of its events to orders in the last five minutes."
    assert node(graph, "service:storefront").reason == told


def test_a_group_is_stuck_since_its_last_commit_but_no_longer_than_its_oldest_event_has_waited() -> None:
    quiet_before = graph_of(*ORDERS, lags=[standing_since(TO_MS - 90_000, oldest_ms=20_000)])
    assert node(quiet_before, "group:legacy").since_ms == TO_MS - 20_000
    fell_behind = graph_of(*ORDERS, lags=[standing_since(TO_MS - 30_000, oldest_ms=60_000)])
    assert node(fell_behind, "group:legacy").since_ms == TO_MS - 30_000


def test_a_group_whose_lag_stands_still_is_stuck_and_has_its_edge_without_any_span() -> None:
    graph = graph_of(ORDERS[0], lags=[lag_of("legacy", "no_member", "It has no members; 5 events wait.")])
    stuck = node(graph, "group:legacy")
    assert (stuck.state, stuck.tone, stuck.lag) == ("stuck", Tone.STUCK, 5)
    assert ("topic:orders", "group:legacy") in {(edge.source, edge.target) for edge in graph.edges}


def test_a_topic_that_nobody_reads_is_unread_and_a_dead_letter_topic_more_quietly_so() -> None:
    graph = graph_of(*ORDERS, count("a", "send", "audit"), count("a", "send", "orders.dlq"))
    assert (node(graph, "topic:audit").state, node(graph, "topic:audit").tone) == ("unread", Tone.SLOW)
    assert (node(graph, "topic:orders.dlq").state, node(graph, "topic:orders.dlq").tone) == ("unread", Tone.QUIET)
    assert graph.broken == ["topic:audit", "topic:orders.dlq"]


def test_a_topic_that_was_read_before_this_range_is_not_unread() -> None:
    graph = graph_of(count("a", "send", "audit"), read=frozenset({"audit"}))
    assert node(graph, "topic:audit").state == "ok"


def test_partitions_and_calls_are_told() -> None:
    logs = [LogRow("orders", number, 0, 1, TO_MS) for number in range(3)]
    graph = graph_of(*ORDERS, logs=logs, calls=[CallCount("payments", "gateway", 9, 1, 2.0, 3.0, TO_MS)])
    assert node(graph, "topic:orders").partitions == 3
    call = next(edge for edge in graph.edges if edge.kind == "call")
    assert (call.source, call.target, call.errors, call.p95_ms) == ("service:payments", "service:gateway", 1, 3.0)


def test_a_young_service_has_the_rate_of_its_own_time() -> None:
    young = EdgeCount("a", "send", "orders", "", 100, 0, {}, TO_MS - 20_000, TO_MS)
    rate = node(graph_of(young), "service:a").rate_per_s
    assert rate is not None
    assert 3 < rate < 6


def test_the_version_is_the_contents_own() -> None:
    assert graph_of(*ORDERS).version == graph_of(*ORDERS).version
    assert graph_of(*ORDERS).version != graph_of(ORDERS[0]).version


def test_what_is_around_a_node_goes_both_ways_and_keeps_to_the_depth() -> None:
    graph = graph_of(*ORDERS)
    near = around(graph, "topic:orders", 1)
    assert near is not None
    assert {one.id for one in near.nodes} == {"topic:orders", "service:storefront", "group:workers"}
    assert around(graph, "topic:nothing", 1) is None


def test_changes_are_what_appeared_vanished_and_got_slower() -> None:
    slow = count("payments", "process", "orders", "workers", messages=100, bucket=96)
    fast = count("payments", "process", "orders", "workers", messages=100)
    changed = compare(graph_of(fast, count("old", "send", "orders")), graph_of(slow, count("new", "send", "orders")))
    changes = {one.id: one.change for one in changed.nodes}
    assert changes["group:workers"] == "slower"
    assert (changes["service:new"], changes["service:old"]) == ("appeared", "vanished")
    assert changes["topic:orders"] is None


def test_quantiles_of_buckets_are_within_a_tenth() -> None:
    assert quantile({}, 0.5) is None
    ten_ms = duration_of_bucket(int(4 * 23.253))  # log2 of ten million ns
    assert abs(ten_ms - 10) < 1
    assert quantile({80: 90, 100: 10}, 0.5) == duration_of_bucket(80)
    assert quantile({80: 90, 100: 10}, 0.95) == duration_of_bucket(100)
