"""Takes spans in and counts them: OTLP over HTTP, and what ddtrace sends to its agent.

python -m benchmarks.tracer_cost.receiver FILE      writes its URL to FILE once it listens

GET /count answers how many spans came so far (of ddtrace's: traces).
"""

import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """An ASGI application that answers 200 to every request that can be parsed."""

    def __init__(self) -> None:
        self._count = 0

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        parts = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        answer = self._answer(scope["path"], dict(scope["headers"]), b"".join(parts))
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        if path == "/count":
            return str(self._count).encode()
        if path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            self._count += sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans)
            return b""
        # Datadog's protocol says in a header how many traces a request holds, and not how many spans.
        self._count += int(headers.get(b"x-datadog-trace-count", b"0"))
        return _AGENT if path == "/info" else b"{}"


# What an agent says of itself: that it takes traces, and nothing else, so that nothing else is sent.
_AGENT: Final = b'{"version": "7.70.0", "endpoints": ["/v0.4/traces", "/v0.5/traces"]}'


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    Path(sys.argv[1]).write_text(f"http://127.0.0.1:{listening.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(Receiver(), log_config=None, access_log=False, lifespan="off"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
