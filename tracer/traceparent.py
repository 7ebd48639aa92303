"""The context that most records come with, one plain `traceparent`, read at a tenth of the cost of asking a propagator.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

import functools
import re
from collections.abc import Sequence
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags, get_current_span

from . import headers
from .propagation import is_w3c
from .record import Header

_VERSION_0: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_FLAGS: Final = [TraceFlags(flags) for flags in range(256)]
# Headers by which a record brings a context of its own, in lower case; `ce_` is a CloudEvent's.
CONTEXT_NAMES: Final = frozenset({"traceparent", "tracestate", "ce_traceparent", "ce_tracestate"})


def read_spans(given: Sequence[Header]) -> tuple[SpanContext | None, tuple[SpanContext, ...]]:
    """Return the valid context that came with a record, or None, and further ones: what `headers.read` finds."""
    value = None
    if is_w3c():
        for name, of_name in given:
            if name in CONTEXT_NAMES or name.lower() in CONTEXT_NAMES:
                if value is not None or name != "traceparent" or of_name is None:
                    break  # several, or more than the ids
                value = of_name
        else:
            if value is None:
                return None, ()
            context = _context(value)
            if context is not None:
                return (context if context.is_valid else None), ()
    carried = headers.read(given)
    context = get_current_span(carried.context).get_span_context()
    return (context if context.is_valid else None), carried.others


# A record is polled and then processed: within as many others it is read once.
@functools.lru_cache(maxsize=2048)
def _context(value: bytes) -> SpanContext | None:
    """Return what a plain `traceparent` says, valid or not; None when it is not plain."""
    found = _VERSION_0(value)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, _FLAGS[int(flags, 16)])
