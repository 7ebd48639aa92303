"""The OTLP/HTTP receiver: `POST /v1/traces`, as opentelemetry-proto's specification has it; also metrics and logs.

A plain ASGI application: it answers 200 once the body is durable in the journal, and otherwise with a code that tells
the sender whether to come back.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from flowtrail.collector.admission import (
    INVALID_ARGUMENT,
    JSON,
    PROTOBUF,
    UNIMPLEMENTED,
    Peer,
    Refusal,
    too_large,
)
from flowtrail.collector.admission.memory import Held

from .decompression import UNFOLDED_BY
from .intake import BODY_TIMEOUT_S, Intake
from .signals import SIGNALS, TRACES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SIGNAL_AT: Final = {signal.path: signal for signal in SIGNALS}
NOT_FOUND: Final = 5  # google.rpc.Code


class OtlpHttpReceiver:
    """An ASGI application. Its `intake` counts what it took and refused."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"not served: {scope['type']}")
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        try:
            response = await self._take(scope, headers, content_type, receive)
        except _Gone:
            return
        except Refusal as refusal:
            self.intake.refused[refusal.reason] += 1
            status = Status(code=refusal.code, message=refusal.message)
            # JSON for who sent neither protobuf nor JSON.
            wanted = PROTOBUF if content_type == PROTOBUF else JSON
            await _answer(send, refusal.status, wanted, _encoded(status, wanted), _error_headers(refusal))
        else:
            await _answer(send, 200, content_type, _encoded(response, content_type), [])

    async def _take(self, scope: Scope, headers: dict[bytes, bytes], content_type: str, receive: Receive) -> Message:
        """Return the response when what was admitted of the request is durable. Raises Refusal or _Gone."""
        signal = SIGNAL_AT.get(scope["path"])
        if signal is None:
            raise Refusal(404, NOT_FOUND, "path", f"nothing is served here; traces go to {TRACES.path}")
        if scope["method"] != "POST":
            raise Refusal(405, UNIMPLEMENTED, "method", f"{signal.name} are sent with POST, not {scope['method'][:16]}")
        if content_type not in {PROTOBUF, JSON}:
            raise Refusal(415, INVALID_ARGUMENT, "content_type", f"the content type must be {PROTOBUF} or {JSON}")
        content_encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        client = scope.get("client")
        peer = Peer(client[0] if client else "", headers.get(b"authorization", b"").decode("latin-1"))
        peer = self.intake.welcome(peer)
        with self.intake.memory.holding() as held:
            data = await self._body(headers, receive, held)
            return await self.intake.take(signal, data, content_type, content_encoding, peer)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive, held: Held) -> bytes:
        """Return the body as it was sent. Raises Refusal when it is too large already, or does not come."""
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told) > self.intake.max_body_bytes:
            raise too_large(f"the body is larger than {self.intake.max_body_bytes} bytes")
        pieces: list[bytes] = []
        size_bytes = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    piece = message.get("body", b"")
                    size_bytes += len(piece)
                    if size_bytes > self.intake.max_body_bytes:
                        raise too_large(f"the body is larger than {self.intake.max_body_bytes} bytes")
                    held.grow(2 * len(piece))  # in its piece, and in the whole
                    pieces.append(piece)
                    if not message.get("more_body"):
                        return b"".join(pieces)
        except TimeoutError as error:
            raise Refusal(408, INVALID_ARGUMENT, "slow", "the body did not come in time") from error


class _Gone(Exception):
    """The sender closed the connection before its body was whole."""


def _encoded(message: Message, content_type: str) -> bytes:
    """Return a message as the sender reads it; an empty one is no byte in protobuf, an empty object in JSON."""
    if content_type == PROTOBUF:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None).encode()


def _error_headers(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status == 405:
        headers.append((b"allow", b"POST"))
    if refusal.reason == "content_encoding":
        headers.append((b"accept-encoding", ", ".join(UNFOLDED_BY).encode()))
    if refusal.status in {408, 413}:
        # What is left of the body is not read.
        headers.append((b"connection", b"close"))
    return headers


async def _answer(send: Send, status: int, content_type: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    fixed = [(b"content-type", content_type.encode("latin-1")), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fixed + headers})
    await send({"type": "http.response.body", "body": body})
