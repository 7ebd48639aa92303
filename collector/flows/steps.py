"""A hop of a flow, and whether an event was forwarded: for another attempt, or as a dead letter. Pure.

An event that says itself what it was forwarded for is taken at its word (`past.py`). For others the topic's name tells.
"""

from dataclasses import dataclass, field

from flowtrail.collector.api.answers import State

from .deliveries import Sent, Try
from .facts import Facts
from .findings import Finding
from .past import DEAD_LETTER, RETRY


@dataclass
class Step:
    """One hop: an event, what was found of one reader, and the events that its processing sent."""

    sent: Sent
    finding: Finding
    caused: list[Sent] = field(default_factory=list)
    attempts: int = 0
    is_resolved: bool = False

    @property
    def id(self) -> str:
        reader = self.finding.reader
        return f"{self.sent.id}>{reader.name if reader else ''}"

    @property
    def state(self) -> State:
        """What a verdict calls it: of work on an aborted event the abort is what matters."""
        state = self.finding.state
        return State.ABORTED if state is State.PROCESSED and self.sent.is_aborted else state

    @property
    def is_inferred(self) -> bool:
        """Whether it is called processed because its program came back for more, and for nothing better."""
        done = self.processes
        return self.state is State.PROCESSED and bool(done) and done[-1].error is None and done[-1].span.is_inferred

    @property
    def processes(self) -> list[Try]:
        return [one for one in self.finding.tries if one.is_ended]


def is_sent(sent: Sent) -> bool:
    """Whether an event is there for others to read, as far as its sender says."""
    return sent.send is None or not (sent.send.is_error or sent.is_aborted)


def is_dead_letter(sent: Sent, facts: Facts) -> bool:
    """Whether an event was given up: it says so, or lies in a topic that is called like that."""
    said = sent.past.forwarded if sent.past is not None else ""
    return said == DEAD_LETTER if said else facts.roles.is_dead_letter(sent.topic)


def is_retry(sent: Sent, facts: Facts) -> bool:
    """Whether an event is there for another attempt."""
    said = sent.past.forwarded if sent.past is not None else ""
    return said == RETRY if said else facts.roles.is_retry(sent.topic)


def is_forwarded(sent: Sent, facts: Facts) -> bool:
    """Whether an event was forwarded, for whichever reason."""
    return is_dead_letter(sent, facts) or is_retry(sent, facts)
