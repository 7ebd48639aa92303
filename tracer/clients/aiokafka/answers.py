"""What became of a send, as its future holds it."""

import asyncio
from typing import Any, Final

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Unacknowledged
from flowtrail.tracer.under_way import Sending

from .known import WHERE, Known

# The type of a time that the broker gave.
_LOG_APPEND_TIME: Final = 1


def tell_answer(known: Known, sending: Sending, future: "asyncio.Future[Any]") -> None:
    """Tell the chain what a record's future holds. The event loop calls it, before those who wait for the future."""
    try:
        tell(known, sending, future, 0)
    except Exception as error:
        COUNTS.fail(WHERE, "send", error)


def tell(known: Known, sending: Sending, future: "asyncio.Future[Any]", place: int) -> None:
    """Tell the answer to the record at `place` (from 0) after the one that a done future is about.

    Cancelling a future does not stop the record, it only takes the answer away.
    """
    if future.cancelled():
        known.answer(sending, error=Unacknowledged("the program cancelled the future before an answer came"))
        return
    error = _exception(future)
    if error is not None:
        known.answer(sending, error=error)
        return
    metadata = future.result()
    if metadata is None:  # acks=0
        known.answer(sending)
        return
    offset, timestamp_ms = metadata.offset, metadata.timestamp
    if metadata.timestamp_type:  # as nearly never: 0 is the client's own time
        if timestamp_ms is None or timestamp_ms < 0:
            timestamp_ms = None
        elif metadata.timestamp_type == _LOG_APPEND_TIME:
            sending.appended(timestamp_ms)
    known.answer(sending, metadata.partition, offset + place if offset >= 0 else None, timestamp_ms)


def _exception(future: Any) -> BaseException | None:
    """Return the error of a done future, so that asyncio still says it where the program never asks for it.

    By `exception()` the error would count as seen.
    """
    try:
        found: BaseException | None = future._exception
    except AttributeError:  # a future that is not asyncio's own
        found = future.exception()
    return found
