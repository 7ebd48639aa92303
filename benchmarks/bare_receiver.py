"""The floor under the receiver: uvicorn, one parse of the body, and nothing else.

python -m benchmarks.bare_receiver FILE      writes its URL to FILE once it listens
"""

import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


async def receive_and_parse(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """An ASGI application that answers 200 to every request that can be parsed."""
    data = b""
    while True:
        message = await receive()
        data += message.get("body", b"")
        if not message.get("more_body"):
            break
    ExportTraceServiceRequest.FromString(data)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    Path(sys.argv[1]).write_text(f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces")
    server = uvicorn.Server(uvicorn.Config(receive_and_parse, log_config=None, access_log=False, lifespan="off"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
