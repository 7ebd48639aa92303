"""`produce_batch`: a span for each record. The client does not send headers with a batch, so no context travels."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaException

from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Unacknowledged
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .known import WHERE, Known

_log = logging.getLogger("flowtrail.tracer")
_is_said = False


def say_no_context_travels() -> None:
    """Say, once in a process, what sending in batches costs."""
    global _is_said
    if not _is_said:
        _is_said = True
        _log.warning(
            "confluent-kafka sends no headers with produce_batch and AIOProducer: their records carry no trace "
            "context, and what consumers do with them is not linked; Producer.produce sends it"
        )


def produce_batch(plain: Any, switch: Switch) -> Callable[..., Any]:
    """Return the traced method. The client gets copies of the messages; what it notes in them is handed on."""

    def produce_batch(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        original = plain.produce_batch
        if not switch.is_on:
            return original(self, *arguments, **options)
        given = _given(arguments, options)
        # Too many arguments, or one that is given twice: for the client to say.
        begun = _begin(self, given) if len(given) == len(arguments) + len(options) else None
        if begun is None:
            return original(self, *arguments, **options)
        known, copies, sent = begun
        try:
            return original(self, **given | {"messages": copies})
        except BaseException as error:
            for sending in sent:
                known.answer(sending, error=error)
            raise
        finally:
            _hand_on(known, given["messages"], copies, sent)

    return produce_batch


def _given(arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(("topic", "messages", "partition", "on_delivery"), arguments, strict=False)) | options


def _begin(producer: Any, given: dict[str, Any]) -> tuple[Known, list[dict[str, Any]], list[Sending]] | None:
    """Begin the send of each record; None when there is nothing to trace, or the client will refuse what is given."""
    try:
        known = known_of(producer, Known)
        topic, messages = given.get("topic"), given.get("messages")
        is_fit = isinstance(topic, str) and isinstance(messages, list) and all(type(each) is dict for each in messages)
        if known.is_driven or not known.is_configured or not is_fit:
            return None
        say_no_context_travels()
        return known, *_copies(known, topic, messages, given.get("on_delivery"))
    except Exception as error:
        COUNTS.fail(WHERE, "produce_batch", error)
        return None


def _copies(known: Known, topic: Any, messages: Any, on_delivery: Any) -> tuple[list[dict[str, Any]], list[Sending]]:
    from .producer import delivered  # it imports this module

    copies: list[dict[str, Any]] = []
    sent: list[Sending] = []
    client, transaction = known.client(), known.transaction
    for message in messages:
        # The partition that a message asks for is not always the one that it gets; the report has it.
        sending = CHAIN.send(client, topic, message.get("key"), message.get("value"), None, transaction=transaction)
        known.unanswered.add(sending)
        sent.append(sending)
        theirs = message.get("callback") or on_delivery or known.on_delivery
        copies.append({**message, "callback": partial(delivered, known, sending, theirs)})
    return copies, sent


def _hand_on(known: Known, messages: list[dict[str, Any]], copies: list[dict[str, Any]], sent: list[Sending]) -> None:
    """Put what the client noted in the copies where the program looks for it; an error ends the send."""
    try:
        for message, copy, sending in zip(messages, copies, sent, strict=True):
            noted = {name: value for name, value in copy.items() if name != "callback" and name not in message}
            message.update(noted)
            if "_error" in copy:
                known.answer(sending, error=KafkaException(copy["_error"]))
            elif known.reports_errors_only:
                known.answer(sending, error=Unacknowledged("only failures are reported"))
    except Exception as error:
        COUNTS.fail(WHERE, "produce_batch", error)
