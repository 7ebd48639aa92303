"""Tracing for a program that already uses a Kafka client, and its removal.

The methods of the client's own classes are replaced, not the classes: whoever imported a class before, subclassed it or
has an instance of it is traced too, and every isinstance check stays true. Taking the tracing out puts the very same
functions back.
"""

import functools
import logging
import threading
from collections.abc import Iterable
from typing import Any

from opentelemetry.trace import TracerProvider

from .clients.switch import Switch
from .interceptor import Interceptor
from .setup import set_up
from .tracing import CHAIN

_log = logging.getLogger("flowtrail.tracer")

_lock = threading.Lock()
# (class, method name) → the original and what stands in its place.
_replaced: dict[tuple[type, str], tuple[Any, Any]] = {}
_added: list[Interceptor] = []
_switch = Switch()


def instrument(
    service: str | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    interceptors: Iterable[Interceptor] = (),
) -> None:
    """Trace every kafka-python producer and consumer of this process, those that exist already included.

    `service` names this program in every span; without it OTEL_SERVICE_NAME does. Without `tracer_provider` spans go to
    the global provider, which is set up from the `OTEL_*` variables when the program has not done so (see `set_up`).
    `interceptors` run beside the tracing until `uninstrument`. Calling it twice changes nothing.

    Raises ImportError when no Kafka client that Flowtrail knows is installed.
    """
    from .clients import kafka_python  # late: importing Flowtrail must not need a client

    with _lock:
        set_up(service, tracer_provider=tracer_provider)
        for interceptor in interceptors:
            CHAIN.add(interceptor)
            _added.append(interceptor)
        _switch.is_on = True
        for plain, method, make in kafka_python.REPLACEMENTS:
            if (plain, method) not in _replaced:
                original = plain.__dict__[method]
                replacement = functools.wraps(original)(make(original, _switch))
                setattr(plain, method, replacement)
                _replaced[plain, method] = original, replacement


def uninstrument() -> None:
    """Leave the clients exactly as they were; without `instrument` before, nothing happens.

    Spans that were begun still end. The tracer provider stays: OpenTelemetry lets no one take it away.
    """
    with _lock:
        _switch.is_on = False
        for (plain, method), (original, replacement) in list(_replaced.items()):
            if plain.__dict__.get(method) is not replacement:
                # Someone wrapped ours. Taking theirs away is not for us; ours below it is switched off.
                _log.warning("%s.%s was wrapped again by something else; it is left so", plain.__qualname__, method)
                continue
            setattr(plain, method, original)
            del _replaced[plain, method]
        while _added:
            CHAIN.remove(_added.pop())
