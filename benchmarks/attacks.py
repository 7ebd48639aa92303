"""What a hostile program does to a receiver, until its standard input ends.

python -m benchmarks.attacks NAME URL [--connections N]     writes `ready` once it is under way, at the end a JSON line

The line counts what came of it: statuses of answers, connections that were `closed` without one or were `unanswered`,
`not_open`: those that could not be opened.
"""

import argparse
import asyncio
import contextlib
import functools
import gzip
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

MIB: Final = 1024 * 1024
# Twice of what may come out of a body, and thousands of members of nothing.
BOMB_BYTES: Final = 128 * MIB
MEMBERS: Final = 50_000
# So many connections are opened at a time: more than a listening socket's queue would only wait for each other.
OPENED_AT_ONCE: Final = 200
PATIENCE_S: Final = 30.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Target:
    """Whom an attack goes to, and what came of it."""

    host: str
    port: int
    path: str
    opened: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    _opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENED_AT_ONCE))

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Streams]:
        async with self._opening:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        self.opened += 1
        try:
            yield reader, writer
        finally:
            writer.close()

    def head(self, *lines: str) -> bytes:
        return "\r\n".join([f"POST {self.path} HTTP/1.1", f"Host: {self.host}", *lines, ""]).encode()

    async def note_answer(self, reader: asyncio.StreamReader) -> None:
        """Wait for an answer, or the end of the connection; count it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            self.seen["unanswered"] += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            self.seen["closed"] += 1
        else:
            self.seen[head[9:12].decode("latin-1")] += 1

    async def post(self, body: bytes, *lines: str) -> None:
        """Send a whole request, and count its answer."""
        async with self.connected() as (reader, writer):
            writer.write(self.head(*lines, f"Content-Length: {len(body)}", "Connection: close") + b"\r\n")
            writer.write(body)
            with contextlib.suppress(ConnectionError):  # an early answer may close before the body was taken
                await writer.drain()
            await self.note_answer(reader)


async def idle(target: Target) -> None:
    """Opens a connection, says nothing, and waits for its end."""
    async with target.connected() as (reader, _):
        await target.note_answer(reader) if await reader.read(1) else target.seen.update(closed=1)


async def slow(target: Target) -> None:
    """Promises a megabyte and sends a byte each half second."""
    async with target.connected() as (reader, writer):
        writer.write(target.head("Content-Type: application/x-protobuf", f"Content-Length: {MIB}") + b"\r\n")
        while not reader.at_eof():
            writer.write(b"\n")
            await writer.drain()
            await asyncio.sleep(0.5)
        target.seen["closed"] += 1


async def headers(target: Target) -> None:
    """Sends header lines without end, as fast as they are taken."""
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 100) for number in range(600))
    async with target.connected() as (reader, writer):
        writer.write(target.head("Content-Type: application/x-protobuf"))
        while not reader.at_eof():
            writer.write(lines)
            target.seen["sent_bytes"] += len(lines)
            await writer.drain()
        await target.note_answer(reader)


async def bombs(target: Target) -> None:
    """Sends bodies that unfold to twice the limit."""
    await target.post(_bomb(), "Content-Type: application/x-protobuf", "Content-Encoding: gzip")


async def members(target: Target) -> None:
    """Sends gzip streams of very many empty members."""
    await target.post(_members(), "Content-Type: application/x-protobuf", "Content-Encoding: gzip")


async def nested(target: Target) -> None:
    """Sends JSON that is a hundred thousand lists deep."""
    await target.post(b'{"resourceSpans":' + b"[" * 100_000, "Content-Type: application/json")


async def junk(target: Target) -> None:
    """Sends what is not HTTP."""
    async with target.connected() as (reader, writer):
        writer.write(os.urandom(4096))
        await target.note_answer(reader)


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(bytes(BOMB_BYTES))


@functools.cache
def _members() -> bytes:
    return gzip.compress(b"") * MEMBERS


# What each attack does on a connection, again and again, and on how many connections at a time.
ATTACKS: Final[dict[str, tuple[Callable[[Target], Awaitable[None]], int]]] = {
    "idle": (idle, 10_000),
    "slow": (slow, 500),
    "headers": (headers, 50),
    "bombs": (bombs, 8),
    "members": (members, 8),
    "nested": (nested, 8),
    "junk": (junk, 8),
}


async def attack(name: str, url: str, connections: int) -> Counter[str]:
    """Attack until standard input ends; write `ready` once that many connections were opened."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    target = Target(parts.hostname, parts.port, parts.path)
    once, _ = ATTACKS[name]

    async def again() -> None:
        while True:
            try:
                await once(target)
            except TimeoutError:
                target.seen["not_open"] += 1
            except OSError:
                target.seen["closed"] += 1
                await asyncio.sleep(0.05)  # a port that refuses is not asked a million times

    tasks = [asyncio.create_task(again()) for _ in range(connections)]
    while target.opened + target.seen["not_open"] < connections:
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    target.seen["opened"] = target.opened
    return target.seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int)
    options = parser.parse_args()
    connections = options.connections or ATTACKS[options.name][1]
    print(json.dumps(asyncio.run(attack(options.name, options.url, connections))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
