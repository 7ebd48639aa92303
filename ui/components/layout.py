"""Where the nodes of a directed graph stand: columns from left to right, few crossings, the same when asked again.

Sugiyama's steps: break cycles, give every node a column, put a bend into every column that an edge passes, order each
column by the middle of its neighbours, then settle heights. Pure: positions come out, nothing is drawn.

`before` holds the heights of the last layout, of nodes and bends. They keep their order and their place, so that one
more node moves its neighbours in one column and little else. Whoever serves the page keeps it.
"""

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]
Heights: TypeAlias = dict[Hashable, float]

ORDER_SWEEPS: Final = 24
SETTLE_SWEEPS: Final = 8
BEND_HEIGHT: Final = 8.0


@dataclass(frozen=True, slots=True)
class Layout:
    """`centres` of the nodes, `bends` that an edge passes from its left end to its right one, and the next `before`."""

    centres: dict[str, Point] = field(default_factory=dict)
    bends: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    before: Heights = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Nodes and bends by column, who is beside whom, how high each is, and the bends of every edge."""

    columns: list[list[Hashable]]
    left: dict[Hashable, list[Hashable]]
    right: dict[Hashable, list[Hashable]]
    height: dict[Hashable, float]
    bends: dict[tuple[str, str], list[Hashable]]


def place(
    sizes: Mapping[str, tuple[float, float]],
    edges: Iterable[tuple[str, str]],
    before: Mapping[Hashable, float] | None = None,
    *,
    gap_x: float = 52,
    gap_y: float = 18,
) -> Layout:
    """Lay out nodes of `sizes` (width, height). An edge to itself or to an unknown node has no influence.

    Without nodes the layout is empty. Bends of an edge against the direction of reading are given from left to right.
    """
    if not sizes:
        return Layout()
    known: Mapping[Hashable, float] = before or {}
    links = sorted({(a, b) for a, b in edges if a != b and a in sizes and b in sizes})
    order, links = _without_cycles(sorted(sizes), links)
    parts = _columns(_column_numbers(order, links), links, sizes)
    for column in parts.columns:
        column.sort(key=lambda node: (known.get(node, math.inf), str(node)))
    if not all(node in known for column in parts.columns for node in column):
        _order(parts, known)
    y = _settled(parts, known, gap_y)
    x: dict[Hashable, float] = {}
    begin = 0.0
    for column in parts.columns:
        width = max((sizes[node][0] for node in column if isinstance(node, str)), default=0.0)
        x.update((node, begin + width / 2) for node in column)
        begin += width + gap_x
    return Layout(
        centres={node: (round(x[node], 2), round(y[node], 2)) for node in sizes},
        bends={edge: [(round(x[bend], 2), round(y[bend], 2)) for bend in chain] for edge, chain in parts.bends.items()},
        before=y,
    )


def curve(points: Sequence[Point]) -> str:
    """An SVG path through the points that leaves and reaches each of them horizontally."""
    (x0, y0), *rest = points
    path = [f"M{x0:.1f} {y0:.1f}"]
    for x1, y1 in rest:
        reach = (x1 - x0) / 2
        path.append(f"C{x0 + reach:.1f} {y0:.1f} {x1 - reach:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
        x0, y0 = x1, y1
    return "".join(path)


_Edges: TypeAlias = list[tuple[str, str]]


def _without_cycles(nodes: Sequence[str], edges: _Edges) -> tuple[list[str], _Edges]:
    """The nodes in topological order, and the edges; those that close a cycle on a walk in depth are turned round."""
    after = _grouped(edges)
    fed = {b for _, b in edges}
    finished: dict[str, bool] = {}
    order: list[str] = []
    forward: set[tuple[str, str]] = set()
    for root in sorted(nodes, key=lambda node: (node in fed, node)):
        if root in finished:
            continue
        finished[root] = False
        walk = [(root, iter(after[root]))]
        while walk:
            node, successors = walk[-1]
            for child in successors:
                if finished.get(child) is False:  # still on the walk: this edge goes back
                    forward.add((child, node))
                    continue
                forward.add((node, child))
                if child not in finished:
                    finished[child] = False
                    walk.append((child, iter(after[child])))
                    break
            else:
                finished[node] = True
                order.append(node)
                walk.pop()
    order.reverse()
    return order, sorted(forward)


def _column_numbers(order: Sequence[str], edges: _Edges) -> dict[str, int]:
    """The longest way from a source; sources themselves stand beside what they feed."""
    after, before = _grouped(edges), _grouped((b, a) for a, b in edges)
    number: dict[str, int] = {}
    for node in order:
        number[node] = max((number[near] + 1 for near in before[node]), default=0)
    for node in reversed(order):
        if after[node] and not before[node]:
            number[node] = min(number[child] for child in after[node]) - 1
    return number


def _grouped(edges: Iterable[tuple[str, str]]) -> defaultdict[str, list[str]]:
    groups = defaultdict[str, list[str]](list)
    for a, b in edges:
        groups[a].append(b)
    return groups


def _columns(number: Mapping[str, int], edges: _Edges, sizes: Mapping[str, tuple[float, float]]) -> _Columns:
    columns: list[list[Hashable]] = [[] for _ in range(max(number.values()) + 1)]
    height: dict[Hashable, float] = {node: size[1] for node, size in sizes.items()}
    left, right = defaultdict[Hashable, list[Hashable]](list), defaultdict[Hashable, list[Hashable]](list)
    bends: dict[tuple[str, str], list[Hashable]] = {}
    for node in sizes:
        columns[number[node]].append(node)
    for a, b in edges:
        chain: list[Hashable] = []
        for column in range(number[a] + 1, number[b]):
            bend = ("bend", a, b, column)
            chain.append(bend)
            columns[column].append(bend)
            height[bend] = BEND_HEIGHT
        bends[a, b] = chain
        way: list[Hashable] = [a, *chain, b]
        for near, far in itertools.pairwise(way):
            right[near].append(far)
            left[far].append(near)
    return _Columns(columns, left, right, height, bends)


def _order(parts: _Columns, known: Mapping[Hashable, float]) -> None:
    """Barycentre sweeps to and fro; the order with the fewest crossings stays. Known nodes keep their order."""
    best, fewest = [list(column) for column in parts.columns], _crossings(parts)
    for sweep in range(ORDER_SWEEPS):
        to_the_right = sweep % 2 == 0
        near = parts.left if to_the_right else parts.right
        index = {node: i for column in parts.columns for i, node in enumerate(column)}
        for column in parts.columns if to_the_right else reversed(parts.columns):
            middle = {
                node: sum(index[n] for n in near[node]) / len(near[node]) if near.get(node) else float(index[node])
                for node in column
            }
            turn = 1 if sweep % 4 < 2 else -1  # ties the other way round every second time
            column.sort(key=lambda node: (middle[node], turn * index[node]))
            kept = iter(sorted((node for node in column if node in known), key=lambda node: known[node]))
            column[:] = [next(kept) if node in known else node for node in column]
            index.update((node, i) for i, node in enumerate(column))
        now = _crossings(parts)
        if now < fewest:
            best, fewest = [list(column) for column in parts.columns], now
    for column, chosen in zip(parts.columns, best, strict=True):
        column[:] = chosen


def _crossings(parts: _Columns) -> int:
    """Pairs of edges between neighbouring columns that cross."""
    total = 0
    for near, far in itertools.pairwise(parts.columns):
        index = {node: i for i, node in enumerate(far)}
        seen: list[int] = []
        for node in near:
            ends = sorted(index[end] for end in parts.right.get(node, ()))
            total += sum(len(seen) - bisect.bisect_right(seen, end) for end in ends)
            for end in ends:
                bisect.insort(seen, end)
    return total


def _settled(parts: _Columns, known: Mapping[Hashable, float], gap: float) -> Heights:
    """Heights that neighbours on both sides pull at; who has stood somewhere is pulled there alone."""
    y: Heights = {}
    for column in parts.columns:
        top = 0.0
        for node in column:
            y[node] = top + parts.height[node] / 2
            top += parts.height[node] + gap
    for sweep in range(SETTLE_SWEEPS):
        for column in parts.columns if sweep % 2 == 0 else reversed(parts.columns):
            wanted = []
            for node in column:
                near = [y[n] for n in (*parts.left.get(node, ()), *parts.right.get(node, ()))]
                wanted.append(known.get(node, sum(near) / len(near) if near else y[node]))
            y.update(zip(column, settle(wanted, [parts.height[node] for node in column], gap), strict=True))
    return y


def settle(wanted: Sequence[float], heights: Sequence[float], gap: float) -> list[float]:
    """The centres nearest to `wanted` (least squares) that keep their order and stand `gap` apart.

    Pool adjacent violators: where two want to overlap they become a block that stands at the mean of its wishes.
    """
    offsets: list[float] = []
    blocks: list[tuple[float, int]] = []  # (mean of the wishes, how many)
    for i, wish in enumerate(wanted):
        offsets.append(offsets[-1] + (heights[i - 1] + heights[i]) / 2 + gap if i else 0.0)
        blocks.append((wish - offsets[i], 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (first, ones), (second, twos) = blocks.pop(-2), blocks.pop()
            blocks.append(((first * ones + second * twos) / (ones + twos), ones + twos))
    means = [mean for mean, many in blocks for _ in range(many)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
