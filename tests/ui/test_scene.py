"""The map's scene: groups docked, edges at ports, figures that move nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.collector.api.answers import Graph
from flowtrail.ui.components.scene import LONGEST_NAME, Scene, broken_nodes, build, homes, shortened, trouble

from . import scenario

NOW_MS = 1_763_800_000_000.0


@pytest.fixture(scope="module")
def graph() -> Graph:
    return scenario.graph(NOW_MS, NOW_MS - 900_000, NOW_MS)


@pytest.fixture(scope="module")
def scene(graph: Graph) -> Scene:
    return build(graph, NOW_MS)[0]


def test_a_group_is_docked_on_the_service_that_runs_it(graph: Graph, scene: Scene) -> None:
    ports = {port["id"]: node["id"] for node in scene["nodes"] for port in node["ports"]}
    assert ports == homes(graph)
    assert ports["group:payments-workers"] == "service:payments"


def test_a_group_without_a_known_service_stands_alone(scene: Scene) -> None:
    assert "group:warehouse-legacy" in {node["id"] for node in scene["nodes"]}


def test_edges_end_at_the_port_of_their_group(scene: Scene) -> None:
    edge = next(e for e in scene["edges"] if e["end"] == "group:payments-workers")
    assert (edge["target"], edge["tone"], edge["always"]) == ("service:payments", "fail", True)


def test_what_a_docked_group_runs_in_needs_no_edge(scene: Scene) -> None:
    assert not any(e["id"].endswith(">runs") for e in scene["edges"])


def test_the_figure_of_an_edge_lies_on_no_node(scene: Scene) -> None:
    for line in scene["edges"]:
        for node in scene["nodes"]:
            apart = (abs(line["lx"] - node["x"]), abs(line["ly"] - node["y"]))
            assert apart[0] >= (node["w"] + line["lw"]) / 2 - 1 or apart[1] >= node["h"] / 2 + 9, (
                line["id"],
                node["id"],
            )


def test_new_figures_move_no_node(graph: Graph) -> None:
    first, before = build(graph, NOW_MS)
    louder = scenario.graph(NOW_MS + 3_500, NOW_MS, NOW_MS).model_copy(
        update={"nodes": [n.model_copy(update={"rate_per_s": 9_999_999.0, "lag": 10**9}) for n in graph.nodes]}
    )
    again, _ = build(louder, NOW_MS + 3_500, before)
    assert [(n["id"], n["x"], n["y"], n["w"]) for n in again["nodes"]] == [
        (n["id"], n["x"], n["y"], n["w"]) for n in first["nodes"]
    ]
    assert [n["meta"] for n in again["nodes"]] != [n["meta"] for n in first["nodes"]]


def test_broken_things_are_listed_worst_first_with_reason_and_age(scene: Scene) -> None:
    first = scene["broken"][0]
    assert (first["word"], first["text"]) == ("failing", "payments-workers fails 6.2 % of orders")
    assert first["lasts"].replace("\u202f", " ") == "4 h 21 m"
    assert len(scene["broken"]) == 3


def test_a_service_and_its_group_that_say_the_same_are_one_trouble(graph: Graph) -> None:
    both = graph.model_copy(update={"broken": ["service:payments", *graph.broken]})
    assert [node.id for node in broken_nodes(both)] == [
        "service:payments",
        "group:shipping-stock",
        "topic:payments.dlq",
    ]


def test_trouble_names_the_node_that_has_it(graph: Graph) -> None:
    node = graph.nodes[0].model_copy(update={"reason": "No commit moved for 41 s."})
    assert trouble(node) == "storefront: no commit moved for 41 s."
    assert trouble(node.model_copy(update={"reason": "storefront stands."})) == "storefront stands."


def test_the_summary_counts_what_is_on_the_map(scene: Scene) -> None:
    assert scene["summary"].startswith("6 services · 7 topics · 9 groups · ")


def test_an_empty_graph_is_an_empty_scene() -> None:
    empty = Graph(version="0", from_ms=0, to_ms=1, nodes=[], edges=[])
    scene, before = build(empty, NOW_MS)
    assert (scene["nodes"], scene["edges"], scene["w"], before) == ([], [], 0.0, {})


@given(st.text(max_size=120))
def test_no_name_is_longer_than_its_node(name: str) -> None:
    short = shortened(name)
    assert len(short) <= LONGEST_NAME
    assert short == name or "…" in short
