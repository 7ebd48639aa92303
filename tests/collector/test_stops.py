"""How a consumer stopped, and whether anybody waits for it: a close, an exit, a kill, a peek without a group."""

from collections.abc import Iterator

import pytest

from flowtrail.collector.api.answers import State, Tone
from flowtrail.collector.store.connection import Store, open_store

from .scenes import SILENT_AFTER_MS, Scene, emptied
from .spans import Made

LATER_MS = 3 * SILENT_AFTER_MS
GROUP = "payments-workers"
BAD_DATA = ("ValueError", "no such account")


@pytest.fixture(scope="module")
def one_store(store_dsn: str) -> Iterator[Store]:
    opened = open_store(store_dsn, "test_stops")
    yield opened
    opened.close()


@pytest.fixture
def scene(one_store: Store) -> Scene:
    return Scene(emptied(one_store))


# Closed in good order, with records that the client had fetched and the program never got


def fetched_two_and_did_one(scene: Scene) -> tuple[Made, Made]:
    """A batch job that takes one record a run: the client fetched the next one too."""
    world = scene.world
    done, fetched = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.poll("payments", GROUP, [done, fetched])
    with world.process("payments", GROUP, done):
        pass
    scene.commit(GROUP, "orders", 1)
    return done, fetched


def test_an_event_that_was_only_fetched_when_its_consumer_closed_waits_for_the_next_member(scene: Scene) -> None:
    done, fetched = fetched_two_and_did_one(scene)
    close = scene.world.close("payments", GROUP)
    scene.world.wait(12_000)
    scene.members(GROUP)
    scene.log("orders", 0, 2)
    hop = scene.hop(fetched, GROUP, 1000)
    assert (hop.state, hop.tone) == (State.NO_MEMBER, Tone.STUCK)
    assert close.span_id in [fact.span_id for fact in hop.evidence]
    assert hop.in_kafka_ms is None
    assert "goes on where it stopped" in (scene.flow(fetched, 1000).verdict.next_step or "")
    assert scene.flow(done, 1000).verdict.state is State.COMPLETE


def test_an_event_that_was_given_back_waits_while_a_rolling_deploy_goes_on(scene: Scene) -> None:
    _, fetched = fetched_two_and_did_one(scene)
    scene.world.close("payments", GROUP)
    scene.world.wait(2000)
    scene.members(GROUP, "member-2")
    hop = scene.hop(fetched, GROUP, 100)
    assert (hop.state, hop.tone) == (State.WAITING, Tone.QUIET)


def test_an_event_that_was_given_back_and_that_nobody_fetches_is_not_crashed_without_a_broker_either(
    scene: Scene,
) -> None:
    world = scene.world
    world.handled("payments", GROUP, world.send("storefront", "orders"))
    fetched = world.send("storefront", "orders")
    world.poll("payments", GROUP, [fetched])
    world.close("payments", GROUP)
    assert scene.hop(fetched, GROUP, 100).state is State.WAITING
    assert scene.hop(fetched, GROUP, LATER_MS).state is State.NO_MEMBER


def test_an_event_that_was_given_back_and_removed_by_retention_is_expired(scene: Scene) -> None:
    _, fetched = fetched_two_and_did_one(scene)
    scene.world.close("payments", GROUP)
    scene.log("orders", 2, 2)
    assert scene.hop(fetched, GROUP, LATER_MS).state is State.EXPIRED


def test_an_event_that_was_given_back_by_a_client_that_reports_no_processing_is_unknown_without_commits(
    scene: Scene,
) -> None:
    fetched = scene.world.send("storefront", "orders")
    scene.world.poll("payments", GROUP, [fetched])
    scene.world.close("payments", GROUP)
    hop = scene.hop(fetched, GROUP, LATER_MS)
    assert (hop.state, len(hop.missing)) == (State.UNKNOWN, 2)


def test_an_event_that_was_given_back_before_later_ones_were_processed_is_unknown_without_commits(scene: Scene) -> None:
    world = scene.world
    first, later = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.poll("payments", GROUP, [first, later])
    with world.process("payments", GROUP, later):
        pass
    world.close("payments", GROUP)
    assert scene.hop(first, GROUP, LATER_MS).state is State.UNKNOWN


