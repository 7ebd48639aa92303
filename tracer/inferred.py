"""Processing that the program says nothing about: from one record, or poll, to the next.

    for record in consumer:         a span for each record, until the loop comes back for the next one
        handle(record)

    while True:                     a span for what a poll returned, until the next poll
        handle(consumer.poll())

A client's wrapper calls `begin` after records came, `end` before it asks for the next ones, `let_go` when there will be
none. The span's context is current in between, in the thread or task that polled: sends there are its children. An
explicit `process` on a record of the client replaces all this (`replace`); it is for programs that do not say.

What is seen is that the program came back, so only that ends a span well. A body that is never seen to come back leaves
its span unfinished: an attribute says so, and it is no success.

Contexts are put back by attaching, never by a token: a token belongs to one thread or task, and records are handed
around. Each context that is made here knows its `Work`, so that a stale one is known as such wherever it turns up.

A pool's thread has other work as soon as a job is over, and keeps what a job attached. There nothing is inferred until
a job came back for more (`await loop.run_in_executor(None, consumer.poll, 1.0)` never does), and what a job has in hand
at its end is let go.
"""

import logging
import sys
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from threading import get_ident
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from . import attributes as names
from .configuration import CONFIGURATION
from .counts import COUNTS
from .current_context import attach, get_current
from .inferred_work import WORK, Inside, Work, put_back, without_any, without_ended, work_of
from .left_out import is_suppressed
from .metrics import METRICS
from .record import Client, Received
from .running import current_job, current_task
from .tracing import TRACING, end_process

if TYPE_CHECKING:
    import asyncio

_log = logging.getLogger("flowtrail.tracer")

# A client whose polls run in tasks of their own (wait_for before Python 3.12), or in jobs of a pool, is never seen to
# come back.
MOST_LOST_IN_A_ROW: Final = 3
# A client is another when its member id changes; records of older ones are no longer about.
_MOST_CLIENTS: Final = 8


class Inferred:
    """The inferred processing of one client. Nothing here raises.

    Several records can be in hand at once, when several tasks or threads take records from one client: each ends when
    its own task comes back.
    """

    __slots__ = (
        "__weakref__",
        "_client",
        "_clients",
        "_in_hand",
        "_is_on",
        "_jobs",
        "_lost_in_a_row",
        "_strays",
        "_thread",
    )

    def __init__(self) -> None:
        # The spans of each work that is not over, by the work's id. Taking them out is one step, so that one thread
        # alone ends them. Not the work: that lives as long as a context knows it.
        self._in_hand: dict[int, list[Span]] = {}
        self._strays: list[_Stray] = []
        # Those that its records name; held, so that their ids stay theirs.
        self._client: Client | None = None
        self._clients: list[Client] = []
        self._is_on = True
        self._lost_in_a_row = 0
        # The thread that polled last and is no pool's; the job in which each pool's thread polled last.
        self._thread = 0
        self._jobs: dict[int, weakref.ref[Any]] = {}

    def begin(self, records: Sequence[Received], is_batch: bool) -> None:
        """Begin the work on what a poll returned; nothing for no records. `is_batch`: the poll was for several."""
        if not self._is_on or not records or not CONFIGURATION.now.infer_processing:
            return
        try:
            outside = get_current()
            if outside:  # most often there is nothing in it
                if is_suppressed():
                    return
                if WORK in outside:
                    outside = without_ended(outside)
                    attach(without_any(outside))
            thread = get_ident()
            if thread != self._thread and not self._comes_back(thread):
                return
            client = records[0].client
            if client is not self._client:
                self._meet(client)
            spans, inside = TRACING.start_process(client, records, is_batch=is_batch, is_inferred=True)
            work = Work()
            work.is_over = False
            work.owner = self
            work.spans = spans
            work.records = records
            work.outside = outside
            work.thread = thread
            work.task = current_task()
            # Nobody has it yet: to change it in place saves a copy for every record.
            inside.__class__ = Inside
            dict.__setitem__(inside, WORK, work)
            self._in_hand[id(work)] = spans
            attach(inside)
        except Exception as error:
            COUNTS.fail("inferred processing", "begin", error)

    def end(self) -> None:
        """The program came back for more: end well what it had in hand here. Nothing in hand is harmless."""
        try:
            current = get_current()
            work: Any = current.get(WORK)
            if work is not None:
                if work.owner is self and type(current) is Inside:  # as nearly always
                    outside = work.outside
                    work.is_over = True
                    spans = self._in_hand.pop(id(work), None)
                    attach(without_ended(outside) if outside else outside)
                else:
                    spans = self._take_below(current, work)
                if spans is not None:
                    self._lost_in_a_row = 0
                    if METRICS.is_begun:
                        end_process(spans, None)
                    else:  # the same, without a call
                        ended_ns = time_ns()
                        for span in spans:
                            span.end(ended_ns)
            if self._strays:
                self._end_strays()
        except Exception as error:
            COUNTS.fail("inferred processing", "end", error)

    def let_go(self) -> None:
        """Leave unfinished whatever is in hand: the client closed, was let go, or the process is about to exit."""
        try:
            in_hand, strays = self._forget()
            for spans in in_hand:
                _leave_unfinished(spans)
            for stray in strays:
                _leave_unfinished(stray.spans)
            put_back(get_current())
        except Exception as error:
            COUNTS.fail("inferred processing", "let_go", error)

    def forget(self) -> None:
        """Drop what is in hand; its spans are never ended, and so never exported."""
        self._forget()

    def replace(self) -> None:
        """The program says itself what it processes: forget what is in hand, and infer nothing any more."""
        self._is_on = False
        self.forget()
        put_back(get_current())

    def is_in_hand(self, work: "Work") -> bool:
        return id(work) in self._in_hand

    def stray(self, work: "Work") -> None:
        """Keep the spans of a work that no context knows any more, until it is seen who comes back."""
        spans = self._in_hand.pop(id(work), None)
        if spans is not None:
            self._strays.append(_Stray(spans, work.thread, work.task))

    def leave(self, work: "Work") -> None:
        """Leave a work unfinished: the job in which it was begun is over."""
        spans = self._in_hand.pop(id(work), None)
        if spans is not None:
            _leave_unfinished(spans)

    def _comes_back(self, thread: int) -> bool:
        """Whether this thread is no pool's, or its job was seen to poll before: it comes back, and has a loop."""
        known = self._jobs.get(thread)
        if known is not None and known() is not None:  # one thread runs one job
            self._lost_in_a_row = 0
            return True
        job = current_job()
        if job is None:
            self._thread = thread
            return True
        self._jobs = {other: its for other, its in list(self._jobs.items()) if its() is not None}
        self._jobs[thread] = weakref.ref(job, partial(_leave_job, thread))
        self._lose()
        return False

    def _lose(self) -> None:
        """Count a work whose end is not to be seen; too many in a row, and nothing is inferred any more."""
        self._lost_in_a_row += 1
        if self._lost_in_a_row == MOST_LOST_IN_A_ROW:
            self._is_on = False
            _log.info(
                "a consumer's polls run each in a task, or a pool's job, of its own: what is done with its records is "
                "not inferred any more, say it by flowtrail.process"
            )

    def _meet(self, client: Client) -> None:
        self._client = client
        self._clients.append(client)
        _BY_CLIENT[id(client)] = self
        if len(self._clients) > _MOST_CLIENTS:
            _BY_CLIENT.pop(id(self._clients.pop(0)), None)

    def _take_below(self, current: Context, work: "Work") -> list[Span] | None:
        """Take the spans of the own work that is current beneath another client's, or beneath the program's context."""
        mine: Work | None = work
        while mine is not None and mine.owner is not self:
            mine = work_of(mine.outside)
        spans = None if mine is None else self._in_hand.pop(id(mine), None)
        put_back(current)
        return spans

    def _end_strays(self) -> None:
        """End those well whose own thread, and task, came back; nobody else comes back for the others."""
        strays, self._strays = self._strays, []
        thread, task = get_ident(), current_task()
        for stray in strays:
            if stray.thread == thread and stray.task == task:
                self._lost_in_a_row = 0
                end_process(stray.spans, None)
                continue
            _leave_unfinished(stray.spans)
            self._lose()

    def _forget(self) -> "tuple[list[list[Span]], list[_Stray]]":
        in_hand = [self._in_hand.pop(number, []) for number in list(self._in_hand)]
        strays, self._strays = self._strays, []
        return in_hand, strays


