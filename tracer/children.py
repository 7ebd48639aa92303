"""Children of this process: what they send goes over connections of their own, and leaves before they end.

Those that multiprocessing forks end by `os._exit`, past `atexit`, with all that waits. Its own finalizers run there,
but a child forgets those of its parent when it begins. So ours is made anew in each.
"""

import copy
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .counts import COUNTS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

# After the program's own finalizers, and those of multiprocessing's queues (-10 at the least).
_LAST: Final = -100


def finish_children(finish: Callable[[], None]) -> None:
    """Call `finish` at the end of every child that would end without `atexit`, and of this process if it is one."""
    children = _Children(finish)
    children.watch()
    # A program may import multiprocessing later than this: at the fork it has.
    os.register_at_fork(after_in_child=children.watch)
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        children.begin()


def connect_anew(exporter: "SpanExporter") -> None:
    """Give a forked child connections of its own to the collector: two on one would mix up their requests.

    For exporters over HTTP by requests.
    """
    client: Any = getattr(exporter, "_client", exporter)  # older ones have the session themselves
    session = getattr(getattr(client, "_transport", client), "_session", None)
    if session is not None:
        os.register_at_fork(after_in_child=partial(_connect_anew, session, []))


def _connect_anew(session: Any, left: list[Any]) -> None:
    try:
        for prefix, adapter in list(session.adapters.items()):
            # To close the parent's could wait for a lock that its thread had at the fork, and so could its collection.
            left.append(adapter)
            session.mount(prefix, copy.copy(adapter))  # a copy has no connections yet
    except Exception as error:
        COUNTS.fail("flowtrail", "fork", error)


class _Children:
    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish = finish
        self._is_watching = False

    def watch(self) -> None:
        """Have multiprocessing call `begin` in each child. It is never imported for that."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._is_watching:
            self._is_watching = True
            util.register_after_fork(self, _Children.begin)

    def begin(self) -> None:
        """In a child, when it begins: see to its end. A spawned one ends as any program does."""
        if sys.modules["multiprocessing"].get_start_method() != "spawn":
            sys.modules["multiprocessing.util"].Finalize(None, self._end, exitpriority=_LAST)

    def _end(self) -> None:
        try:
            self._finish()
        except Exception as error:
            COUNTS.fail("flowtrail", "exit", error)
