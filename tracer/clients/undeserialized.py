"""A record that a client's own deserializer refused: polled, and failed before the program could see it."""

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.serde_errors import undeserialized
from flowtrail.tracer.tracing import TRACING, end_process

from .known import Known


def tell_undeserialized(known: Known, error: BaseException) -> None:
    """Tell of the record that a poll failed on, as a processing of it that ended with this error; raises nothing.

    An exception that is about no record makes no span.
    """
    try:
        client = known.client()
        record = undeserialized(error, client)
        if record is not None:
            started, _ = TRACING.start_process(client, [record], is_batch=False)
            end_process(started, error)
    except Exception as failure:
        COUNTS.fail(type(known).__module__, "poll", failure)
