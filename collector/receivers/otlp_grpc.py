"""The OTLP/gRPC receiver: the `Export` methods of opentelemetry-proto's three services, over grpcio.

Handlers get bytes, which admission unfolds and parses as it does for HTTP. What is refused carries the code of its
refusal, and a RetryInfo where trying again helps: with RESOURCE_EXHAUSTED that alone tells a sender to come back
(opentelemetry-proto, "Failures").
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import unquote

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from flowtrail.collector.admission import PROTOBUF, Peer, Refusal, too_large

from .intake import BODY_TIMEOUT_S, Intake
from .signals import SIGNALS, Signal

log = logging.getLogger(__name__)

DEADLINE_EXCEEDED: Final = 4  # google.rpc.Code; OTLP's senders come back after it

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# The first bytes of a gzip stream. No OTLP request begins so: it would be field 3 of a wire type that there is not.
_GZIP_MAGIC: Final = b"\x1f\x8b"

# Bits of grpc_compression_algorithm: none and gzip. Deflate is refused by its name; what grpcio does not know, it
# refuses by itself.
_NONE_AND_GZIP: Final = 0b101

_OPTIONS: Final = (
    # Else a second collector on the same port would get half of the requests instead of an error.
    ("grpc.so_reuseport", 0),
    # A message is unfolded by admission, within its limits and on its thread, as one that came by HTTP.
    ("grpc.per_message_decompression", 0),
    ("grpc.compression_enabled_algorithms_bitset", _NONE_AND_GZIP),
    # A sender may ping an idle connection every ten seconds (half of it is asked, since pings are not punctual), and no
    # proxy then closes it. One that does it all the time is told ENHANCE_YOUR_CALM. The usual five minutes are longer
    # than many proxies wait.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 2),
    # A connection on which nobody speaks HTTP/2 is closed.
    ("grpc.server_handshake_timeout_ms", 30_000),
    # A sender whose machine is gone is found out and its connection closed; idle ones of the living stay.
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_concurrent_streams", 100),
)


class OtlpGrpcReceiver:
    """Answers calls. Its `intake` counts what it took and refused."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the three services, for a grpc.aio server."""
        return [
            grpc.method_handlers_generic_handler(
                signal.service, {"Export": grpc.stream_unary_rpc_method_handler(self._export(signal))}
            )
            for signal in SIGNALS
        ]

    def _export(self, signal: Signal) -> Any:
        async def export(_messages: Any, context: Any) -> bytes:
            try:
                return await self._take(signal, context)
            except Refusal as refusal:
                self.intake.refused[refusal.reason] += 1
                await _abort(context, refusal)
                raise  # not reached: aborting raises

        return export

    async def _take(self, signal: Signal, context: Any) -> bytes:
        peer = self.intake.welcome(_peer(context))
        # Read here and not by grpcio, which would never tell of a message that is too large.
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                data = await context.read()
        except TimeoutError as error:
            raise Refusal(408, DEADLINE_EXCEEDED, "slow", "the message did not come in time") from error
        if data is grpc.aio.EOF:
            raise too_large(f"there is no message, or it is larger than {self.intake.max_body_bytes} bytes")
        content_encoding = "gzip" if data.startswith(_GZIP_MAGIC) else ""
        with self.intake.memory.holding(2 * len(data)):  # grpcio has its own copy until the call ends
            response = await self.intake.take(signal, data, PROTOBUF, content_encoding, peer)
        return response.SerializeToString()


@contextmanager
def serving(
    receiver: OtlpGrpcReceiver,
    host: str,
    port: int,
    ended: Callable[[], None],
    *,
    credentials: grpc.ServerCredentials | None = None,
    grace_s: float = 3,
) -> Iterator[int]:
    """Answer calls while the block runs, on a thread and an event loop of its own; yields the port.

    Port 0 takes a free one. Raises OSError when the address cannot be had. At the end, calls that are under way get
    `grace_s`. `ended` is called on that thread when the server ends before the block does.
    """
    stop = asyncio.Event()
    started: Future[tuple[asyncio.AbstractEventLoop, int]] = Future()
    is_ending = threading.Event()

    async def serve() -> None:
        options = [*_OPTIONS, ("grpc.max_receive_message_length", receiver.intake.max_body_bytes)]
        server = grpc.aio.server(handlers=receiver.handlers(), options=options)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = (
                server.add_insecure_port(address)
                if credentials is None
                else server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:  # grpcio says no more than that it failed
            raise OSError(f"cannot listen on {address}") from error
        await server.start()
        started.set_result((asyncio.get_running_loop(), bound))
        try:
            await stop.wait()
        finally:
            await server.stop(grace_s)

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            if not started.done():
                started.set_exception(error)
                return
            log.exception("the OTLP/gRPC server failed")
        if not is_ending.is_set():
            ended()

    thread = threading.Thread(target=run, name="otlp-grpc", daemon=True)
    thread.start()
    loop, bound = started.result()
    try:
        yield bound
    finally:
        is_ending.set()
        with suppress(RuntimeError):  # the loop is closed: the server has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join(grace_s + 2)


async def _abort(context: Any, refusal: Refusal) -> None:
    """End a call with the code of a refusal, and a google.rpc.Status that says all of it."""
    status = Status(code=refusal.code, message=refusal.message)
    if refusal.retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.seconds = refusal.retry_after_s
        status.details.add().Pack(retry)
    details = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(_CODES[refusal.code], refusal.message, (details,))


def _peer(context: Any) -> Peer:
    """Return who calls: `ipv4:10.0.0.7:40112` and `ipv6:%5B::1%5D:40112` are gRPC's names of addresses."""
    kind, _, address = unquote(context.peer()).partition(":")
    if kind in {"ipv4", "ipv6"}:
        address = address.rpartition(":")[0].strip("[]")
    told = dict(context.invocation_metadata() or ())
    return Peer(address, str(told.get("authorization", "")))