@pytest.mark.parametrize("how", ["kill", "another member closed", "another group closed", "the close failed", "before"])
def test_an_event_whose_own_member_vanished_without_a_close_is_crashed(scene: Scene, how: str) -> None:
    if how == "before":
        scene.world.close("payments", GROUP)
    _, fetched = fetched_two_and_did_one(scene)
    if how == "another member closed":
        scene.world.close("payments", GROUP, member="member-2")
    if how == "another group closed":
        scene.world.close("payments", "ledger")
    if how == "the close failed":
        scene.world.close("payments", GROUP, error=("KafkaTimeoutError", "no answer"))
    scene.world.wait(2000)
    scene.members(GROUP)
    assert scene.hop(fetched, GROUP, 100).state is State.CRASHED


def test_an_event_that_failed_and_was_given_back_is_tried_again(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.handled("payments", GROUP, order, error=BAD_DATA)
    world.poll("payments", GROUP, [order])
    scene.commit(GROUP, "orders", 0)
    world.close("payments", GROUP)
    hop = scene.hop(order, GROUP, 100)
    assert (hop.state, hop.error) == (State.RETRYING, "ValueError: no such account")
    assert "gave it back for another attempt" in hop.sentence


# In hand when it stopped


def left_in_hand(scene: Scene, *, is_closed: bool) -> Made:
    world = scene.world
    first, order = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.handled("payments", GROUP, first)
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True, is_unfinished=True):
        pass
    if is_closed:
        world.close("payments", GROUP)
    scene.commit(GROUP, "orders", 1)
    scene.members(GROUP, "member-1")
    return order


@pytest.mark.parametrize("is_closed", [False, True])
def test_an_event_in_hand_when_its_process_ended_is_crashed_long_before_its_session_ends(
    scene: Scene, is_closed: bool
) -> None:
    order = left_in_hand(scene, is_closed=is_closed)
    assert scene.hop(order, GROUP, 1000).state is State.IN_FLIGHT
    hop = scene.hop(order, GROUP, 11_000)
    assert (hop.state, hop.tone) == (State.CRASHED, Tone.FAIL)
    assert ("consumer was closed" in hop.evidence[0].text) is is_closed


def test_an_event_in_hand_of_a_job_is_in_flight_while_its_process_tells_of_other_things(scene: Scene) -> None:
    order = left_in_hand(scene, is_closed=False)
    scene.world.span("payments", "GET /", kind=2)
    assert scene.hop(order, GROUP, 11_000).state is State.IN_FLIGHT


# Readers without a group


def test_a_peek_without_a_group_breaks_no_flow_and_is_told_as_what_it_is(scene: Scene) -> None:
    world = scene.world
    orders = [world.send("storefront", "orders") for _ in range(2)]
    for order in orders:
        world.handled("payments", GROUP, order)
    world.poll("peek", "", orders, member="")
    with world.process("peek", "", orders[0], is_inferred=True, is_unfinished=True, member=""):
        pass
    world.close("peek", "", member="")
    for order in orders:
        flow = scene.flow(order, LATER_MS)
        assert flow.verdict.state is State.COMPLETE
        assert flow.verdict.consequence == "peek read it without a group."
        assert [(hop.service, hop.state, hop.tone) for hop in flow.hops if hop.group is None] == [
            ("peek", State.READ, Tone.OK)
        ]


def test_a_peek_without_a_group_never_takes_the_place_of_the_first_failure(scene: Scene) -> None:
    world = scene.world
    earlier, order = world.send("storefront", "orders"), world.send("storefront", "orders")
    world.poll("peek", "", [earlier, order], member="")
    with world.process("peek", "", earlier, is_inferred=True, member=""):
        pass
    world.handled("payments", GROUP, order, error=BAD_DATA)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.hop_group, verdict.error) == (State.FAILED, GROUP, "ValueError: no such account")
    assert "peek" not in (verdict.consequence or "")


