"""What may come in: a body is unfolded, bounded and parsed once. Nothing here waits or keeps state."""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .receivers.decompression import NotGzip, TooLarge, gunzip
from .receivers.otlp_json import NotOtlpJson, to_message

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

# Codes of google.rpc.Code, which the body of an error carries.
INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request was not taken. `reason` is one word to count by; `retry_after_s` only where trying again helps."""

    status: int
    code: int
    reason: str
    message: str
    retry_after_s: int | None = None


def admit(data: bytes, content_type: str, content_encoding: str, max_body_bytes: int) -> bytes:
    """Return the protobuf bytes of a request that may be journalled; empty when it has no spans to keep.

    Protobuf comes back as it came, only unfolded. Raises Refusal, always for good: the same body is refused again.
    """
    if content_encoding == "gzip":
        try:
            data = gunzip(data, max_body_bytes)
        except TooLarge as error:
            raise too_large(str(error)) from error
        except NotGzip as error:
            raise Refusal(400, INVALID_ARGUMENT, "not_gzip", str(error)) from error
    elif content_encoding not in {"", "identity"}:
        message = f"content encoding {content_encoding[:64]!r} is not understood; send gzip or none"
        raise Refusal(415, UNIMPLEMENTED, "content_encoding", message)
    elif len(data) > max_body_bytes:
        raise too_large(f"the body is larger than {max_body_bytes} bytes")
    if content_type == JSON:
        try:
            request = to_message(data)
        except NotOtlpJson as error:
            raise Refusal(400, INVALID_ARGUMENT, "malformed", str(error)) from error
        data = request.SerializeToString()
    else:
        try:
            request = ExportTraceServiceRequest.FromString(data)
        except DecodeError as error:
            raise Refusal(400, INVALID_ARGUMENT, "malformed", "the body is not an OTLP traces request") from error
    return data if request.resource_spans else b""


def too_large(message: str) -> Refusal:
    """Return the refusal of a body over the limit, folded or unfolded; `message` says which limit."""
    return Refusal(413, RESOURCE_EXHAUSTED, "too_large", message)
