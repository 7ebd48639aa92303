"""The end of a client, or its rebalance, is about no event: no hop, no edge, no flow and no failure comes of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette

from flowtrail.collector.api.answers import FlowList, Graph, State
from flowtrail.collector.api.app import make_app
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import Store, open_store
from flowtrail.tracer import attributes as names

from .asking import told
from .scenes import SILENT_AFTER_MS, Scene, emptied
from .test_api import HEALTHY

TIMED_OUT = ("KafkaTimeoutError", "no answer before the timeout")
LATER_MS = 3 * SILENT_AFTER_MS


@pytest.fixture(scope="module")
def one_store(store_dsn: str) -> Iterator[Store]:
    opened = open_store(store_dsn, "test_closes")
    yield opened
    opened.close()


@pytest.fixture
def scene(one_store: Store) -> Scene:
    return Scene(emptied(one_store))


def asked(scene: Scene) -> Starlette:
    """The API, as it tells of what happened so far."""
    scene.load()
    now_s = (scene.world.now_ms + LATER_MS) / 1000
    return make_app(scene.store, Settings(), lambda: HEALTHY, clock_s=lambda: now_s)


def drawn(scene: Scene) -> tuple[set[Any], dict[str, str]]:
    """The edges of the map with their counts, and its nodes with their states."""
    graph = Graph.model_validate(told(asked(scene), "/v1/graph"))
    edges = {(edge.source, edge.kind, edge.target, edge.messages, edge.errors) for edge in graph.edges}
    return edges, {node.id: node.state for node in graph.nodes}


def test_a_close_draws_nothing_on_the_map_and_breaks_nothing(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.handled("payments", "payments-workers", order)
    before = drawn(scene)
    scene.world.close("payments", "payments-workers", error=TIMED_OUT)
    assert drawn(scene) == before


def test_a_close_is_no_attempt_at_an_event(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.handled("payments", "payments-workers", order)
    scene.world.close("payments", "payments-workers", error=TIMED_OUT)
    flow = scene.flow(order, LATER_MS)
    assert [(hop.group, hop.state, len(hop.attempts)) for hop in flow.hops] == [
        ("payments-workers", State.PROCESSED, 1)
    ]
    assert flow.verdict.state is State.COMPLETE


@pytest.mark.parametrize(
    ("query", "examined"),
    [("", 0), ("?service=payments", 0), ("?state=failed", 1), ("?q=messaging.system%3Dkafka", 2)],
)
@pytest.mark.parametrize("operation", [names.CLOSE, names.REBALANCE])
def test_neither_a_close_nor_a_rebalance_is_a_flow_of_its_own(
    scene: Scene, query: str, examined: int, operation: tuple[str, str]
) -> None:
    scene.world.close("payments", "payments-workers", operation=operation)
    scene.world.close("payments", "payments-workers", operation=operation, error=TIMED_OUT)
    found = FlowList.model_validate(told(asked(scene), f"/v1/flows{query}"))
    assert (found.flows, found.examined) == ([], examined)


def test_a_close_that_failed_at_the_end_of_a_job_is_one_of_its_spans_and_no_failure_of_its_events(scene: Scene) -> None:
    job = scene.world.span("storefront", "nightly")
    order = scene.world.send("storefront", "orders", parent=job)
    scene.world.handled("payments", "payments-workers", order)
    scene.world.close("storefront", "pickers", parent=job, error=TIMED_OUT)
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.state is State.COMPLETE
    (close,) = [span for span in flow.spans if span.name == "close"]
    assert (close.operation, close.is_error) == (None, True)
    assert [event.name for event in close.events] == [names.REVOKE_EVENT, "exception"]


def test_a_close_whose_parent_is_missing_is_not_the_failure_that_a_flow_began_with(scene: Scene) -> None:
    job = scene.world.span("storefront", "nightly")
    scene.world.close("storefront", "pickers", parent=job, error=TIMED_OUT)
    order = scene.world.send("storefront", "orders", parent=job)
    scene.world.spans.remove(job)
    scene.world.handled("payments", "payments-workers", order)
    assert scene.flow(order, LATER_MS).verdict.state is State.COMPLETE
