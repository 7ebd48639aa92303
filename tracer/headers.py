"""Trace context in Kafka record headers.

Record headers are an ordered list of (name, value) pairs; a name may occur several times (KIP-82). Values
are bytes, or None. Nothing here does I/O, keeps state, or raises on what another program wrote.

    headers ──read──▶ Carried(context, others)          what came with a record
    context ──write─▶ a new list of headers             what goes out with a record

The format on the wire is the configured propagator's, by default W3C Trace Context and Baggage.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter

from .propagation import propagate

Header: TypeAlias = tuple[str, bytes | None]

# A header longer than this is not ours: W3C asks for 512 characters of tracestate, baggage for 8192.
LONGEST_VALUE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Carried:
    """What a record's headers said about the trace that it belongs to.

    `context` is for the propagator's own use: parent of, or link from, the consumer's span. `others` are
    further valid contexts under the same name, oldest first; retry topics of some frameworks append one
    at every attempt. They become links, so that no attempt is lost.
    """

    context: Context
    others: tuple[trace.SpanContext, ...] = ()


def read(headers: Iterable[Header] | None) -> Carried:
    """Return the context that came with a record; an empty one when there is none.

    The last valid context wins: whoever sent the record last wrote last. Invalid, oversized and
    undecodable values are passed over, as Trace Context asks (section 3.2).
    """
    attempts = [propagate.extract(pairs, Context(), _GETTER) for pairs in _attempts(headers or ())]
    valid = [context for context in attempts if _span_context(context).is_valid]
    if not valid:
        return Carried(attempts[-1] if attempts else Context())  # no trace, but perhaps baggage
    *others, last = valid
    return Carried(last, tuple(_span_context(context) for context in others))


def write(
    headers: Sequence[Header] | None,
    context: Context | None = None,
    *,
    received: Collection[trace.SpanContext] = (),
) -> list[Header]:
    """Return `headers` with `context` (default: the current one) added; the input stays as it is.

    A valid context that the application put there is kept and nothing is added: a relay knows best what
    its record belongs to. `received` are the contexts of the records now being processed: one of these was
    not put there but copied along, as retry code does, and is replaced.
    """
    sent = list(headers or ())
    found = _span_context(read(sent).context)
    if found.is_valid and found.span_id not in {copied.span_id for copied in received}:
        return sent
    written: list[Header] = []
    propagate.inject(written, context, _SETTER)
    if not written:
        return sent
    # All of an old context goes: what is left of it (tracestate) would be read with the new one. Baggage stays.
    names = {name for name, _ in written} | (propagate.get_global_textmap().fields - {"baggage"})
    return [header for header in sent if header[0] not in names] + written


def _attempts(headers: Iterable[Header]) -> list[dict[str, str]]:
    """Return one mapping for each time that a name was repeated, oldest first.

    A name that occurs once belongs to all of them: [(a, 1), (b, 2), (a, 3)] → [{a: 1, b: 2}, {a: 3, b: 2}].
    """
    values: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        text = _text(value)
        if text is not None:
            values[name].append(text)
    depth = max(map(len, values.values()), default=0)
    return [{name: found[max(-age, -len(found))] for name, found in values.items()} for age in range(depth, 0, -1)]


def _text(value: bytes | None) -> str | None:
    """Decode a header value; None when it cannot be one of ours."""
    if not isinstance(value, bytes) or len(value) > LONGEST_VALUE_BYTES:
        return None
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        return None


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


class _HeaderGetter(Getter[dict[str, str]]):
    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        return [carrier[key]] if key in carrier else None

    def keys(self, carrier: dict[str, str]) -> list[str]:
        return list(carrier)


class _HeaderSetter(Setter[list[Header]]):
    def set(self, carrier: list[Header], key: str, value: str) -> None:
        carrier.append((key, value.encode("ascii")))


_GETTER = _HeaderGetter()
_SETTER = _HeaderSetter()
