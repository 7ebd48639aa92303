"""Whether methods that stand in for a client's own do anything."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Final

# A thread that looks while another still does what comes first waits for it: what it sends meanwhile would have no
# context. Not for ever, since the other may wait for something that this one holds, such as a module under import.
WAIT_S: Final = 10.0


class Switch:
    """Off, a replaced method calls the original and no more: for the case that it cannot be taken out.

    Reading `is_on` may be what turns it on: see `turn_on_at_first_use`. Safe over fork.
    """

    is_on: bool

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._before: Callable[[], None] | None = None
        self._beginner: int | None = None  # the thread that is in `before`
        self.is_on = False
        _switches.add(self)

    def turn_on_at_first_use(self, before: Callable[[], None]) -> None:
        """Be on from the first look at `is_on`, which first calls `before`, once. `before` must not raise.

        Others that look meanwhile wait for that, `WAIT_S` at most: then it is off for them, this once. `before` itself
        finds it on.
        """
        with self._lock:
            if not self.is_on:
                self._before = before
                # Until that is done; looks after it cost nothing.
                self.__class__ = _AtFirstUse

    def _turn(self, on: bool) -> None:
        self._before = None
        # First what is to be seen, then where it is looked for.
        vars(self)["is_on"] = on
        self.__class__ = Switch

    def _begin_anew(self) -> None:
        """In a forked child, where whoever held the lock, and was in `before`, is not there."""
        if self._beginner != threading.get_ident():
            self._lock, self._beginner = threading.RLock(), None


class _AtFirstUse(Switch):
    @property
    def is_on(self) -> bool:
        lock = self._lock
        if not lock.acquire(timeout=WAIT_S):
            return False
        try:
            if self._beginner is not None:  # this very thread
                return True
            before = self._before
            if before is not None:
                self._beginner = threading.get_ident()
                try:
                    before()
                finally:
                    self._beginner = None
                if self._before is before:  # else it was turned meanwhile
                    self._turn(True)
            return bool(vars(self)["is_on"])
        finally:
            lock.release()

    @is_on.setter
    def is_on(self, on: bool) -> None:
        with self._lock:
            self._turn(on)


_switches: "weakref.WeakSet[Switch]" = weakref.WeakSet()


def _begin_anew() -> None:
    for switch in _switches:
        switch._begin_anew()


os.register_at_fork(after_in_child=_begin_anew)
