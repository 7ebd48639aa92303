"""Flows out of the store: many at once appear whole, a giant is cut and says so, and clusters are told apart."""

import pytest

from flowtrail.collector.api.answers import State
from flowtrail.collector.flows import lookup as lookups
from flowtrail.collector.flows.rows import Place
from flowtrail.collector.flows.search import Search, search
from flowtrail.collector.flows.stitching import Bounds
from flowtrail.collector.flows.story import tell_event
from flowtrail.collector.store.connection import Store

from .scenes import NOON_MS, Scene
from .spans import Made, World, forwarded

HOUR_MS = 3_600_000


def work(scene: Scene, spans: int) -> str:
    """The id of a flow of so many spans in one trace."""
    root = scene.world.span("storefront", "POST /checkout")
    for number in range(spans - 1):
        scene.world.span("storefront", f"step {number}", parent=root)
    return root.trace_id


def test_sixty_flows_of_fifty_spans_all_appear_whole(store: Store) -> None:
    scene = Scene(store)
    ids = {work(scene, 50) for _ in range(60)}
    scene.load()
    asked = Search(NOON_MS - HOUR_MS, scene.world.now_ms, limit=60)
    found = search(scene.queries, scene.lookup, asked, scene.world.now_ms)
    assert {flow.id for flow in found.flows} == ids
    assert {flow.spans for flow in found.flows} == {50}
    assert not any(flow.truncated for flow in found.flows)
    assert not found.truncated


def test_many_orders_with_their_readers_appear_whole(store: Store) -> None:
    scene = Scene(store)
    for number in range(50):
        scene.world.handled("payments", "workers", scene.world.send("storefront", "orders", key=str(number)))
    scene.load()
    found = scene.lookup.find(scene.queries.first_traces(0, scene.world.now_ms, 100), Bounds(spans=3))
    assert found.is_whole
    assert sorted(len(trail.spans) for trail in found.trails) == [3] * 50


def test_a_giant_is_told_by_its_beginning_and_takes_nothing_from_others(store: Store) -> None:
    scene = Scene(store)
    giant = work(scene, 30)
    others = [work(scene, 5) for _ in range(3)]
    scene.load()
    found = scene.lookup.find([giant, *others], Bounds(spans=10))
    assert [trail.id for trail in found.trails] == [giant, *others]
    assert [trail.truncated for trail in found.trails] == [True, False, False, False]
    assert [len(trail.spans) for trail in found.trails] == [10, 5, 5, 5]


def test_flows_that_do_not_fit_into_memory_together_are_said_to_be_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(store)
    ids = [work(scene, 30) for _ in range(4)]
    scene.load()
    monkeypatch.setattr(lookups, "MOST_SPANS", 50)
    found = scene.lookup.find(ids, Bounds(spans=40))
    assert not found.is_whole
    assert 0 < len(found.trails) < 4
    assert all(trail.truncated for trail in found.trails)


def order_in(scene: Scene, cluster: str, *, is_read: bool) -> Made:
    """The first order of a cluster that has a world of its own."""
    scene.world = World(now_ms=NOON_MS, seed=len(cluster), cluster_id=cluster)
    order = scene.world.send("storefront", "orders", key=cluster)
    if is_read:
        scene.world.handled("payments", "workers", order)
    scene.log("orders", 0, 1)
    scene.commit("workers", "orders", 1 if is_read else 0)
    scene.load()
    scene.world.wait(10_000)
    return order


def test_the_same_coordinates_in_two_clusters_are_two_events(store: Store) -> None:
    scene = Scene(store)
    orders = {"east": order_in(scene, "east", is_read=True), "northwest": order_in(scene, "northwest", is_read=False)}
    for cluster, state in (("east", State.PROCESSED), ("northwest", State.STALLED)):
        place = Place("orders", 0, 0)
        trail = scene.lookup.trail(place, cluster)
        assert trail is not None
        event = tell_event(trail, scene.lookup.facts([trail], NOON_MS + 600_000), place, cluster)
        assert event is not None
        assert (event.flow, event.key) == (orders[cluster].trace_id, cluster)
        assert event.coordinates.cluster_id == cluster
        assert [hop.state for hop in event.groups] == [state]
    assert scene.lookup.trail(Place("orders", 0, 0), "nowhere") is None


def test_a_search_judges_each_flow_by_what_its_own_cluster_says(store: Store) -> None:
    scene = Scene(store)
    order_in(scene, "east", is_read=True)
    order_in(scene, "northwest", is_read=False)
    found = search(scene.queries, scene.lookup, Search(0, NOON_MS + HOUR_MS), NOON_MS + 600_000)
    assert {flow.key: flow.state for flow in found.flows} == {"east": State.COMPLETE, "northwest": State.STALLED}


@pytest.mark.parametrize(("what_for", "state"), [("dead_letter", State.DEAD_LETTERED), ("retry", State.RETRYING)])
def test_what_was_forwarded_is_found_by_its_state_where_the_handler_caught_its_error(
    store: Store, what_for: str, state: State
) -> None:
    scene = Scene(store)
    scene.world.send("storefront", "orders", key="fine")
    order = scene.world.send("storefront", "orders", key="parked")
    with scene.world.process("payments", "workers", order) as work:
        scene.world.send("payments", "orders-parked", parent=work, past=forwarded(order, 2, what_for))
    scene.load()
    found = search(scene.queries, scene.lookup, Search(0, NOON_MS + HOUR_MS, state=state), scene.world.now_ms)
    assert [(flow.id, flow.state) for flow in found.flows] == [(order.trace_id, state)]
