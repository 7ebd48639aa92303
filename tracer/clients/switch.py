"""Whether methods that stand in for a client's own do anything."""

import threading
from collections.abc import Callable


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
                # Until the next look; those after it cost nothing.
                self.__class__ = _AtFirstUse


class _AtFirstUse(Switch):
    @property
    def is_on(self) -> bool:
        with self._lock:
            before, self._before = self._before, None
            self.__class__ = Switch  # type: ignore[assignment]
            if before is not None:
                self.is_on = True  # `before` itself may come here
                before()
            return self.is_on

    @is_on.setter
    def is_on(self, on: bool) -> None:
        with self._lock:
            self._before = None
            self.__class__ = Switch  # type: ignore[assignment]
            self.is_on = on
