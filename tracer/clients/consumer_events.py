"""What befalls a consumer between two polls, as events of the next poll's span: seeks and rebalances.

Nothing is noted of topics that are left out of tracing.
"""

import time
from collections.abc import Iterable
from typing import Any

from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients.known import Known
from flowtrail.tracer.clients.waiting_events import WAITING
from flowtrail.tracer.configuration import CONFIGURATION
from flowtrail.tracer.record import Event


def note_seek(known: Known, place: Any, offset: int) -> None:
    """Note a seek of one partition (anything with `topic` and `partition`) to an offset."""
    if not CONFIGURATION.now.is_excluded(place.topic):
        _note(
            known,
            names.SEEK_EVENT,
            {names.TOPIC: place.topic, names.PARTITION: str(place.partition), names.OFFSET: offset},
        )


def note_seek_to(known: Known, places: Iterable[Any], where: str) -> None:
    """Note a seek of partitions to their "beginning" or "end". Without partitions nothing is noted."""
    _note_places(known, names.SEEK_EVENT, places, {names.SEEK_TO: where})


def note_rebalance(known: Known, name: str, places: Iterable[Any]) -> None:
    """Note partitions that were assigned, revoked or lost (`name` is the event's); without any, nothing."""
    _note_places(known, name, places, {})
    if known.events:
        WAITING.add(known)


def _note_places(known: Known, name: str, places: Iterable[Any], more: dict[str, Any]) -> None:
    now = CONFIGURATION.now
    found = sorted((place.topic, place.partition) for place in places if not now.is_excluded(place.topic))
    if found:
        topics, partitions = [topic for topic, _ in found], [str(partition) for _, partition in found]
        _note(known, name, {names.TOPIC: topics, names.PARTITION: partitions} | more)


def _note(known: Known, name: str, attributes: dict[str, Any]) -> None:
    known.events.append(Event(name, attributes, time.time_ns()))
