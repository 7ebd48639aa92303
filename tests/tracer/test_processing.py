"""Processing: the program's own work on records becomes spans, whatever way it ends."""

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka.consumer.fetcher import ConsumerRecord
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import kafka_python
from flowtrail.tracer.counts import Counts
from flowtrail.tracer.record import Client

from .spans import Spans, attributes, linked, parent_id, span_id

RETRIED = (
    b"00-0af7651916cd43dd8448eb211c80319c-00000000000000a1-01",
    b"00-0af7651916cd43dd8448eb211c80319c-00000000000000a2-01",
)


@dataclass
class Record:
    """A record of no particular client."""

    offset: int
    topic: str = "orders"
    partition: int = 0
    key: object = None
    value: object = b"value"
    headers: Sequence[Any] = field(default_factory=list)
    timestamp: int = -1


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    yield spans
    # A failed detach is only logged by OpenTelemetry: nothing may stay behind.
    assert not trace.get_current_span().get_span_context().is_valid


def three() -> list[Record]:
    return [Record(offset) for offset in range(3)]


def outcome(span: ReadableSpan) -> tuple[object, object]:
    """Offset and error type of a process span."""
    found = attributes(span)
    is_error = span.status.status_code is StatusCode.ERROR
    assert is_error == (names.ERROR_TYPE in found)
    return found[names.OFFSET], found.get(names.ERROR_TYPE)


def test_an_exception_is_recorded_and_raised_as_it_was(spans: Spans) -> None:
    refused = RuntimeError("card refused")
    with pytest.raises(RuntimeError) as raised, flowtrail.process(Record(7)):
        raise refused
    assert raised.value is refused
    span = spans.one("process orders")
    assert outcome(span) == (7, "RuntimeError")
    assert span.status.description == "card refused"
    (event,) = span.events
    assert event.name == "exception"
    assert (event.attributes or {})["exception.message"] == "card refused"


def test_an_exception_without_a_message_is_named(spans: Spans) -> None:
    with pytest.raises(KeyError), flowtrail.process(Record(7)):
        raise KeyError
    assert spans.one("process orders").status.description == "KeyError"


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_be_printed_is_still_an_error(spans: Spans) -> None:
    with pytest.raises(Speechless), flowtrail.process(Record(7)):
        raise Speechless
    assert outcome(spans.one("process orders")) == (7, f"{__name__}.Speechless")


def test_inside_another_span_the_work_is_its_child_and_still_linked(spans: Spans) -> None:
    record = Record(1, headers=[("traceparent", RETRIED[1])])
    with spans.provider.get_tracer("shop").start_as_current_span("shift"), flowtrail.process(record):
        pass
    span = spans.one("process orders")
    assert parent_id(span) == span_id(spans.one("shift"))
    assert linked(span) == [0xA2]


def test_every_attempt_that_left_its_context_is_linked(spans: Spans) -> None:
    record = Record(1, headers=[("traceparent", value) for value in RETRIED])
    with flowtrail.process(record):
        pass
    assert linked(spans.one("process orders")) == [0xA2, 0xA1]


def test_an_empty_batch_makes_no_span(spans: Spans) -> None:
    with flowtrail.process([]) as span:
        assert not span.is_recording()
    assert spans.names() == []


def test_a_batch_of_several_topics_has_no_topic_of_its_own(spans: Spans) -> None:
    with flowtrail.process([Record(1), Record(2, topic="refunds")]):
        pass
    assert names.TOPIC not in attributes(spans.one("process"))


def test_something_that_is_no_record_is_worked_on_all_the_same(spans: Spans) -> None:
    before = flowtrail.health().interceptor_errors
    done: list[object] = []
    for thing in (None, 7, "text", {"topic": "orders"}, [None], Record("first", topic=5)):  # type: ignore[arg-type]
        with flowtrail.process(thing):
            done.append(thing)
    assert len(done) == 6
    assert spans.names() == []
    assert flowtrail.health().interceptor_errors == before + 6


@pytest.mark.parametrize(("thing", "kinds"), [(5, "int"), ([None, 7], "NoneType, int")])
def test_something_that_is_no_record_is_told_without_a_stack(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, thing: object, kinds: str
) -> None:
    monkeypatch.setattr(sys.modules["flowtrail.tracer.processing"], "COUNTS", Counts())
    with flowtrail.process(thing):
        pass
    (logged,) = caplog.records
    assert logged.exc_info is not None
    assert logged.exc_info[2] is None
    assert str(logged.exc_info[1]).startswith(f"process() takes a consumer record or a list of them, not {kinds}:")


