"""Values that are dear to make, kept for some seconds for whoever asks meanwhile."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

# How long after its time a value may still stand in while somebody makes it anew: longer than any query may take.
STANDS_IN_S: Final = 60.0

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Kept(Generic[_Key, _Value]):
    """Values by key. Whoever first finds one old makes it anew; others get the old one at once, and wait for the new
    one only where there is none. Keys do not wait for each other. Safe from any thread."""

    def __init__(self, keep_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._held: dict[_Key, tuple[float, _Value]] = {}
        self._under_way: dict[_Key, Future[_Value]] = {}

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Return the value of `key`; raises what `make` raises, also to those who waited for it."""
        with self._lock:
            now_s = self._clock_s()
            until_s = self._keep_s + STANDS_IN_S
            self._held = {one: held for one, held in self._held.items() if now_s - held[0] < until_s}
            held = self._held.get(key)
            if held is not None and now_s - held[0] < self._keep_s:
                return held[1]
            others = self._under_way.get(key)
            own: Future[_Value] = Future()
            if others is None:
                self._under_way[key] = own
        if others is not None:
            return held[1] if held is not None else others.result()
        return self._make(key, make, now_s, own)

    def _make(self, key: _Key, make: Callable[[], _Value], now_s: float, own: "Future[_Value]") -> _Value:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            own.set_exception(error)
            raise
        with self._lock:
            self._held[key] = (now_s, value)
            del self._under_way[key]
        own.set_result(value)
        return value
