"""Knows a request that is sent twice: the hashes of the last ones, in memory."""

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Final

HASH_BYTES: Final = 16


def hash_of(body: bytes) -> bytes:
    """SHA-256 cut to 16 bytes. Processors have instructions for it: two thirds of BLAKE2b's time."""
    return hashlib.sha256(body).digest()[:HASH_BYTES]


class LastSeen:
    """The hashes of the requests at the last `most` positions, and where each lies. Not safe across threads.

    About 200 bytes of memory a request.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._positions: dict[bytes, int] = {}
        self._order: deque[tuple[int, bytes]] = deque()

    def position(self, body_hash: bytes) -> int | None:
        return self._positions.get(body_hash)

    def add(self, seen: Iterable[tuple[bytes, int]]) -> None:
        """Add hashes with their positions, which rise."""
        for body_hash, position in seen:
            self._positions[body_hash] = position
            self._order.append((position, body_hash))
        while self._order and self._order[0][0] <= self.forgotten:
            position, body_hash = self._order.popleft()
            # The same body may have come again since it was forgotten.
            if self._positions.get(body_hash) == position:
                del self._positions[body_hash]

    @property
    def forgotten(self) -> int:
        """The position up to which nothing is known."""
        return self._order[-1][0] - self.most if self._order else 0
