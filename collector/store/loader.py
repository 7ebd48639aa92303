"""The loader: the journal's reader that fills the store.

Each insert has a fixed cost (the chain of views is planned anew), so requests are joined: concatenated, they are one
request. A batch's token is its positions, so loading it again after a crash changes nothing.
"""

import logging
import time
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flowtrail.collector.journal.contract import Journal
from flowtrail.collector.journal.delivery import Delivery, Pace, Refused, Unavailable

from .connection import BadRequestBytes, Store, StoreError

log = logging.getLogger(__name__)

READER: Final = "store"

# Bytes bound an insert's memory (about twenty times as much): twice as many gain nothing. The count lets small requests
# share an insert too. The linger is what a single event waits before it can be seen.
PACE: Final = Pace(most_requests=2048, most_bytes=20 * 1024 * 1024, linger_ms=60)

# A store that takes other requests but fails this batch so often fails because of the batch.
ATTEMPTS: Final = 5


class StoreDestination:
    """Takes batches for a store. Bytes that cannot be parsed are refused at once, since nothing was written then.

    Any other failure is retried, also one that is none of the store's own errors: the driver's faults must not hold up
    the loader for good. After `ATTEMPTS` of one batch, if an empty request is taken, the batch is refused, and
    so halved. Then edges may count a span of that batch twice where a failed insert had got half-way: the one known
    hole.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._token = ""
        self._failures = 0

    def deliver(self, body: bytes, token: str) -> None:
        try:
            self._load(body, token)
        except BadRequestBytes as error:
            raise Refused(str(error)) from error
        except Exception as error:
            if not isinstance(error, StoreError):
                log.exception("the store failed in a way that it should not")
            self._failures = self._failures + 1 if token == self._token else 1
            self._token = token
            if self._failures >= ATTEMPTS and self._takes_others():
                raise Refused(_told(error)) from error
            raise Unavailable(_told(error)) from error

    def _load(self, body: bytes, token: str) -> None:
        """Load a batch; if the store's parser refuses it, what protobuf's own parser makes of it.

        The receivers' parser is the laxer one: a known field with another wire type is an unknown field to it, of two
        values of a oneof it takes the last. Such bytes were acknowledged, and one of them refuses a whole batch.
        """
        try:
            self._store.load(body, token)
        except BadRequestBytes:
            plain = _plain(body)
            if plain == body:
                raise
            self._store.load(plain, token)  # nothing was written under this token

    def _takes_others(self) -> bool:
        try:
            # One resource without attributes and spans; a token of its own, or it would not be written.
            self._store.load(b"\x0a\x00", f"probe-{time.time_ns()}")
        except Exception:
            # Why a load fails is told by the batch's own failure.
            return False
        return True


def _plain(body: bytes) -> bytes:
    """Return the same request with nothing in it that protobuf does not know; as it is when it is no request."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return body
    request.DiscardUnknownFields()
    return request.SerializeToString()


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else repr(error)


def loader(journal: Journal, store: Store) -> Delivery:
    """Return the delivery from a journal to a store; it runs once it is started."""
    return Delivery(journal, READER, StoreDestination(store).deliver, PACE, is_reserving=True)
