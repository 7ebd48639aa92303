"""The program's own work on records, traced.

with process(record):                     one record: a span until the block ends, errors included
    handle(record)

with process(records):                    a batch: one span for all
    handle_all(records)

for record in processing(consumer):       a span for each record, until the loop comes back for the next one;
    handle(record)                        what exception left the loop it cannot see, only that one did

async for record in processing(consumer): the same, where the consumer is asynchronous

Nothing here raises but what the work itself raised. Sends in the block become children of its span.
"""

import contextlib
import dis
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextvars import Token
from types import CodeType, TracebackType
from typing import Generic, TypeVar

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from .clients.consumer_record import client_of, read_record
from .counts import COUNTS
from .inferred import replace as replace_inferred
from .left_out import is_suppressed
from .record import Client, Received
from .tracing import TRACING, end_process

R = TypeVar("R")


class LeftUnfinished(Exception):
    """A loop over `processing(…)` was left with a record in hand, by an exception that cannot be seen from there.

    The message says so when it is not even known whether it was one.
    """


class process:  # in lower case: it reads as the statement `with process(record):`
    """Trace the work on one record, or on a list of records (a batch): a span from entering to leaving.

    Entering returns the span, for attributes of your own. An exception is recorded on it and goes on as it was.
    An empty batch, something that is no record, or suppressed instrumentation: no span, and the work goes on.
    Use an instance once.
    """

    def __init__(self, record: object) -> None:
        self._record = record
        self._spans: list[Span] = []
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        try:
            self._start()
        except Exception as error:
            COUNTS.fail("process", "__enter__", error)
        return self._spans[0] if self._spans else trace.INVALID_SPAN

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        spans, self._spans = self._spans, []
        try:
            self._give_back()
            end_process(spans, error)
        except Exception as failure:
            COUNTS.fail("process", "__exit__", failure)

    def _give_back(self) -> None:
        """Put the context of before back, where it was taken: a collected generator may end in another thread or task.

        There all stays as it is; `context.detach` would log that as an error.
        """
        token, self._token = self._token, None
        if token is not None:
            with contextlib.suppress(ValueError):
                context._RUNTIME_CONTEXT.detach(token)

    def _start(self) -> None:
        if is_suppressed():
            return
        is_batch = isinstance(self._record, Sequence) and not hasattr(self._record, "topic")
        given: Sequence[object] = self._record if is_batch else [self._record]  # type: ignore[assignment]
        try:
            records: list[Received] = [read_record(record) for record in given]
        except (AttributeError, TypeError):
            # The caller's mistake, not ours: a new error has no stack, which would only show our own lines.
            kinds = ", ".join(sorted({type(record).__qualname__ for record in given}))
            refused = TypeError(f"process() takes a consumer record or a list of them, not {kinds}: no span is made")
            COUNTS.fail("process", "__enter__", refused)
            return
        if not records:
            return
        client = _one_client(given)
        replace_inferred(client, records)
        self._spans, inside = TRACING.start_process(client, records, is_batch=is_batch)
        self._token = context.attach(inside)


def processing(records: Iterable[R] | AsyncIterable[R]) -> "Processing[R]":
    """Iterate over a consumer (or any records) and trace the work on each, until the next one is asked for.

    Leaving the loop by `break` or `return` ends the last span well; an exception that leaves the loop makes it an
    error, `LeftUnfinished`, since which one it was cannot be seen from an iterator. So does an iterator that is let go
    where nothing can be seen (by hand, in a comprehension). To have the exception on the span, open first:

        with processing(consumer) as records:
            for record in records: …

    `next(records)` works there too. Without `with` it raises TypeError: the work on its record would have no end.

    Of an asynchronous consumer, `async for record in processing(consumer)` and `anext` are the same, in `with` also.
    """
    return Processing(records)


