"""The layered layout: nothing overlaps, and nothing moves without need."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrail.ui.components.layout import Layout, curve, place, settle

NAMES = [f"n{i:02}" for i in range(14)]
GRAPHS = st.tuples(
    st.integers(1, len(NAMES)),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=30),
)
SIZE = (120.0, 46.0)


def _placed(graph: tuple[int, list[tuple[str, str]]], before: Layout | None = None) -> Layout:
    nodes, edges = graph
    return place(dict.fromkeys(NAMES[:nodes], SIZE), edges, before.before if before else None)


@given(GRAPHS)
def test_no_two_nodes_overlap(graph: tuple[int, list[tuple[str, str]]]) -> None:
    for (x0, y0), (x1, y1) in combinations(_placed(graph).centres.values(), 2):
        assert abs(x0 - x1) >= SIZE[0] or abs(y0 - y1) >= SIZE[1] - 0.001


@given(GRAPHS)
def test_asked_again_nothing_moves(graph: tuple[int, list[tuple[str, str]]]) -> None:
    first = _placed(graph)
    again = _placed(graph, first)
    assert again.bends.keys() == first.bends.keys()
    for node, (x, y) in first.centres.items():
        assert again.centres[node][0] == x
        assert abs(again.centres[node][1] - y) < 0.01


@given(GRAPHS)
def test_a_new_leaf_leaves_the_other_columns_where_they_were(graph: tuple[int, list[tuple[str, str]]]) -> None:
    nodes, edges = graph
    first = _placed(graph)
    last = max(NAMES[:nodes], key=lambda node: first.centres[node][0])
    grown = place({**dict.fromkeys(NAMES[:nodes], SIZE), "leaf": SIZE}, [*edges, (last, "leaf")], first.before)
    if not edges:
        return  # a lone node becomes a source and moves beside what it feeds
    column = grown.centres["leaf"][0]
    for node in NAMES[:nodes]:
        if grown.centres[node][0] not in (column, grown.centres[last][0]):
            assert abs(grown.centres[node][1] - first.centres[node][1]) < 0.01


@given(GRAPHS)
@settings(max_examples=30)
def test_the_order_of_the_input_changes_nothing(graph: tuple[int, list[tuple[str, str]]]) -> None:
    nodes, edges = graph
    backwards = place(dict.fromkeys(reversed(NAMES[:nodes]), SIZE), list(reversed(edges)))
    assert backwards.centres == _placed(graph).centres


def test_a_chain_reads_from_left_to_right() -> None:
    centres = place(dict.fromkeys("abc", SIZE), [("a", "b"), ("b", "c")]).centres
    assert centres["a"][0] < centres["b"][0] < centres["c"][0]
    assert len({y for _, y in centres.values()}) == 1


def test_a_cycle_is_drawn_and_its_edge_back_gets_no_bend() -> None:
    layout = place(dict.fromkeys("ab", SIZE), [("a", "b"), ("b", "a")])
    assert layout.centres["a"][0] < layout.centres["b"][0]
    assert layout.bends == {("a", "b"): []}


def test_an_edge_over_a_column_bends_in_it() -> None:
    layout = place(dict.fromkeys("abc", SIZE), [("a", "b"), ("b", "c"), ("a", "c")])
    assert [x for x, _ in layout.bends["a", "c"]] == [layout.centres["b"][0]]


def test_without_nodes_there_is_no_layout() -> None:
    assert place({}, []) == Layout()


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(1, 200)), min_size=1, max_size=20))
def test_settled_heights_keep_order_and_gap(nodes: list[tuple[float, float]]) -> None:
    wanted, heights = [w for w, _ in nodes], [h for _, h in nodes]
    placed = settle(wanted, heights, 10)
    for i in range(1, len(placed)):
        assert placed[i] - placed[i - 1] >= (heights[i] + heights[i - 1]) / 2 + 10 - 1e-6


def test_who_does_not_collide_gets_the_height_it_wants() -> None:
    assert settle([0, 100, 300], [20, 20, 20], 10) == [0, 100, 300]
    assert settle([50, 50], [20, 20], 10) == [35, 65]


def test_a_curve_leaves_and_arrives_horizontally() -> None:
    assert curve([(0, 0), (10, 20)]) == "M0.0 0.0C5.0 0.0 5.0 20.0 10.0 20.0"
