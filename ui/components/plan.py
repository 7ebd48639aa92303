"""The way that one flow took, as a small map: services and topics, the failing path marked."""

from typing import Final, TypedDict

from flowtrail.client import Flow, Hop, Tone

from .layout import Point, curve, place
from .states import is_bad

WIDTH: Final = 100.0
HEIGHT: Final = 46.0
SHAPE: Final = 22.0  # height of the drawn shape; the name stands below
HALF: Final = 20.0  # half a shape's width and the room for an arrow's tip
LONGEST_NAME: Final = 17
MOST_STOPS: Final = 60


class Stop(TypedDict):
    """A service or topic on the way. `x`, `y` the middle of its shape; `name` is `full_name`, cut when long."""

    id: str
    kind: str
    name: str
    full_name: str
    x: float
    y: float
    tone: str


class Leg(TypedDict):
    """A way from one stop to another. `d` is the curve, as SVG's path data."""

    id: str
    d: str
    tone: str


class PlanScene(TypedDict):
    """All that is drawn, on `w` × `h` pixels. `left_out` stops are beyond `MOST_STOPS`."""

    w: float
    h: float
    stops: list[Stop]
    legs: list[Leg]
    left_out: int


def build(flow: Flow) -> PlanScene:
    """The plan of a flow, calls between services among it; at most `MOST_STOPS` services and topics are drawn."""
    tones: dict[str, str] = {}
    legs: dict[tuple[str, str], str] = {}

    def stop(node_id: str, tone: str = Tone.OK) -> None:
        if tone != Tone.OK or node_id not in tones:
            tones[node_id] = tone

    def leg(a: str, b: str, tone: str = Tone.OK) -> None:
        if a != b and (tone != Tone.OK or (a, b) not in legs):
            legs[a, b] = tone

    for event in flow.events:
        topic = f"topic:{event.coordinates.topic}"
        stop(topic)
        if event.producer:
            stop(f"service:{event.producer}")
            leg(f"service:{event.producer}", topic, Tone.FAIL if event.error else Tone.OK)
    for hop in flow.hops:
        topic, reader = f"topic:{hop.coordinates.topic}", _reader(hop)
        loud = hop.tone if is_bad(hop.tone) or hop.on_failing_path else Tone.OK
        if reader is None:
            stop(topic, loud)
            continue
        stop(topic)
        stop(reader, loud)
        leg(topic, reader, loud)
        if is_bad(hop.tone):
            for sent in hop.caused:
                if _goes_wrong(sent.topic, flow.hops):
                    leg(reader, f"topic:{sent.topic}", Tone.FAIL)
    by_id = {span.span_id: span for span in flow.spans}
    for span in flow.spans:
        above = by_id.get(span.parent or span.parent_span_id or "")
        stop(f"service:{span.service}")
        if above is not None and above.operation != "send":  # what goes over a topic is drawn over it
            leg(f"service:{above.service}", f"service:{span.service}")
    return _drawn(tones, legs)


def _reader(hop: Hop) -> str | None:
    if hop.service:
        return f"service:{hop.service}"
    return f"group:{hop.group}" if hop.group else None


def _goes_wrong(topic: str, hops: list[Hop]) -> bool:
    return any(hop.coordinates.topic == topic and hop.on_failing_path for hop in hops)


def _drawn(tones: dict[str, str], legs: dict[tuple[str, str], str]) -> PlanScene:
    kept = dict(list(tones.items())[:MOST_STOPS])
    layout = place(dict.fromkeys(kept, (WIDTH, HEIGHT)), legs, gap_x=8, gap_y=14)
    if not kept:
        return PlanScene(w=0, h=0, stops=[], legs=[], left_out=0)
    points = [*layout.centres.values(), *(bend for chain in layout.bends.values() for bend in chain)]
    left = min(x for x, _ in points) - WIDTH / 2
    top = min(y for _, y in points) - HEIGHT / 2

    def at(point: Point, dx: float = 0.0, dy: float = 0.0) -> Point:
        return point[0] - left + dx, point[1] - top + dy

    stops = []
    for node, tone in kept.items():
        kind, _, name = node.partition(":")
        x, y = at(layout.centres[node], dy=-HEIGHT / 2 + SHAPE / 2)
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        stops.append(Stop(id=node, kind=kind, name=short, full_name=name, x=x, y=y, tone=tone))
    drawn = []
    for (a, b), tone in legs.items():
        if a not in kept or b not in kept:
            continue
        way = 1 if layout.centres[a][0] < layout.centres[b][0] else -1
        chain = layout.bends.get((a, b)) or layout.bends.get((b, a)) or []
        lift = -way * (4 if (b, a) in legs else 0)  # there and back beside one another
        up = -HEIGHT / 2 + SHAPE / 2
        begin = at(layout.centres[a], way * (HALF - 2), up + lift)
        end = at(layout.centres[b], -way * HALF, up + lift)
        between = [at(p, 0, up) for p in (chain if way > 0 else reversed(chain))]
        drawn.append(Leg(id=f"{a}>{b}", d=curve([begin, *between, end]), tone=tone))
    drawn.sort(key=lambda line: line["tone"] != Tone.OK)
    width = max(x for x, _ in points) - left + WIDTH / 2
    height = max(y for _, y in points) - top + HEIGHT / 2
    return PlanScene(w=width, h=height, stops=stops, legs=drawn, left_out=len(tones) - len(kept))