def test_an_old_position_or_a_duplicate_is_just_another_attempt(spans: Spans) -> None:
    for offset in (5, 5, 3):
        with flowtrail.process(Record(offset)):
            pass
    assert [outcome(span) for span in spans.named("process orders")] == [(5, None), (5, None), (3, None)]


def finish(records: list[Record]) -> None:
    for _ in flowtrail.processing(records):
        pass


def break_off(records: list[Record]) -> None:
    for record in flowtrail.processing(records):
        if record.offset == 1:
            break


def return_early(records: list[Record]) -> int:
    for record in flowtrail.processing(records):
        if record.offset == 1:
            return record.offset
    return -1


def break_off_a_named_one(records: list[Record]) -> bool:
    traced = flowtrail.processing(records)
    for record in traced:
        if record.offset == 1:
            break
    return trace.get_current_span().get_span_context().is_valid


def return_through_finally(records: list[Record]) -> int:
    for record in flowtrail.processing(records):
        try:
            if record.offset == 1:
                return record.offset
        finally:
            records.append(record)
    return -1


@pytest.mark.parametrize("leave", [break_off, return_early, break_off_a_named_one, return_through_finally])
def test_a_loop_that_is_left_on_purpose_ends_well(spans: Spans, leave: Callable[[list[Record]], object]) -> None:
    leave(three())
    assert [outcome(span) for span in spans.named("process orders")] == [(0, None), (1, None)]
    assert not trace.get_current_span().get_span_context().is_valid


def raise_in_call(records: list[Record]) -> None:
    for record in flowtrail.processing(records):
        if record.offset == 1:
            int("no number")


def raise_in_statement(records: list[Record]) -> None:
    for record in flowtrail.processing(records):
        if record.offset == 1:
            raise ValueError("refused")


def raise_from_a_named_one(records: list[Record]) -> None:
    traced = flowtrail.processing(records)
    for record in traced:
        if record.offset == 1:
            raise ValueError("refused")


def raise_through_handlers(records: list[Record]) -> None:
    for record in flowtrail.processing(records):
        try:
            if record.offset == 1:
                raise KeyError("order")
        except KeyError as error:
            raise ValueError("refused") from error
        finally:
            records.append(record)


def raise_through_map(records: list[Record]) -> None:
    def work(record: Record) -> None:
        if record.offset == 1:
            raise ValueError("refused")

    for _ in map(work, flowtrail.processing(records)):
        continue


@pytest.mark.parametrize(
    "leave", [raise_in_call, raise_in_statement, raise_from_a_named_one, raise_through_handlers, raise_through_map]
)
def test_an_exception_that_leaves_the_loop_is_no_success(spans: Spans, leave: Callable[[list[Record]], object]) -> None:
    with pytest.raises(ValueError, match=r"number|refused"):
        leave(three())
    found = [outcome(span) for span in spans.named("process orders")]
    assert found == [(0, None), (1, "flowtrail.tracer.processing.LeftUnfinished")]


def test_an_opened_loop_records_the_exception_itself(spans: Spans) -> None:
    def work() -> None:
        with flowtrail.processing(three()) as records:
            for record in records:
                if record.offset == 1:
                    raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        work()
    assert [outcome(span) for span in spans.named("process orders")] == [(0, None), (1, "ValueError")]


def test_an_opened_loop_that_is_left_on_purpose_ends_there(spans: Spans) -> None:
    with flowtrail.processing(three()) as records:
        for record in records:
            if record.offset == 1:
                break
        assert not trace.get_current_span().get_span_context().is_valid
    assert [outcome(span) for span in spans.named("process orders")] == [(0, None), (1, None)]


def test_an_opened_one_gives_its_records_by_next_too(spans: Spans) -> None:
    def work() -> None:
        with flowtrail.processing(iter(three())) as records:
            assert next(records).offset == 0
            assert [outcome(span) for span in spans.named("process orders")] == []
            assert next(records).offset == 1
            for record in records:
                raise ValueError(record.offset)

    with pytest.raises(ValueError, match="2"):
        work()
    found = [outcome(span) for span in spans.named("process orders")]
    assert found == [(0, None), (1, None), (2, "ValueError")]


