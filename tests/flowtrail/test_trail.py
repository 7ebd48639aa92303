"""A story tells every event and hop once, causes before effects."""

from hypothesis import given
from hypothesis import strategies as st

from flowtrail.cli.trail import LONGEST_STORY, trail
from flowtrail.collector.api.answers import Coordinates, Flow, Hop

from .stories import at, complete, dead_lettered, event, hop

places = st.builds(at, st.sampled_from(["orders", "stock", "payments"]), st.integers(0, 1), st.integers(0, 3))
hops = st.builds(hop, places, st.sampled_from([None, "a", "b"]), caused=st.lists(places, max_size=3))


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any events and hops: also cycles, hops of unknown events, and events that nobody got."""
    events = draw(st.lists(places, unique_by=str, max_size=8))
    found = draw(st.lists(hops, unique_by=lambda hop: hop.id, max_size=12))
    return complete().model_copy(update={"events": [event(place, "storefront", 0) for place in events], "hops": found})


def told_hops(flow: Flow) -> list[Hop]:
    return [line.hop for line in trail(flow, is_whole=True).lines if line.hop is not None]


def told_events(flow: Flow) -> list[Coordinates]:
    return [line.coordinates for line in trail(flow, is_whole=True).lines if line.hop is None]


@given(flows())
def test_every_hop_is_told_once(flow: Flow) -> None:
    assert sorted(hop.id for hop in told_hops(flow)) == sorted(hop.id for hop in flow.hops)


@given(flows())
def test_every_event_is_told_once(flow: Flow) -> None:
    known = {str(event.coordinates) for event in flow.events} | {str(hop.coordinates) for hop in flow.hops}
    assert sorted(map(str, told_events(flow))) == sorted(known)


def test_what_a_group_sent_stands_under_it() -> None:
    assert [
        (line.prefix, str(line.coordinates), line.hop.group if line.hop else "")
        for line in trail(dead_lettered()).lines
    ] == [
        ("", "orders/2/204", ""),
        ("├ ", "orders/2/204", "inventory-workers"),
        ("│ ", "stock/0/88", ""),
        ("│ └ ", "stock/0/88", "shipping"),
        ("└ ", "orders/2/204", "payments-workers"),
        ("  ", "payments.retry/1/40118", ""),
        ("  └ ", "payments.retry/1/40118", "payments-retry"),
        ("    ", "payments.dlq/0/1882", ""),
        ("    └ ", "payments.dlq/0/1882", None),
    ]


def test_a_flow_without_events_has_no_lines() -> None:
    assert trail(complete().model_copy(update={"events": [], "hops": []})).lines == []


def long_flow() -> Flow:
    """The failing flow, with more healthy groups than a story holds."""
    broken = dead_lettered()
    healthy = [hop(at("orders", 2, 204), f"healthy-{number}") for number in range(LONGEST_STORY)]
    return broken.model_copy(update={"hops": [*healthy, *broken.hops]})


def test_a_long_story_leaves_out_what_went_well_and_counts_it() -> None:
    told = trail(long_flow())
    assert [line.hop.group for line in told.lines if line.hop] == ["payments-workers", "payments-retry", None]
    assert told.left_out == LONGEST_STORY + 2


def test_a_long_story_is_whole_when_asked_for() -> None:
    told = trail(long_flow(), is_whole=True)
    assert told.left_out == 0
    assert sum(line.hop is not None for line in told.lines) == LONGEST_STORY + 5


def test_a_chain_of_thousands_of_hops_is_told() -> None:
    chain = [hop(at("loop", 0, n), "again", caused=[at("loop", 0, n + 1)]) for n in range(5000)]
    flow = complete().model_copy(update={"events": [], "hops": chain})
    assert len(told_hops(flow)) == 5000
