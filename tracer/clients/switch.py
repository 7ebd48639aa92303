"""Whether methods that stand in for a client's own do anything."""

import threading
from collections.abc import Callable
from typing import Any


class Switch:
    """Off, a replaced method calls the original and no more: for the case that it cannot be taken out.

    Reading `is_on` may be what turns it on: see `turn_on_at_first_use`.
    """

    is_on: bool

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._before: Callable[[], None] | None = None
        self.is_on = False

    def turn_on_at_first_use(self, before: Callable[[], None]) -> None:
        """Be on from the first look at `is_on`, which first calls `before`, once. `before` must not raise."""
        with self._lock:
            if not self.is_on:
                self._before = before
                del self.is_on  # then the next look comes to `__getattr__`, and those after it cost nothing

    def __getattr__(self, name: str) -> Any:
        if name != "is_on":
            raise AttributeError(name)
        with self._lock:
            before, self._before = self._before, None
            if before is not None:
                self.is_on = True  # `before` itself may come here
                before()
            return self.__dict__.get("is_on", False)
