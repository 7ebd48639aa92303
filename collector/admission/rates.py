"""How much each sender may send: a bucket of bytes for each token, which fills up as time goes.

A bucket holds what ten seconds bring. A request is taken while nothing is owed, and what it has is taken out then: the
last one may leave a debt, so that a request larger than the bucket passes too, and those after it wait for longer.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .answers import RESOURCE_EXHAUSTED, Refusal

BURST_S: Final = 10


@dataclass(slots=True)
class _Bucket:
    level_bytes: float
    filled_s: float


class Rates:
    """Of each sender, by the name of its token; without tokens all are one. 0 is no limit. Safe to use from any
    thread. Names are those of the file of tokens: there are not many."""

    def __init__(self, bytes_s: int = 0, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._bytes_s = bytes_s
        self._clock_s = clock_s
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def check(self, name: str) -> None:
        """Raises Refusal, which says when to come again, while the sender owes something."""
        if not self._bytes_s:
            return
        with self._lock:
            owed_bytes = -self._filled(name).level_bytes
        if owed_bytes > 0:
            message = f"more than {self._bytes_s} bytes a second came from this sender; send it again later"
            raise Refusal(429, RESOURCE_EXHAUSTED, "rate", message, math.ceil(owed_bytes / self._bytes_s))

    def spend(self, name: str, size_bytes: int) -> None:
        """Take out what a request has."""
        if self._bytes_s:
            with self._lock:
                self._filled(name).level_bytes -= size_bytes

    def _filled(self, name: str) -> _Bucket:
        now_s, most_bytes = self._clock_s(), BURST_S * self._bytes_s
        bucket = self._buckets.setdefault(name, _Bucket(most_bytes, now_s))
        bucket.level_bytes = min(most_bytes, bucket.level_bytes + self._bytes_s * (now_s - bucket.filled_s))
        bucket.filled_s = now_s
        return bucket
