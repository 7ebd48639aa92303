"""Ctrl-C, and the SIGTERM of whoever runs the demo, as something to look at instead of an exception anywhere."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """SIGINT or SIGTERM came."""


class Interruption:
    """Whether the run was told to end. Any thread may ask."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def tell(self) -> None:
        """Tell the run to end; telling it again changes nothing."""
        self._event.set()

    def check(self) -> None:
        """Raise Interrupted when the run was told to end."""
        self.pause(0)

    def pause(self, seconds: float) -> None:
        """Let time go by. Raises Interrupted as soon as the run is told to end."""
        if self._event.wait(seconds):
            raise Interrupted


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Yield what SIGINT and SIGTERM tell to end as long as the block runs; off the main thread no signal does."""
    told = Interruption()

    def tell(number: int, frame: FrameType | None) -> None:
        told.tell()

    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
