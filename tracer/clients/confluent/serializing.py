"""SerializingProducer and DeserializingConsumer: what fails before a record is sent, and after it came.

They are Python classes over the producer and the consumer, whose traced methods do the rest: a send is traced with the
serialized bytes, a poll before they are deserialized.
"""

from collections.abc import Callable
from typing import Any

from confluent_kafka import DeserializingConsumer, SerializingProducer
from confluent_kafka.error import (
    KeyDeserializationError,
    KeySerializationError,
    ValueDeserializationError,
    ValueSerializationError,
)

from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.clients.message import client_of_message, read_message
from flowtrail.tracer.clients.methods import Replacement
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.left_out import is_suppressed
from flowtrail.tracer.tracing import CHAIN, TRACING, end_process

from .known import WHERE, Known, asked_partition
from .producer import header_pairs


def replace_produce(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """A record that cannot be serialized never reaches `Producer.produce`: its send is told here, with the error."""

    def produce(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        try:
            return original(self, *arguments, **options)
        except (KeySerializationError, ValueSerializationError) as error:
            if switch.is_on:
                _tell_not_sent(self, arguments, options, error)
            raise

    return produce


def replace_poll(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """A record that cannot be deserialized was polled, and its processing ends before the program sees it."""

    def poll(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        try:
            return original(self, *arguments, **options)
        except (KeyDeserializationError, ValueDeserializationError) as error:
            if switch.is_on:
                _tell_not_processed(self, error)
            raise

    return poll


def _tell_not_sent(producer: Any, arguments: tuple[Any, ...], options: dict[str, Any], error: BaseException) -> None:
    try:
        known = known_of(producer, Known)
        given = dict(zip(("topic", "key", "value", "partition"), arguments, strict=False)) | options
        headers = given.get("headers")
        sending = CHAIN.send(
            known.client(),
            given["topic"],
            given.get("key"),
            given.get("value"),
            None if headers is None else header_pairs(headers),
            asked_partition(given.get("partition")),
            None,
            known.transaction,
        )
        known.answer(sending, error=error)
    except Exception as failure:
        COUNTS.fail(WHERE, "produce", failure)


def _tell_not_processed(consumer: Any, error: Any) -> None:
    try:
        known = known_of(consumer, Known)
        # What was inferred of it is no work of the program's.
        known.inferred.forget()
        known.inferred.end()
        message = error.kafka_message
        if message is None or is_suppressed():
            return
        client = client_of_message(message) or known.client()
        spans, _ = TRACING.start_process(client, [read_message(message, client)], is_batch=False)
        end_process(spans, error)
    except Exception as failure:
        COUNTS.fail(WHERE, "poll", failure)


REPLACEMENTS: tuple[Replacement, ...] = (
    (SerializingProducer, "produce", replace_produce),
    (DeserializingConsumer, "poll", replace_poll),
)
