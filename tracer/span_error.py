"""What a span says of an exception: its type, and of its text what may be told."""

from opentelemetry.trace import Span, Status, StatusCode

from . import attributes as names
from . import spans
from .capture import redacted
from .configuration import CONFIGURATION
from .counts import COUNTS
from .serde_errors import may_hold_data, may_lead_to_data


def set_error(span: Span, error: BaseException | None) -> None:
    """Make a span one that failed; None: it did not. The exception's text passes `redact`."""
    if error is None:
        return
    kind = spans.error_type(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    try:
        text = str(error)
        seen = None if may_hold_data(error) else redacted("exception.message", text, CONFIGURATION.now)
        if seen == text and not may_lead_to_data(error):
            span.record_exception(error)
        else:  # the stack would say it again
            text = seen or ""
            span.record_exception(error, {"exception.message": text, "exception.stacktrace": ""})
    except Exception as failure:  # an exception of the program's that cannot even say what it is
        COUNTS.fail(kind, "__str__", failure)
        text = ""
    span.set_status(Status(StatusCode.ERROR, text or kind))
