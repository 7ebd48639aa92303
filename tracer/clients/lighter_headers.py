"""What to send instead when headers that were added make a record too large: the record comes first."""

from typing import Any

from flowtrail.tracer.under_way import Sending


def lighter_headers(sending: Sending, given: Any) -> list[Any]:
    """Return the headers to try after `sending.headers`, the heaviest first; `given` is the program's own object.

    Our context goes first, then what an interceptor added. The last are always `given`: whether the client takes the
    program's own record is between those two. Empty when nothing was added, for then there is nothing to try. Call
    `COUNTS.drop_headers()` once the record is taken.
    """
    if sending.headers is given:
        return []
    shown = sending.outgoing.headers if sending.outgoing is not None else ()
    is_interceptors = shown is not sending.headers and shown is not given and (bool(shown) or bool(given))
    return [shown, given] if is_interceptors and sending.outgoing is not None else [given]
