"""The OTLP/HTTP receiver: `POST /v1/traces`, as opentelemetry-proto's specification has it.

A plain ASGI application: it answers 200 once the body is durable in the journal, and otherwise with a code that tells
the sender whether to come back. Large bodies are unfolded and parsed on a thread, so that the small ones do not wait.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from flowtrail.collector.admission import (
    INVALID_ARGUMENT,
    JSON,
    PROTOBUF,
    UNAVAILABLE,
    UNIMPLEMENTED,
    Admission,
    Admitted,
    Peer,
    Refusal,
    too_large,
)
from flowtrail.collector.journal.contract import JournalError, JournalFull
from flowtrail.collector.journal.group_commit import GroupCommit

from .decompression import UNFOLDED_BY

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH: Final = "/v1/traces"
NOT_FOUND: Final = 5  # google.rpc.Code

# Up to this, a body is parsed in less time than a thread takes to begin; a folded one may be a thousand times larger.
SMALL_BODY_BYTES: Final = 32 * 1024
SMALL_FOLDED_BYTES: Final = 2 * 1024
# A sender that takes longer than this for its body keeps memory for nothing.
BODY_TIMEOUT_S: Final = 60.0


class OtlpHttpReceiver:
    """An ASGI application. Counts what it took and refused; counts are read from any thread."""

    def __init__(self, journal: GroupCommit, admission: Admission) -> None:
        self.received = 0
        self.duplicates = 0
        self.refused: Counter[str] = Counter()
        self._journal = journal
        self._admission = admission
        # Two: parsing holds the interpreter, unfolding does not.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="admit")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"not served: {scope['type']}")
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        try:
            admitted = await self._take(scope, headers, content_type, receive)
        except _Gone:
            return
        except Refusal as refusal:
            self.refused[refusal.reason] += 1
            await _answer(send, refusal.status, *_error_body(refusal, content_type), _error_headers(refusal))
        else:
            await _answer(send, 200, content_type, _response(admitted, content_type), [])

    def close(self) -> None:
        """Take no more bodies. One that is being parsed is not waited for: its sender has no answer and comes again."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take(self, scope: Scope, headers: dict[bytes, bytes], content_type: str, receive: Receive) -> Admitted:
        """Return when what was admitted of the request is durable. Raises Refusal or _Gone."""
        if scope["path"] != PATH:
            raise Refusal(404, NOT_FOUND, "path", f"nothing is served here; traces go to {PATH}")
        if scope["method"] != "POST":
            raise Refusal(405, UNIMPLEMENTED, "method", f"traces are sent with POST, not {scope['method'][:16]}")
        if content_type not in {PROTOBUF, JSON}:
            raise Refusal(415, INVALID_ARGUMENT, "content_type", f"the content type must be {PROTOBUF} or {JSON}")
        content_encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        data = await self._body(headers, receive)
        client = scope.get("client")
        peer = Peer(client[0] if client else "", headers.get(b"authorization", b"").decode("latin-1"))
        if len(data) <= (SMALL_FOLDED_BYTES if content_encoding in UNFOLDED_BY else SMALL_BODY_BYTES):
            admitted = self._admission.admit(data, content_type, content_encoding, peer)
        else:
            admitted = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._admission.admit, data, content_type, content_encoding, peer
            )
        if admitted.body:
            try:
                appended = await asyncio.wrap_future(self._journal.add(admitted.body))
            except (JournalFull, JournalError) as error:
                reason = "journal_full" if isinstance(error, JournalFull) else "journal_error"
                raise Refusal(503, UNAVAILABLE, reason, str(error), error.retry_after_s) from error
            self.duplicates += appended.is_duplicate
        self.received += 1
        return admitted

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Return the body as it was sent. Raises Refusal when it is too large already, or does not come."""
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told) > self._admission.max_body_bytes:
            raise too_large(f"the body is larger than {self._admission.max_body_bytes} bytes")
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
                    if size_bytes > self._admission.max_body_bytes:
                        raise too_large(f"the body is larger than {self._admission.max_body_bytes} bytes")
                    pieces.append(piece)
                    if not message.get("more_body"):
                        return b"".join(pieces)
        except TimeoutError as error:
            raise Refusal(408, INVALID_ARGUMENT, "slow", "the body did not come in time") from error


class _Gone(Exception):
    """The sender closed the connection before its body was whole."""


def _response(admitted: Admitted, content_type: str) -> bytes:
    """Return an ExportTraceServiceResponse; without a partial success no byte in protobuf, an empty object in JSON."""
    response = ExportTraceServiceResponse()
    if admitted.rejected_spans or admitted.message:
        response.partial_success.rejected_spans = admitted.rejected_spans
        response.partial_success.error_message = admitted.message
    if content_type == PROTOBUF:
        return response.SerializeToString()
    return json_format.MessageToJson(response, indent=None).encode()


def _error_body(refusal: Refusal, content_type: str) -> tuple[str, bytes]:
    """Return the content type and bytes of a google.rpc.Status; JSON for who sent neither protobuf nor JSON."""
    status = Status(code=refusal.code, message=refusal.message)
    if content_type == PROTOBUF:
        return PROTOBUF, status.SerializeToString()
    return JSON, json_format.MessageToJson(status, indent=None).encode()


def _error_headers(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
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
