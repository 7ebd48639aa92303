"""The methods that `instrument` puts into aiokafka's own classes.

Our subclasses call the originals and trace for themselves; for them a replacement steps aside, so that nothing is
traced twice. Switched off, it calls the original and no more.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiokafka

from flowtrail.tracer.clients.methods import Methods, Replacement
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.clients.undeserialized import tell_undeserialized

from . import consumer, parts, producer, transactions
from .batch import create_batch, send_batch
from .commits import commit
from .consumer import AIOKafkaConsumer
from .producer import AIOKafkaProducer
from .serialized import note_serialized

_OURS: Final = (AIOKafkaProducer, AIOKafkaConsumer)


def _replace_send(original, switch):  # type: ignore[no-untyped-def]
    async def send_traced(self, topic, value=None, key=None, partition=None, timestamp_ms=None, headers=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return await bound(topic, value, key, partition, timestamp_ms, headers)
        return await producer.send(bound, self, topic, value, key, partition, timestamp_ms, headers)

    return send_traced


def _replace_serialize(original, switch):  # type: ignore[no-untyped-def]
    def serialize_traced(self, key, value, headers):  # type: ignore[no-untyped-def]
        serialized = original(self, key, value, headers)
        has_serializers = self._key_serializer is not None or self._value_serializer is not None
        if has_serializers and switch.is_on and not isinstance(self, _OURS):
            note_serialized(headers, serialized)
        return serialized

    return serialize_traced


def _replace_create_batch(original, switch):  # type: ignore[no-untyped-def]
    def create_batch_traced(self):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return bound()
        return create_batch(bound, self)

    return create_batch_traced


def _replace_send_batch(original, switch):  # type: ignore[no-untyped-def]
    async def send_batch_traced(self, batch, topic, *, partition):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return await bound(batch, topic, partition=partition)
        return await send_batch(bound, self, batch, topic, partition)

    return send_batch_traced


def _replace_send_offsets(original, switch):  # type: ignore[no-untyped-def]
    async def send_offsets_traced(self, offsets, group_id):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return await bound(offsets, group_id)
        return await transactions.send_offsets_to_transaction(bound, self, offsets, group_id)

    return send_offsets_traced


def _replace_step(step: Callable[..., Awaitable[Any]]) -> Callable[[Any, Switch], Callable[..., Any]]:
    """For what takes no arguments: start, stop, and the steps of a transaction."""

    def replace(original: Any, switch: Switch) -> Callable[..., Any]:
        async def step_traced(self):  # type: ignore[no-untyped-def]
            bound = original.__get__(self)
            if isinstance(self, _OURS) or not switch.is_on:
                return await bound()
            return await step(bound, self)

        return step_traced

    return replace


def _replace_getone(original, switch):  # type: ignore[no-untyped-def]
    async def getone_traced(self, *partitions):  # type: ignore[no-untyped-def]
        if isinstance(self, _OURS) or not switch.is_on:
            return await original(self, *partitions)
        # As the subclass has it: one more coroutine at each record would cost more than this saves.
        known, started_ns = consumer.ask(self), time.time_ns()
        try:
            record = await original(self, *partitions)
        except Exception as error:
            if known is not None:
                tell_undeserialized(known, error)
            raise
        if known is not None:
            consumer.got(known, record, started_ns)
        return record

    return getone_traced


def _replace_getmany(original, switch):  # type: ignore[no-untyped-def]
    async def getmany_traced(self, *partitions, timeout_ms=0, max_records=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return await bound(*partitions, timeout_ms=timeout_ms, max_records=max_records)
        return await consumer.getmany(bound, self, partitions, timeout_ms, max_records)

    return getmany_traced


def _replace_commit(original, switch):  # type: ignore[no-untyped-def]
    async def commit_traced(self, offsets=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return await bound(offsets)
        return await commit(bound, self, offsets)

    return commit_traced


def _replace_seek(original, switch):  # type: ignore[no-untyped-def]
    def seek_traced(self, partition, offset):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, _OURS) or not switch.is_on:
            return bound(partition, offset)
        return consumer.seek(bound, self, partition, offset)

    return seek_traced


def _replace_seek_to(seek: Callable[..., Awaitable[Any]], *where: str) -> Callable[[Any, Switch], Callable[..., Any]]:
    def replace(original: Any, switch: Switch) -> Callable[..., Any]:
        async def seek_traced(self, *partitions):  # type: ignore[no-untyped-def]
            bound = original.__get__(self)
            if isinstance(self, _OURS) or not switch.is_on:
                return await bound(*partitions)
            return await seek(bound, self, partitions, *where)

        return seek_traced

    return replace


REPLACEMENTS: Final[tuple[Replacement, ...]] = (
    (aiokafka.AIOKafkaProducer, "start", _replace_step(producer.start)),
    (aiokafka.AIOKafkaProducer, "send", _replace_send),
    (aiokafka.AIOKafkaProducer, "create_batch", _replace_create_batch),
    (aiokafka.AIOKafkaProducer, "send_batch", _replace_send_batch),
    (aiokafka.AIOKafkaProducer, "begin_transaction", _replace_step(transactions.begin_transaction)),
    (aiokafka.AIOKafkaProducer, "send_offsets_to_transaction", _replace_send_offsets),
    (aiokafka.AIOKafkaProducer, "commit_transaction", _replace_step(transactions.commit_transaction)),
    (aiokafka.AIOKafkaProducer, "abort_transaction", _replace_step(transactions.abort_transaction)),
    (aiokafka.AIOKafkaProducer, "stop", _replace_step(producer.stop)),
    (aiokafka.AIOKafkaConsumer, "start", _replace_step(consumer.start)),
    (aiokafka.AIOKafkaConsumer, "getone", _replace_getone),
    (aiokafka.AIOKafkaConsumer, "getmany", _replace_getmany),
    (aiokafka.AIOKafkaConsumer, "commit", _replace_commit),
    (aiokafka.AIOKafkaConsumer, "seek", _replace_seek),
    (aiokafka.AIOKafkaConsumer, "seek_to_beginning", _replace_seek_to(consumer.seek_to, "beginning")),
    (aiokafka.AIOKafkaConsumer, "seek_to_end", _replace_seek_to(consumer.seek_to, "end")),
    (aiokafka.AIOKafkaConsumer, "seek_to_committed", _replace_seek_to(consumer.seek_to_committed)),
    (aiokafka.AIOKafkaConsumer, "stop", _replace_step(consumer.stop)),
    *parts.REPLACEMENTS,
    # A version that serializes elsewhere just says no schemas.
    *((kind, "_serialize", _replace_serialize) for kind in (aiokafka.AIOKafkaProducer,) if "_serialize" in vars(kind)),
)
METHODS: Final = Methods(REPLACEMENTS)
