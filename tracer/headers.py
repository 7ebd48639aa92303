"""Trace context in Kafka record headers.

Record headers are an ordered list of (name, value) pairs; a name may occur several times (KIP-82). Values
are bytes, or None. Nothing here does I/O, keeps state of records, or raises on what another program wrote.

    headers ──read──▶ Carried(context, others)          what came with a record
    context ──write─▶ a new list of headers             what goes out with a record

The format on the wire is the configured propagator's, by default W3C Trace Context and Baggage. Names are compared
without upper and lower case, as these propagators expect it of a carrier: Java's B3 writes `X-B3-TraceId`.

A CloudEvent has a context of its own in `ce_traceparent` and `ce_tracestate`: that of the event's making, which nobody
changes on its way. It is read by the same propagator, and is the record's context where it has no other, else one more
to link. It is never written.
https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator

from .counts import COUNTS
from .origin import DEAD_LETTER_TO, RETRY_TO
from .propagation import propagate

Header: TypeAlias = tuple[str, bytes | None]

# A header longer than this is not ours: W3C asks for 512 characters of tracestate, baggage for 8192.
LONGEST_VALUE_BYTES = 8192
# Contexts of one record that are looked at, the newest ones: who repeats a name more often is no retry.
MOST_ATTEMPTS: Final = 32

_BAGGAGE: Final = "baggage"
_EVENT_PREFIX: Final = "ce_"
_EVENT_NAMES: Final = ("traceparent", "tracestate")
# Headers that only a record has which was received and is forwarded (`forwarding.py`): its context came along.
_FORWARDED: Final = frozenset({RETRY_TO, DEAD_LETTER_TO})


@dataclass(frozen=True, slots=True)
class Carried:
    """What a record's headers said about the trace that it belongs to.

    `context` is for the propagator's own use: parent of, or link from, the consumer's span. `others` are
    further valid contexts, oldest first: the one in which a CloudEvent was made, and those under the same name; retry
    topics of some frameworks append one at every attempt. They become links, so that no attempt is lost.
    """

    context: Context
    others: tuple[trace.SpanContext, ...] = ()


def read(headers: Iterable[Any] | None) -> Carried:
    """Return the context that came with a record; an empty one when there is none.

    The last valid context wins: whoever sent the record last wrote last. Invalid, oversized and
    undecodable values are passed over, as Trace Context asks (section 3.2).
    """
    values = _values(headers)
    if not values:
        return Carried(Context())
    attempts = [_extract(pairs) for pairs in _attempts(values)]
    valid = [context for context in attempts if _span_context(context).is_valid]
    event = _event_context(values)
    if not valid:
        # No trace, but perhaps baggage.
        return Carried(attempts[-1] if event is None else _around(event, attempts[-1]))
    *others, last = map(_span_context, valid)
    if event is not None:
        others.insert(0, event)
    # One that was repeated, as with another's baggage, is no attempt more; the last one is no other.
    different = {(other.trace_id, other.span_id): other for other in (last, *others)}
    del different[last.trace_id, last.span_id]
    return Carried(valid[-1], tuple(different.values()))


def write(
    headers: Sequence[Header] | Mapping[str, bytes | None] | None,
    context: Context | None = None,
    *,
    received: Collection[trace.SpanContext] = (),
) -> list[Header]:
    """Return `headers` with `context` (default: the current one) added; the input stays as it is.

    A valid context that the application put there is kept and nothing is added: a relay knows best what
    its record belongs to. `received` are the contexts of the records now being processed: one of these was
    not put there but copied along, as retry code does, and is replaced. So is that of a record that is forwarded by
    `retry_to` or `dead_letter_to`, wherever it is sent.
    """
    sent: list[Header] = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    values = _values(sent)
    found = [context for context in map(_extract, _attempts(values)) if _span_context(context).is_valid]
    if found:
        is_copied = _span_context(found[-1]).span_id in {copied.span_id for copied in received}
        if not is_copied and _FORWARDED.isdisjoint(values):
            return sent
    written: list[Header] = []
    try:
        propagate.inject(written, context, _SETTER)
    except Exception as error:
        COUNTS.fail("propagator", "inject", error)
    if not written:
        return sent
    # All of an old context goes: what is left of it (tracestate) would be read with the new one. Baggage stays.
    names = {name.lower() for name, _ in written} | _names(propagate.get_global_textmap())
    return [header for header in sent if _name(header) not in names] + written


def _values(headers: Iterable[Any] | None) -> dict[str, list[str]]:
    """Return what could be read of headers: by name in lower case, the texts in order."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    for header in headers.items() if isinstance(headers, Mapping) else headers or ():
        name = _name(header)
        text = None if name is None else _text(header[1])
        if name is not None and text is not None:
            values[name].append(text)
    return values


