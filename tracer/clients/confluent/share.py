"""ShareConsumer: polls of a share group. The broker counts deliveries, so the attempt is known."""

import time
from collections.abc import Callable
from typing import Any

from flowtrail.tracer.clients.known import known_of
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS

from .classes import construct
from .consumer import close_consumer, tell_received
from .known import WHERE, Known, configuration, known_or_none


def share_consumer_methods(plain: Any, switch: Switch) -> dict[str, Callable[..., Any]]:
    """Return the traced methods of a share consumer; switched off, they call those of `plain` and no more."""

    def __init__(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        construct(plain, self, arguments, options)
        if switch.is_on:
            try:
                known = known_of(self, Known)
                known.configure(configuration(arguments, options))
                known.counts_deliveries = True
            except Exception as error:
                COUNTS.fail(WHERE, "__init__", error)

    def poll(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        known = known_or_none(self, "poll") if switch.is_on else None
        if known is None:
            return plain.poll(self, *arguments, **options)
        known.inferred.end()
        started_ns = time.time_ns()
        messages = plain.poll(self, *arguments, **options)
        if messages:
            tell_received(known, self, messages, started_ns, is_batch=True)
        return messages

    def close(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return close_consumer(self, switch, plain.close, arguments, options)

    def __exit__(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return close_consumer(self, switch, plain.__exit__, arguments, options)

    return {"__init__": __init__, "poll": poll, "close": close, "__exit__": __exit__}
