"""What may come in, whatever the wire: a body is unfolded, bounded and parsed once, before anything is written.

    receiver ──bytes, encodings, who sent them──▶ Admission.admit ──▶ Admitted, for the journal
                                                                └──▶ Refusal, which each wire says in its own way
Nothing here waits.
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .receivers.decompression import UNFOLDED_BY, Damaged, TooLarge
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


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a request: its address, and the `Authorization` that came with it; empty for what is not known."""

    address: str = ""
    authorization: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may be journalled: protobuf bytes, empty when there are no spans to keep.

    `rejected_spans` were left out of it for good; `message` tells the sender why (OTLP's partial success).
    """

    body: bytes
    rejected_spans: int = 0
    message: str = ""


class Admission:
    """Says what may come in. One for all receivers; safe to use from any thread."""

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes

    def admit(self, data: bytes, content_type: str, content_encoding: str, peer: Peer) -> Admitted:
        """Return what is to be journalled of a request's body, as it was sent. Raises Refusal.

        `content_type` is PROTOBUF or JSON. Protobuf that nothing is to be changed in comes back as it came, unfolded.
        """
        return Admitted(_parsed(self.unfold(data, content_encoding, peer), content_type))

    def unfold(self, data: bytes, content_encoding: str, peer: Peer) -> bytes:
        """Return the bytes of a body whatever signal it carries, once its sender may send it. Raises Refusal."""
        return _unfolded(data, content_encoding, self.max_body_bytes)


def _unfolded(data: bytes, content_encoding: str, max_body_bytes: int) -> bytes:
    if content_encoding in UNFOLDED_BY:
        try:
            return UNFOLDED_BY[content_encoding](data, max_body_bytes)
        except TooLarge as error:
            raise too_large(str(error)) from error
        except Damaged as error:
            raise Refusal(400, INVALID_ARGUMENT, f"not_{content_encoding}", str(error)) from error
    if content_encoding not in {"", "identity"}:
        message = f"content encoding {content_encoding[:64]!r} is not understood; send {', '.join(UNFOLDED_BY)} or none"
        raise Refusal(415, UNIMPLEMENTED, "content_encoding", message)
    if len(data) > max_body_bytes:
        raise too_large(f"the body is larger than {max_body_bytes} bytes")
    return data


def _parsed(data: bytes, content_type: str) -> bytes:
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
