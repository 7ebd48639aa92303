"""The HTTP API over a real store: every path answers, says what is missing, and refuses what makes no sense."""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.routing import Route

from flowtrail.collector.api import app as api_app
from flowtrail.collector.api.answers import Event, Flow, FlowList, Graph, GroupLag, Health, LagList, NodeDetail, Verdict
from flowtrail.collector.api.app import make_app
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import Store, StoreError, TookTooLong, open_store

from .asking import ask, told
from .scenes import NOON_MS, Scene
from .spans import Made

HEALTHY = Health(
    version="0",
    ready=True,
    received_requests=1,
    duplicate_requests=0,
    rejected_requests={},
    set_aside_requests=0,
    journal_bytes=0,
    journal_requests=0,
    stored_spans=1,
    readers=[],
)


class Shop:
    """A healthy order, a dead-lettered one, and the API that tells of them a minute later."""

    def __init__(self, store: Store) -> None:
        self.scene = Scene(store)
        world = self.scene.world
        self.good = self._order("9", None)
        self.bad = self._order("81204", ("GatewayTimeout", "no answer in 2 s"))
        self.now_ms = world.now_ms + 20_000
        self.scene.commit("payments-workers", "orders", 2)
        self.scene.log("orders", 0, 2)
        self.scene.lists_no_members("payments-workers")
        self.scene.load()
        self.app = make_app(store, Settings(), lambda: HEALTHY, clock_s=lambda: self.now_ms / 1000)

    def _order(self, key: str, error: tuple[str, str] | None) -> Made:
        world = self.scene.world
        checkout = world.span("storefront", "POST /checkout")
        order = world.send("storefront", "orders", key=key, parent=checkout)
        with world.process("payments", "payments-workers", order, error=error) as work:
            sent = world.send("payments", "payments.dlq" if error else "payments", key=key, parent=work)
        if not error:
            world.handled("shipping", "shipping", sent)
        return order


@pytest.fixture(scope="module")
def shop(store_dsn: str) -> Iterator[Shop]:
    store = open_store(store_dsn, "test_api")
    yield Shop(store)
    store.close()


def test_the_graph_knows_who_talks_to_whom(shop: Shop) -> None:
    graph = Graph.model_validate(told(shop.app, "/v1/graph"))
    edges = {(edge.source, edge.kind, edge.target): edge.messages for edge in graph.edges}
    assert edges["service:storefront", "send", "topic:orders"] == 2
    assert edges["topic:orders", "process", "group:payments-workers"] == 2
    assert edges["group:payments-workers", "runs", "service:payments"] == 2
    nodes = {node.id: node for node in graph.nodes}
    assert nodes["group:payments-workers"].state == "failing"
    assert nodes["group:payments-workers"].lag == 0
    assert nodes["topic:payments.dlq"].state == "unread"
    assert nodes["topic:orders"].partitions == 1
    assert graph.broken[-1] == "topic:payments.dlq"


def test_the_graph_around_a_node_leaves_out_what_is_further_away(shop: Shop) -> None:
    graph = Graph.model_validate(told(shop.app, "/v1/graph?focus=topic:payments&depth=1"))
    assert {node.id for node in graph.nodes} == {"topic:payments", "service:payments", "group:shipping"}


def test_a_graph_compared_with_an_hour_ago_says_what_appeared(shop: Shop) -> None:
    graph = Graph.model_validate(told(shop.app, f"/v1/graph?compare_to={NOON_MS - 3_600_000}"))
    assert {node.change for node in graph.nodes} == {"appeared"}


def test_a_graph_compared_with_the_future_says_what_vanished(shop: Shop) -> None:
    later = f"/v1/graph?from={NOON_MS + 7_200_000}&to={NOON_MS + 7_300_000}&compare_to={NOON_MS + 50_000}"
    graph = Graph.model_validate(told(shop.app, later))
    assert {node.change for node in graph.nodes if node.kind == "service"} == {"vanished"}


