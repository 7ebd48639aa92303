"""Noted spans over OTLP/gRPC: the stock exporter, its channel, headers, timeout and retries, with bytes that are ready.

The stock exporter encodes a batch for each try, and its stub serializes what comes. Here the stub is the stock one too,
on a channel that sends bytes as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from .otlp_template import request

if TYPE_CHECKING:
    from .deferring import Deferring

# Of spans. A gRPC server refuses a request above 4 MiB unless it is told otherwise.
MOST_BYTES: Final = 3 << 20


class Ready(NamedTuple):
    """An ExportTraceServiceRequest in bytes, and how many spans are in it."""

    data: bytes
    spans: int


class GrpcExporter(OTLPSpanExporter):
    """The stock exporter, which takes spans that are encoded already as well. All is set by the standard variables.

    `takes_bytes` is False where its inside is not as it is known here: then it is the stock one, and no more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.takes_bytes = all(getattr(self, name, None) is not None for name in ("_stub", "_channel", "_client"))
        if self.takes_bytes:
            # What it makes a client of its channel with, now and whenever it connects anew.
            self._stub: Any = _stub
            self._client: Any = _stub(self._channel)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self.takes_bytes:
            return super().export(spans)
        sent = self._send(requests_of(spans))
        return SpanExportResult.SUCCESS if sent == len(spans) else SpanExportResult.FAILURE

    def export_noted(self, encoded: Sequence[bytes], deferring: "Deferring", ready: Sequence[ReadableSpan]) -> int:
        """Send noted spans, encoded, and the SDK's own, in as few requests as a server takes; return how many went."""
        return self._send(requests(encoded, deferring, ready))

    def _send(self, several: Iterator[Ready]) -> int:
        sent = 0
        for each in several:
            try:
                is_sent = self._export(each) is SpanExportResult.SUCCESS  # type: ignore[arg-type]  # for `_translate_data`
            except Exception:
                if not sent:
                    raise
                break
            sent += each.spans if is_sent else 0
        return sent

    def _translate_data(self, data: Any) -> Any:
        return data.data if isinstance(data, Ready) else super()._translate_data(data)

    def _count_data(self, data: Any) -> int:
        return data.spans if isinstance(data, Ready) else len(data)


def requests(
    encoded: Sequence[bytes], deferring: "Deferring", ready: Sequence[ReadableSpan], most_bytes: int = MOST_BYTES
) -> Iterator[Ready]:
    """Spans in requests of `most_bytes` (and resource and scope); what is ready joins the last where there is room."""
    last = Ready(b"", 0)
    for portion in _portions(encoded, most_bytes):
        if last.spans:
            yield last
        last = Ready(request(portion, deferring.resource, deferring.scope), len(portion))
    for each in requests_of(ready, most_bytes):
        if len(last.data) + len(each.data) <= most_bytes:
            # Requests one after the other are one request: repeated fields add up.
            last = Ready(last.data + each.data, last.spans + each.spans)
        else:
            if last.spans:
                yield last
            last = each
    if last.spans:
        yield last


def _portions(encoded: Sequence[bytes], most_bytes: int) -> Iterator[Sequence[bytes]]:
    first, size = 0, 0
    for number, span in enumerate(encoded):
        if size and size + len(span) > most_bytes:
            yield encoded[first:number]
            first, size = number, 0
        size += len(span)
    if encoded:
        yield encoded[first:]


def requests_of(spans: Sequence[ReadableSpan], most_bytes: int = MOST_BYTES) -> Iterator[Ready]:
    """Half as many spans, and half of that, until a request is small enough; a span that is too large goes alone."""
    if not spans:
        return
    data = encode_spans(spans).SerializeToString()
    if len(data) <= most_bytes or len(spans) == 1:
        yield Ready(data, len(spans))
        return
    middle = len(spans) // 2
    yield from requests_of(spans[:middle], most_bytes)
    yield from requests_of(spans[middle:], most_bytes)


def _stub(channel: Any) -> TraceServiceStub:
    return TraceServiceStub(_AsBytes(channel))  # type: ignore[no-untyped-call]


class _AsBytes:
    """A channel whose requests are bytes already, or know how to be."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def unary_unary(self, method: str, request_serializer: Callable[[Any], bytes], **options: Any) -> Any:
        def serialize(message: Any) -> bytes:
            return message if type(message) is bytes else request_serializer(message)

        return self._channel.unary_unary(method, request_serializer=serialize, **options)
