"""The OTLP/HTTP exporter: sends every request on to another backend, as the bytes that came.

A reader of the journal with a cursor of its own: an endpoint that is away holds up nobody, and after a crash at most
one batch is sent twice.
"""

import email.utils
import gzip
import time
from typing import Final

import requests

from flowtrail.collector.journal.contract import Journal
from flowtrail.collector.journal.delivery import Delivery, Pace, Refused, Unavailable

READER: Final = "export"

# 4 MiB is what most receivers take by default.
PACE: Final = Pace(most_requests=64, most_bytes=4 * 1024 * 1024, linger_ms=200)

TIMEOUT_S: Final = 10.0
LONGEST_RETRY_AFTER_S: Final = 300.0

# These blame the bytes. Any other failure (a wrong token or path too) is for the operator to mend, and nothing is lost
# meanwhile: wider than the specification's 429, 502, 503 and 504.
_REFUSING_STATUSES: Final = {400, 413, 422}
_OPERATORS_STATUSES: Final = {401, 403, 404, 405}


class OtlpHttpDestination:
    """Takes batches for an OTLP/HTTP endpoint, such as `http://jaeger:4318/v1/traces`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers.update({"content-type": "application/x-protobuf", "content-encoding": "gzip"})

    def deliver(self, body: bytes, token: str) -> None:
        """Send joined requests as one. Raises Refused or Unavailable; OTLP has no use for the token.

        A redirect is not followed, since a POST would arrive as a GET without a body: the operator corrects the URL.
        """
        try:
            # Level 1: half of the time of the default for a tenth more bytes.
            response = self._session.post(
                self._url, data=gzip.compress(body, 1), timeout=TIMEOUT_S, allow_redirects=False
            )
        except requests.RequestException as error:
            raise Unavailable(f"cannot reach {self._url}: {type(error).__name__}") from error
        if 200 <= response.status_code < 300:
            return
        told = f"{self._url} answered {response.status_code}"
        if "location" in response.headers:
            told += f" and points to {response.headers['location']}"
        if response.status_code in _OPERATORS_STATUSES:
            told += ", which waiting will not mend: is the URL right, and does it let the collector in?"
        if response.status_code in _REFUSING_STATUSES:
            raise Refused(told)
        raise Unavailable(told, retry_after_s(response.headers.get("retry-after"), time.time()))


def retry_after_s(header: str | None, now_s: float) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110: seconds, or an HTTP date); None without one, or
    when it says nothing that can be read. Never more than five minutes."""
    if header is None:
        return None
    if header.strip().isdigit():
        return min(float(header), LONGEST_RETRY_AFTER_S)
    try:
        told_s = email.utils.parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(told_s - now_s, 0.0), LONGEST_RETRY_AFTER_S)


def exporter(journal: Journal, url: str) -> Delivery:
    """Return the delivery from a journal to an endpoint; it runs once it is started."""
    return Delivery(journal, READER, OtlpHttpDestination(url).deliver, PACE, is_reserving=False)
