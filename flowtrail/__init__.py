"""Flowtrail: follow every event through Kafka.

import flowtrail

flowtrail.instrument(service="orders")

for record in flowtrail.processing(consumer):
    handle(record)

This module is what a service needs: it imports the tracer alone, never the collector or the UI.
"""

from flowtrail.tracer import (
    Health,
    Interceptor,
    add_interceptor,
    dead_letter_to,
    health,
    instrument,
    process,
    processed,
    processing,
    remove_interceptor,
    retry_to,
    set_up,
    uninstrument,
)

__all__ = [
    "Health",
    "Interceptor",
    "add_interceptor",
    "dead_letter_to",
    "health",
    "instrument",
    "process",
    "processed",
    "processing",
    "remove_interceptor",
    "retry_to",
    "set_up",
    "uninstrument",
]
