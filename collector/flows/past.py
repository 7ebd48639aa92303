"""What a forwarded event's spans say of its past: where it lay first, which try it is, what failed before. Pure.

The tracer writes it on the send that forwards, and on whatever reads a record whose headers tell it, also headers that
other frameworks wrote. It is told by whoever forwarded the event, so it stands above what topics' names suggest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowtrail.tracer import attributes as names

from .rows import Place

# Values of `Past.forwarded`.
RETRY: Final = "retry"
DEAD_LETTER: Final = "dead_letter"


@dataclass(frozen=True, slots=True)
class Past:
    """The past of an event that was forwarded at least once.

    `first` is where it lay at first, None when only the topic is known. `attempt` is which delivery of it this is, from
    1. `forwarded` says what it was forwarded for; '' where that can only be guessed by the topic's name.
    """

    first: Place | None = None
    attempt: int | None = None
    last_error: str = ""
    forwarded: str = ""

    @property
    def tried(self) -> int:
        """How often it was tried before; 0 when that is not known."""
        return self.attempt - 1 if self.attempt is not None else 0

    @property
    def is_by_framework(self) -> bool:
        """Whether Kafka Connect, or another that counts no attempts, wrote that this is a dead letter: never we."""
        return self.forwarded == DEAD_LETTER and self.attempt is None


def past_of(attributes: Mapping[str, str], place: Place | None) -> Past | None:
    """Return what attributes say of the past of the event at `place`; None when it was not forwarded.

    Attributes that call the event's own place its first tell nothing. Nor does a count of deliveries alone: share
    groups count too.
    """
    first = _place(attributes)
    forwarded = attributes.get(names.FORWARDED, "")
    if (first is None or first == place) and forwarded not in (RETRY, DEAD_LETTER):
        return None
    return Past(
        first=first,
        attempt=_number(attributes.get(names.DELIVERY_ATTEMPT, ""), least=1),
        last_error=attributes.get(names.LAST_ERROR_TYPE, ""),
        forwarded=forwarded if forwarded in (RETRY, DEAD_LETTER) else "",
    )


def _place(attributes: Mapping[str, str]) -> Place | None:
    topic = attributes.get(names.ORIGINAL_TOPIC, "")
    partition = _number(attributes.get(names.ORIGINAL_PARTITION, ""))
    offset = _number(attributes.get(names.ORIGINAL_OFFSET, ""))
    return Place(topic, partition, offset) if topic and partition is not None and offset is not None else None


def _number(text: str, least: int = 0) -> int | None:
    """Another program may have written anything: what is no number of a sensible size is None."""
    number = int(text) if text.isdecimal() and len(text) <= 18 else -1
    return number if number >= least else None
