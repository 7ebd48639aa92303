"""A rebalance is told also where no poll returns records after it."""

import gc
import threading
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from opentelemetry import context
from opentelemetry.trace import SpanKind

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import consumer_events, known
from flowtrail.tracer.clients.consumer_events import note_rebalance, note_seek
from flowtrail.tracer.clients.known import give_up_unacknowledged, known_of
from flowtrail.tracer.clients.waiting_events import WaitingEvents, _Due
from flowtrail.tracer.record import Client, Event

from .spans import Spans, attributes


class Place(NamedTuple):
    topic: str
    partition: int


class Known(known.Known):
    """What is known of a consumer of no library."""

    def __init__(self, _: object = None) -> None:
        super().__init__()
        self.is_member = Client(client_id=uuid.uuid4().hex, group="picking", member_id="member-1")

    def client(self) -> Client:
        return self.is_member


class Consumer:
    """A consumer of no library."""


PLACES = [Place("orders", 1), Place("orders", 0)]


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    yield spans
    flowtrail.uninstrument()


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> WaitingEvents:
    """Events that wait for no time at all."""
    waiting = WaitingEvents(wait_s=0)
    monkeypatch.setattr(consumer_events, "WAITING", waiting)
    return waiting


def test_a_rebalance_that_no_poll_followed_is_a_span_of_its_own(spans: Spans, waiting: WaitingEvents) -> None:
    consumer = Known()
    note_seek(consumer, PLACES[0], 7)
    note_rebalance(consumer, names.REVOKE_EVENT, PLACES)
    span = spans.one("rebalance")
    assert [event.name for event in span.events] == [names.SEEK_EVENT, names.REVOKE_EVENT]
    assert dict(span.events[1].attributes or {}) == {names.TOPIC: ("orders", "orders"), names.PARTITION: ("0", "1")}
    assert (span.start_time, span.end_time) == (span.events[0].timestamp, span.events[1].timestamp)
    assert (span.kind, span.parent) == (SpanKind.CLIENT, None)
    assert attributes(span) == {
        names.SYSTEM: "kafka",
        names.OPERATION_NAME: "rebalance",
        names.CLIENT_ID: consumer.client().client_id,
        names.GROUP: "picking",
        names.MEMBER_ID: "member-1",
    }
    assert consumer.take_events() == []


def test_each_rebalance_that_no_poll_followed_is_told(spans: Spans, waiting: WaitingEvents) -> None:
    consumer = Known()
    for count, name in enumerate((names.ASSIGN_EVENT, names.LOST_EVENT), start=1):
        note_rebalance(consumer, name, PLACES)
        assert spans.wait("rebalance", count)[-1].events[0].name == name


def test_a_rebalance_that_a_poll_told_is_not_told_again(spans: Spans, waiting: WaitingEvents) -> None:
    polling, idle = Known(), Known()
    waiting.wait_s = 0.2
    note_rebalance(polling, names.ASSIGN_EVENT, PLACES)
    note_rebalance(idle, names.ASSIGN_EVENT, PLACES)
    assert len(polling.take_events()) == 1
    assert attributes(spans.one("rebalance"))[names.CLIENT_ID] == idle.client().client_id


def test_a_rebalance_since_the_last_poll_waits_for_its_own_time(spans: Spans, waiting: WaitingEvents) -> None:
    consumer = Known()
    waiting.wait_s = 0.2
    note_rebalance(consumer, names.ASSIGN_EVENT, PLACES)
    consumer.take_events()
    note_rebalance(consumer, names.REVOKE_EVENT, PLACES)
    assert [event.name for event in spans.one("rebalance").events] == [names.REVOKE_EVENT]


def test_what_is_due_is_told_whoever_came_before(spans: Spans, waiting: WaitingEvents) -> None:
    waiting.wait_s = 3600
    first, second, third = Known(), Known(), Known()
    note_rebalance(first, names.ASSIGN_EVENT, PLACES)
    hour_ns = 3600 * 10**9
    for consumer in (second, third):  # a seek that was long before
        consumer.events.append(Event(names.SEEK_EVENT, {names.PARTITION: "1"}, time.time_ns() - hour_ns))
        note_rebalance(consumer, names.ASSIGN_EVENT, PLACES)
    told = {attributes(span)[names.CLIENT_ID] for span in spans.wait("rebalance", 2)}
    assert told == {second.client().client_id, third.client().client_id}
    assert len(first.take_events()) == 1


def test_what_came_since_it_was_last_looked_at_is_told_before_what_is_due_later(
    spans: Spans, waiting: WaitingEvents
) -> None:
    waiting.wait_s = 3600
    again, later = Known(), Known()
    waiting._thread = threading.current_thread()  # what it does is done here
    due: list[_Due] = []
    now_ns, hour_ns = time.time_ns(), 3600 * 10**9
    for consumer, age_ns in ((again, hour_ns), (later, 0)):
        consumer.events.append(Event(names.ASSIGN_EVENT, {}, now_ns - age_ns))
        waiting.add(consumer)
        waiting._wait(due)
    again.take_events()
    again.events.append(Event(names.REVOKE_EVENT, {}, now_ns - hour_ns // 2))
    waiting._wait(due)
    assert (again.is_awaited, later.is_awaited) == (True, True)
    assert [each.waiting.client.client_id for each in sorted(due)] == [
        consumer.client().client_id for consumer in (again, later)
    ]


def test_a_rebalance_of_a_consumer_that_was_let_go_is_told_too(spans: Spans, waiting: WaitingEvents) -> None:
    consumer = Known()
    waiting.wait_s = 0.2
    note_rebalance(consumer, names.LOST_EVENT, PLACES)
    del consumer
    gc.collect()
    assert attributes(spans.one("rebalance"))[names.MEMBER_ID] == "member-1"


def test_what_waits_when_the_process_exits_is_told_then(spans: Spans) -> None:
    consumer = Consumer()
    note_rebalance(known_of(consumer, Known), names.ASSIGN_EVENT, PLACES)
    assert spans.settled() == []
    give_up_unacknowledged()
    assert [event.name for event in spans.one("rebalance").events] == [names.ASSIGN_EVENT]


def test_a_seek_alone_and_a_rebalance_without_partitions_make_no_span_and_no_thread(
    spans: Spans, waiting: WaitingEvents
) -> None:
    note_rebalance(Known(), names.REVOKE_EVENT, [])
    note_seek(Known(), PLACES[0], 7)
    assert waiting._thread is None


def test_a_rebalance_where_nothing_is_to_be_traced_makes_no_span_of_its_own(
    spans: Spans, waiting: WaitingEvents
) -> None:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        note_rebalance(Known(), names.ASSIGN_EVENT, PLACES)
    finally:
        context.detach(token)
    assert waiting._thread is None


def test_a_failure_of_ours_is_counted_and_the_next_rebalance_is_told(
    spans: Spans, waiting: WaitingEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = flowtrail.health().interceptor_errors
    broken, consumer = Known(), Known()
    monkeypatch.setattr(broken, "events", [object()])
    waiting.add(broken)
    note_rebalance(consumer, names.ASSIGN_EVENT, PLACES)
    spans.one("rebalance")
    assert flowtrail.health().interceptor_errors == before + 1
