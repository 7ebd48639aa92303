"""OpenTelemetry's propagators, also where OTEL_PROPAGATORS names one that is not installed.

The API then raises while it is imported, and so would `import flowtrail`. The default counts instead, W3C Trace Context
and Baggage, and a line says so.
"""

import logging
import os
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["is_w3c", "propagate"]

try:
    from opentelemetry import propagate
except Exception as error:
    logging.getLogger("flowtrail.tracer").warning("OTEL_PROPAGATORS: %s; tracecontext,baggage is used", error)
    _named = os.environ.pop("OTEL_PROPAGATORS", None)
    try:
        from opentelemetry import propagate
    finally:
        if _named is not None:
            os.environ["OTEL_PROPAGATORS"] = _named


_asked: Any = None
_answer = False


def is_w3c() -> bool:
    """Whether the configured propagator is W3C Trace Context, alone or with W3C Baggage."""
    global _asked, _answer
    textmap = propagate.get_global_textmap()
    if textmap is not _asked:
        each = textmap._propagators if type(textmap) is CompositePropagator else [textmap]
        kinds = {type(propagator) for propagator in each}
        _answer = TraceContextTextMapPropagator in kinds and kinds <= {
            TraceContextTextMapPropagator,
            W3CBaggagePropagator,
        }
        _asked = textmap
    return _answer
