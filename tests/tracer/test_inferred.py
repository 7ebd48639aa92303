"""What is inferred of the work on records: from one record, or poll, to the next, and never more than was seen."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.known import Known, give_up_unacknowledged, known_of
from flowtrail.tracer.configuration import CONFIGURATION
from flowtrail.tracer.inferred import Inferred, is_stale
from flowtrail.tracer.inferred_work import Work
from flowtrail.tracer.record import Client, Received
from flowtrail.tracer.tracing import CHAIN, TRACING

from .spans import Spans, attributes, link_attributes, linked, parent_id, span_id, trace_id

NAME = "process orders"
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-00000000000000a1-01"


class Record:
    """A native record that knows its client."""

    topic, partition, key, value, timestamp = "orders", 0, None, b"value", 1000

    def __init__(self, client: Client | None, offset: int) -> None:
        self.offset = offset
        self.headers = [("traceparent", TRACEPARENT)]
        if client is not None:
            self.flowtrail_client = client


class Consumer:
    """A client as its wrapper drives `Inferred`: `next` gives one record, `poll` several."""

    def __init__(self, group: str = "billing") -> None:
        self.client = Client(group=group)
        self.inferred = Inferred()
        self._offset = 0

    def next(self) -> Record:
        self.inferred.end()
        record = Record(self.client, self._offset)
        self._offset += 1
        self.inferred.begin([received(record)], False)
        return record

    def poll(self, count: int) -> list[Record]:
        self.inferred.end()
        records = [Record(self.client, self._offset + number) for number in range(count)]
        self._offset += count
        self.inferred.begin([received(record) for record in records], True)
        return records


def received(record: Record) -> Received:
    return Received(record.flowtrail_client, record.topic, record.partition, record.offset, None, 1000, record.headers)


class Collecting(SpanProcessor):
    """Keeps finished spans; it has no say at their start, so that they may be made later, on another thread."""

    def __init__(self) -> None:
        self.finished: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.finished.append(span)


class DeferredSpans(Spans):
    """Spans of which only ids and times are noted at first."""

    def __init__(self) -> None:
        self._collecting = Collecting()
        self.provider = TracerProvider()
        self.provider.add_span_processor(self._collecting)

    def named(self, name: str) -> list[ReadableSpan]:
        # By start: one that was touched, such as to say that it is unfinished, goes its own way.
        self.provider.force_flush()
        found = [span for span in self._collecting.finished if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def names(self) -> list[str]:
        self.provider.force_flush()
        return [span.name for span in self._collecting.finished]


@pytest.fixture(params=[Spans, DeferredSpans], ids=["at once", "deferred"])
def spans(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Spans]:
    spans: Spans = request.param()
    flowtrail.set_up(tracer_provider=spans.provider)
    before = flowtrail.health().interceptor_errors
    yield spans
    assert flowtrail.health().interceptor_errors == before
    assert current() is None
    assert [record for record in caplog.records if "detach" in record.getMessage()] == []


@pytest.fixture
def consumer(spans: Spans) -> Iterator[Consumer]:
    consumer = Consumer()
    yield consumer
    consumer.inferred.let_go()


def current() -> int | None:
    found = trace.get_current_span().get_span_context()
    return found.span_id if found.is_valid else None


def offsets(spans: Spans) -> list[tuple[object, bool]]:
    """Offset of each process span that was exported, and whether it ended well."""
    for span in spans.named(NAME):
        assert span.status.status_code is StatusCode.UNSET
    return [(attributes(span)[names.OFFSET], names.UNFINISHED not in attributes(span)) for span in spans.named(NAME)]


def test_the_work_on_a_record_is_a_span_until_the_loop_comes_back_for_the_next(
    spans: Spans, consumer: Consumer
) -> None:
    consumer.next()
    inside = current()
    assert inside is not None
    assert spans.names() == []
    consumer.next()
    span = spans.one(NAME)
    assert span_id(span) == inside
    assert (span.kind, span.parent, linked(span)) == (SpanKind.CONSUMER, None, [0xA1])
    found = attributes(span)
    assert (found[names.OFFSET], found[names.GROUP], found[names.INFERRED]) == (0, "billing", True)
    assert names.MESSAGE_COUNT not in found


def test_the_work_on_a_batch_is_one_span_until_the_next_poll(spans: Spans, consumer: Consumer) -> None:
    consumer.poll(3)
    consumer.inferred.end()
    span = spans.one(NAME)
    assert attributes(span)[names.MESSAGE_COUNT] == 3
    assert [found[names.OFFSET] for found in link_attributes(span)] == [0, 1, 2]
    assert current() is None


def test_what_the_body_does_is_part_of_the_work(spans: Spans, consumer: Consumer) -> None:
    tracer = spans.provider.get_tracer("shop")
    for _ in range(2):
        consumer.next()
        with tracer.start_as_current_span("charge"):
            pass
    consumer.inferred.end()
    assert [parent_id(span) for span in spans.named("charge")] == [span_id(span) for span in spans.named(NAME)]


def test_the_records_after_one_another_are_traces_of_their_own(spans: Spans, consumer: Consumer) -> None:
    for _ in range(3):
        consumer.next()
    consumer.inferred.end()
    assert len({trace_id(span) for span in spans.named(NAME)}) == 3
    assert {span.parent for span in spans.named(NAME)} == {None}


def test_an_empty_poll_begins_nothing_and_ends_what_was_before(spans: Spans, consumer: Consumer) -> None:
    consumer.next()
    consumer.poll(0)
    assert offsets(spans) == [(0, True)]
    assert current() is None


def test_inside_a_span_of_the_programs_own_the_work_is_its_child(spans: Spans, consumer: Consumer) -> None:
    with spans.provider.get_tracer("shop").start_as_current_span("shift"):
        consumer.next()
        consumer.next()
        consumer.inferred.end()
        assert current() is not None
    shift = span_id(spans.one("shift"))
    assert [parent_id(span) for span in spans.named(NAME)] == [shift, shift]


def test_a_body_that_never_came_back_is_left_unfinished(spans: Spans, consumer: Consumer) -> None:
    consumer.next()
    consumer.next()
    consumer.inferred.let_go()
    assert offsets(spans) == [(0, True), (1, False)]
    assert current() is None
    consumer.inferred.let_go()
    assert len(spans.named(NAME)) == 2


class Thing:
    """A client of some library."""


class KnownThing(Known):
    def __init__(self, thing: Thing) -> None:
        super().__init__()

    def client(self) -> Client:
        return Client(group="billing")


def begin(inferred: Inferred) -> None:
    inferred.begin([received(Record(Client(), 0))], False)


def test_a_client_that_is_collected_leaves_its_work_unfinished(spans: Spans) -> None:
    thing = Thing()
    begin(known_of(thing, KnownThing).inferred)
    del thing
    gc.collect()
    assert offsets(spans) == [(0, False)]


def test_a_process_that_exits_leaves_the_work_in_hand_unfinished(spans: Spans) -> None:
    thing = Thing()
    begin(known_of(thing, KnownThing).inferred)
    give_up_unacknowledged()
    assert offsets(spans) == [(0, False)]


def test_uninstrument_leaves_no_context_behind_and_the_work_in_hand_unfinished(spans: Spans) -> None:
    thing = Thing()
    begin(known_of(thing, KnownThing).inferred)
    flowtrail.uninstrument()
    assert current() is None
    assert offsets(spans) == [(0, False)]


FORKING = """
import os
import flowtrail
from flowtrail.tracer.clients.known import known_of
from tests.tracer.spans import Spans
from tests.tracer.test_inferred import KnownThing, Thing, begin

