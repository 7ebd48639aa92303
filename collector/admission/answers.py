"""What admission is told of a request, and what it says of it."""

from dataclasses import dataclass
from typing import Final

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

# Codes of google.rpc.Code, which the body of an error carries.
INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16


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
    """Who sent a request: its address, and the `Authorization` that came with it; empty for what is not known.

    `name` is its token's, empty where none is needed; None: nobody has asked yet.
    """

    address: str = ""
    authorization: str = ""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may be journalled: protobuf bytes, empty when there are no spans to keep.

    `rejected_spans` were left out of it for good; `message` tells the sender why (OTLP's partial success).
    """

    body: bytes
    rejected_spans: int = 0
    message: str = ""


def too_large(message: str) -> Refusal:
    """Return the refusal of a body over the limit, folded or unfolded; `message` says which limit."""
    return Refusal(413, RESOURCE_EXHAUSTED, "too_large", message)
