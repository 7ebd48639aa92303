"""What was found of one event with one reader: its state, how loud it is, and what it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from flowtrail.collector.api.answers import Evidence, State, Tone

from .deliveries import Reader, Try

TONES: Final[dict[State, Tone]] = {
    State.COMPLETE: Tone.OK,
    State.PROCESSED: Tone.OK,
    State.READ: Tone.OK,
    State.NOT_SENT: Tone.FAIL,
    State.FAILED: Tone.FAIL,
    State.DEAD_LETTERED: Tone.FAIL,
    State.CRASHED: Tone.FAIL,
    State.RETRYING: Tone.STUCK,
    State.STALLED: Tone.STUCK,
    State.NO_MEMBER: Tone.STUCK,
    State.ABORTED: Tone.SLOW,
    State.SKIPPED: Tone.SLOW,
    State.EXPIRED: Tone.SLOW,
    State.UNCONSUMED: Tone.SLOW,
    State.UNINSTRUMENTED: Tone.SLOW,
    State.WAITING: Tone.QUIET,
    State.IN_FLIGHT: Tone.QUIET,
    State.UNKNOWN: Tone.QUIET,
}


@dataclass
class Finding:
    """The state of one event with one reader (None: no reader is concerned)."""

    state: State
    sentence: str
    reader: Reader | None = None
    tone: Tone | None = None
    evidence: list[Evidence] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    error: str | None = None
    tries: Sequence[Try] = ()
    since_ms: float | None = None

    @property
    def loudness(self) -> Tone:
        return self.tone or TONES[self.state]
