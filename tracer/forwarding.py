"""Send a record on, to be tried again or to be kept as a dead letter, so that its flow holds together.

    except Exception as error:
        producer.send(**flowtrail.retry_to("payments.retry", record, error))

The same with every client: aiokafka's `await producer.send_and_wait(**…)`, confluent-kafka's `producer.produce(**…)`.
What is returned are the arguments topic, key, value and headers; change them as you like before they are sent.

The headers are the record's own and, in place of those of an earlier forwarding (origin.py reads them, all are text):

    flowtrail-retry-to, flowtrail-dead-letter-to    the topic that it is forwarded to
    flowtrail-original-topic, -partition, -offset   where the event lay first; a second retry keeps them
    flowtrail-original-timestamp-ms                 its first timestamp, since the epoch
    flowtrail-attempts                              how many attempts were made in all
    flowtrail-group                                 the consumer group that made the last
    flowtrail-exception-type, -message              what the last one failed with; the message is cut at 1024 bytes,
                                                    and left out where the configuration says so

The trace context among them is replaced by the send's own, which links the old one, in a `process` block or not.
"""

import sys
from typing import Any, Final, TypedDict

from . import origin as names
from .capture import redacted
from .clients.consumer_record import read_record
from .configuration import CONFIGURATION
from .counts import COUNTS
from .record import Header, Received
from .spans import error_type

_TIMESTAMP_MS: Final = "flowtrail-original-timestamp-ms"
_GROUP: Final = "flowtrail-group"
_MESSAGE: Final = "flowtrail-exception-message"
# Written anew at each forwarding; the first coordinates and timestamp stay.
_RENEWED: Final = frozenset({names.RETRY_TO, names.DEAD_LETTER_TO, names.ATTEMPTS, names.ERROR_TYPE, _GROUP, _MESSAGE})
_KEPT: Final = frozenset({names.TOPIC, names.PARTITION, names.OFFSET, _TIMESTAMP_MS})
LONGEST_MESSAGE_BYTES: Final = 1024


class Forwarded(TypedDict):
    """What to give to a producer's own method of sending, as keyword arguments."""

    topic: str
    key: Any
    value: Any
    headers: list[Header]


def retry_to(topic: str, record: object, error: BaseException | None = None, *, attempts: int = 1) -> Forwarded:
    """Return the arguments that send a record to a topic where it is tried again.

    `record` is one that a consumer returned, of any client. `error` is what the attempt failed with, by default the
    exception that is being handled. `attempts` is how often this program tried the record itself before it gave up.

    Key and value are those of the record as the consumer gave them. So they go out as they came in when neither side
    has serializers, or the producer has those that undo the consumer's deserializers. Where they do not match, the
    producer raises its own error: replace the two in what is returned.

    Raises TypeError or ValueError for arguments that make no sense, and nothing else.
    """
    return _forward(names.RETRY_TO, topic, record, error, attempts)


def dead_letter_to(topic: str, record: object, error: BaseException | None = None, *, attempts: int = 1) -> Forwarded:
    """Return the arguments that send a record to a dead-letter topic; otherwise as `retry_to`."""
    return _forward(names.DEAD_LETTER_TO, topic, record, error, attempts)


def _forward(way: str, topic: str, record: Any, error: BaseException | None, attempts: int) -> Forwarded:
    if not isinstance(topic, str):
        raise TypeError(f"the topic to forward to is a text, not {topic!r}")
    if error is not None and not isinstance(error, BaseException):
        raise TypeError(f"error is an exception or None, not {error!r}")
    if not isinstance(attempts, int) or isinstance(attempts, bool):
        raise TypeError(f"attempts is a number, not {attempts!r}")
    if attempts < 1:
        raise ValueError(f"attempts counts from 1, not {attempts}")
    try:
        received = read_record(record)
    except (AttributeError, TypeError):
        # A new error: what we looked for in vain is no matter of the caller's.
        raise TypeError(f"only a consumer's record can be forwarded, not a {type(record).__qualname__}") from None
    headers = _sendable(received.headers, record)
    try:
        headers = _with_past(way, topic, received, headers, sys.exception() if error is None else error, attempts)
    except Exception as failure:
        COUNTS.fail("forwarding", way, failure)
    return Forwarded(topic=topic, key=_part(record, "key"), value=_part(record, "value"), headers=headers)


def _with_past(
    way: str, topic: str, received: Received, headers: list[Header], error: BaseException | None, attempts: int
) -> list[Header]:
    """Return a record's headers with what is to be told of it so far."""
    before = names.origin(headers)
    if before is not None and before.forwarded_to not in (None, received.topic):
        before = None  # copies, of an event that is not this one
    # Those before this delivery, those that a share group's broker counts, and the program's own.
    made = attempts + (received.delivery_attempt or 1) - 1
    if before is not None and before.attempt is not None:
        made += before.attempt - 1
    written = {way: topic, names.ATTEMPTS: str(made)}
    if received.client.group is not None:
        written[_GROUP] = received.client.group
    if error is not None:
        written[names.ERROR_TYPE] = error_type(error)
        message = _message(error)
        if message is not None:
            written[_MESSAGE] = message
    if before is None or before.topic is None:
        written |= {
            names.TOPIC: received.topic,
            names.PARTITION: str(received.partition),
            names.OFFSET: str(received.offset),
        }
        if received.timestamp_ms is not None:
            written[_TIMESTAMP_MS] = str(received.timestamp_ms)
        gone = _RENEWED | _KEPT
    else:
        # What another framework said in its own names is said in ours from here on.
        told = {name for name, _ in headers}
        coordinates = {names.TOPIC: before.topic, names.PARTITION: before.partition, names.OFFSET: before.offset}
        written |= {name: str(value) for name, value in coordinates.items() if value is not None and name not in told}
        gone = _RENEWED
    kept = [header for header in headers if header[0] not in gone]
    return kept + [(name, _bounded(text)) for name, text in written.items()]


def _message(error: BaseException) -> str | None:
    configuration = CONFIGURATION.now
    if not configuration.forward_error_messages:
        return None
    try:
        text = str(error)
    except Exception as failure:  # an exception of the program's that cannot even say what it is
        COUNTS.fail(error_type(error), "__str__", failure)
        return None
    return redacted(_MESSAGE, text, configuration) if text else None


def _bounded(text: str) -> bytes:
    encoded = text.encode(errors="replace")
    if len(encoded) <= LONGEST_MESSAGE_BYTES:
        return encoded
    return encoded[:LONGEST_MESSAGE_BYTES].decode(errors="ignore").encode()


def _sendable(headers: Any, record: object) -> list[Header]:
    """Return headers that the record's own library takes in a send: kafka-python reads null values and refuses them."""
    takes_null = not any(kind.__module__.partition(".")[0] == "kafka" for kind in type(record).__mro__)
    return [(name, value if value is not None or takes_null else b"") for name, value in headers]


def _part(record: Any, name: str) -> Any:
    """Return key or value: an attribute, or a method of confluent-kafka's messages."""
    return getattr(record, name)() if callable(record.topic) else getattr(record, name)