def test_a_failure_that_a_reader_without_a_group_says_itself_is_still_its_failure(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("projector", "", [order], member="")
    with world.process("projector", "", order, error=BAD_DATA, member=""):
        pass
    assert scene.flow(order, LATER_MS).verdict.state is State.FAILED


def test_a_reader_whose_tracer_does_not_say_its_group_is_judged_as_before(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    poll = world.poll("legacy", "", [order], member="")
    poll.scope = "opentelemetry.instrumentation.kafka"
    assert scene.hop(order, None, LATER_MS).state is State.UNKNOWN


# What is inferred


def test_what_is_called_processed_by_inference_alone_says_so_in_hop_and_verdict(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True):
        pass
    flow = scene.flow(order, LATER_MS)
    (hop,) = flow.hops
    assert (hop.state, hop.tone) == (State.PROCESSED, Tone.OK)
    assert "seen to come back for more" in hop.sentence
    assert "whether it went well inside is not known" in hop.sentence
    assert flow.verdict.state is State.COMPLETE
    assert flow.verdict.sentence.startswith("No failure was seen: 1 event through 2 services")
    assert flow.verdict.sentence.endswith(f"that {GROUP} did well is inferred.")
    assert flow.verdict.missing == hop.missing
    assert "process(record)" in hop.missing[0]


def test_what_a_program_says_itself_is_not_called_inferred(scene: Scene) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    world.poll("payments", GROUP, [order])
    with world.process("payments", GROUP, order, is_inferred=True):
        pass
    with world.process("payments", GROUP, order):
        pass
    flow = scene.flow(order, LATER_MS)
    assert flow.verdict.sentence.startswith("All went well")
    assert (flow.hops[0].missing, flow.verdict.missing) == ([], [])


# Words


def test_a_send_that_was_aborted_before_it_had_an_offset_is_not_written_as_coordinates(scene: Scene) -> None:
    gone = ("TransactionAbortedError", "aborted")
    made = scene.world.send("txer", "tx", outcome="aborted", error=gone)
    verdict = scene.flow(made, LATER_MS).verdict
    assert verdict.state is State.ABORTED
    assert verdict.sentence.startswith("txer aborted the transaction of an event of tx: ")
    assert made.span_id not in verdict.sentence


def test_a_producer_of_which_no_close_is_told_is_not_said_to_have_closed(scene: Scene) -> None:
    made = scene.world.send("nobroker", "nb", is_acknowledged=False)
    assert "nobroker closed its producer, or ended, before nb" in scene.flow(made, LATER_MS).verdict.sentence


@pytest.mark.parametrize(
    ("error", "begin"),
    [
        (
            ("KafkaError", 'KafkaError{code=_MSG_TIMED_OUT,val=-192,str="Local: Message timed out"}'),
            "Look for the broker",
        ),
        (("KafkaTimeoutError", "Failed to update metadata after 60.0 secs."), "Look for the broker"),
        (("MessageSizeTooLargeError", "1048577 bytes"), "Fix what"),
    ],
)
def test_a_send_that_no_broker_answered_is_no_fault_of_what_was_sent(
    scene: Scene, error: tuple[str, str], begin: str
) -> None:
    made = scene.world.send("nobroker", "nb", error=error)
    assert (scene.flow(made, LATER_MS).verdict.next_step or "").startswith(begin)


def silent(scene: Scene) -> Made:
    order = scene.world.send("storefront", "orders")
    scene.world.poll("payments", GROUP, [order])
    scene.commit(GROUP, "orders", 0)
    return order


def test_a_broker_that_lists_others_members_is_not_said_to_list_none(scene: Scene) -> None:
    order = silent(scene)
    scene.lists_no_members(GROUP)
    scene.members("ledger", "member-7")
    hop = scene.hop(order, GROUP, LATER_MS)
    assert hop.state is State.CRASHED
    assert f"The broker does not list {GROUP}" in hop.sentence
    assert "lists no members" not in hop.sentence


def test_a_broker_that_was_never_asked_for_members_is_not_said_to_list_none(scene: Scene) -> None:
    order = silent(scene)
    scene.log("orders", 0, 1)
    assert "The broker has not said who its members are" in scene.hop(order, GROUP, LATER_MS).sentence