def test_next_without_an_end_of_the_work_says_what_to_write(spans: Spans) -> None:
    records = iter(three())
    with pytest.raises(TypeError, match=r"with processing\(consumer\) as records"):
        next(flowtrail.processing(records))
    assert next(records).offset == 0


def comprehend(records: list[Record]) -> None:
    [1 // (1 - record.offset) for record in flowtrail.processing(records)]


def let_go_elsewhere(records: list[Record]) -> None:
    by_hand = [iter(flowtrail.processing(records))]
    next(by_hand[0])
    next(by_hand[0])

    def let_go() -> None:
        by_hand.clear()

    let_go()
    raise ZeroDivisionError


@pytest.mark.parametrize("leave", [comprehend, let_go_elsewhere])
def test_records_that_are_let_go_where_nothing_can_be_seen_are_no_success(
    spans: Spans, caplog: pytest.LogCaptureFixture, leave: Callable[[list[Record]], object]
) -> None:
    with pytest.raises(ZeroDivisionError):
        leave(three())
    found = [outcome(span) for span in spans.named("process orders")]
    assert found == [(0, None), (1, "flowtrail.tracer.processing.LeftUnfinished")]
    assert caplog.records == []


def test_an_iterator_that_is_let_go_where_no_frame_is_left_logs_nothing(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_frame(depth: int) -> None:
        raise ValueError("call stack is not deep enough")

    by_hand = iter(flowtrail.processing(three()))
    next(by_hand)
    monkeypatch.setattr(sys, "_getframe", no_frame)
    del by_hand
    monkeypatch.undo()
    span = spans.one("process orders")
    assert outcome(span) == (0, "flowtrail.tracer.processing.LeftUnfinished")
    assert "could not be seen" in str(span.status.description)
    assert caplog.records == []


ENDING = """
import signal
import flowtrail

# Who started the tests may have had interrupts ignored, as a shell does in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Record:
    topic, partition, offset, key, value = "orders", 0, 5, None, b"value"

def consume():
    yield Record
    signal.raise_signal(signal.SIGINT)

flowtrail.set_up("till")
"""


def ended(program: str) -> tuple[str, str]:
    """What a program prints that ends in this way: its spans, and its errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", ENDING + program],
        env={**environment, "OTEL_TRACES_EXPORTER": "console"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout, done.stderr


def test_an_interrupt_in_the_loop_is_the_only_error_of_a_program_that_it_ends() -> None:
    stdout, stderr = ended("for record in flowtrail.processing([Record]): signal.raise_signal(signal.SIGINT)")
    assert stderr.startswith("Traceback (most recent call last)")
    assert stderr.endswith("\nKeyboardInterrupt\n")
    assert stderr.count("Traceback") == 1
    assert "processing" not in stderr.replace("flowtrail.processing([Record])", "")
    assert "LeftUnfinished" in stdout


def test_an_interrupt_while_waiting_for_a_record_is_the_only_error_of_a_program_that_it_ends() -> None:
    stdout, stderr = ended("for record in flowtrail.processing(consume()): pass")
    assert stderr.startswith("Traceback (most recent call last)")
    assert stderr.endswith("\nKeyboardInterrupt\n")
    assert stderr.count("Traceback") == 1
    assert '"name": "process orders"' in stdout
    assert "LeftUnfinished" not in stdout


@pytest.mark.parametrize("held", ["records", "flowtrail.records", "signal.records"])
def test_a_program_that_ends_with_a_record_in_hand_prints_no_error(held: str) -> None:
    assert ended(f"{held} = iter(flowtrail.processing([Record])); next({held})")[1] == ""


def test_an_exception_that_the_body_handles_is_the_bodys_own_affair(spans: Spans) -> None:
    for record in flowtrail.processing(three()):
        try:
            raise ValueError(record.offset)
        except ValueError:
            continue
    assert [outcome(span) for span in spans.named("process orders")] == [(0, None), (1, None), (2, None)]


def test_work_in_another_thread_has_its_own_current_span(spans: Spans) -> None:
    inside: list[int] = []

    def work(record: Record) -> None:
        with flowtrail.process(record) as span:
            inside.append(span.get_span_context().span_id)

    threads = [threading.Thread(target=work, args=(record,)) for record in three()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inside) == sorted(span_id(span) for span in spans.named("process orders"))


# Asynchronous consumers


class Stream:
    """An asynchronous consumer: each record comes after the event loop had a turn."""

    def __init__(self, records: list[Record]) -> None:
        self._records = iter(records)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Record:
        await asyncio.sleep(0)
        for record in self._records:
            return record
        raise StopAsyncIteration


async def finish_async(records: Stream) -> None:
    async for _ in flowtrail.processing(records):
        assert trace.get_current_span().is_recording()
        await asyncio.sleep(0)


async def break_off_async(records: Stream) -> None:
    async for record in flowtrail.processing(records):
        if record.offset == 2:
            break
    assert not trace.get_current_span().is_recording()


async def return_early_async(records: Stream) -> int:
    async for record in flowtrail.processing(records):
        if record.offset == 2:
            return record.offset
    return -1


@pytest.mark.parametrize("leave", [finish_async, break_off_async, return_early_async])
def test_an_asynchronous_loop_that_is_left_on_purpose_ends_well(
    spans: Spans, leave: Callable[[Stream], Coroutine[Any, Any, object]]
) -> None:
    asyncio.run(leave(Stream(three())))
    assert [outcome(span) for span in spans.named("process orders")] == [(0, None), (1, None), (2, None)]


def test_an_exception_that_leaves_an_asynchronous_loop_is_no_success(spans: Spans) -> None:
    async def work() -> None:
        async for record in flowtrail.processing(Stream(three())):
            if record.offset == 1:
                await asyncio.sleep(0)
                raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        asyncio.run(work())
    found = [outcome(span) for span in spans.named("process orders")]
    assert found == [(0, None), (1, "flowtrail.tracer.processing.LeftUnfinished")]


def test_an_opened_asynchronous_loop_records_the_exception_itself(spans: Spans) -> None:
    async def work() -> None:
        with flowtrail.processing(Stream(three())) as records:
            assert (await anext(records)).offset == 0
            async for record in records:
                raise ValueError(record.offset)

    with pytest.raises(ValueError, match="1"):
        asyncio.run(work())
    assert [outcome(span) for span in spans.named("process orders")] == [(0, None), (1, "ValueError")]


def test_anext_without_an_end_of_the_work_says_what_to_write(spans: Spans) -> None:
    async def work() -> None:
        await anext(flowtrail.processing(Stream(three())))

    with pytest.raises(TypeError, match=r"with processing\(consumer\) as records"):
        asyncio.run(work())


def test_tasks_at_the_same_time_have_each_its_own_current_span(spans: Spans) -> None:
    inside: dict[int, int] = {}

    async def work(record: Record) -> None:
        with flowtrail.process(record) as span:
            await asyncio.sleep(0)
            assert trace.get_current_span() is span
            inside[record.offset] = span.get_span_context().span_id

    async def all_at_once() -> None:
        await asyncio.gather(*map(work, three()))

    asyncio.run(all_at_once())
    assert {attributes(span)[names.OFFSET]: span_id(span) for span in spans.named("process orders")} == inside


def test_a_block_that_ends_in_another_task_ends_its_span_and_logs_nothing(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        block = flowtrail.process(Record(7))
        block.__enter__()

        async def end() -> None:
            block.__exit__(None, None, None)

        await asyncio.create_task(end())

    asyncio.run(work())
    assert outcome(spans.one("process orders")) == (7, None)
    assert caplog.records == []


def received(group: str) -> Any:
    record = kafka_python.ConsumerRecord("orders", 0, 0, 5, 1000, 0, b"k", b"v", [], None, 1, 1, -1)
    record.flowtrail_client = Client(group=group)
    return record


def test_a_received_record_keeps_its_group_when_a_field_is_replaced() -> None:
    changed = received("billing")._replace(value="decoded")
    assert changed.value == "decoded"
    assert changed.flowtrail_client.group == "billing"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_a_copy_of_a_received_record_is_the_clients_own_type(copied: Callable[[Any], Any]) -> None:
    record = received("billing")
    assert type(copied(record)) is ConsumerRecord
    assert copied(record) == record


def test_a_batch_of_two_groups_claims_neither(spans: Spans) -> None:
    with flowtrail.process([received("billing"), received("search")]):
        pass
    assert names.GROUP not in attributes(spans.one("process orders"))
