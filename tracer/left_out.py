"""What is not to be traced: what the program suppresses in a context, and excluded topics."""

from collections.abc import Sequence
from typing import Final

from opentelemetry import context
from opentelemetry.context import Context

from .configuration import CONFIGURATION
from .current_context import get_current
from .record import Committed, Received

# The API's key, and the plain name that older instrumentations set.
_SUPPRESSED: Final = (context._SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")


def is_suppressed() -> bool:
    """Whether the program asked for no instrumentation in this context."""
    return is_suppressed_in(get_current())


def is_suppressed_in(current: Context) -> bool:
    """The same of a given context."""
    return bool(current.get(_SUPPRESSED[0]) or current.get(_SUPPRESSED[1]))


def traced(records: Sequence[Received]) -> list[Received]:
    """Return the records that are not of excluded topics."""
    now = CONFIGURATION.now
    return [record for record in records if not now.is_excluded(record.topic)]


def traced_offsets(committed: Committed) -> Committed | None:
    """Return a commit without the positions of excluded topics; None where all are."""
    now = CONFIGURATION.now
    if not now.excluded_topics or not committed.offsets:
        return committed
    kept = {place: offset for place, offset in committed.offsets.items() if not now.is_excluded(place[0])}
    return committed._replace(offsets=kept) if kept else None