spans, thing = Spans(), Thing()
flowtrail.set_up(tracer_provider=spans.provider)
inferred = known_of(thing, KnownThing).inferred
begin(inferred)
child = os.fork()
if not child:
    inferred.end()
    inferred.let_go()
    os._exit(len(spans.names()))
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
inferred.end()
print(status, spans.names())
"""


def test_a_forked_child_leaves_its_parents_work_to_the_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=True, env={**os.environ}
    )
    assert done.stdout == f"0 ['{NAME}']\n"


# The program says it itself


def test_an_explicit_process_takes_the_place_of_what_is_inferred(spans: Spans, consumer: Consumer) -> None:
    for _ in range(3):
        record = consumer.next()
        with flowtrail.process(record):
            pass
        assert current() is None
    consumer.inferred.end()
    found = spans.named(NAME)
    assert offsets(spans) == [(0, True), (1, True), (2, True)]
    assert [names.INFERRED in attributes(span) for span in found] == [False] * 3
    assert [span.parent for span in found] == [None] * 3


def test_an_explicit_process_of_one_record_replaces_the_batch_that_it_was_in(spans: Spans, consumer: Consumer) -> None:
    for record in consumer.poll(2):
        with flowtrail.process(record):
            pass
    consumer.poll(2)
    consumer.inferred.let_go()
    assert offsets(spans) == [(0, True), (1, True)]


def test_an_explicit_loop_replaces_what_is_inferred_from_the_first_record_on(spans: Spans, consumer: Consumer) -> None:
    for record in flowtrail.processing(iter(consumer.next, None)):
        if record is not None and record.offset == 2:
            break
    assert [names.INFERRED in attributes(span) for span in spans.named(NAME)] == [False] * 3


def test_an_explicit_process_in_another_thread_replaces_it_too(spans: Spans, consumer: Consumer) -> None:
    def work(record: Record) -> None:
        with flowtrail.process(record):
            pass

    for _ in range(2):
        in_thread(work, consumer.next())
    consumer.inferred.end()
    assert offsets(spans) == [(0, True), (1, True)]
    assert current() is None


def test_an_explicit_process_of_a_copy_of_the_record_in_hand_replaces_it_too(spans: Spans, consumer: Consumer) -> None:
    with flowtrail.process(Record(None, consumer.next().offset)):
        pass
    consumer.next()
    consumer.inferred.end()
    assert offsets(spans) == [(0, True)]


def test_an_explicit_process_of_another_record_replaces_nothing(spans: Spans, consumer: Consumer) -> None:
    consumer.next()
    with flowtrail.process(Record(None, 77)):
        pass
    consumer.inferred.end()
    explicit, inferred = sorted(spans.named(NAME), key=lambda span: names.INFERRED in attributes(span))
    assert attributes(inferred)[names.INFERRED] is True
    assert parent_id(explicit) == span_id(inferred)


def test_an_explicit_process_of_one_client_leaves_others_inferred(spans: Spans, consumer: Consumer) -> None:
    other = Consumer("search")
    with flowtrail.process(other.next()):
        pass
    consumer.next()
    consumer.inferred.end()
    found = [(attributes(span)[names.GROUP], names.INFERRED in attributes(span)) for span in spans.named(NAME)]
    assert found == [("search", False), ("billing", True)]


# Contexts


def test_two_clients_that_are_polled_in_turn_are_never_one_trace(spans: Spans, consumer: Consumer) -> None:
    other = Consumer("search")
    for _ in range(20):
        consumer.next()
        other.next()
    other.inferred.let_go()
    consumer.inferred.let_go()
    found = spans.named(NAME)
    assert len(found) == 40
    assert {span.parent for span in found} == {None}
    assert len({trace_id(span) for span in found}) == 40


def works() -> int:
    gc.collect()
    return sum(isinstance(thing, Work) for thing in gc.get_objects())


def leave_a_context_attached() -> None:
    context.attach(baggage.set_baggage("tenant", "north"))


@pytest.mark.parametrize("body", [lambda: None, leave_a_context_attached], ids=["", "that leaves a context attached"])
def test_a_body_that_runs_for_ever_holds_no_more_than_what_is_in_hand(
    spans: Spans, consumer: Consumer, body: Callable[[], None]
) -> None:
    def loop() -> None:
        other = Consumer("search")
        for _ in range(100):
            consumer.next()
            other.next()
            body()
        assert works() <= 2

    in_thread(loop)
    assert len({trace_id(span) for span in spans.named(NAME)}) == len(spans.named(NAME))


def test_a_client_polled_in_the_midst_of_anothers_work_gives_the_context_back(spans: Spans, consumer: Consumer) -> None:
    replies = Consumer("replies")
    consumer.next()
    outer = current()
    replies.next()
    inner = current()
    assert inner not in {None, outer}
    replies.inferred.end()
    assert current() == outer
    consumer.inferred.end()


def test_a_client_that_ends_below_anothers_work_leaves_that_in_place(spans: Spans, consumer: Consumer) -> None:
    other = Consumer("search")
    consumer.next()
    other.next()
    inner = current()
    consumer.inferred.end()
    assert current() == inner
    other.inferred.end()
    assert current() is None


def test_a_context_that_the_program_attached_stays_attached(spans: Spans, consumer: Consumer) -> None:
    consumer.next()
    token = context.attach(baggage.set_baggage("tenant", "north"))
    consumer.inferred.end()
    assert baggage.get_baggage("tenant") == "north"
    assert offsets(spans) == [(0, True)]
    context.detach(token)
    consumer.next()
    consumer.inferred.end()
    assert [span.parent for span in spans.named(NAME)] == [None, None]


def test_two_contexts_that_the_program_attached_and_holds_no_more_both_stay(spans: Spans, consumer: Consumer) -> None:
    def loop() -> None:
        consumer.next()
        context.attach(baggage.set_baggage("tenant", "north"))
        context.attach(baggage.set_baggage("user", "anna"))  # the work's own context is gone by now
        consumer.inferred.end()
        assert baggage.get_all() == {"tenant": "north", "user": "anna"}

    in_thread(loop)
    assert offsets(spans) == [(0, True)]


def test_a_context_that_the_program_left_attached_makes_no_trace_without_end(spans: Spans, consumer: Consumer) -> None:
    def loop() -> None:
        for tenant in ("north", "south", "west"):
            consumer.next()
            context.attach(baggage.set_baggage("tenant", tenant))
        consumer.next()
        assert baggage.get_baggage("tenant") == "west"
        consumer.inferred.end()

    in_thread(loop)
    assert [span.parent for span in spans.named(NAME)] == [None] * 4


def test_a_block_around_poll_and_work_ends_when_its_loop_comes_back(spans: Spans, consumer: Consumer) -> None:
    for _ in range(5):
        with spans.provider.get_tracer("shop").start_as_current_span("cycle"):
            consumer.next()
    consumer.inferred.let_go()
    assert offsets(spans) == [(0, True), (1, True), (2, True), (3, True), (4, False)]
    assert [parent_id(span) for span in spans.named(NAME)] == [span_id(span) for span in spans.named("cycle")]


def test_a_generator_that_hands_records_on_traces_the_work_of_its_caller(spans: Spans, consumer: Consumer) -> None:
    def records() -> Iterator[Record]:
        while True:
            yield consumer.next()

    inside = []
    for record in records():
        inside.append(current())
        if record.offset == 2:
            break
    consumer.inferred.let_go()
    assert offsets(spans) == [(0, True), (1, True), (2, False)]
    assert [span_id(span) for span in spans.named(NAME)] == inside


# Threads and tasks


def in_thread(work: Callable[..., object], *given: object) -> None:
    """Run in a thread of its own, and wait; what it raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work(*given)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_a_thread_that_the_body_starts_inherits_nothing(spans: Spans, consumer: Consumer) -> None:
    seen: list[int | None] = []
    consumer.next()
    in_thread(lambda: seen.append(current()))
    consumer.inferred.end()
    assert seen == [None]