def _attempts(values: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return one mapping for each time that a name of the propagator's was repeated, oldest first; none for no headers.

    A name that occurs once belongs to all of them: {a: [1, 3], b: [2]} → [{a: 1, b: 2}, {a: 3, b: 2}]. Of others'
    headers each has the last value, for propagators that look for names of a pattern.
    """
    if not values:
        return []
    own = {name: values[name] for name in (*_names(propagate.get_global_textmap()), _BAGGAGE) if name in values}
    last = {name: found[-1] for name, found in values.items()}
    depth = min(max(map(len, own.values()), default=1), MOST_ATTEMPTS)
    return [last | {name: found[max(-age, -len(found))] for name, found in own.items()} for age in range(depth, 0, -1)]


def _event_context(values: Mapping[str, Sequence[str]]) -> trace.SpanContext | None:
    """Return the context in which a CloudEvent was made; None where there is no valid one."""
    pairs = {name: values[_EVENT_PREFIX + name][-1] for name in _EVENT_NAMES if _EVENT_PREFIX + name in values}
    found = _span_context(_extract(pairs)) if pairs else trace.INVALID_SPAN_CONTEXT
    return found if found.is_valid else None


def _extract(pairs: dict[str, str]) -> Context:
    try:
        return propagate.extract(pairs, Context(), _GETTER)
    except Exception as error:  # a propagator that is not OpenTelemetry's own
        COUNTS.fail("propagator", "extract", error)
        return Context()


def _name(header: Any) -> str | None:
    """Return a header's name in lower case; None for what is no header."""
    if isinstance(header, tuple | list) and len(header) == 2 and isinstance(header[0], str):
        return header[0].lower()
    return None


def _text(value: Any) -> str | None:
    """Decode a header value; None when it cannot be one of ours."""
    if not isinstance(value, bytes | str) or len(value) > LONGEST_VALUE_BYTES or not value.isascii():
        return None
    return value if isinstance(value, str) else value.decode("ascii")


def _names(textmap: TextMapPropagator) -> frozenset[str]:
    """The names, in lower case, under which a propagator would find a trace: those that it says, and those it asks for.

    B3 reads more than it writes. Baggage is not among them.
    """
    global _asked_last
    last, names = _asked_last
    if last is not textmap:
        asked = _Asked()
        try:
            textmap.extract({}, Context(), asked)
            asked.names |= set(textmap.fields)
        except Exception as error:
            COUNTS.fail("propagator", "extract", error)
        names = frozenset(name.lower() for name in asked.names) - {_BAGGAGE}
        _asked_last = textmap, names
    return names


# The propagator that was asked last, and its names: a program has but one.
_asked_last: tuple[TextMapPropagator | None, frozenset[str]] = (None, frozenset())


def _around(span_context: trace.SpanContext, context: Context) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(span_context), context)


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


class _HeaderGetter(Getter[dict[str, str]]):
    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        name = key.lower()
        return [carrier[name]] if name in carrier else None

    def keys(self, carrier: dict[str, str]) -> list[str]:
        return list(carrier)


class _Asked(_HeaderGetter):
    """Finds nothing, and notes what was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        self.names.add(key)
        return None


class _HeaderSetter(Setter[list[Header]]):
    def set(self, carrier: list[Header], key: str, value: str) -> None:
        encoded = value.encode("ascii", "replace")
        # A longer one nobody would read, and it would make the record too large for its topic.
        if len(encoded) <= LONGEST_VALUE_BYTES:
            carrier.append((key, encoded))


_GETTER = _HeaderGetter()
_SETTER = _HeaderSetter()