class _Stray(NamedTuple):
    """Spans whose context is gone: it was attached in the midst of a block that put an older one back.

    The block may be one around poll and work together, in a loop of its own: then its thread, or task, comes back.
    """

    spans: list[Span]
    thread: int
    task: "weakref.ref[asyncio.Task[Any]] | None"


def _leave_job(thread: int, job: object, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
    """A job is over: what it leaves attached is not its thread's next job's.

    Called in its thread, but for a job that is over before `submit` is.
    """
    if is_finalizing():
        return
    try:
        current = get_current()
        work = work_of(current)
        if work is not None and work.thread == thread == get_ident():
            work.owner.leave(work)
            put_back(current)
    except Exception as error:
        COUNTS.fail("inferred processing", "job", error)


def is_stale(current: Context) -> bool:
    """Whether the current span is that of a work which is over, and whoever asks is where it was begun.

    Such a context was left behind, as in a thread whose consumer was closed by another. Not where the work's context
    was handed on: a task that the body began may go on for longer, and belongs to the work all the same.
    """
    work = work_of(current) if current else None
    return (
        work is not None
        and not work.owner.is_in_hand(work)
        and work.thread == get_ident()
        and work.task == current_task()
        and trace.get_current_span(current) in work.spans
    )


# By the id of the client that a record names. Each `Inferred` holds its clients.
_BY_CLIENT: "weakref.WeakValueDictionary[int, Inferred]" = weakref.WeakValueDictionary()


def replace(client: Client, records: Sequence[Received]) -> None:
    """Make way for an explicit `process` of these records, which came through `client`.

    Records that do not say through which client they came (copies) are looked for among those in hand here.
    """
    inferred = _BY_CLIENT.get(id(client))
    if inferred is None:
        work = work_of(get_current())
        if work is None or not _is_among(records, work.records):
            return
        inferred = work.owner
    inferred.replace()


def _is_among(records: Sequence[Received], others: Sequence[Received]) -> bool:
    there = {(other.topic, other.partition, other.offset) for other in others}
    return any((record.topic, record.partition, record.offset) in there for record in records)


def _leave_unfinished(spans: Sequence[Span]) -> None:
    for span in spans:
        span.set_attribute(names.UNFINISHED, True)
    end_process([*spans], None)  # a copy is not measured: how long the work took is not known
