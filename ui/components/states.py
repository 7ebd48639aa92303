"""How a state looks: a tone (colour), a glyph (shape) and a word. Never colour alone."""

from dataclasses import dataclass
from typing import Final

from flowtrail.client import State, Tone


@dataclass(frozen=True, slots=True)
class Look:
    """`glyph` names an icon of assets/icons.js, `tone` a colour of assets/1_tokens.css."""

    tone: Tone
    glyph: str
    word: str


UNKNOWN: Final = Look(Tone.QUIET, "question", "unknown")

# States of hops and flows.
_OF_HOPS: Final[dict[str, Look]] = {
    State.COMPLETE: Look(Tone.OK, "check", "complete"),
    State.NOT_SENT: Look(Tone.FAIL, "cross", "not sent"),
    State.ABORTED: Look(Tone.SLOW, "eye-off", "aborted"),
    State.PROCESSED: Look(Tone.OK, "check", "processed"),
    State.READ: Look(Tone.OK, "check", "read"),
    State.FAILED: Look(Tone.FAIL, "cross", "failed"),
    State.RETRYING: Look(Tone.STUCK, "retry", "retrying"),
    State.DEAD_LETTERED: Look(Tone.FAIL, "envelope", "dead-lettered"),
    State.IN_FLIGHT: Look(Tone.QUIET, "clock", "in flight"),
    State.CRASHED: Look(Tone.FAIL, "cross", "crashed"),
    State.WAITING: Look(Tone.QUIET, "clock", "waiting"),
    State.STALLED: Look(Tone.STUCK, "stop", "stalled"),
    State.NO_MEMBER: Look(Tone.STUCK, "stop", "no member"),
    State.SKIPPED: Look(Tone.SLOW, "eye-off", "skipped"),
    State.UNINSTRUMENTED: Look(Tone.SLOW, "eye-off", "not traced"),
    State.EXPIRED: Look(Tone.SLOW, "eye-off", "expired"),
    State.UNCONSUMED: Look(Tone.SLOW, "eye-off", "nobody reads"),
    State.UNKNOWN: UNKNOWN,
}
# States of nodes and of groups' lag.
_OF_NODES: Final[dict[str, Look]] = {
    "ok": Look(Tone.OK, "check", "OK"),
    "failing": Look(Tone.FAIL, "cross", "failing"),
    "stuck": Look(Tone.STUCK, "stop", "stuck"),
    "unread": Look(Tone.SLOW, "eye-off", "unread"),
    "lagging": Look(Tone.SLOW, "tilde", "lagging"),
    "growing": Look(Tone.STUCK, "up", "growing"),
    "no_commit": Look(Tone.QUIET, "question", "no commit"),
}
_LOOKS: Final = _OF_HOPS | _OF_NODES


def look_of(state: str, tone: Tone | None = None) -> Look:
    """The look of a state; one of a newer collector shows its own name. `tone`, the collector's judgement, wins."""
    look = _LOOKS.get(state, Look(Tone.QUIET, "question", state.replace("_", " ")))
    return look if tone is None or tone is look.tone else Look(tone, look.glyph, look.word)


def is_bad(tone: Tone) -> bool:
    """Whether something is broken or stands still."""
    return tone in (Tone.FAIL, Tone.STUCK)
