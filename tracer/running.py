"""What runs in this thread: a task of asyncio, or a pool's job."""

import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

# Where a pool's thread calls a job: module and function, and the local that lives as long as the job.
_JOBS: Final = {
    ("concurrent.futures.thread", "_WorkItem.run"): "self",
    ("anyio._backends._asyncio", "WorkerThread.run"): "future",
}


def current_task() -> "weakref.ref[asyncio.Task[Any]] | None":
    """The task that runs in this thread, None without one. Weak: its id is soon another's."""
    # A program without asyncio has no tasks, and importing it costs us 10 ms.
    running, current = _asyncio or _find_asyncio()
    loop = running()
    task = None if loop is None else current(loop)
    return None if task is None else weakref.ref(task)


_asyncio: tuple[Callable[[], Any], Callable[[Any], Any]] | None = None


def _find_asyncio() -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """What says which loop runs in this thread, and which task in that; kept once the program has asyncio."""
    global _asyncio
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not hasattr(asyncio, "current_task"):  # not there, or not whole yet
        return _no_loop, _no_loop
    _asyncio = asyncio._get_running_loop, asyncio.current_task
    return _asyncio


def _no_loop(*_: object) -> None:
    return None


def current_job() -> Any:
    """What a pool's thread runs, an object that goes when it is over; None where this thread is no known pool's."""
    frame = sys._getframe(1)
    while frame is not None:
        local = _JOBS.get((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))
        if local is not None:
            found = frame.f_locals
            job = found.get(local)
            if type(found) is dict:  # before Python 3.13 a copy, which would keep the job for longer
                found.clear()
            return job
        frame = frame.f_back  # type: ignore[assignment]  # None at last
    return None
