"""Dead letters that a program without a tracer sent, such as Kafka Connect: whose they are, and whose they are not."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from flowtrail.collector.api.answers import State
from flowtrail.collector.store.connection import Store, open_store
from flowtrail.tracer import attributes as names

from .scenes import SILENT_AFTER_MS, Scene, emptied
from .spans import Made, forwarded

GATEWAY = ("GatewayTimeout", "no answer in 2 s")
DATA = "org.apache.kafka.connect.errors.DataException"
LATER_MS = 3 * SILENT_AFTER_MS
SINK = "connect-warehouse"


@pytest.fixture(scope="module")
def one_store(store_dsn: str) -> Iterator[Store]:
    opened = open_store(store_dsn, "test_unseen_forwarders")
    yield opened
    opened.close()


@pytest.fixture
def scene(one_store: Store) -> Scene:
    return Scene(emptied(one_store))


def parked(scene: Scene, order: Made, topic: str = "parked") -> None:
    """An event is read from where Connect put it, with the headers that it had and those that Connect writes."""
    said = forwarded(order, 1, "dead_letter", DATA)
    del said[names.DELIVERY_ATTEMPT]
    with scene.world.process("triage", "triage", replace(order, topic=topic, offset=4), past=said):
        pass


def test_a_dead_letter_belongs_to_the_one_group_without_a_tracer_whatever_its_topic_is_called(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.handled("payments", "payments-workers", order)
    scene.commit("payments-workers", "orders", 1)
    scene.commit(SINK, "orders", 1)
    parked(scene, order)
    verdict = scene.flow(order, LATER_MS).verdict
    assert (verdict.state, verdict.hop_group, verdict.error) == (State.DEAD_LETTERED, SINK, DATA)
    assert verdict.sentence == f"{SINK} gave up on orders/0/0 and sent it to parked: {DATA}"
    assert verdict.consequence is not None
    assert verdict.consequence.startswith("The event lies in parked/0/4, which triage reads.")
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.PROCESSED


@pytest.mark.parametrize("topic", ["parked", "orders.dlq"])
@pytest.mark.parametrize("error", [None, GATEWAY])
def test_a_dead_letter_whose_sender_is_not_known_is_not_held_against_a_group_with_a_tracer(
    scene: Scene, topic: str, error: tuple[str, str] | None
) -> None:
    order = scene.world.send("storefront", "orders")
    scene.world.handled("payments", "payments-workers", order, error=error)
    parked(scene, order, topic)
    hop = scene.hop(order, None, LATER_MS)
    assert (hop.state, hop.error, hop.service) == (State.DEAD_LETTERED, DATA, None)
    assert hop.sentence == f"A reader without a tracer gave up on orders/0/0 and sent it to {topic}: {DATA}"
    own = scene.hop(order, "payments-workers", LATER_MS)
    assert own.state is (State.FAILED if error else State.PROCESSED)


def test_a_dead_letter_of_an_event_that_nobody_seems_to_read_says_that_somebody_does(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    parked(scene, order)
    hops = [hop for hop in scene.flow(order, LATER_MS).hops if hop.coordinates.topic == "orders"]
    assert [(hop.state, hop.group) for hop in hops] == [(State.DEAD_LETTERED, None)]


def test_which_of_two_groups_without_a_tracer_gave_up_is_not_guessed(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    for group in (SINK, "etl"):
        scene.commit(group, "orders", 1)
    parked(scene, order)
    states = {hop.group: hop.state for hop in scene.flow(order, LATER_MS).hops if hop.coordinates.topic == "orders"}
    assert states == {SINK: State.UNINSTRUMENTED, "etl": State.UNINSTRUMENTED, None: State.DEAD_LETTERED}


def test_headers_of_a_dead_letter_that_a_traced_program_passed_on_make_no_dead_letter_of_its_event(
    scene: Scene,
) -> None:
    world = scene.world
    order = world.send("storefront", "orders")
    scene.commit(SINK, "orders", 1)
    said = forwarded(order, 1, "dead_letter", DATA)
    del said[names.DELIVERY_ATTEMPT]
    with world.process("triage", "triage", replace(order, topic="parked", offset=4), past=said) as work:
        mended = world.send("triage", "mended", parent=work)
    with world.process("ledger", "ledger", mended, past=said):
        pass
    hop = scene.hop(order, SINK, LATER_MS)
    assert [str(at) for at in hop.caused] == ["parked/0/4"]


def test_a_program_that_another_tracer_follows_may_have_sent_the_dead_letter(scene: Scene) -> None:
    order = scene.world.send("storefront", "orders")
    work = scene.world.handled("payments", "payments-workers", order, error=GATEWAY)
    work.scope = "io.opentelemetry.kafka-clients-2.6"
    parked(scene, order)
    assert scene.hop(order, "payments-workers", LATER_MS).state is State.DEAD_LETTERED