def test_two_threads_that_take_records_in_turn_end_each_its_own(spans: Spans, consumer: Consumer) -> None:
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    inside: dict[int, int | None] = {}

    def work(me: int) -> None:
        for _ in range(2):
            turns[me].acquire()
            offset = consumer.next().offset
            inside[offset] = current()
            turns[1 - me].release()
        turns[me].acquire()
        consumer.inferred.end()
        turns[1 - me].release()

    threads = [threading.Thread(target=work, args=(me,)) for me in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {attributes(span)[names.OFFSET]: span_id(span) for span in spans.named(NAME)}
    assert found == inside
    assert sorted(offsets(spans), key=str) == [(0, True), (1, True), (2, True), (3, True)]


def test_a_thread_that_ends_with_a_record_in_hand_leaves_it_unfinished(spans: Spans, consumer: Consumer) -> None:
    in_thread(consumer.next)
    consumer.next()
    consumer.inferred.end()
    assert sorted(offsets(spans), key=str) == [(0, False), (1, True)]


def test_tasks_that_share_a_client_end_each_its_own(spans: Spans, consumer: Consumer) -> None:
    inside: dict[int, int | None] = {}

    async def worker() -> None:
        for _ in range(3):
            offset = consumer.next().offset
            inside[offset] = current()
            await asyncio.sleep(0)
            assert current() == inside[offset]
        consumer.inferred.end()

    async def work() -> None:
        await asyncio.gather(worker(), worker())
        assert current() is None

    asyncio.run(work())
    assert {attributes(span)[names.OFFSET]: span_id(span) for span in spans.named(NAME)} == inside
    assert all(is_well for _, is_well in offsets(spans))


def test_a_task_that_the_body_starts_stays_with_its_record(spans: Spans, consumer: Consumer) -> None:
    async def handle() -> int | None:
        await asyncio.sleep(0)
        return current()

    async def work() -> None:
        tasks = []
        for _ in range(2):
            consumer.next()
            tasks.append(asyncio.create_task(handle()))
        consumer.inferred.end()
        assert await asyncio.gather(*tasks) == [span_id(span) for span in spans.named(NAME)]
        assert current() is None

    asyncio.run(work())


def test_polls_that_run_each_in_a_task_of_its_own_are_unfinished_and_then_inferred_no_more(
    spans: Spans, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    async def take() -> int:
        return consumer.next().offset

    async def work() -> None:
        for _ in range(10):
            await asyncio.create_task(take())
            assert current() is None

    caplog.set_level("INFO", logger="flowtrail.tracer")
    asyncio.run(work())
    consumer.inferred.let_go()
    assert [is_well for _, is_well in offsets(spans)] == [False] * len(offsets(spans))
    assert 3 <= len(offsets(spans)) <= 4
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "flowtrail.process" in caplog.text


# Pools


def in_pool(pool: ThreadPoolExecutor, work: Callable[..., Any], *given: object) -> Any:
    return pool.submit(work, *given).result()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_polls_that_are_jobs_of_a_pool_leave_nothing_to_the_pools_other_jobs(
    spans: Spans, consumer: Consumer, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowtrail.tracer")
    seen = []
    for _ in range(6):
        in_pool(pool, consumer.next)
        seen.append(in_pool(pool, current))
    consumer.inferred.let_go()
    assert [*seen, in_pool(pool, current)] == [None] * 7
    assert offsets(spans) == []
    assert "flowtrail.process" in caplog.text


def test_polls_in_threads_of_anyio_make_no_spans_of_work_that_is_done_elsewhere(
    spans: Spans, consumer: Consumer
) -> None:
    async def loop() -> None:
        for _ in range(4):
            await anyio.to_thread.run_sync(consumer.next)

    asyncio.run(loop())
    consumer.inferred.let_go()
    assert offsets(spans) == []


def test_a_loop_that_is_a_job_of_a_pool_is_inferred_once_it_came_back(
    spans: Spans, consumer: Consumer, pool: ThreadPoolExecutor
) -> None:
    def loop() -> None:
        for _ in range(4):
            consumer.next()
        consumer.inferred.end()

    in_pool(pool, loop)
    assert offsets(spans) == [(1, True), (2, True), (3, True)]


@pytest.mark.parametrize("is_raised", [False, True])
def test_a_job_that_ends_with_a_record_in_hand_leaves_it_unfinished_and_its_thread_clean(
    spans: Spans, consumer: Consumer, pool: ThreadPoolExecutor, is_raised: bool
) -> None:
    is_submitted = threading.Event()

    def loop() -> None:
        is_submitted.wait()
        for _ in range(3):
            consumer.next()
        if is_raised:
            raise ValueError("the handler's")

    future = pool.submit(loop)
    is_submitted.set()
    assert isinstance(future.exception(), ValueError) is is_raised  # held, as the traceback is with it
    assert in_pool(pool, current) is None
    assert offsets(spans) == [(1, True), (2, False)]


def test_a_job_that_polled_two_clients_leaves_its_thread_clean(
    spans: Spans, consumer: Consumer, pool: ThreadPoolExecutor
) -> None:
    other, is_submitted = Consumer("search"), threading.Event()

    def loop() -> None:
        is_submitted.wait()
        for _ in range(2):
            consumer.next()
            other.next()
        assert current() is not None

    future = pool.submit(loop)
    is_submitted.set()
    future.result()
    assert in_pool(pool, current) is None
    assert offsets(spans) == [(1, False), (1, False)]


def test_what_is_left_behind_in_a_thread_is_known_as_stale_there_and_only_there(
    spans: Spans, consumer: Consumer
) -> None:
    def poll_and_let_another_close() -> None:
        consumer.next()
        assert not is_stale(context.get_current())
        in_thread(consumer.inferred.let_go)
        left = context.get_current()
        assert is_stale(left)
        assert not is_stale(trace.set_span_in_context(trace.INVALID_SPAN, left))
        in_thread(lambda: handed_on.append(is_stale(left)))
        # The fast path asks; what OpenTelemetry makes itself follows the context as it is.
        if TRACING._fast() is not None:
            sending = CHAIN.send(Client(), "orders", None, b"value", None)
            CHAIN.acknowledge(sending, 0, 1)
            assert parent_id(spans.one("send orders")) is None

    handed_on: list[bool] = []
    in_thread(poll_and_let_another_close)
    assert handed_on == [False]


# Not wanted


def test_suppressed_instrumentation_infers_nothing(spans: Spans, consumer: Consumer) -> None:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    consumer.next()
    consumer.inferred.end()
    context.detach(token)
    assert spans.names() == []


def test_a_program_may_choose_that_nothing_is_inferred(
    spans: Spans, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWTRAIL_INFER_PROCESSING", "false")
    CONFIGURATION.configure({})
    try:
        consumer.next()
        assert current() is None
    finally:
        monkeypatch.undo()
        CONFIGURATION.configure({})
    consumer.inferred.end()
    assert spans.names() == []


def test_what_is_no_record_is_counted_and_kept_from_the_program() -> None:
    broken: Any = object()
    before = flowtrail.health().interceptor_errors
    inferred = Inferred()
    inferred.begin([broken], False)
    inferred.end()
    assert flowtrail.health().interceptor_errors == before + 1
    assert current() is None