class Processing(Generic[R]):
    """What `processing` returns: something to iterate over, and a context manager around that."""

    def __init__(self, records: Iterable[R] | AsyncIterable[R]) -> None:
        self._records = records
        self._is_open = False
        self._loop: _Loop[R] | None = None

    def __iter__(self) -> Iterator[R]:
        # Only the `for` statement may hold this one: it then ends when the loop does.
        return _Held(self._begin(_Loop(iter(self._records), ends_alone=not self._is_open)))  # type: ignore[arg-type]

    def __aiter__(self) -> AsyncIterator[R]:
        return _HeldAsync(self._begin(_Loop(aiter(self._records), ends_alone=not self._is_open)))  # type: ignore[arg-type]

    def __next__(self) -> R:
        self._refuse_closed("next")
        if self._loop is None:
            self._loop = _Loop(iter(self._records), ends_alone=False)  # type: ignore[arg-type]
        return self._loop.next()

    async def __anext__(self) -> R:
        self._refuse_closed("anext")
        if self._loop is None:
            self._loop = _Loop(aiter(self._records), ends_alone=False)  # type: ignore[arg-type]
        return await self._loop.anext()

    def __enter__(self) -> "Processing[R]":
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop, self._loop, self._is_open = self._loop, None, False
        if loop is not None:
            loop.end(error)

    def _begin(self, loop: "_Loop[R]") -> "_Loop[R]":
        if self._is_open:
            if self._loop is not None:
                self._loop.end(None)
            self._loop = loop
        return loop

    def _refuse_closed(self, asked: str) -> None:
        if not self._is_open:
            raise TypeError(
                f"{asked}() cannot tell where the work on its record ends: write "
                "`with processing(consumer) as records:` around it, or `with process(record):` around the work"
            )


class _Loop(Generic[R]):
    """The records of one loop, and the work on the one in hand."""

    def __init__(self, records: Iterator[R] | AsyncIterator[R], *, ends_alone: bool) -> None:
        self._records = records
        self._ends_alone = ends_alone
        self._current: process | None = None

    def next(self) -> R:
        self.end(None)
        return self._enter(next(self._records))  # type: ignore[arg-type]

    async def anext(self) -> R:
        self.end(None)
        return self._enter(await anext(self._records))  # type: ignore[arg-type]

    def _enter(self, record: R) -> R:
        self._current = process(record)
        self._current.__enter__()
        return record

    def end(self, error: BaseException | None) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.__exit__(None if error is None else type(error), error, None)

    def let_go(self, code: CodeType | None) -> None:
        """The `for` statement in `code` let go of its iterator, whose `__del__` calls this."""
        unfinished = _unfinished(code)
        if unfinished is None or self._ends_alone:
            self.end(unfinished)


class _Held(Iterator[R]):
    """The iterator that a `for` statement holds. When it is let go, the loop is over."""

    def __init__(self, loop: _Loop[R]) -> None:
        self._loop = loop
        self._code: CodeType | None = None

    def __next__(self) -> R:
        record = self._loop.next()
        self._code = sys._getframe(1).f_code
        return record

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Once the interpreter takes itself apart, the exporters are shut down and modules may have lost their names:
        # no span could be saved. The function is bound early for the same reason.
        if not is_finalizing():
            self._loop.let_go(self._code)


class _HeldAsync(AsyncIterator[R]):
    """The same for `async for`: the frame that awaits is the loop's own."""

    def __init__(self, loop: _Loop[R]) -> None:
        self._loop = loop
        self._code: CodeType | None = None

    async def __anext__(self) -> R:
        record = await self._loop.anext()
        self._code = sys._getframe(1).f_code
        return record

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():
            self._loop.let_go(self._code)


def _unfinished(code: CodeType | None) -> LeftUnfinished | None:
    """Say how a `for` statement in `code` let go of its iterator just now; None: by break or return.

    Called by the loop, which the iterator's `__del__` calls. Python tells an iterator nothing about how its loop ended.
    But `break` and `return` take the iterator off the stack by an instruction of their own, POP_TOP (POP_ITER since
    3.14), whereas an exception leaves the frame at the instruction that raised. The exception itself is out of reach:
    the interpreter puts it aside while `__del__` runs.
    """
    # Whatever cannot be seen (no frame is left, or not the loop's own) is only not known, never a failure of ours.
    with contextlib.suppress(Exception):
        frame = sys._getframe(3)
        if code is not None and frame.f_code is code and frame.f_lasti >= 0:
            if dis.opname[code.co_code[frame.f_lasti]].startswith("POP"):
                return None
            return LeftUnfinished("the loop over the records was left by an exception")
    return LeftUnfinished("the loop over the records was left, by an exception or on purpose: that could not be seen")


def _one_client(records: Sequence[object]) -> Client:
    """The client that the records came through: an empty one when it is not known, or when they differ."""
    clients = {client_of(record) for record in records}
    return clients.pop() if len(clients) == 1 else Client()
