"""Stitching: what belongs to a flow, whatever the order of rows, and what does not."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from flowtrail.collector.api.answers import State, Tone
from flowtrail.collector.flows.facts import Facts
from flowtrail.collector.flows.material import Material
from flowtrail.collector.flows.rows import Context, GroupRow, LinkRow, Place, SpanEventRow, SpanRow
from flowtrail.collector.flows.stitching import Bounds, Trail, find_start, follow
from flowtrail.collector.flows.story import tell
from flowtrail.tracer import attributes as names

from .scenes import NOON_MS
from .spans import Made, World

GATEWAY = ("GatewayTimeout", "no answer in 2 s")


def row_of(made: Made) -> SpanRow:
    """The row that the store keeps of a span."""
    otlp = made.otlp
    said = {pair.key: _text(pair.value.string_value, pair.value.int_value) for pair in otlp.attributes}
    return SpanRow(
        context=Context(otlp.trace_id.hex(), otlp.span_id.hex()),
        parent_span_id=otlp.parent_span_id.hex(),
        name=otlp.name,
        service=made.service,
        start_ns=otlp.start_time_unix_nano,
        duration_ns=otlp.end_time_unix_nano - otlp.start_time_unix_nano,
        kind=otlp.kind,
        instance=f"{made.service}-1",
        scope="flowtrail",
        status_code=otlp.status.code,
        status_message=otlp.status.message,
        operation=said.get(names.OPERATION_TYPE, ""),
        topic=said.get(names.TOPIC, ""),
        group=said.get(names.GROUP, ""),
        partition=_number(said.get(names.PARTITION)),
        offset=_number(said.get(names.OFFSET)),
        key=said.get(names.KEY, ""),
        member_id=said.get(names.MEMBER_ID, ""),
        attributes=said,
        links=tuple(_link(link) for link in otlp.links),
        events=tuple(
            SpanEventRow(
                event.time_unix_nano, event.name, {one.key: one.value.string_value for one in event.attributes}
            )
            for event in otlp.events
        ),
    )


def rows_of(world: World) -> list[SpanRow]:
    return [row_of(made) for made in world.spans]


def loaded(rows: list[SpanRow]) -> Material:
    """Material in which nothing is missing."""
    material = Material()
    material.add_spans(rows)
    material.traces |= {row.context.trace_id for row in rows}
    material.traces |= {link.to.trace_id for row in rows for link in row.links}
    material.places |= {row.place for row in rows if row.place}
    material.places |= {link.place for row in rows for link in row.links if link.place}
    return material


def stitched(rows: list[SpanRow], seed: str, bounds: Bounds | None = None) -> Trail:
    material = loaded(rows)
    start = find_start(material, seed)
    assert start.context is not None
    assert not start.wanted
    trail = follow(material, start.context, bounds)
    assert not trail.wanted
    return trail


def names_of(trail: Trail) -> list[str]:
    return [f"{row.service}: {row.name}" for row in trail.spans]


def shop() -> tuple[World, Made, Made]:
    """Two orders in one poll, their payments, and a batch that ships both."""
    world = World(now_ms=NOON_MS)
    checkout = world.span("storefront", "checkout")
    first = world.send("storefront", "orders", key="1", parent=checkout)
    second = world.send("storefront", "orders", key="2")
    world.poll("payments", "payments", [first, second])
    paid = []
    for order in (first, second):
        with world.process("payments", "payments", order) as work:
            paid.append(world.send("payments", "paid", key=order.key, parent=work))
    world.poll("shipping", "shipping", paid)
    with world.process("shipping", "shipping", paid) as work:
        shipment = world.send("shipping", "shipments", parent=work)
    world.handled("notifications", "notifications", shipment)
    return world, first, second


def test_a_flow_goes_through_links_over_all_trace_ids_and_past_a_batch() -> None:
    world, first, _ = shop()
    trail = stitched(rows_of(world), first.trace_id)
    assert names_of(trail) == [
        "storefront: checkout",
        "storefront: send orders",
        "payments: poll",
        "payments: process orders",
        "payments: send paid",
        "shipping: poll",
        "shipping: process paid",
        "shipping: send shipments",
        "notifications: poll",
        "notifications: process shipments",
    ]
    assert trail.id == first.trace_id


def test_a_poll_of_several_events_does_not_merge_their_flows() -> None:
    world, first, second = shop()
    rows = rows_of(world)
    ours, theirs = stitched(rows, first.trace_id), stitched(rows, second.trace_id)
    assert {row.key for row in ours.spans if row.is_send and row.key} == {"1"}
    assert {row.key for row in theirs.spans if row.is_send and row.key} == {"2"}


def test_a_flow_that_is_asked_from_behind_a_batch_begins_at_the_batch_and_names_its_causes() -> None:
    world, _, _ = shop()
    rows = rows_of(world)
    batch = next(row for row in rows if row.name == "process paid")
    trail = stitched(rows, rows[-1].context.trace_id)
    assert trail.start == batch.context
    assert trail.causes == [Place("paid", 0, 0), Place("paid", 0, 1)]


def test_a_hop_that_lost_its_headers_is_found_by_coordinates_both_ways() -> None:
    world = World(now_ms=NOON_MS)
    order = world.send("storefront", "orders")
    work = world.handled("payments", "payments", order)
    for made in world.spans:
        del made.otlp.links[:]
    rows = rows_of(world)
    assert stitched(rows, work.trace_id).id == order.trace_id
    assert len(stitched(rows, order.trace_id).spans) == 3


def test_a_reader_whose_parent_is_the_sender_is_stitched_as_well() -> None:
    world = World(now_ms=NOON_MS)
    order = world.send("storefront", "orders")
    with world.process("payments", "payments", order, parent=order) as work:
        world.send("payments", "paid", parent=work)
    del work.otlp.links[:]
    trail = stitched(rows_of(world), order.trace_id)
    assert names_of(trail) == ["storefront: send orders", "payments: process orders", "payments: send paid"]


def test_one_tree_holds_all_trace_ids() -> None:
    world, first, _ = shop()
    trail = stitched(rows_of(world), first.trace_id)
    by_context = {row.context: row for row in trail.spans}
    parents = {by_context[child].name: by_context[parent].name for child, parent in trail.parents.items() if parent}
    assert parents["process orders"] == "send orders"
    assert parents["process paid"] == "send paid"
    assert [row.name for row in trail.spans if trail.parents[row.context] is None] == ["checkout"]


def test_a_loop_span_around_all_processing_does_not_merge_flows() -> None:
    world = World(now_ms=NOON_MS)
    first, second = world.send("storefront", "orders", key="1"), world.send("storefront", "orders", key="2")
    loop = world.span("payments", "main loop")
    for order in (first, second):
        with world.process("payments", "payments", order, parent=loop) as work:
            world.send("payments", "paid", key=order.key, parent=work)
    trail = stitched(rows_of(world), first.trace_id)
    assert {row.key for row in trail.spans if row.key} == {"1"}


def test_another_event_with_the_same_coordinates_of_a_topic_made_again_is_not_joined() -> None:
    world = World(now_ms=NOON_MS)
    order = world.send("storefront", "orders")
    world.ends.clear()
    world.wait(3_600_000)
    again = world.send("storefront", "orders")
    late = world.handled("payments", "payments", again)
    rows = rows_of(world)
    assert stitched(rows, late.trace_id).id == again.trace_id
    assert names_of(stitched(rows, order.trace_id)) == ["storefront: send orders"]


def test_bounds_are_kept_and_said() -> None:
    world, first, _ = shop()
    rows = rows_of(world)
    few = stitched(rows, first.trace_id, Bounds(spans=4))
    assert (len(few.spans), few.truncated) == (4, True)
    assert stitched(rows, first.trace_id, Bounds(traces=2)).truncated
    assert not stitched(rows, first.trace_id).truncated


def test_rows_that_are_missing_are_asked_for() -> None:
    world, first, _ = shop()
    rows = rows_of(world)
    material = Material()
    start = find_start(material, first.trace_id)
    assert start.context is None
    assert start.wanted.traces == {first.trace_id}
    material.add_spans([row for row in rows if row.context.trace_id == first.trace_id])
    material.traces.add(first.trace_id)
    found = find_start(material, first.trace_id)
    assert found.context is not None
    trail = follow(material, found.context)
    assert trail.wanted.places == {Place("orders", 0, 0)}


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference(chance: random.Random) -> None:
    world, first, _ = shop()
    rows = rows_of(world)
    shuffled = [*rows, *rows[:3]]
    chance.shuffle(shuffled)
    assert stitched(shuffled, first.trace_id) == stitched(rows, first.trace_id)


span_ids = st.sampled_from([f"{number:016x}" for number in range(1, 7)])
trace_ids = st.sampled_from([f"{number:032x}" for number in range(1, 4)])
contexts = st.builds(Context, trace_ids, span_ids)
topics = st.sampled_from(["", "orders", "orders.retry", "orders.dlq", "paid"])
any_rows = st.lists(
    st.builds(
        SpanRow,
        context=contexts,
        parent_span_id=st.one_of(st.just(""), span_ids),
        name=st.just("span"),
        service=st.sampled_from(["a", "b"]),
        start_ns=st.integers(int(NOON_MS * 1e6), int(NOON_MS * 1e6) + 10**12),
        duration_ns=st.integers(0, 10**10),
        status_code=st.sampled_from([0, 2]),
        operation=st.sampled_from(["", "send", "receive", "process", "settle"]),
        topic=topics,
        group=st.sampled_from(["", "g"]),
        partition=st.one_of(st.none(), st.integers(0, 1)),
        offset=st.one_of(st.none(), st.integers(0, 2)),
        links=st.lists(
            st.builds(
                LinkRow, to=contexts, place=st.one_of(st.none(), st.builds(Place, topics, st.just(0), st.just(1)))
            ),
            max_size=2,
        ).map(tuple),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row.context,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_rows, st.floats(0, 10**6))
def test_no_rows_however_broken_make_telling_a_flow_raise_or_end_in_a_circle(rows: list[SpanRow], later: float) -> None:
    material = loaded(rows)
    groups = [GroupRow("orders", "g", "a", NOON_MS - 1000, NOON_MS, processes_from_ms=NOON_MS - 1000)]
    facts = Facts(now_ms=NOON_MS + later, groups=groups)
    for row in rows:
        start = find_start(material, row.context)
        assert start.context is not None
        trail = follow(material, start.context)
        flow = tell(trail, facts, Bounds())
        assert len({span.span_id + span.trace_id for span in flow.spans}) == len(flow.spans)
        for context in trail.parents:
            seen, at = set[Context](), context
            while (parent := trail.parents[at]) is not None:
                assert parent not in seen
                seen.add(parent)
                at = parent


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_rows)
def test_no_flow_is_called_failed_without_a_failing_fact(rows: list[SpanRow]) -> None:
    """Without an error on any span, and no dead letter, nothing can have failed; silence is not counted here."""
    healthy = [row for row in rows if row.status_code != 2 and not row.topic.endswith(".dlq")]
    if not healthy:
        return
    material = loaded(healthy)
    facts = Facts(now_ms=NOON_MS, silent_after_ms=10**9)
    for row in healthy:
        start = find_start(material, row.context)
        assert start.context is not None
        verdict = tell(follow(material, start.context), facts, Bounds()).verdict
        assert verdict.tone is not Tone.FAIL
        assert verdict.state is not State.DEAD_LETTERED


def _link(link: OtlpSpan.Link) -> LinkRow:
    said = {pair.key: _text(pair.value.string_value, pair.value.int_value) for pair in link.attributes}
    place = None
    if names.OFFSET in said:
        place = Place(said[names.TOPIC], int(said[names.PARTITION]), int(said[names.OFFSET]))
    return LinkRow(Context(link.trace_id.hex(), link.span_id.hex()), said, place, said.get(names.KEY, ""))


def _text(text: str, number: int) -> str:
    return text or str(number)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
