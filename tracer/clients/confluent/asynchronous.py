"""AIOProducer and AIOConsumer: they drive a producer and a consumer in threads, and their own calls are followed.

A record's send begins in the task that awaits `produce`, and ends when its future is done. A poll's span is made by the
consumer inside, in its thread, but within the caller's context.
"""

import asyncio
from collections.abc import Callable
from functools import partial, wraps
from types import FunctionType
from typing import Any

from opentelemetry import context

try:
    from confluent_kafka import aio
except ImportError:  # an older version
    aio = None  # type: ignore[assignment]

from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.clients.message import client_of_message, read_message
from flowtrail.tracer.clients.methods import Replacement
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Received, Unacknowledged
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .batch import say_no_context_travels
from .known import WHERE, Known, asked_partition
from .producer import answer_report


def replace_produce(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    async def produce(self, topic, value=None, key=None, *arguments, **options):  # type: ignore[no-untyped-def]
        known, sending = _begin(self, topic, value, key, options) if switch.is_on else (None, None)
        if known is None or sending is None:
            return await original(self, topic, value, key, *arguments, **options)
        try:
            future = await original(self, topic, value, key, *arguments, **options)
        except BaseException as error:
            known.answer(sending, error=error)
            raise
        try:
            future.add_done_callback(partial(_answered, known, sending))
        except Exception as error:
            COUNTS.fail(WHERE, "AIOProducer.produce", error)
        return future

    return produce


def replace_call(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Everything else goes through `_call`, into a thread: take the caller's context there."""

    async def _call(self, blocking_task, *arguments, **options):  # type: ignore[no-untyped-def]
        if switch.is_on:
            blocking_task = _within(context.get_current(), blocking_task)
        return await original(self, blocking_task, *arguments, **options)

    return _call


def replace_poll(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    async def poll(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        known = _driven(getattr(self, "_consumer", None)) if switch.is_on else None
        if known is None:
            return await original(self, *arguments, **options)
        known.inferred.end()
        message = await original(self, *arguments, **options)
        if message is not None:
            _begin_work(known, [message], is_batch=False)
        return message

    return poll


def replace_consume(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    async def consume(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        known = _driven(getattr(self, "_consumer", None)) if switch.is_on else None
        if known is None:
            return await original(self, *arguments, **options)
        known.inferred.end()
        messages = await original(self, *arguments, **options)
        _begin_work(known, messages, is_batch=True)
        return messages

    return consume


def replace_close(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """The producer inside is never closed by name: its end is this one's."""

    async def close(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        known = _driven(getattr(self, "_producer", None)) if switch.is_on else None
        with Closing(WHERE, known) as closing:
            is_closed = False
            try:
                answer = await original(self, *arguments, **options)
                is_closed = True
            finally:
                try:
                    if known is not None:
                        closing.unanswered = known.give_up() if is_closed else len(known.unanswered)
                except Exception as error:
                    COUNTS.fail(WHERE, "AIOProducer.close", error)
            return answer

    return close


def _begin(
    producer: Any, topic: Any, value: Any, key: Any, options: dict[str, Any]
) -> tuple[Known, Sending] | tuple[None, None]:
    known = _driven(getattr(producer, "_producer", None))
    if known is None:
        return None, None
    try:
        say_no_context_travels()
        sending = CHAIN.send(
            known.client(),
            topic,
            key,
            value,
            None,
            asked_partition(options.get("partition")),
            options.get("timestamp") or None,
            known.transaction,
        )
        known.unanswered.add(sending)
    except Exception as error:
        COUNTS.fail(WHERE, "AIOProducer.produce", error)
        return None, None
    return known, sending


def _answered(known: Known, sending: Sending, future: "asyncio.Future[Any]") -> None:
    """Take what the future of a send holds: the message as it was delivered, or the error."""
    try:
        if future.cancelled():
            known.answer(sending, error=Unacknowledged("the program let the answer go"))
            return
        # Asking for the exception marks it as seen; it is for the program to leave one unseen.
        error = getattr(future, "_exception", None)
        if error is not None:
            known.answer(sending, error=error)
        else:
            answer_report(known, sending, None, future.result())
    except Exception as failure:
        COUNTS.fail(WHERE, "AIOProducer.produce", failure)


def _driven(client: Any) -> Known | None:
    """What is known of the client inside, which from now on leaves it to this one to follow the calls."""
    try:
        known = known_of(client, Known)
    except TypeError:
        return None  # made before it could be traced
    known.is_driven = True
    return known


def _begin_work(known: Known, messages: Any, *, is_batch: bool) -> None:
    try:
        records: list[Received] = []
        for message in messages:
            if message.error() is None:
                records.append(read_message(message, client_of_message(message) or known.client()))
        known.inferred.begin(records, is_batch)
    except Exception as error:
        COUNTS.fail(WHERE, "AIOConsumer.poll", error)


def _within(found: context.Context, task: Callable[..., Any]) -> Callable[..., Any]:
    """Return the task, run within a context. No other variable goes along: the client has some of its own there."""

    def run(*arguments: Any, **options: Any) -> Any:
        token = context.attach(found)
        try:
            return task(*arguments, **options)
        finally:
            context.detach(token)

    return run


def making(original: Any, **classes: type) -> Callable[..., Any]:
    """Return a constructor that makes the clients inside of our classes, where it looks up `confluent_kafka.…`."""
    names = dict(original.__globals__)
    names["confluent_kafka"] = _Library(names["confluent_kafka"], classes)
    made = FunctionType(original.__code__, names, original.__name__, original.__defaults__, original.__closure__)
    made.__kwdefaults__ = original.__kwdefaults__
    return wraps(original)(made)


class _Library:
    """The library as its own modules see it, with some classes of ours."""

    def __init__(self, library: Any, classes: dict[str, type]) -> None:
        self.__dict__.update(classes)
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def replacements() -> tuple[Replacement, ...]:
    """Return what is replaced in `confluent_kafka.aio`; what a version does not have is left out."""
    if aio is None:
        return ()
    wanted: tuple[Replacement, ...] = (
        (aio.AIOProducer, "produce", replace_produce),
        (aio.AIOProducer, "_call", replace_call),
        (aio.AIOProducer, "close", replace_close),
        (aio.AIOConsumer, "poll", replace_poll),
        (aio.AIOConsumer, "consume", replace_consume),
        (aio.AIOConsumer, "_call", replace_call),
    )
    return tuple(each for each in wanted if each[1] in vars(each[0]))
