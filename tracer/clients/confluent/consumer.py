"""The traced consumer: a span for each poll that returned records, and for each commit."""

import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END

from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.consumer_events import note_rebalance, note_seek, note_seek_to
from flowtrail.tracer.clients.known import is_known, known_of
from flowtrail.tracer.clients.message import read_message, read_record_of, remember
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Received, polled_of
from flowtrail.tracer.tracing import CHAIN

from .classes import construct
from .commits import commit, on_commit
from .known import WHERE, Known, configuration, known_or_none

_SUBSCRIBED_WITH: Final = ("topics", "on_assign", "on_revoke", "on_lost")


def consumer_methods(plain: Any, switch: Switch) -> dict[str, Callable[..., Any]]:
    """Return the traced methods of a consumer; switched off, they call those of `plain` and no more."""
    original_poll, original_consume = plain.poll, plain.consume

    def __init__(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        if switch.is_on and (arguments or options):
            try:
                config = configuration(arguments, options)
                theirs = config.get("on_commit")
                # What is no callback the client refuses itself.
                if "on_commit" not in config or callable(theirs):
                    known = known_of(self, Known)
                    known.configure(config)
                    options = {**options, "on_commit": on_commit(known, theirs)}
            except Exception as error:
                COUNTS.fail(WHERE, "__init__", error)
        construct(plain, self, arguments, options)

    def poll(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        if not switch.is_on:
            return original_poll(self, *arguments, **options)
        try:
            known = known_of(self, Known)
        except Exception as error:
            COUNTS.fail(WHERE, "poll", error)
            return original_poll(self, *arguments, **options)
        if not known.is_driven:
            known.inferred.end()
        started_ns = time.time_ns()
        message = original_poll(self, *arguments, **options)
        if message is not None:
            tell_received(known, self, (message,), started_ns, is_batch=False)
        return message

    def consume(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        known = known_or_none(self, "consume") if switch.is_on else None
        if known is None:
            return original_consume(self, *arguments, **options)
        if not known.is_driven:
            known.inferred.end()
        started_ns = time.time_ns()
        messages = original_consume(self, *arguments, **options)
        if messages:
            tell_received(known, self, messages, started_ns, is_batch=True)
        return messages

    def seek(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        answer = plain.seek(self, *arguments, **options)
        if switch.is_on:
            try:
                _note_seek(known_of(self, Known), arguments[0] if arguments else options["partition"])
            except Exception as error:
                COUNTS.fail(WHERE, "seek", error)
        return answer

    def subscribe(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        if switch.is_on:
            try:
                arguments, options = _listening(known_of(self, Known), arguments, options)
            except Exception as error:
                COUNTS.fail(WHERE, "subscribe", error)
        return plain.subscribe(self, *arguments, **options)

    def close(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return close_consumer(self, switch, plain.close, arguments, options)

    def __exit__(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return close_consumer(self, switch, plain.__exit__, arguments, options)

    return {
        "__init__": __init__,
        "poll": poll,
        "consume": consume,
        "commit": commit(plain, switch),
        "seek": seek,
        "subscribe": subscribe,
        "close": close,
        "__exit__": __exit__,
    }


def tell_received(known: Known, consumer: Any, messages: Any, started_ns: int, *, is_batch: bool) -> None:
    """Tell what a poll returned, and begin what is inferred of its processing."""
    try:
        if known.is_member_stale:
            known.see_member(consumer)
        client = known.client()
        read = read_message if known.counts_deliveries else read_record_of
        records: list[Received] = []
        for message in messages:
            # Errors and events (the end of a partition) come as messages too.
            if message.error() is None:
                received = read(message, client)
                remember(message, received)
                records.append(received)
        if not records:
            return
        CHAIN.consume(polled_of((client, records, started_ns, known.take_events() if known.events else ())))
        if not known.is_driven:
            known.inferred.begin(records, is_batch)
    except Exception as error:
        COUNTS.fail(WHERE, "poll", error)


def close_consumer(
    consumer: Any, switch: Switch, original: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call the original, which may commit; nobody comes back for another record after it."""
    known = known_of(consumer, Known) if is_known(consumer) else None
    with Closing(WHERE, known if switch.is_on else None):
        try:
            return original(consumer, *arguments, **options)
        finally:
            if known is not None:
                known.inferred.let_go()


def _note_seek(known: Known, place: Any) -> None:
    if place.offset in (OFFSET_BEGINNING, OFFSET_END):
        note_seek_to(known, [place], "beginning" if place.offset == OFFSET_BEGINNING else "end")
    else:
        note_seek(known, place, place.offset)


def _listening(
    known: Known, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of `subscribe` with callbacks that note what happens, then call the program's own.

    What is no callback is left to the client to refuse. Partitions that are lost go to `on_revoke` where the program
    gave no `on_lost`: the client does so too.
    """
    given = dict(zip(_SUBSCRIBED_WITH, arguments, strict=False)) | options
    # Too many arguments, one that is given twice, or one that the client does not know: for the client to say.
    if len(given) != len(arguments) + len(options) or not given.keys() <= set(_SUBSCRIBED_WITH):
        return arguments, options
    callbacks = {name: theirs for name, theirs in given.items() if name != "topics"}
    if not all(callable(theirs) for theirs in callbacks.values()):
        return arguments, options
    on_revoke = callbacks.get("on_revoke")
    listening = {
        "on_assign": _noting(known, names.ASSIGN_EVENT, callbacks.get("on_assign")),
        "on_revoke": _noting(known, names.REVOKE_EVENT, on_revoke),
        "on_lost": _noting(known, names.LOST_EVENT, callbacks.get("on_lost", on_revoke)),
    }
    return arguments[:1], {**options, **listening}


def _noting(known: Known, event: str, theirs: Callable[..., Any] | None) -> Callable[..., Any]:
    def rebalanced(consumer: Any, places: Any) -> Any:
        try:
            known.is_member_stale = True
            note_rebalance(known, event, places)
        except Exception as error:
            COUNTS.fail(WHERE, "subscribe", error)
        return theirs(consumer, places) if theirs is not None else None

    return rebalanced
