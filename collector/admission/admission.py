"""The steps of admission: a body is unfolded, bounded and parsed once, before anything is written. Nothing waits."""

import threading
from collections import Counter
from dataclasses import replace
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flowtrail.collector.receivers.decompression import UNFOLDED_BY, Damaged, TooLarge
from flowtrail.collector.receivers.otlp_json import NotOtlpJson, to_message

from .answers import (
    INVALID_ARGUMENT,
    JSON,
    UNAUTHENTICATED,
    UNIMPLEMENTED,
    Admitted,
    Peer,
    Refusal,
    too_large,
)
from .limits import Limits
from .memory import PARSED_TIMES, MemoryGate
from .rates import Rates
from .redaction import Redaction
from .tokens import Tokens

# A body that unfolds to more than this is rare: it is unfolded a second time, once there is memory for it.
LIKELY_TIMES: Final = 32


class Admission:
    """Says what may come in. One for all receivers; safe to use from any thread.

    `altered` counts what was changed in requests that were taken: `redacted` values, and by kind what was over limits.
    """

    def __init__(
        self,
        max_body_bytes: int,
        *,
        tokens: Tokens | None = None,
        redaction: Redaction | None = None,
        limits: Limits | None = None,
        memory: MemoryGate | None = None,
        rates: Rates | None = None,
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self.altered: Counter[str] = Counter()
        self._tokens = tokens
        self._redaction = redaction
        self._limits = limits
        self._rates = rates or Rates()
        self.memory = memory or MemoryGate()
        self._lock = threading.Lock()

    def welcome(self, peer: Peer) -> Peer:
        """Return a sender with the name that its token gives it, empty where no tokens are asked for. Raises Refusal.

        Receivers ask before they read a body, so that strangers cost nothing. Whom they did not ask about is asked
        about when the body is unfolded.
        """
        if self._tokens is None:
            self._rates.check("")
            return replace(peer, name="")
        name = self._tokens.name_of(peer.authorization)
        if name is None:
            known = "the one that came is not known" if peer.authorization else "none came"
            message = f"a token is asked for here, as `Authorization: Bearer TOKEN`; {known}"
            raise Refusal(401, UNAUTHENTICATED, "token", message)
        self._rates.check(name)
        return replace(peer, name=name)

    def admit(self, data: bytes, content_type: str, content_encoding: str, peer: Peer) -> Admitted:
        """Return what is to be journalled of a request's body, as it was sent. Raises Refusal.

        `content_type` is PROTOBUF or JSON. Protobuf that nothing is to be changed in comes back as it came, unfolded.
        """
        unfolded = self.unfold(data, content_encoding, peer)
        with self.memory.holding(PARSED_TIMES * len(unfolded)):
            return self._admitted(unfolded, content_type)

    def _admitted(self, unfolded: bytes, content_type: str) -> Admitted:
        body, request = _parsed(unfolded, content_type)
        if not request.resource_spans:
            return Admitted(b"")
        altered = self._alter(body, request)
        if not altered:
            return Admitted(body)
        with self._lock:
            self.altered += altered
        rejected = altered["spans"]
        message = f"a request may hold {self._limits.spans} spans" if rejected and self._limits else ""
        return Admitted(request.SerializeToString(), rejected, message)

    def unfold(self, data: bytes, content_encoding: str, peer: Peer) -> bytes:
        """Return the bytes of a body whatever signal it carries, once its sender may send it. Raises Refusal."""
        if peer.name is None:
            peer = self.welcome(peer)
        # As they came: that is what a sender's connection brings.
        self._rates.spend(peer.name or "", len(data))
        if content_encoding not in UNFOLDED_BY:
            return _unfolded(data, content_encoding, self.max_body_bytes)
        likely_bytes = min(LIKELY_TIMES * len(data), self.max_body_bytes)
        with self.memory.holding(likely_bytes) as held:
            try:
                return _unfolded(data, content_encoding, likely_bytes)
            except Refusal as refusal:
                if refusal.reason != "too_large" or likely_bytes == self.max_body_bytes:
                    raise
            held.grow(self.max_body_bytes - likely_bytes)
            return _unfolded(data, content_encoding, self.max_body_bytes)

    def _alter(self, body: bytes, request: ExportTraceServiceRequest) -> Counter[str]:
        """Change in a request what is not to be kept as it came; return what was changed, by kind."""
        altered: Counter[str] = Counter()
        # First: a value that was cut might no longer look like what is to be redacted.
        if self._redaction is not None and self._redaction.touches(body):
            altered["redacted"] = self._redaction.apply(request)
        if self._limits is not None and self._limits.may_be_over(body):
            altered += self._limits.apply(request)
        return +altered


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


def _parsed(data: bytes, content_type: str) -> tuple[bytes, ExportTraceServiceRequest]:
    """Return a request as protobuf bytes and parsed."""
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
    return data, request
