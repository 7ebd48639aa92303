"""The work that is in hand between two records, or polls, and the contexts that know it (`inferred.py`)."""

import sys
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from .current_context import attach
from .record import Received

if TYPE_CHECKING:
    import asyncio

    from .inferred import Inferred

WORK: Final = context.create_key("flowtrail-inferred-work")


class Inside(Context):
    """The very context that was made for a work. What a program derives from it is a plain `Context`.

    It is told by its type: the work cannot hold what holds it, and an id is soon another's.
    """


class Work:
    """What a loop's body, or the code between two polls, has in hand. Only the contexts that know it hold it."""

    # Set by `Inferred.begin`: a call less for every record.
    __slots__ = ("is_over", "outside", "owner", "records", "spans", "task", "thread")

    is_over: bool  # surely; when it is not, only the owner knows
    outside: Context
    owner: "Inferred"
    records: Sequence[Received]
    spans: list[Span]
    task: "weakref.ref[asyncio.Task[Any]] | None"
    thread: int

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Once the interpreter takes itself apart, modules may have lost their names; bound early for the same reason.
        if not self.is_over and not is_finalizing():
            self.owner.stray(self)


def work_of(found: Context) -> Work | None:
    """Return the work that a context knows, over or not; None without one."""
    work = found.get(WORK)
    return work if isinstance(work, Work) else None


def put_back(current: Context) -> None:
    """Make the context of a work that is over give way to the one around it; what the program attached stays."""
    work = work_of(current)
    if work is not None and type(current) is Inside and not work.owner.is_in_hand(work):
        attach(without_ended(work.outside))


def without_ended(found: Context) -> Context:
    """The context without works that are over. Those that it keeps hold no such ones either: else each would hold the
    one before it, as long as the program runs.
    """
    work = work_of(found) if found else None
    if work is None:
        return found
    work.outside = without_ended(work.outside)
    return found if work.owner.is_in_hand(work) else _around(found, work)


def without_any(found: Context) -> Context:
    """The context without any work: what is inferred of two clients is never one inside the other.

    Two that are polled in turn would else make one trace without end.
    """
    work = work_of(found)
    return found if work is None else without_any(_around(found, work))


def _around(found: Context, work: Work) -> Context:
    """The context around a work; what the program added to it since is kept."""
    if type(found) is Inside:
        return work.outside
    kept = context.set_value(WORK, work_of(work.outside), found)
    if trace.get_current_span(found) in work.spans:
        kept = trace.set_span_in_context(trace.get_current_span(work.outside), kept)
    return kept
