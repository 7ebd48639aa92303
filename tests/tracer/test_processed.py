"""`@processed`: a function whose work is the processing of a record."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import flowtrail
from flowtrail.tracer import attributes as names

from .spans import Spans, attributes
from .test_processing import Record, outcome, three

NAME = "process orders"


@pytest.fixture
def spans() -> Spans:
    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    return spans


@flowtrail.processed
def handle(record: Record, factor: int = 2) -> int:
    """Say something of a record."""
    if record.offset == 1:
        raise ValueError("refused")
    return record.offset * factor


@flowtrail.processed("records")
async def store(database: str, records: list[Record]) -> str:
    await asyncio.sleep(0)
    return f"{database}: {len(records)}"


def test_each_call_is_the_work_on_the_record_that_it_is_given(spans: Spans) -> None:
    assert handle(Record(3)) == 6
    assert handle(record=Record(4), factor=3) == 12
    assert [outcome(span) for span in spans.named(NAME)] == [(3, None), (4, None)]


def test_what_a_call_raises_is_recorded_and_goes_on(spans: Spans) -> None:
    with pytest.raises(ValueError, match="refused"):
        handle(Record(1))
    assert outcome(spans.one(NAME)) == (1, "ValueError")


def test_an_asynchronous_function_is_traced_until_it_returns(spans: Spans) -> None:
    assert asyncio.run(store("north", three())) == "north: 3"
    assert attributes(spans.one(NAME))[names.MESSAGE_COUNT] == 3


def test_what_an_asynchronous_call_raises_is_recorded(spans: Spans) -> None:
    @flowtrail.processed
    async def refuse(record: Record) -> None:
        await asyncio.sleep(0)
        raise KeyError(record.offset)

    with pytest.raises(KeyError):
        asyncio.run(refuse(Record(5)))
    assert outcome(spans.one(NAME)) == (5, "KeyError")


class Handler:
    @flowtrail.processed
    def handle(self, record: Record) -> int:
        return record.offset

    @classmethod
    @flowtrail.processed
    def of_class(cls, record: Record) -> int:
        return record.offset

    @staticmethod
    @flowtrail.processed
    def alone(*records: Record) -> int:
        return records[0].offset


def test_a_method_is_given_its_record_after_itself(spans: Spans) -> None:
    assert (Handler().handle(Record(1)), Handler.of_class(Record(2)), Handler.alone(Record(3))) == (1, 2, 3)
    assert [outcome(span) for span in spans.named(NAME)] == [(1, None), (2, None), (3, None)]


def test_a_parameter_that_can_only_be_named_is_found(spans: Spans) -> None:
    @flowtrail.processed("record")
    def named(*others: int, record: Record) -> int:
        return sum(others) + record.offset

    assert named(1, 2, record=Record(3)) == 6
    assert outcome(spans.one(NAME)) == (3, None)


def test_the_function_looks_as_it_did() -> None:
    assert handle.__name__ == "handle"
    assert handle.__doc__ == "Say something of a record."
    assert list(inspect.signature(handle).parameters) == ["record", "factor"]
    assert inspect.iscoroutinefunction(store)


def test_a_call_without_the_record_is_the_functions_own_error(spans: Spans) -> None:
    before = flowtrail.health().interceptor_errors
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'record'"):
        handle()  # type: ignore[call-arg]
    assert spans.names() == []
    assert flowtrail.health().interceptor_errors == before


def nothing() -> None: ...


def generated(record: Record) -> Iterator[Record]:
    yield record


async def generated_later(record: Record) -> AsyncIterator[Record]:
    yield record


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (nothing, "no argument that could be a record"),
        (generated, "generator"),
        (generated_later, "generator"),
        (7, "not 7"),
    ],
)
def test_what_cannot_be_traced_is_refused_at_once(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        flowtrail.processed(wrong)


def test_a_parameter_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="no parameter 'event'"):
        flowtrail.processed("event")(handle)
