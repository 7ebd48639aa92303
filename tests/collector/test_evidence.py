"""What a state rests on: commits before silence, an event's own word before the span that it was sent in."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from flowtrail.collector.api.answers import State, Tone
from flowtrail.collector.store.connection import Store, open_store

from .scenes import SILENT_AFTER_MS, Scene, emptied
from .spans import Made, World, forwarded

GATEWAY = ("GatewayTimeout", "no answer in 2 s")
LATER_MS = 3 * SILENT_AFTER_MS
GROUP = "payments-workers"


@pytest.fixture(scope="module")
def one_store(store_dsn: str) -> Iterator[Store]:
    opened = open_store(store_dsn, "test_evidence")
    yield opened
    opened.close()


@pytest.fixture
def scene(one_store: Store) -> Scene:
    return Scene(emptied(one_store))


def polled(scene: Scene) -> Made:
    """The first event that a group ever took."""
    order = scene.world.send("storefront", "orders")
    scene.world.poll("payments", GROUP, [order])
    return order


# A group of which no processing has been seen yet


@pytest.mark.parametrize("committed", [-1, 0])
def test_a_first_event_that_was_never_committed_is_not_processed_but_crashed_once_its_process_is_silent(
    scene: Scene, committed: int
) -> None:
    order = polled(scene)
    scene.commit(GROUP, "orders", committed)
    scene.lists_no_members(GROUP)
    assert scene.hop(order, GROUP, 1000).state is State.IN_FLIGHT
    hop = scene.hop(order, GROUP, LATER_MS)
    assert (hop.state, hop.tone) == (State.CRASHED, Tone.FAIL)


def test_a_first_event_whose_member_left_before_a_commit_is_crashed(scene: Scene) -> None:
    order = polled(scene)
    scene.world.wait(2000)
    scene.commit(GROUP, "orders", -1)
    scene.members(GROUP)
    assert scene.hop(order, GROUP, 100).state is State.CRASHED


def test_a_first_event_that_a_living_member_never_commits_is_in_flight(scene: Scene) -> None:
    order = polled(scene)
    scene.world.wait(LATER_MS)
    scene.commit(GROUP, "orders", -1)
    scene.members(GROUP, "member-1")
    assert scene.hop(order, GROUP, 1000).state is State.IN_FLIGHT


def test_a_received_event_is_unknown_when_neither_processing_nor_commits_are_told(scene: Scene) -> None:
    order = polled(scene)
    hop = scene.hop(order, GROUP, LATER_MS)
    assert (hop.state, hop.tone) == (State.UNKNOWN, Tone.QUIET)


def test_a_received_event_that_was_committed_past_is_processed_as_far_as_its_client_tells(scene: Scene) -> None:
    order = polled(scene)
    scene.commit(GROUP, "orders", 1)
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.state is State.COMPLETE
    assert any("reports no processing" in text for text in flow.verdict.missing)


@pytest.mark.parametrize(
    ("members", "is_heard_of", "state"),
    [((), False, State.UNKNOWN), (("member-1",), False, State.PROCESSED), ((), True, State.PROCESSED)],
)
def test_a_first_event_that_was_committed_past_by_a_process_which_died_with_it_is_not_called_processed(
    scene: Scene, members: tuple[str, ...], is_heard_of: bool, state: State
) -> None:
    order = polled(scene)
    scene.world.wait(2000)
    scene.commit(GROUP, "orders", 1)  # as librdkafka does by itself while the handler runs
    if is_heard_of:
        scene.world.span("payments", "GET /", kind=2)
    scene.world.wait(10_000)
    scene.members(GROUP, *members)
    hop = scene.hop(order, GROUP, LATER_MS)
    assert hop.state is state
    if state is State.UNKNOWN:
        assert "was not heard of again" in hop.sentence
        assert {one.kind for one in hop.evidence} == {"span", "commit", "members"}


def test_an_event_that_nobody_reads_says_who_would_not_be_seen(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.log("orders", 0, 1)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, len(verdict.missing)) == (State.UNCONSUMED, 1)
    assert "died before its first commit and its first span" in verdict.missing[0]


def test_what_a_group_took_before_its_tracer_reported_processing_is_not_skipped(scene: Scene) -> None:
    order = polled(scene)
    scene.commit(GROUP, "orders", 1)
    scene.world.wait(600_000)
    later = scene.world.send("storefront", "orders")
    scene.world.handled("payments", GROUP, later)
    scene.commit(GROUP, "orders", 2)
    assert scene.hop(order, GROUP, LATER_MS).state is State.PROCESSED


# A group that went past an event


@pytest.mark.parametrize("members", [(), ("member-2",)])
def test_an_event_that_was_polled_and_committed_past_is_skipped_whoever_left_since(
    scene: Scene, members: tuple[str, ...]
) -> None:
    world = scene.world
    first, passed_over = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.poll("payments", GROUP, [first, passed_over])
    with world.process("payments", GROUP, first):
        pass
    world.wait(2000)
    scene.commit(GROUP, "orders", 2)
    scene.members(GROUP, *members)
    hop = scene.hop(passed_over, GROUP, LATER_MS)
    assert (hop.state, hop.tone) == (State.SKIPPED, Tone.SLOW)
    assert "once more" not in (scene.flow(passed_over, LATER_MS).verdict.next_step or "")


def test_an_event_that_was_passed_over_is_unknown_where_commits_are_not_known(scene: Scene) -> None:
    world = scene.world
    passed_over, second = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.poll("payments", GROUP, [passed_over, second])
    with world.process("payments", GROUP, second):
        pass
    assert scene.hop(passed_over, GROUP, LATER_MS).state is State.UNKNOWN


def test_an_event_that_failed_and_was_polled_again_and_committed_past_is_failed(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.handled("payments", GROUP, order, error=GATEWAY)
    scene.world.poll("payments", GROUP, [order])
    scene.commit(GROUP, "orders", 1)
    assert scene.hop(order, GROUP, LATER_MS).state is State.FAILED


def test_an_event_that_failed_and_was_polled_again_before_later_ones_were_processed_is_failed(scene: Scene) -> None:
    world = scene.world
    order, later = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", GROUP, order, error=GATEWAY)
    world.poll("payments", GROUP, [order, later])
    with world.process("payments", GROUP, later):
        pass
    assert scene.hop(order, GROUP, LATER_MS).state is State.FAILED


def test_a_group_that_went_back_before_an_event_and_fell_silent_over_it_has_crashed(scene: Scene) -> None:
    world = scene.world
    earlier, order = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", GROUP, earlier)
    scene.commit(GROUP, "orders", 2)
    world.wait(1000)
    scene.commit(GROUP, "orders", 1)
    world.poll("payments", GROUP, [order])
    scene.lists_no_members(GROUP)
    assert scene.hop(order, GROUP, LATER_MS).state is State.CRASHED


# What is inferred of a poll whose work the program then says itself, in another thread


@pytest.mark.parametrize("is_unfinished", [False, True])
def test_work_said_in_a_workers_thread_is_one_attempt_with_what_was_inferred_where_it_was_polled(
    scene: Scene, is_unfinished: bool
) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True, is_unfinished=is_unfinished):
        pass
    with world.process("payments", GROUP, order, error=GATEWAY):
        pass
    hop = scene.hop(order, GROUP, LATER_MS)
    assert hop.state is State.FAILED
    assert [(attempt.polled_ms is not None, attempt.error) for attempt in hop.attempts] == [(True, hop.error)]
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.attempt == 1
    assert {span.hop for span in flow.spans if span.operation == "process"} == {hop.id}


def test_work_said_for_each_event_of_a_batch_is_one_attempt_for_each(scene: Scene) -> None:
    world = scene.world
    orders = [world.send("storefront", "orders") for _ in range(2)]
    world.poll("payments", GROUP, orders)
    with world.process("payments", GROUP, orders, is_inferred=True):
        pass
    for order in orders:
        with world.process("payments", GROUP, order):
            pass
    assert [len(scene.hop(order, GROUP, LATER_MS).attempts) for order in orders] == [1, 1]


@pytest.mark.parametrize("member", ["member-1", "member-2"])
def test_work_said_of_a_later_delivery_is_an_attempt_of_its_own(scene: Scene, member: str) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True, is_unfinished=True):
        pass
    world.poll("payments", GROUP, [order], member=member)
    with world.process("payments", GROUP, order, member=member):
        pass
    assert len(scene.hop(order, GROUP, LATER_MS).attempts) == 2


def test_an_event_sent_before_the_program_said_its_work_is_caused_by_the_same_hop(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True) as work:
        world.send("payments", "audit", parent=work)
    with world.process("payments", GROUP, order):
        pass
    assert [at.topic for at in scene.hop(order, GROUP, LATER_MS).caused] == ["audit"]


# Left in hand by a process that lives on


def left_in_hand_by_a_web_service(world: World) -> Made:
    first, order = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", GROUP, first)
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True, is_unfinished=True):
        pass
    return order


@pytest.mark.parametrize(("is_committed", "state"), [(True, State.CRASHED), (False, State.UNKNOWN)])
def test_an_event_left_in_hand_by_a_process_that_lives_on_does_not_stay_in_flight(
    scene: Scene, is_committed: bool, state: State
) -> None:
    order = left_in_hand_by_a_web_service(scene.world)
    if is_committed:
        scene.commit(GROUP, "orders", 1)
    for _ in range(4):
        scene.world.wait(SILENT_AFTER_MS)
        scene.world.span("payments", "GET /", kind=2)
    assert scene.hop(order, GROUP, 100).state is state


def test_an_event_left_in_hand_by_a_member_that_is_still_listed_is_crashed_after_a_while(scene: Scene) -> None:
    order = left_in_hand_by_a_web_service(scene.world)
    scene.world.wait(LATER_MS)
    scene.commit(GROUP, "orders", 1)
    scene.members(GROUP, "member-1")
    assert scene.hop(order, GROUP, 100).state is State.CRASHED


# Whose retry or dead letter it is


@pytest.mark.parametrize("is_one_flow", [True, False])
def test_a_dead_letter_of_a_batch_belongs_to_the_one_event_that_it_names(scene: Scene, is_one_flow: bool) -> None:
    world = scene.world
    root = world.span("storefront", "checkout") if is_one_flow else None
    given_up, fine = (world.send("storefront", "orders", key=key, parent=root) for key in "ab")
    world.poll("payments", GROUP, [given_up, fine])
    with world.process("payments", GROUP, [given_up, fine], is_inferred=True) as work:
        world.send("payments", "orders.dlq", key="a", parent=work, past=forwarded(given_up, 2, "dead_letter"))
    assert scene.hop(given_up, GROUP, LATER_MS).state is State.DEAD_LETTERED
    assert scene.hop(fine, GROUP, LATER_MS).state is State.PROCESSED


def test_a_dead_letter_sent_while_another_event_is_processed_belongs_to_the_one_that_it_names(scene: Scene) -> None:
    world = scene.world
    root = world.span("storefront", "checkout")
    given_up, fine = (world.send("storefront", "orders", key=key, parent=root) for key in "ab")
    world.handled("payments", GROUP, given_up, error=GATEWAY)
    with world.process("payments", GROUP, fine) as work:
        world.send("payments", "orders.dlq", key="a", parent=work, past=forwarded(given_up, 2, "dead_letter"))
    assert scene.hop(given_up, GROUP, LATER_MS).state is State.DEAD_LETTERED
    assert scene.hop(fine, GROUP, LATER_MS).state is State.PROCESSED


@pytest.mark.parametrize("services", [("shop", "shop"), ("payments", "ledger")])
def test_a_dead_letter_belongs_to_the_group_that_failed_not_to_the_last_that_took_the_event(
    scene: Scene, services: tuple[str, str]
) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled(services[0], "payments", order, error=GATEWAY)
    world.handled(services[1], "ledger", order)
    world.handled("triage", "triage", replace(order, topic="orders.dlq", offset=4))
    with world.process("triage", "triage", replace(order, topic="orders.dlq", offset=4), past=forwarded(order, 2)):
        pass
    assert scene.hop(order, "payments", LATER_MS).state is State.DEAD_LETTERED
    assert scene.hop(order, "ledger", LATER_MS).state is State.PROCESSED


def test_an_event_in_hand_when_its_consumer_stopped_is_dead_lettered_if_a_dead_letter_says_so(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True, is_unfinished=True) as work:
        world.send("payments", "orders.dlq", parent=work, past=forwarded(order, 2, "dead_letter"))
    scene.commit(GROUP, "orders", 1)
    hop = scene.hop(order, GROUP, LATER_MS)
    assert (hop.state, hop.error) == (State.DEAD_LETTERED, "GatewayTimeout")


def test_a_retry_of_which_the_end_is_not_known_is_not_waited_for(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", GROUP, order, error=GATEWAY) as work:
        retry = world.send("payments", "orders.retry", parent=work, past=forwarded(order, 2, "retry"))
    world.poll("retrier", "retriers", [retry])
    with world.process("retrier", "retriers", retry, is_inferred=True, is_unfinished=True):
        pass
    scene.commit("retriers", "orders.retry", 1)
    hop = scene.hop(order, GROUP, LATER_MS)
    assert (hop.state, hop.tone) == (State.UNKNOWN, Tone.QUIET)
    assert "whether orders.retry brought it through is not known" in hop.sentence


def test_a_retry_in_the_same_topic_is_judged_by_the_group_that_retries(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    with world.process("payments", GROUP, order, error=GATEWAY) as work:
        retry = world.send("payments", "orders", parent=work, past=forwarded(order, 2, "retry"))
    world.handled("audit", "audit", retry)
    world.handled("payments", GROUP, retry, error=GATEWAY)
    assert scene.hop(order, GROUP, LATER_MS).state is State.FAILED


# Sent again after an abort


def test_each_committed_event_settles_one_aborted_event_of_the_same_try(scene: Scene) -> None:
    world = scene.world
    root = world.span("storefront", "checkout")
    aborted = [world.send("storefront", "orders", parent=root, outcome="aborted") for _ in range(3)]
    again = world.send("storefront", "orders", parent=root, outcome="committed")
    world.handled("payments", GROUP, again)
    assert [scene.hop(one, GROUP, LATER_MS).tone for one in aborted] == [Tone.OK, Tone.SLOW, Tone.SLOW]


def test_one_committed_event_settles_all_the_tries_before_it(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    for outcome in ("aborted", "aborted", "committed"):
        with world.process("payments", GROUP, order) as work:
            invoice = world.send("payments", "invoices", key="81204", parent=work, outcome=outcome)
    world.handled("ledger", "ledger", invoice)
    assert scene.flow(order, LATER_MS).verdict.state is State.COMPLETE


def test_a_record_that_was_given_up_with_its_transaction_is_settled_once_it_is_sent_again(scene: Scene) -> None:
    world = scene.world
    root = world.span("storefront", "checkout")
    given_up = ("KafkaError", "_PURGE_QUEUE")
    world.send("storefront", "orders", key="1", parent=root, outcome="aborted", error=given_up)
    again = world.send("storefront", "orders", key="1", parent=root, outcome="committed")
    world.handled("payments", GROUP, again)
    assert scene.flow(again, LATER_MS).verdict.state is State.COMPLETE


@pytest.mark.parametrize("outcome", ["unknown", ""])
def test_an_aborted_event_is_not_settled_by_one_that_nobody_saw_committed(scene: Scene, outcome: str) -> None:
    world = scene.world
    root = world.span("storefront", "checkout")
    aborted = world.send("storefront", "orders", key="1", parent=root, outcome="aborted")
    world.send("storefront", "orders", key="1", parent=root, outcome=outcome, is_acknowledged=bool(outcome))
    assert scene.hop(aborted, None, LATER_MS).tone is Tone.SLOW
