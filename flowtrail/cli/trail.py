"""The order in which a story tells a flow: each event, under it the groups that got it, under those what they sent.

    orders/7/204
    ├ inventory
    │ stock/0/88
    │ └ shipping
    └ payments-workers

Pure: an answer of the API in, lines out.
"""

from collections import defaultdict
from dataclasses import dataclass

from flowtrail.collector.api.answers import Coordinates, Event, Flow, Hop, Tone

# A story of more lines than this leaves out branches that went well.
LONGEST_STORY = 60


@dataclass(frozen=True, slots=True)
class Line:
    """An event (`hop` is None), or what one group did with it. `prefix` draws the tree, two columns a hop."""

    prefix: str
    coordinates: Coordinates
    event: Event | None
    hop: Hop | None
    is_root: bool = False

    @property
    def below(self) -> str:
        """The prefix of text that belongs to this line."""
        return self.prefix.replace("├ ", "│ ").replace("└ ", "  ")


@dataclass(frozen=True, slots=True)
class Trail:
    """The lines of a story; `left_out` hops went well and are not among them."""

    lines: list[Line]
    left_out: int


def trail(flow: Flow, *, is_whole: bool = False) -> Trail:
    """Every event and hop of the flow once, causes before effects; a long flow is cut to its failing path.

    An empty flow has no lines. Order among siblings is the flow's own.
    """
    lines = _Walk(flow).lines()
    if is_whole or len(lines) <= LONGEST_STORY:
        return Trail(lines, 0)
    kept = [line for line in lines if line.hop is None or line.hop.on_failing_path or line.hop.tone is not Tone.OK]
    told = {_place(line.coordinates) for line in kept if line.hop is not None}
    shown = [line for line in kept if line.is_root or _place(line.coordinates) in told]
    return Trail(
        _unbranched(shown), sum(line.hop is not None for line in lines) - sum(line.hop is not None for line in shown)
    )


class _Walk:
    """Goes through a flow depth first; what cannot be reached from a root (a cycle) becomes a root."""

    def __init__(self, flow: Flow) -> None:
        self._events = {_place(event.coordinates): event for event in flow.events}
        self._hops: defaultdict[str, list[Hop]] = defaultdict(list)
        for hop in flow.hops:
            self._hops[_place(hop.coordinates)].append(hop)
        places = {_place(event.coordinates): event.coordinates for event in flow.events}
        self._places = places | {_place(hop.coordinates): hop.coordinates for hop in flow.hops}
        self._caused = {_place(coordinates) for hop in flow.hops for coordinates in hop.caused}
        self._lines: list[Line] = []
        self._told: set[str] = set()

    def lines(self) -> list[Line]:
        roots = [place for place in self._places if place not in self._caused]
        for place in [*roots, *self._places]:
            if place not in self._told:
                self._tell(place, "", is_root=True)
        return self._lines

    def _tell(self, root: str, prefix: str, *, is_root: bool) -> None:
        """Write an event and everything under it. A stack of its own: a retry loop may be thousands of hops deep."""
        stack: list[tuple[str, str, bool] | Line] = [(root, prefix, is_root)]
        while stack:
            item = stack.pop()
            if isinstance(item, Line):
                self._lines.append(item)
                assert item.hop is not None
                below = item.below
                stack.extend((_place(sent), below, False) for sent in reversed(item.hop.caused))
                continue
            place, prefix, is_root = item
            if place in self._told or place not in self._places:
                continue
            self._told.add(place)
            coordinates, event, hops = self._places[place], self._events.get(place), self._hops[place]
            self._lines.append(Line(prefix, coordinates, event, None, is_root))
            branches = ["├ "] * (len(hops) - 1) + ["└ "]
            stack.extend(
                Line(prefix + branch, coordinates, event, hop)
                for hop, branch in reversed(list(zip(hops, branches, strict=bool(hops))))
            )


def _place(coordinates: Coordinates) -> str:
    return f"{coordinates.cluster_id or ''}|{coordinates}"


def _unbranched(lines: list[Line]) -> list[Line]:
    """Lines of a tree with gaps: plain indentation instead of branches that lead nowhere."""
    return [
        Line("  " * (len(line.prefix) // 2), line.coordinates, line.event, line.hop, line.is_root) for line in lines
    ]
