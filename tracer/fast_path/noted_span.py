"""Noted spans in the program's own batch processors: the SDK's own to whoever looks, a template's bytes if nobody did.

    drain thread   NotedSpan ──▶ BatchSpanProcessor: its queue, delay, flush and shutdown ──▶ stock OTLP exporter
                                                                                              └ encode_spans
The stock exporters look up the encoder in their module, where `encode` takes its place. It makes the same message of
spans that nobody touched, and leaves all others to the stock one.
"""

import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from flowtrail.tracer.counts import COUNTS

from .otlp_template import encode_noted, encode_span, request
from .sdk_span import Described, bare, context_of, readable

if TYPE_CHECKING:
    from .deferring import Deferring

# Where the stock exporters are, and look up `encode_spans`.
_MODULES: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
)
# Of a span that nobody touched: its context and its note.
_UNTOUCHED: Final = 2


class NotedSpan(ReadableSpan):
    """A finished span of which only the context is made; all else is, once somebody reads or changes anything.

    `is_described` says that the note's attributes, links and events stand already.
    """

    def __init__(self, noted: Described, deferring: "Deferring", *, is_described: bool) -> None:
        # Not the SDK's: its attributes are what takes the time.
        self._context = context_of(noted)
        self._note = noted, deferring, is_described

    @property
    def is_untouched(self) -> bool:
        return len(self.__dict__) == _UNTOUCHED

    @property
    def deferring(self) -> "Deferring":
        return self._note[1]

    def encoded(self) -> bytes:
        """The span as a field of a request."""
        noted, _, is_described = self._note
        if is_described:
            return encode_span(noted)
        encoded: list[bytes] = []
        encode_noted(noted, encoded)  # type: ignore[arg-type]  # one that is not described yet is a note as well
        return b"".join(encoded)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        noted, deferring, is_described = self._note
        try:
            if not is_described:
                noted.described()  # type: ignore[attr-defined]  # as above
            made = readable(noted, deferring)
        except Exception as error:
            COUNTS.fail("flowtrail", "describe", error)
            made = bare(noted, deferring)
        for each, value in vars(made).items():
            self.__dict__.setdefault(each, value)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None


def encode(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """What `encode_spans` makes, which is asked for all but untouched noted spans; those have a ResourceSpans more."""
    others: list[ReadableSpan] = []
    noted: dict[Deferring, list[NotedSpan]] = {}
    for span in spans:
        if type(span) is NotedSpan and span.is_untouched:
            noted.setdefault(span.deferring, []).append(span)
        else:
            others.append(span)
    if not noted:
        return encode_spans(spans)
    found = []
    for deferring, untouched in noted.items():
        try:
            encoded = [span.encoded() for span in untouched]
            found.append(ExportTraceServiceRequest.FromString(request(encoded, deferring.resource, deferring.scope)))
        except Exception as error:
            COUNTS.fail("flowtrail", "encode", error)
            others += untouched
    message = encode_spans(others)
    for each in found:
        message.MergeFrom(each)
    return message


def are_stock(processors: Sequence[SpanProcessor]) -> bool:
    """Whether all are the SDK's batch processors with stock OTLP exporters, whose encoder is found where it is known.

    Exact types: what a program made of them may do anything with a span.
    """
    return bool(processors) and all(
        type(each) is BatchSpanProcessor and _is_stock(getattr(each, "span_exporter", None)) for each in processors
    )


def _is_stock(exporter: object) -> bool:
    name = type(exporter).__module__
    module = sys.modules.get(name)
    return (
        name in _MODULES
        and type(exporter) is getattr(module, "OTLPSpanExporter", None)
        and getattr(module, "encode_spans", None) in {encode_spans, encode}
    )


_users: "weakref.WeakSet[object]" = weakref.WeakSet()
# The drain of one that left may still be at work.
_left: "weakref.WeakSet[object]" = weakref.WeakSet()
_lock = threading.Lock()


def _lock_anew() -> None:
    # Another thread of the parent may have held it.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_lock_anew)


def take_place(user: object) -> None:
    """Have the stock exporters call `encode`, until every user has left. Who has left does not come again."""
    with _lock:
        if user in _left:
            return
        _users.add(user)
        for name in _MODULES:
            module: Any = sys.modules.get(name)
            if getattr(module, "encode_spans", None) is encode_spans:
                module.encode_spans = encode


def give_back(user: object) -> None:
    """Nothing of ours is left in the exporters after the last user. Noted spans that wait there are read, then."""
    with _lock:
        _left.add(user)
        _users.discard(user)
        for name in () if _users else _MODULES:
            module: Any = sys.modules.get(name)
            if getattr(module, "encode_spans", None) is encode:
                module.encode_spans = encode_spans
