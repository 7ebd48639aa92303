"""Where a forwarded record came from, by the headers that whoever forwarded it wrote. Pure, and raises nothing.

A record that waits in a retry topic, or lies in a dead-letter topic, has new coordinates; its first ones, how often it
was tried and what it failed with travel in its headers. Everyone has names for them:

                        topic, partition, offset          attempts              the error's class
    Flowtrail           flowtrail-original-*       text   flowtrail-attempts    flowtrail-exception-type
    Spring, dead letter kafka_dlt-original-*       bytes  kafka_deliveryAttempt kafka_dlt-exception-fqcn
    Spring, retry topic kafka_original-*           bytes  retry_topic-attempts  kafka_exception-fqcn
    Kafka Connect       __connect.errors.*         text                         __connect.errors.exception.class.name
    Kafka Streams       __streams.errors.*         text                         __streams.errors.exception
    SmallRye            dead-letter-*              text                         dead-letter-exception-class-name

Bytes are big-endian numbers, of any length that Java's types have and some that they have not. Who forwards a record
again adds to its headers: the first coordinates are the event's own, the last error is the latest. Flowtrail's are
taken before all others, since forwarding takes over what others wrote (`forwarding.py`).

Ours also say to which topic the record was forwarded (flowtrail-retry-to, flowtrail-dead-letter-to). On another topic
they are copies that a program passed on with its own event: that one was not tried before.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from . import attributes as names

# Flowtrail's own, all of them text.
TOPIC: Final = "flowtrail-original-topic"
PARTITION: Final = "flowtrail-original-partition"
OFFSET: Final = "flowtrail-original-offset"
ATTEMPTS: Final = "flowtrail-attempts"
ERROR_TYPE: Final = "flowtrail-exception-type"
RETRY_TO: Final = "flowtrail-retry-to"
DEAD_LETTER_TO: Final = "flowtrail-dead-letter-to"

# Values of `forwarded`.
RETRY: Final = "retry"
DEAD_LETTER: Final = "dead_letter"

Attributes: TypeAlias = dict[str, str | int | bool | Sequence[str]]

# A topic's name has 249 characters at most, a class's name hardly more.
LONGEST_TEXT: Final = 512
_LARGEST: Final = 2**63 - 1


class Origin(NamedTuple):
    """What headers say of a record's past; None for what they do not say.

    `attempt` is which delivery of the event this record is: 1 would be the first one, so 2 or more. `forwarded` is
    "retry" or "dead_letter" where Flowtrail's own functions made the record, for the topic `forwarded_to`. It is
    "dead_letter" also where only a framework speaks that has such headers for dead letters alone; the topic it does not
    say.
    """

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    attempt: int | None = None
    error_type: str | None = None
    forwarded: str | None = None
    forwarded_to: str | None = None


def origin(headers: Iterable[Any] | None) -> Origin | None:
    """Return where a record with these headers came from; None when nobody says that it was forwarded."""
    said: list[tuple[_Meaning, bytes]] | None = None
    # For nearly every record this loop is all.
    for header in headers or ():
        if type(header) is tuple and len(header) == 2:
            name, value = header
            if type(name) is str and name in _MEANINGS and type(value) is bytes:
                said = said or []
                said.append((_MEANINGS[name], value))
    if said is None:
        return None
    found: dict[str, dict[str, Any]] = {}
    error: dict[str, str] = {}
    for (family, field, read), value in said:
        understood = read(value)
        if understood is None:
            continue
        if field in ("error", "cause"):
            error[field] = understood
        elif field in ("attempt", RETRY, DEAD_LETTER):
            found.setdefault(family, {})[field] = understood
        else:
            found.setdefault(family, {}).setdefault(field, understood)
    # Within a family the last is the latest, between families the highest: each only counts up.
    attempt = max((of["attempt"] for of in found.values() if "attempt" in of), default=None)
    # A dictionary keeps the order in which the families came.
    families = [family for family, of in found.items() if "topic" in of]
    first = found[_OURS if _OURS in families else families[0]] if families else {}
    ours = found.get(_OURS, {})
    forwarded = next((way for way in (DEAD_LETTER, RETRY) if way in ours), None)
    forwarded_to = None if forwarded is None else ours[forwarded]
    if not ours and len(families) == 1 and families[0] in _OF_DEAD_LETTERS:
        forwarded = DEAD_LETTER
    told = Origin(
        topic=first.get("topic"),
        partition=first.get("partition"),
        offset=first.get("offset"),
        attempt=attempt,
        error_type=_error_type(**error),
        forwarded=forwarded,
        forwarded_to=forwarded_to,
    )
    return told if told != Origin() else None


def origin_attributes(headers: Iterable[Any] | None, topic: str, delivery_attempt: int | None = None) -> Attributes:
    """Return what a span or a link says of the past of a record on a topic; empty when it was not forwarded.

    `delivery_attempt` is the count of who delivered it (share groups count, from 1): it goes on where the headers end.
    """
    found = origin(headers)
    if found is None or found.forwarded_to not in (None, topic):
        return {} if delivery_attempt is None else {names.DELIVERY_ATTEMPT: delivery_attempt}
    attempt = delivery_attempt if found.attempt is None else found.attempt + (delivery_attempt or 1) - 1
    known = {
        names.ORIGINAL_TOPIC: found.topic,
        names.ORIGINAL_PARTITION: None if found.partition is None else str(found.partition),
        names.ORIGINAL_OFFSET: found.offset,
        names.DELIVERY_ATTEMPT: attempt,
        names.LAST_ERROR_TYPE: found.error_type,
        # Sent back to where it lay first with all its headers, it is no dead letter any more.
        names.FORWARDED: found.forwarded if found.forwarded_to is not None or found.topic != topic else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def forwarded_attributes(headers: Iterable[Any] | None, topic: str | None) -> Attributes:
    """Return what the span of a send says of its record's past: only when it is forwarded just now, by us.

    Everyone else's headers may be there because a program passes them on with an event of its own.
    """
    found = origin(headers)
    return {} if found is None or topic is None or found.forwarded_to != topic else origin_attributes(headers, topic)


def _text(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if 0 < len(text) <= LONGEST_TEXT else None


def _decimal(value: bytes) -> int | None:
    # `isdigit` of bytes knows the ASCII digits alone; -1 stands for "not known" in Connect.
    number = int(value) if len(value) <= 19 and value.isdigit() else None
    return number if number is not None and number <= _LARGEST else None


def _big_endian(value: bytes) -> int | None:
    number = int.from_bytes(value, "big", signed=True) if 0 < len(value) <= 8 else -1
    return number if number >= 0 else None


def _made(value: bytes) -> int | None:
    """Ours counts the attempts that were made; this delivery is the next."""
    made = _decimal(value)
    return made + 1 if made is not None and made < _LARGEST else None


def _class_name(value: bytes) -> str | None:
    # Kafka Streams writes the exception's text, `class: message`; a message may hold data.
    return _text(value.partition(b":")[0].strip())


def _error_type(error: str | None = None, cause: str | None = None) -> str | None:
    # Spring wraps what a listener raised into its own exceptions; the cause is what failed.
    is_wrapped = error is None or error.startswith("org.springframework.kafka.")
    return cause if cause is not None and is_wrapped else error


_Meaning: TypeAlias = tuple[str, str, Callable[[bytes], Any]]
_OURS: Final = "flowtrail"
# Who writes coordinates on dead letters alone, whatever their topic is called. Spring's may be on retries too.
_OF_DEAD_LETTERS: Final = frozenset({"connect", "streams", "smallrye"})


def _coordinates(family: str, prefix: str, number: Callable[[bytes], Any]) -> dict[str, _Meaning]:
    return {
        prefix + "topic": (family, "topic", _text),
        prefix + "partition": (family, "partition", number),
        prefix + "offset": (family, "offset", number),
    }


# Header name → whose it is, what it tells, and how it is written.
_MEANINGS: Final[dict[str, _Meaning]] = {
    **_coordinates(_OURS, "flowtrail-original-", _decimal),
    **_coordinates("spring dlt", "kafka_dlt-original-", _big_endian),
    **_coordinates("spring retry", "kafka_original-", _big_endian),
    **_coordinates("connect", "__connect.errors.", _decimal),
    **_coordinates("streams", "__streams.errors.", _decimal),
    **_coordinates("smallrye", "dead-letter-", _decimal),
    ATTEMPTS: (_OURS, "attempt", _made),
    RETRY_TO: (_OURS, RETRY, _text),
    DEAD_LETTER_TO: (_OURS, DEAD_LETTER, _text),
    "retry_topic-attempts": ("spring retry", "attempt", _big_endian),
    "kafka_deliveryAttempt": ("spring container", "attempt", _big_endian),
    ERROR_TYPE: (_OURS, "error", _class_name),
    "kafka_dlt-exception-fqcn": ("spring dlt", "error", _class_name),
    "kafka_dlt-exception-cause-fqcn": ("spring dlt", "cause", _class_name),
    "kafka_dlt-key-exception-fqcn": ("spring dlt", "error", _class_name),
    "kafka_exception-fqcn": ("spring retry", "error", _class_name),
    "kafka_exception-cause-fqcn": ("spring retry", "cause", _class_name),
    "kafka_key-exception-fqcn": ("spring retry", "error", _class_name),
    "__connect.errors.exception.class.name": ("connect", "error", _class_name),
    "__streams.errors.exception": ("streams", "error", _class_name),
    "dead-letter-exception-class-name": ("smallrye", "error", _class_name),
}
