"""How far an event came with each group: every state from a scenario that knows its truth."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from flowtrail.collector.api.answers import State, Tone
from flowtrail.collector.store.connection import Store, open_store

from .scenes import SILENT_AFTER_MS, Scene, emptied
from .spans import Made, forwarded

GATEWAY = ("GatewayTimeout", "no answer in 2 s")
LATER_MS = 3 * SILENT_AFTER_MS


@pytest.fixture(scope="module")
def one_store(store_dsn: str) -> Iterator[Store]:
    opened = open_store(store_dsn, "test_states")
    yield opened
    opened.close()


@pytest.fixture
def scene(one_store: Store) -> Scene:
    return Scene(emptied(one_store))


def test_an_event_that_was_handled_is_processed(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders", key="81204")
    scene.world.handled("payments", "payments-workers", order)
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.PROCESSED, Tone.OK)
    assert hop.processing_ms == pytest.approx(20, abs=1)
    assert hop.in_kafka_ms is not None
    assert hop.attempts[0].polled_ms is not None
    assert hop.attempts[0].member_id == "member-1"
    assert scene.flow(order, LATER_MS).verdict.state is State.COMPLETE


def test_a_handler_that_raises_makes_the_hop_failed_with_its_error(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders", key="81204")
    scene.world.handled("payments", "payments-workers", order, error=GATEWAY)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.tone) == (State.FAILED, Tone.FAIL)
    assert (verdict.hop_topic, verdict.hop_group, verdict.service) == ("orders", "payments-workers", "payments")
    assert verdict.error == "GatewayTimeout: no answer in 2 s"
    assert verdict.last_good_service == "storefront"
    assert verdict.next_step


def test_an_event_that_was_redelivered_and_handled_is_processed_at_attempt_two(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.handled("payments", "payments-workers", order, error=GATEWAY)
    scene.world.handled("payments", "payments-workers", order)
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert hop.state is State.PROCESSED
    assert [attempt.error is None for attempt in hop.attempts] == [False, True]
    assert "attempt 2" in hop.sentence


def test_a_failure_that_its_retry_topic_brought_through_leaves_the_flow_complete(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders", key="81204")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        retry = world.send("payments", "payments.retry", key="81204", parent=work)
    assert scene.hop(order, "payments-workers").state is State.RETRYING
    world.handled("payments", "payments-retry", retry)
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.state is State.COMPLETE
    assert {hop.state for hop in flow.hops} == {State.PROCESSED}


def test_a_failure_that_ended_in_a_dead_letter_topic_is_dead_lettered_where_it_began(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders", key="81204")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        retry = world.send("payments", "payments.retry", key="81204", parent=work)
    with world.process("payments", "payments-retry", retry, error=GATEWAY) as work:
        world.send("payments", "payments.dlq", key="81204", parent=work)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.hop_topic, verdict.hop_group) == (State.DEAD_LETTERED, "orders", "payments-workers")
    assert verdict.attempt == 2
    assert verdict.consequence is not None
    assert "payments.dlq/0/0, which nobody reads" in verdict.consequence
    assert verdict.next_step is not None
    assert "payments.dlq/0/0" in verdict.next_step


def test_a_handler_that_caught_its_error_and_sent_a_dead_letter_is_dead_lettered_too(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order) as work:
        world.send("payments", "orders-dlt", parent=work)
    assert scene.flow(order, LATER_MS).verdict.state is State.DEAD_LETTERED


def test_a_dead_letter_sent_after_the_processing_with_the_old_headers_belongs_to_it(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders", key="7")
    world.handled("payments", "payments-workers", order, error=GATEWAY)
    dead = world.send("payments", "orders.dlq", key="7")
    dead.otlp.links.add(trace_id=order.otlp.trace_id, span_id=order.otlp.span_id)
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.DEAD_LETTERED


def test_an_event_that_says_it_is_a_dead_letter_is_one_whatever_its_topic_is_called(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order) as work:
        world.send("payments", "orders-parked", parent=work, past=forwarded(order, 2, "dead_letter"))
    flow = scene.flow(order, LATER_MS)
    assert (flow.verdict.state, flow.verdict.hop_topic) == (State.DEAD_LETTERED, "orders")
    # The handler caught its error; the dead letter tells it.
    assert flow.verdict.error == "GatewayTimeout"
    assert flow.verdict.consequence is not None
    assert "orders-parked/0/0, which nobody reads" in flow.verdict.consequence


def test_an_event_that_says_it_is_a_retry_is_followed_whatever_its_topic_is_called(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        again = world.send("payments", "payments-later", parent=work, past=forwarded(order, 2, "retry"))
    world.handled("payments", "payments-workers", again)
    assert scene.flow(order, LATER_MS).verdict.state is State.COMPLETE


def test_tries_that_a_handler_made_without_a_span_are_counted_by_what_it_forwarded(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:  # which tried three times
        again = world.send("payments", "payments.retry", parent=work, past=forwarded(order, 4, "retry"))
    with world.process("payments", "payments-retry", again, error=GATEWAY) as work:  # and once more
        world.send("payments", "payments.dlq", parent=work, past=forwarded(order, 5, "dead_letter"))
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.attempt) == (State.DEAD_LETTERED, 4)


def test_a_retry_belongs_to_the_event_that_it_names_among_several_of_one_key(scene: Scene) -> None:
    world = scene.world
    checkout = world.span("storefront", "checkout")
    orders = [world.send("storefront", "orders", key="7", parent=checkout) for _ in range(2)]
    for order in orders:
        world.handled("payments", "payments-workers", order, error=GATEWAY)
    # Sent after both were tried, outside of any processing: the last try is not the one that it belongs to.
    dead = world.send("payments", "orders.dlq", key="7", past=forwarded(orders[0], 2, "dead_letter"))
    dead.otlp.links.add(trace_id=orders[0].otlp.trace_id, span_id=orders[0].otlp.span_id)
    assert scene.hop(orders[0], "payments-workers", LATER_MS).state is State.DEAD_LETTERED
    assert scene.hop(orders[1], "payments-workers", LATER_MS).state is State.FAILED


def test_a_second_retry_belongs_to_the_first_and_not_to_the_event_that_both_name(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", order, error=GATEWAY)
    first = world.send("payments", "payments.retry", past=forwarded(order, 2, "retry"))
    first.otlp.links.add(trace_id=order.otlp.trace_id, span_id=order.otlp.span_id)
    world.handled("payments", "payments-retry", first, error=GATEWAY)
    second = world.send("payments", "payments.retry", past=forwarded(order, 3, "retry"))
    second.otlp.links.add(trace_id=order.otlp.trace_id, span_id=order.otlp.span_id)
    world.handled("payments", "payments-retry", second)
    hops = {str(hop.coordinates): hop for hop in scene.flow(order, LATER_MS).hops}
    assert [str(at) for at in hops["orders/0/0"].caused] == ["payments.retry/0/0"]
    assert [str(at) for at in hops["payments.retry/0/0"].caused] == ["payments.retry/0/1"]
    assert {hop.state for hop in hops.values()} == {State.PROCESSED}


def test_a_dead_letter_whose_sender_is_not_traced_belongs_to_the_event_that_its_headers_name(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", order, error=GATEWAY)
    copied = replace(order, topic="orders.dlq", offset=4)  # with all headers, the context too
    with world.process("triage", "triage", copied, past=forwarded(order, 2)):
        pass
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert hop.state is State.DEAD_LETTERED
    assert [str(at) for at in hop.caused] == ["orders.dlq/0/4"]


def test_headers_that_were_copied_to_an_event_of_another_kind_make_no_retry_of_it(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", order, error=GATEWAY)
    copied = replace(order, topic="payments", offset=4)
    with world.process("ledger", "ledger", copied, past=forwarded(order, 2)):
        pass
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.caused) == (State.FAILED, [])


def test_a_retry_that_is_itself_failed_for_good_makes_the_first_hop_failed(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        retry = world.send("payments", "payments.retry", parent=work)
    world.handled("payments", "payments-retry", retry, error=GATEWAY)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.hop_topic, verdict.attempt) == (State.FAILED, "orders", 2)


def test_a_retry_topic_whose_group_is_gone_is_the_cause_not_the_retry(scene: Scene) -> None:
    world = scene.world
    before = world.send("elsewhere", "payments.retry")
    world.handled("payments", "payments-retry", before)
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        world.send("payments", "payments.retry", parent=work)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.hop_topic) == (State.NO_MEMBER, "payments.retry")


def test_a_polled_event_is_in_flight_while_its_process_shows_life(scene: Scene) -> None:
    world = scene.world
    first, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.poll("payments", "payments-workers", [first, second])
    with world.process("payments", "payments-workers", first, took_ms=LATER_MS):
        pass
    hop = scene.hop(second, "payments-workers", 1000)
    assert (hop.state, hop.tone) == (State.IN_FLIGHT, Tone.QUIET)


def test_a_polled_event_whose_process_fell_silent_is_crashed_and_says_what_it_rests_on(scene: Scene) -> None:
    world = scene.world
    first, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", "payments-workers", first)
    scene.commit("payments-workers", "orders", 1)
    scene.lists_no_members("payments-workers")
    scene.log("orders", 0, 2)
    world.poll("payments", "payments-workers", [second])
    hop = scene.hop(second, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.CRASHED, Tone.FAIL)
    assert "lists no members" in hop.sentence
    assert {one.kind for one in hop.evidence} == {"span", "silence", "commit"}


def test_a_slow_handler_is_not_taken_for_a_crash(scene: Scene) -> None:
    world = scene.world
    first, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    with world.process("payments", "payments-workers", first, took_ms=2 * SILENT_AFTER_MS):
        pass
    world.poll("payments", "payments-workers", [second])
    assert scene.hop(second, "payments-workers", 3 * SILENT_AFTER_MS).state is State.IN_FLIGHT


def test_a_polled_event_whose_member_left_the_group_is_crashed_at_once(scene: Scene) -> None:
    world = scene.world
    first, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", "payments-workers", first)
    world.poll("payments", "payments-workers", [second], member="member-1")
    world.wait(2000)
    scene.members("payments-workers", "member-2")
    hop = scene.hop(second, "payments-workers", 100)
    assert hop.state is State.CRASHED
    assert any(one.kind == "members" for one in hop.evidence)


def test_a_member_that_is_listed_is_at_work_however_long_it_is_silent(scene: Scene) -> None:
    world = scene.world
    first, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", "payments-workers", first)
    world.poll("payments", "payments-workers", [second], member="member-1")
    world.wait(LATER_MS)
    scene.members("payments-workers", "member-1")
    assert scene.hop(second, "payments-workers", 1000).state is State.IN_FLIGHT


# What is inferred from one poll to the next


def left_in_hand(scene: Scene) -> Made:
    """An event that a consumer had in hand when it stopped, after another one that it came back from."""
    world = scene.world
    first, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    for event, is_unfinished in ((first, False), (second, True)):
        world.poll("payments", "payments-workers", [event])
        with world.process("payments", "payments-workers", event, is_inferred=True, is_unfinished=is_unfinished):
            pass
    return second


def test_an_event_whose_loop_came_back_for_more_is_processed_and_says_that_this_is_inferred(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.poll("payments", "payments-workers", [order])
    with scene.world.process("payments", "payments-workers", order, is_inferred=True):
        pass
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.PROCESSED, Tone.OK)
    assert "inferred" in hop.evidence[0].text


def test_an_event_that_was_in_hand_when_its_consumer_stopped_is_not_called_processed(scene: Scene) -> None:
    order = left_in_hand(scene)
    hop = scene.hop(order, "payments-workers", 1000)
    assert (hop.state, hop.tone) == (State.IN_FLIGHT, Tone.QUIET)
    assert (hop.processing_ms, hop.attempts[0].ended_ms) == (None, None)
    assert hop.attempts[0].polled_ms is not None
    assert hop.attempts[0].started_ms is not None
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.UNKNOWN, Tone.QUIET)
    assert "its commits are not known" in hop.sentence


def test_an_event_that_was_in_hand_and_not_committed_is_crashed(scene: Scene) -> None:
    order = left_in_hand(scene)
    scene.commit("payments-workers", "orders", 1)
    scene.lists_no_members("payments-workers")
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.CRASHED, Tone.FAIL)
    assert {one.kind for one in hop.evidence} == {"span", "silence", "commit"}


def test_an_event_that_was_in_hand_when_its_member_left_is_crashed_unless_it_was_committed(scene: Scene) -> None:
    order = left_in_hand(scene)
    scene.commit("payments-workers", "orders", 1)
    scene.world.wait(2000)
    scene.members("payments-workers", "member-2")
    assert scene.hop(order, "payments-workers", 100).state is State.CRASHED
    scene.commit("payments-workers", "orders", 2)
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.UNKNOWN, Tone.QUIET)
    assert "committed past it" in hop.sentence


def test_an_event_that_was_left_in_hand_and_then_handled_is_processed_at_its_first_ended_attempt(scene: Scene) -> None:
    order = left_in_hand(scene)
    scene.world.handled("payments", "payments-workers", order)
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert hop.state is State.PROCESSED
    assert [attempt.ended_ms is not None for attempt in hop.attempts] == [False, True]


def test_a_crash_is_forgotten_once_another_attempt_succeeded(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", "payments-workers", [order], member="member-1")
    world.wait(LATER_MS)
    world.poll("payments", "payments-workers", [order], member="member-2")
    with world.process("payments", "payments-workers", order, member="member-2"):
        pass
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert hop.state is State.PROCESSED
    assert len(hop.attempts) == 2


def test_an_event_polled_again_after_it_was_handled_stays_processed(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", order)
    world.poll("payments", "payments-workers", [order], member="member-2")
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.PROCESSED


def test_an_event_behind_a_group_that_moves_waits_and_says_its_place_in_line(scene: Scene) -> None:
    world = scene.world
    events = [world.send("storefront", "orders") for _ in range(10)]
    for event in events[:4]:
        world.handled("payments", "payments-workers", event)
    scene.commit("payments-workers", "orders", 3)
    world.wait(1000)
    scene.commit("payments-workers", "orders", 4)
    hop = scene.hop(events[9], "payments-workers", 1000)
    assert (hop.state, hop.tone) == (State.WAITING, Tone.QUIET)
    assert "5 events before it" in hop.sentence


def test_a_group_without_a_sign_of_life_since_the_event_has_no_member(scene: Scene) -> None:
    world = scene.world
    earlier = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", earlier)
    world.wait(10_000)
    order = world.send("storefront", "orders")
    assert scene.hop(order, "payments-workers", SILENT_AFTER_MS / 2).state is State.WAITING
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.NO_MEMBER, Tone.STUCK)
    assert hop.evidence[-1].kind == "silence"


def test_a_group_that_the_broker_lists_as_empty_has_no_member(scene: Scene) -> None:
    world = scene.world
    earlier = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", earlier)
    scene.commit("payments-workers", "orders", 1)
    order = world.send("storefront", "orders")
    world.wait(15_000)
    scene.members("payments-workers")
    hop = scene.hop(order, "payments-workers", 100)
    assert hop.state is State.NO_MEMBER
    assert "has no members" in hop.sentence


def test_a_group_with_members_that_does_not_move_is_stalled(scene: Scene) -> None:
    world = scene.world
    earlier = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", earlier)
    scene.commit("payments-workers", "orders", 1)
    order = world.send("storefront", "orders")
    world.wait(LATER_MS)
    scene.members("payments-workers", "member-1")
    hop = scene.hop(order, "payments-workers", 100)
    assert (hop.state, hop.tone) == (State.STALLED, Tone.STUCK)


def test_a_group_that_committed_past_an_event_it_never_processed_skipped_it(scene: Scene) -> None:
    world = scene.world
    first = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", first)
    scene.commit("payments-workers", "orders", 1)
    order = world.send("storefront", "orders")
    world.wait(1000)
    scene.commit("payments-workers", "orders", 2)
    assert scene.hop(order, "payments-workers", 1000).state is State.IN_FLIGHT, "its spans may still be under way"
    hop = scene.hop(order, "payments-workers", LATER_MS)
    assert (hop.state, hop.tone) == (State.SKIPPED, Tone.SLOW)


def test_a_group_that_began_later_at_the_latest_offset_does_no_harm_to_older_flows(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", order)
    world.wait(60_000)
    newer = world.send("storefront", "orders")
    world.handled("audit", "audit-log", newer)
    scene.commit("audit-log", "orders", 2)
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.state is State.COMPLETE
    assert [hop.state for hop in flow.hops if hop.group == "audit-log"] == [State.SKIPPED]


def test_a_group_that_commits_and_reports_no_spans_is_uninstrumented_and_no_fault(scene: Scene) -> None:
    world = scene.world
    scene.commit("legacy", "orders", 0)
    order = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", order)
    world.wait(1000)
    scene.commit("legacy", "orders", 1)
    flow = scene.flow(order, LATER_MS)
    assert [hop.state for hop in flow.hops if hop.group == "legacy"] == [State.UNINSTRUMENTED]
    assert flow.verdict.state is State.COMPLETE
    assert flow.verdict.missing == ["legacy has no tracer."]


def test_an_event_that_retention_removed_before_the_group_came_is_expired(scene: Scene) -> None:
    world = scene.world
    earlier = world.send("storefront", "orders")
    world.handled("payments", "payments-workers", earlier)
    scene.commit("payments-workers", "orders", 1)
    order = world.send("storefront", "orders")
    world.wait(1000)
    scene.log("orders", 5, 9)
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.EXPIRED


def test_an_event_on_a_topic_that_nobody_reads_is_unconsumed_after_a_while(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders.audit")
    assert scene.hop(order, None, 1000).state is State.WAITING
    hop = scene.hop(order, None, LATER_MS)
    assert (hop.state, hop.tone) == (State.UNCONSUMED, Tone.SLOW)
    assert scene.flow(order, LATER_MS).verdict.state is State.UNCONSUMED


def test_an_event_of_an_aborted_transaction_is_aborted_with_each_group_of_its_topic(scene: Scene) -> None:
    world = scene.world
    world.handled("payments", "payments-workers", world.send("storefront", "orders", outcome="committed"))
    scene.commit("payments-workers", "orders", 1)
    order = world.send("storefront", "orders", outcome="aborted")
    for after_ms in (1000, LATER_MS):  # neither waiting nor stalled
        hop = scene.hop(order, "payments-workers", after_ms)
        assert (hop.state, hop.tone) == (State.ABORTED, Tone.SLOW)
    scene.commit("payments-workers", "orders", 3)  # past it and past the marker: not skipped
    flow = scene.flow(order, LATER_MS)
    assert [hop.state for hop in flow.hops] == [State.ABORTED]
    assert flow.verdict.state is State.ABORTED
    assert flow.verdict.sentence == (
        "storefront aborted the transaction of orders/0/1: payments-workers never sees it."
    )
    assert flow.verdict.evidence[0].span_id == order.span_id
    assert flow.ended_ms is not None


def test_an_aborted_event_on_a_topic_that_nobody_reads_is_aborted(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders.audit", outcome="aborted")
    assert scene.hop(order, None, LATER_MS).state is State.ABORTED


def test_a_group_that_reads_uncommitted_events_and_processed_an_aborted_one_has_processed_it(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders", outcome="aborted")
    world.handled("audit", "audit-eager", order)
    world.handled("payments", "payments-workers", world.send("storefront", "orders"))
    hop = scene.hop(order, "audit-eager", LATER_MS)
    assert (hop.state, hop.tone) == (State.PROCESSED, Tone.SLOW)
    assert hop.sentence == "audit-eager worked on orders/0/0, whose transaction storefront aborted."
    assert hop.evidence[-1].span_id == order.span_id
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.ABORTED


@pytest.mark.parametrize("reader", ["audit-eager", "zealous"])
def test_the_verdict_on_an_aborted_event_names_the_group_that_worked_on_it(scene: Scene, reader: str) -> None:
    world = scene.world
    world.handled("payments", "payments-workers", world.send("storefront", "orders"))
    order = world.send("storefront", "orders", outcome="aborted")
    world.poll("audit", reader, [order])
    with world.process("audit", reader, order) as work:
        report = world.send("audit", "reports", parent=work)
    world.handled("archive", "archive", report)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.tone) == (State.ABORTED, Tone.SLOW)
    if reader < "payments-workers":  # readers come by name
        assert verdict.sentence == f"{reader} worked on orders/0/1, whose transaction storefront aborted."
        assert verdict.consequence == "It sent on to reports."
        assert "read_committed" in (verdict.next_step or "")
        assert [hop.group for hop in scene.flow(order, LATER_MS).hops if hop.on_failing_path] == [reader, "archive"]
    else:
        assert f"{reader} worked on the same event, since it reads uncommitted ones." in (verdict.consequence or "")


def test_a_failure_on_an_aborted_event_is_a_failure_and_says_that_the_event_was_aborted(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders", outcome="aborted")
    scene.world.handled("audit", "audit-eager", order, error=GATEWAY)
    verdict = scene.flow(order, LATER_MS).verdict
    assert verdict.state is State.FAILED
    assert verdict.sentence.endswith(
        "(storefront aborted the event's transaction: audit-eager reads uncommitted ones.)"
    )


@pytest.mark.parametrize("error", [("TransactionAbortedError", "aborted"), ("KafkaError", "Local: Purged in queue")])
def test_a_record_that_was_not_sent_yet_when_its_transaction_was_aborted_is_aborted_too(
    scene: Scene, error: tuple[str, str]
) -> None:
    order = scene.world.send("storefront", "orders", error=error, outcome="aborted")
    assert scene.flow(order, LATER_MS).verdict.state is State.ABORTED


def test_a_refused_send_that_made_its_producer_abort_is_not_sent_and_the_cause(scene: Scene) -> None:
    world = scene.world
    checkout = world.span("storefront", "checkout")
    world.send("storefront", "orders", parent=checkout, outcome="aborted")
    error = ("MessageSizeTooLargeError", "2 MB is too large")
    world.send("storefront", "invoices", parent=checkout, error=error, outcome="aborted")
    verdict = scene.flow(checkout, LATER_MS).verdict
    assert (verdict.state, verdict.hop_topic) == (State.NOT_SENT, "invoices")


def test_an_unacknowledged_event_of_an_aborted_transaction_is_aborted(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders", is_acknowledged=False, outcome="aborted")
    assert scene.flow(order, LATER_MS).verdict.state is State.ABORTED


def test_an_aborted_event_that_was_sent_again_and_committed_leaves_the_flow_complete(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders", key="81204")
    world.poll("payments", "payments-workers", [order])
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        given_up = world.send("payments", "invoices", key="81204", parent=work, outcome="aborted")
    with world.process("payments", "payments-workers", order) as work:
        invoice = world.send("payments", "invoices", key="81204", parent=work, outcome="committed")
    world.handled("ledger", "ledger", invoice)
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.state is State.COMPLETE
    hop = scene.hop(given_up, "ledger", LATER_MS)
    assert (hop.state, hop.tone) == (State.ABORTED, Tone.OK)
    assert hop.sentence.endswith("It was sent again: invoices/0/1.")


def test_a_dead_letter_of_an_aborted_transaction_is_none(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        world.send("payments", "orders.dlq", parent=work, outcome="aborted")
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.FAILED


def test_an_event_whose_transactions_outcome_is_not_known_says_so_until_somebody_read_it(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders.audit", outcome="unknown")
    verdict = scene.flow(order, LATER_MS).verdict
    assert verdict.state is State.UNCONSUMED
    assert any("Whether its transaction was committed is not known" in text for text in verdict.missing)
    world.handled("audit", "audit", order)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.missing) == (State.COMPLETE, [])


def test_a_refused_send_is_not_sent_with_the_clients_error(scene: Scene) -> None:
    world = scene.world
    checkout = world.span("storefront", "checkout")
    world.send("storefront", "orders", parent=checkout, error=("MessageSizeTooLargeError", "2 MB is too large"))
    flow = scene.flow(checkout, LATER_MS)
    assert (flow.verdict.state, flow.verdict.hop_topic, flow.verdict.hop_group) == (State.NOT_SENT, "orders", None)
    assert flow.verdict.error == "MessageSizeTooLargeError: 2 MB is too large"
    assert flow.events[0].coordinates.offset is None


def test_a_send_without_an_acknowledgement_is_not_sent_unless_somebody_read_it(scene: Scene) -> None:
    lost = scene.world.send("storefront", "orders", is_acknowledged=False)
    verdict = scene.flow(lost, LATER_MS).verdict
    assert (verdict.state, verdict.error) == (State.NOT_SENT, None)
    assert verdict.missing == ["Whether the event was stored all the same cannot be known."]
    stored = scene.world.send("storefront", "orders", is_acknowledged=False)
    stored.partition, stored.offset = 0, 0
    scene.world.handled("payments", "payments-workers", stored)
    assert scene.flow(stored, LATER_MS).verdict.state is State.COMPLETE


def test_a_handler_that_failed_because_its_send_was_refused_points_at_the_send(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    error = ("MessageSizeTooLargeError", "2 MB is too large")
    with world.process("payments", "payments-workers", order, error=error) as work:
        world.send("payments", "payments", parent=work, error=error)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.hop_topic) == (State.NOT_SENT, "payments")
    assert verdict.last_good is not None
    assert str(verdict.last_good) == "orders/0/0"


def test_one_failing_branch_is_named_whatever_the_others_did(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("inventory", "inventory", order)
    world.handled("payments", "payments-workers", order, error=GATEWAY)
    verdict = scene.flow(order, LATER_MS).verdict
    assert verdict.hop_group == "payments-workers"
    assert verdict.consequence is not None
    assert "inventory processed the same event" in verdict.consequence


def test_the_first_failure_in_causal_order_is_the_cause_and_later_ones_are_not(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", "payments-workers", order, error=GATEWAY) as work:
        payment = world.send("payments", "payments", parent=work)
    world.handled("shipping", "shipping", payment, error=("KeyError", "address"))
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.hop_topic, verdict.error) == ("orders", "GatewayTimeout: no answer in 2 s")


def test_a_span_that_failed_before_anything_was_sent_makes_the_flow_failed(scene: Scene) -> None:
    checkout = scene.world.span("storefront", "checkout")
    checkout.fail("ValueError", "empty basket")
    verdict = scene.flow(checkout, LATER_MS).verdict
    assert (verdict.state, verdict.hop_topic) == (State.FAILED, None)
    assert verdict.error == "ValueError: empty basket"


def test_an_error_that_names_its_type_in_its_message_is_told_without_saying_it_twice(scene: Scene) -> None:
    text = "[Error 10] MessageSizeTooLargeError: The message is 5086 bytes"
    order = scene.world.send("storefront", "orders", error=("kafka.errors.MessageSizeTooLargeError", text))
    [hop] = scene.flow(order, 1000).hops
    assert hop.error == "MessageSizeTooLargeError: The message is 5086 bytes"
