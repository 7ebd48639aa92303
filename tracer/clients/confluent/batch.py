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

from .known import WHERE, Known, asked_partition

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

    def produce_batch(self, *arguments, **options):  # type: ignore[no-untyped-def]
        original = plain.produce_batch
        if not switch.is_on:
            return original(self, *arguments, **options)
        try:
            known = known_of(self, Known)
            topic, messages, partition, on_delivery = _given(*arguments, **options)
            if known.is_driven or not known.is_configured or not _is_fit(topic, messages):
                return original(self, *arguments, **options)
            say_no_context_travels()
            copies, sent = _copies(known, topic, messages, partition, on_delivery)
        except Exception as error:
            COUNTS.fail(WHERE, "produce_batch", error)
            return original(self, *arguments, **options)
        given = {"topic": topic, "messages": copies} | dict(zip(_NAMES[2:], arguments[2:], strict=False))
        given |= {name: value for name, value in options.items() if name not in ("topic", "messages")}
        try:
            return original(self, **given)
        except BaseException as error:
            for sending in sent:
                known.answer(sending, error=error)
            raise
        finally:
            _hand_on(known, messages, copies, sent)

    return produce_batch


_NAMES = ("topic", "messages", "partition", "on_delivery")


def _given(
    topic: Any = None, messages: Any = None, partition: Any = None, on_delivery: Any = None, **others: Any
) -> tuple[Any, Any, Any, Any]:
    return topic, messages, partition, on_delivery if on_delivery is not None else others.get("callback")


def _is_fit(topic: Any, messages: Any) -> bool:
    return isinstance(topic, str) and isinstance(messages, list) and all(type(message) is dict for message in messages)


def _copies(
    known: Known, topic: str, messages: list[dict[str, Any]], partition: Any, on_delivery: Any
) -> tuple[list[dict[str, Any]], list[Sending]]:
    from .producer import delivered  # it imports this module

    copies: list[dict[str, Any]] = []
    sent: list[Sending] = []
    client, transaction = known.client(), known.transaction
    for message in messages:
        sending = CHAIN.send(
            client,
            topic,
            message.get("key"),
            message.get("value"),
            None,
            asked_partition(message.get("partition", partition)),
            message.get("timestamp") or None,
            transaction,
        )
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
