"""The end of a client: a span around the close that the program calls for, with what was not told of it before.

Only one that closes something: not a second close, not one by the garbage collector, which may strike while this very
thread holds a lock of the exporter's, and none of a client that is still open when the process exits.
"""

import time
from types import TracebackType

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client, Closed
from flowtrail.tracer.tracing import CHAIN

from .known import Known


class Closing:
    """Stands around the client's own close; whatever else is to be ended with it ends inside, before the span does.

    `known` is what is known of a client that is open, else None: then nothing is told. `where` is whose failures ours
    are, in the log. Raises nothing of its own.
    """

    __slots__ = ("_client", "_known", "_started_ns", "_where", "unanswered")

    def __init__(self, where: str, known: Known | None) -> None:
        self._where = where
        self._known = known if known is not None and not known.is_closed else None
        # A producer's sends that have no answer.
        self.unanswered: int | None = None

    def __enter__(self) -> "Closing":
        self._started_ns = time.time_ns()
        self._client = Client()
        if self._known is not None:
            try:
                self._client = self._known.client()  # a member has no id any more once it left its group
            except Exception as error:
                COUNTS.fail(self._where, "close", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        known = self._known
        if known is None:
            return
        try:
            known.is_closed = error is None
            CHAIN.close(Closed(self._client, self._started_ns, known.take_events(), self.unanswered, error))
        except Exception as failure:
            COUNTS.fail(self._where, "close", failure)
