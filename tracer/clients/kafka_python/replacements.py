"""The methods that `instrument` puts into kafka-python's own classes.

Our subclasses call the originals and trace for themselves; for them a replacement steps aside, so that nothing is
traced twice. Switched off, it calls the original and no more.
"""

from collections.abc import Callable
from typing import Any, Final

import kafka

from flowtrail.tracer.clients.methods import Methods, Replacement
from flowtrail.tracer.clients.switch import Switch

from . import consumer
from .producer import KafkaProducer, close, send
from .transactions import abort_transaction, begin_transaction, commit_transaction, send_offsets_to_transaction


def _replace_send(original, switch):  # type: ignore[no-untyped-def]
    def send_traced(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaProducer) or not switch.is_on:
            return bound(topic, value, key, headers, partition, timestamp_ms)
        return send(bound, self, topic, value, key, headers, partition, timestamp_ms)

    return send_traced


def _replace_close(original, switch):  # type: ignore[no-untyped-def]
    def close_traced(self, timeout=None, null_logger=False):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaProducer) or not switch.is_on:
            return bound(timeout, null_logger)
        return close(bound, self, timeout, null_logger)

    return close_traced


def _replace_send_offsets(original, switch):  # type: ignore[no-untyped-def]
    def send_offsets_traced(self, offsets, group_metadata):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaProducer) or not switch.is_on:
            return bound(offsets, group_metadata)
        return send_offsets_to_transaction(bound, self, offsets, group_metadata)

    return send_offsets_traced


def _replace_step(step: Callable[[Callable[..., Any], Any], Any]) -> Callable[[Any, Switch], Callable[..., Any]]:
    """For the steps of a transaction that take no arguments."""

    def replace(original: Any, switch: Switch) -> Callable[..., Any]:
        def step_traced(self):  # type: ignore[no-untyped-def]
            bound = original.__get__(self)
            if isinstance(self, KafkaProducer) or not switch.is_on:
                return bound()
            return step(bound, self)

        return step_traced

    return replace


REPLACEMENTS: Final[tuple[Replacement, ...]] = (
    (kafka.KafkaProducer, "send", _replace_send),
    (kafka.KafkaProducer, "close", _replace_close),
    (kafka.KafkaProducer, "begin_transaction", _replace_step(begin_transaction)),
    (kafka.KafkaProducer, "send_offsets_to_transaction", _replace_send_offsets),
    (kafka.KafkaProducer, "commit_transaction", _replace_step(commit_transaction)),
    (kafka.KafkaProducer, "abort_transaction", _replace_step(abort_transaction)),
    *consumer.REPLACEMENTS,
)
METHODS: Final = Methods(REPLACEMENTS)