def test_an_unchanged_graph_is_not_sent_again(shop: Shop) -> None:
    first = ask(shop.app, "/v1/graph")
    again = ask(shop.app, "/v1/graph", {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ask(shop.app, "/v1/graph", {"If-None-Match": '"older"'}).status_code == 200


def test_a_node_tells_its_neighbours_its_last_hour_and_a_broken_flow(shop: Shop) -> None:
    node = NodeDetail.model_validate(told(shop.app, "/v1/nodes/" + quote("group:payments-workers", safe="")))
    assert {one.id for one in node.neighbours} == {"topic:orders", "service:payments"}
    assert [series.name for series in node.series] == ["handled", "failed", "p95", "lag"]
    assert node.example_flow is not None
    assert node.example_flow.id == shop.bad.trace_id
    assert node.error == "GatewayTimeout: no answer in 2 s"


def test_every_node_of_the_graph_has_a_page(shop: Shop) -> None:
    for node in Graph.model_validate(told(shop.app, "/v1/graph")).nodes:
        assert NodeDetail.model_validate(told(shop.app, "/v1/nodes/" + quote(node.id, safe=""))).node.id == node.id


@pytest.mark.parametrize("q", ["81204", "key=81204", "orders/0/1", "messaging.kafka.message.key=81204", "TRACE"])
def test_a_flow_is_found_by_key_attribute_coordinates_and_trace_id(shop: Shop, q: str) -> None:
    text = shop.bad.trace_id.upper() if q == "TRACE" else q
    found = FlowList.model_validate(told(shop.app, f"/v1/flows?q={quote(text)}"))
    assert [flow.id for flow in found.flows] == [shop.bad.trace_id]


@pytest.mark.parametrize(
    ("query", "orders"),
    [
        ("", ["81204", "9"]),
        ("limit=1", ["81204"]),
        ("state=dead_lettered", ["81204"]),
        ("state=fail", ["81204"]),
        ("state=complete", ["9"]),
        ("topic=payments", ["9"]),
        ("service=shipping", ["9"]),
        ("topic=payments.dlq&service=payments", ["81204"]),
        ("q=nothing-like-it", []),
        (f"to={NOON_MS - 1}", []),
    ],
)
def test_the_search_filters_and_puts_the_latest_first(shop: Shop, query: str, orders: list[str]) -> None:
    found = FlowList.model_validate(told(shop.app, f"/v1/flows?{query}"))
    assert [flow.key for flow in found.flows] == orders
    assert found.truncated is (query == "limit=1")


def test_a_batch_that_sent_nothing_is_a_hop_of_its_events_flows_and_no_flow_of_its_own(store: Store) -> None:
    scene = Scene(store)
    world = scene.world
    orders = [world.send("storefront", "orders", key=key) for key in ("7", "8")]
    with world.process("invoices", "invoices", orders):
        pass
    scene.load()
    app = make_app(store, Settings(), lambda: HEALTHY, clock_s=lambda: world.now_ms / 1000 + 20)
    assert {flow.key for flow in FlowList.model_validate(told(app, "/v1/flows")).flows} == {"7", "8"}
    found = FlowList.model_validate(told(app, "/v1/flows?q=7")).flows
    assert [flow.id for flow in found] == [orders[0].trace_id]


def test_where_only_a_poll_is_known_time_in_kafka_lasts_until_it_handed_the_event_out(store: Store) -> None:
    scene = Scene(store)
    world = scene.world
    order = world.send("storefront", "orders")
    world.wait(500)
    poll = world.poll("audit", "audit", [order])
    poll.otlp.start_time_unix_nano -= 60 * 10**9
    scene.load()
    app = make_app(store, Settings(), lambda: HEALTHY, clock_s=lambda: world.now_ms / 1000 + 20)
    [hop] = Flow.model_validate(told(app, f"/v1/flows/{order.trace_id}")).hops
    assert hop.in_kafka_ms == pytest.approx(503, abs=1), "a poll that waited a minute began before the event was sent"


def test_a_flow_holds_its_events_hops_and_spans_as_one_tree(shop: Shop) -> None:
    flow = Flow.model_validate(told(shop.app, f"/v1/flows/{shop.good.trace_id}"))
    assert (flow.title, flow.key) == ("9 · orders", "9")
    assert [str(event.coordinates) for event in flow.events] == ["orders/0/0", "payments/0/0"]
    assert len(flow.trace_ids) == 4
    known = {span.span_id for span in flow.spans}
    assert [span.name for span in flow.spans if span.parent is None] == ["POST /checkout"]
    assert all(span.parent in known for span in flow.spans if span.parent is not None)
    assert flow.ended_ms is not None
    assert not flow.truncated
    assert "20000 spans" in flow.bounds


def test_any_trace_id_of_a_flow_leads_to_the_same_flow(shop: Shop) -> None:
    flow = Flow.model_validate(told(shop.app, f"/v1/flows/{shop.good.trace_id}"))
    assert {told(shop.app, f"/v1/flows/{trace_id}")["id"] for trace_id in flow.trace_ids} == {flow.id}


def test_why_names_the_failing_hop_and_the_failing_path_is_marked(shop: Shop) -> None:
    verdict = Verdict.model_validate(told(shop.app, f"/v1/flows/{shop.bad.trace_id}/why"))
    assert (verdict.state, verdict.hop_topic, verdict.hop_group) == ("dead_lettered", "orders", "payments-workers")
    flow = Flow.model_validate(told(shop.app, f"/v1/flows/{shop.bad.trace_id}"))
    marked = {span.name for span in flow.spans if span.on_failing_path}
    assert marked == {"POST /checkout", "send orders", "process orders", "send payments.dlq"}
    assert [hop.on_failing_path for hop in flow.hops] == [True, True]


def test_an_event_tells_every_groups_state_and_its_flow(shop: Shop) -> None:
    event = Event.model_validate(told(shop.app, "/v1/events/orders/0/0"))
    assert (event.key, event.producer, event.flow) == ("9", "storefront", shop.good.trace_id)
    assert [(hop.group, hop.state) for hop in event.groups] == [("payments-workers", "processed")]


@pytest.mark.parametrize(
    ("bootstrap_servers", "told_of"), [("", "No broker is polled"), ("127.0.0.1:9092", "no group and no topic yet")]
)
def test_lag_of_nothing_says_whether_a_broker_is_polled(store: Store, bootstrap_servers: str, told_of: str) -> None:
    app = make_app(store, Settings(bootstrap_servers=bootstrap_servers), lambda: HEALTHY)
    assert told_of in (LagList.model_validate(told(app, "/v1/lag")).note or "")


def test_lag_lists_every_group_worst_first(shop: Shop) -> None:
    lag = LagList.model_validate(told(shop.app, "/v1/lag"))
    assert {group.group: group.lag for group in lag.groups} == {"payments-workers": 0, "shipping": None}
    assert lag.polled_at_ms is not None
    assert lag.note == "This broker does not list the members of groups."
    one = GroupLag.model_validate(told(shop.app, "/v1/lag/payments-workers"))
    assert (one.state, one.members) == ("ok", None)


def test_health_and_readiness_are_the_collectors_own(shop: Shop) -> None:
    assert Health.model_validate(told(shop.app, "/v1/health")) == HEALTHY
    assert told(shop.app, "/healthz") == {"alive": True}
    assert ask(shop.app, "/readyz").status_code == 200


def test_a_collector_that_is_not_ready_says_so_with_503(store: Store) -> None:
    full = HEALTHY.model_copy(update={"ready": False, "reason": "the journal is full"})
    response = ask(make_app(store, Settings(), lambda: full), "/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, "the journal is full")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/flows/" + "0" * 32,
        "/v1/flows/" + "0" * 32 + "/why",
        "/v1/events/orders/0/999",
        "/v1/events/orders/0/0?cluster=another",
        "/v1/nodes/topic:nothing",
        "/v1/graph?focus=topic:nothing",
        "/v1/lag/nobody",
        "/v1/nothing",
    ],
)
def test_what_is_not_there_is_404_with_what_to_do(shop: Shop, path: str) -> None:
    if "cluster" in path:
        event = told(shop.app, "/v1/events/orders/0/0")
        assert event["coordinates"]["cluster_id"] is None, "an unknown cluster fits any"
        return
    response = ask(shop.app, path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.json()["detail"]) > 20


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/graph?from=soon", "from"),
        ("/v1/graph?from=2&to=1", "from"),
        ("/v1/graph?from=nan", "from"),
        ("/v1/graph?depth=1.5", "depth"),
        ("/v1/graph?since=1", "since"),
        ("/v1/flows?state=broken", "state"),
        ("/v1/flows?limit=0", "limit"),
        ("/v1/flows?q=%00", "q"),
        ("/v1/flows/zz", "id"),
        ("/v1/events/orders/0/99999999999999999999", "offset"),
        ("/v1/lag?group=a", "group"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(shop: Shop, path: str, name: str) -> None:
    response = ask(shop.app, path)
    assert response.status_code == 400
    assert name in response.json()["detail"]


def test_a_store_that_does_not_answer_is_503_and_no_stack_trace(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreError("disk on fire at /secret/path")

    monkeypatch.setattr(shop.scene.store, "query", broken)
    response = ask(shop.app, "/v1/flows")
    assert response.status_code == 503
    assert "secret" not in response.text


def test_a_question_that_takes_too_long_is_504_and_says_what_to_do(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> None:
        raise TookTooLong("a query took longer than 30 s")

    monkeypatch.setattr(shop.scene.store, "query", slow)
    response = ask(shop.app, "/v1/flows")
    assert response.status_code == 504
    assert "shorter time" in response.json()["detail"]


def test_health_is_answered_while_a_hanging_store_holds_every_question(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def hang(*_: object) -> None:
        assert go.wait(60)
        raise StoreError("it hung")

    async def all_at_once() -> tuple[list[int], list[int]]:
        transport = httpx.ASGITransport(app=shop.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
            questions = [asyncio.create_task(client.get("/v1/flows")) for _ in range(50)]
            try:
                well = [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]
                assert not any(question.done() for question in questions)
            finally:
                go.set()
            return well, [(await question).status_code for question in questions]

    monkeypatch.setattr(shop.scene.store, "query", hang)
    well, questions = asyncio.run(all_at_once())
    assert well == [200, 200]
    assert set(questions) == {503}


def test_a_collector_that_cannot_say_how_it_is_is_not_ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def hang() -> Health:
        assert go.wait(60)
        return HEALTHY

    monkeypatch.setattr(api_app, "READY_WITHIN_S", 0.05)
    try:
        response = ask(make_app(store, Settings(), hang), "/readyz")
    finally:
        go.set()
    assert (response.status_code, response.json()["title"]) == (503, "Not ready")


def test_writing_is_refused(shop: Shop) -> None:
    response = ask(shop.app, "/v1/graph", method="POST")
    assert (response.status_code, response.json()["title"]) == (405, "Method Not Allowed")


def test_large_answers_are_compressed_for_those_who_ask(shop: Shop) -> None:
    response = ask(shop.app, f"/v1/flows/{shop.good.trace_id}", {"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"


def test_the_description_names_every_path_and_every_way_to_fail(shop: Shop) -> None:
    described = told(shop.app, "/openapi.json")["paths"]
    served = {re.sub(r":\w+", "", route.path) for route in shop.app.routes if isinstance(route, Route)}
    assert set(described) == served - {"/openapi.json", "/metrics"}  # the latter is Prometheus' own format
    for path, operations in described.items():
        if path.startswith("/v1/"):
            assert {"200", "400", "500", "503", "504"} <= set(operations["get"]["responses"])
    assert set(described["/readyz"]["get"]["responses"]) == {"200", "503"}


def test_the_api_keeps_to_its_description(shop: Shop) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", shop.app)
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok), operation

        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.ok().as_strategy())
        def holds(case: schemathesis.Case[Any]) -> None:
            response = case.call()
            # A range whose begin lies after its end fits the schema and makes no sense.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            assert response.status_code < 500

        holds()
