"""OpenTelemetry's propagators, also where OTEL_PROPAGATORS names one that is not installed.

The API then raises while it is imported, and so would `import flowtrail`. The default counts instead, W3C Trace Context
and Baggage, and a line says so.
"""

import logging
import os

__all__ = ["propagate"]

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
