"""A bound on memory: bodies that are under way hold a part of it, and when it is short new ones are told to come back.

bodies ≤ a quarter of the bound      the journal's groups, the loader's batches and the store need the rest
resident memory + what a body takes ≤ the bound but for what loading a batch takes, at least half of it
"""

import mmap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .answers import UNAVAILABLE, Refusal

# What parsing takes at its height, times the body: the bytes, their copy and the message.
PARSED_TIMES: Final = 4
RETRY_AFTER_S: Final = 2

_BODIES_SHARE: Final = 0.25
# A batch of the loader takes so much for a moment, whenever it comes: some twenty times its bytes.
_LOADING_BYTES: Final = 400 * 1024 * 1024
_LEAST_SHARE: Final = 0.5
# How long a look at the resident memory holds; what bodies took since is added to it.
_LOOK_AGAIN_S: Final = 0.05
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = mmap.PAGESIZE


class MemoryGate:
    """Knows what bodies hold. `resident_bytes` tells the process's memory, 0 where it cannot be told. 0 for `max_bytes`
    is no bound. Safe to use from any thread."""

    def __init__(
        self,
        max_bytes: int = 0,
        resident_bytes: Callable[[], int] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._most_resident_bytes = max(max_bytes - _LOADING_BYTES, _LEAST_SHARE * max_bytes)
        self._resident_bytes = resident_bytes or _resident_bytes
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._looked_s = -_LOOK_AGAIN_S
        self._resident = 0
        self._since_bytes = 0

    def holding(self, size_bytes: int = 0) -> "Held":
        """Return what holds this many bytes, more as it grows, until its block ends. Raises Refusal."""
        held = Held(self)
        held.grow(size_bytes)
        return held

    def take(self, size_bytes: int) -> None:
        """Hold bytes until they are given back. Raises Refusal, and holds none of them, when memory is short."""
        if not self._max_bytes or size_bytes <= 0:
            return
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._looked_s >= _LOOK_AGAIN_S:
                self._looked_s, self._resident, self._since_bytes = now_s, self._resident_bytes(), 0
            resident = self._resident + self._since_bytes + size_bytes
            if self.held_bytes + size_bytes > _BODIES_SHARE * self._max_bytes:
                raise _short("bodies under way hold what they may")
            if resident > self._most_resident_bytes:
                raise _short("memory is short")
            self.held_bytes += size_bytes
            self._since_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        if self._max_bytes:
            with self._lock:
                self.held_bytes -= size_bytes


class Held:
    """Bytes that are given back at the end of its block."""

    def __init__(self, gate: MemoryGate) -> None:
        self._gate = gate
        self._size_bytes = 0

    def grow(self, by_bytes: int) -> None:
        """Hold more. Raises Refusal."""
        self._gate.take(by_bytes)
        self._size_bytes += by_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gate.give_back(self._size_bytes)
        self._size_bytes = 0


def _short(message: str) -> Refusal:
    return Refusal(429, UNAVAILABLE, "memory", f"{message}; send it again later", RETRY_AFTER_S)


def _resident_bytes() -> int:
    """The process's resident memory; 0 where there is no /proc (not Linux)."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
