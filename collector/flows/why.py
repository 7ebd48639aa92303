"""The verdict on a flow: its first failing hop in causal order and what came of it, or `complete`. Pure.

Loud states come before quiet ones: what broke or does not move, then what should be looked at some time, then what is
under way. Within a loudness the first in causal order is the cause; the rest are its symptoms.
"""

from collections.abc import Sequence

from flowtrail.collector.api.answers import Coordinates, Evidence, State, Tone, Verdict

from .deliveries import Sent, error_text, error_type
from .facts import Facts
from .outcomes import consequence, dead_letter
from .rows import SpanRow
from .sending import is_unreached
from .steps import Step, is_dead_letter
from .stitching import Trail
from .wording import clipped, counted, duration, listed


def verdict(trail: Trail, steps: Sequence[Step], facts: Facts) -> Verdict:
    """Return the verdict on a stitched flow. A flow that broke nowhere and has nothing under way is `complete`."""
    counted_steps = [step for step in steps if not _is_beside_the_point(step, facts)]
    for rank in range(4):
        step = next((step for step in counted_steps if _rank(step) == rank), None)
        if step is not None:
            return _of_step(trail, _deeper_cause(step, steps), steps, facts)
    broken = _broken_start(trail)
    if broken is not None:
        return _of_span(trail, broken)
    return _complete(trail, steps)


def _rank(step: Step) -> int:
    """Which hops are asked first. A retry that is under way explains nothing while something else stands still."""
    if step.finding.state is State.RETRYING:
        return 1
    return {Tone.FAIL: 0, Tone.STUCK: 0, Tone.SLOW: 2, Tone.QUIET: 3, Tone.OK: 4}[step.finding.loudness]


def _is_beside_the_point(step: Step, facts: Facts) -> bool:
    """Hops that do not make a flow less than complete: nobody has to read dead letters, or to have a tracer."""
    state = step.finding.state
    if state is State.UNINSTRUMENTED:
        return True
    return state in (State.UNCONSUMED, State.WAITING) and is_dead_letter(step.sent, facts)


def _deeper_cause(step: Step, steps: Sequence[Step]) -> Step:
    """A handler that failed because its own send was refused: the refused send is the cause."""
    if step.finding.state is not State.FAILED or step.finding.error is None:
        return step
    kind = error_type(step.finding.error)
    refused = [
        other
        for other in steps
        if other.finding.state is State.NOT_SENT
        and any(other.sent is sent for sent in step.caused)
        and other.finding.error is not None
        and error_type(other.finding.error) == kind
    ]
    return refused[0] if refused else step


def _of_step(trail: Trail, step: Step, steps: Sequence[Step], facts: Facts) -> Verdict:
    finding = step.finding
    state, reader = step.state, finding.reader
    good, good_service = _last_good(step, steps)
    return Verdict(
        flow=trail.id,
        state=state,
        tone=finding.loudness,
        sentence=finding.sentence,
        consequence=consequence(step, steps, facts),
        coordinates=coordinates(step.sent),
        hop_topic=step.sent.topic,
        hop_group=reader.group or None if reader else None,
        service=_service(step, facts),
        error=finding.error,
        attempt=step.attempts or None,
        time_ms=finding.since_ms,
        last_good=good,
        last_good_service=good_service,
        next_step=_next_step(step, steps, facts),
        evidence=finding.evidence,
        missing=_missing(trail, [step]),
    )


def _complete(trail: Trail, steps: Sequence[Step]) -> Verdict:
    done = [step for step in steps if step.finding.state is State.PROCESSED]
    untraced = [step for step in steps if step.finding.state is State.UNINSTRUMENTED and step.finding.reader]
    last = max(trail.spans, key=lambda row: row.end_ms)
    took = duration(last.end_ms - trail.spans[0].start_ms)
    if not steps:
        sentence = f"Nothing was sent to Kafka; {counted(len(trail.spans), 'span')} ended well in {took}."
    else:
        events = len({step.sent.id for step in steps})
        services = len({row.service for row in trail.spans})
        way = f"{counted(events, 'event')} through {counted(services, 'service')} in {took}"
        inferred = sorted({step.finding.reader.name for step in steps if step.is_inferred and step.finding.reader})
        sentence = f"All went well: {way}."
        if inferred:
            sentence = f"No failure was seen: {way}; that {listed(inferred)} did well is inferred."
    final = done[-1] if done else None
    names = sorted({step.finding.reader.name for step in untraced if step.finding.reader})
    onlookers = sorted(
        {step.finding.reader.name for step in steps if step.finding.state is State.READ and step.finding.reader}
    )
    beside = [
        f"{listed(names)} committed past it without reporting spans." if names else "",
        f"{listed(onlookers)} read it without a group." if onlookers else "",
    ]
    return Verdict(
        flow=trail.id,
        state=State.COMPLETE,
        tone=Tone.OK,
        sentence=sentence,
        consequence=" ".join(filter(None, beside)) or None,
        time_ms=last.end_ms,
        last_good=coordinates(final.sent) if final else None,
        last_good_service=final.finding.tries[-1].span.service if final and final.finding.tries else None,
        missing=_missing(trail, steps),
    )


def _broken_start(trail: Trail) -> SpanRow | None:
    """The first span of the flow, if it is not about messaging and ended with an error."""
    first = trail.spans[0]
    return first if first.is_error and not first.operation and not first.is_of_client else None


def _of_span(trail: Trail, row: SpanRow) -> Verdict:
    error = error_text(row)
    text = f"{row.service}: {row.name} failed: {clipped(error)}"
    return Verdict(
        flow=trail.id,
        state=State.FAILED,
        tone=Tone.FAIL,
        sentence=f"{row.service} failed in {row.name}: {clipped(error)}",
        consequence="All events that were sent went well." if any(one.is_send for one in trail.spans) else None,
        service=row.service,
        error=error,
        time_ms=row.end_ms,
        next_step=f"Look at {row.name} of {row.service}: its error was not in handling an event.",
        evidence=[
            Evidence(
                kind="span",
                text=text,
                time_ms=row.end_ms,
                trace_id=row.context.trace_id,
                span_id=row.context.span_id,
            )
        ],
        missing=_missing(trail, []),
    )


def coordinates(sent: Sent) -> Coordinates:
    """Where an event lies, as far as it is known."""
    place = sent.place
    return Coordinates(
        topic=sent.topic,
        partition=place.partition if place else None,
        offset=place.offset if place else None,
        cluster_id=sent.cluster_id or None,
    )


def _service(step: Step, facts: Facts) -> str | None:
    if step.finding.tries:
        return step.finding.tries[-1].span.service
    reader = step.finding.reader
    if reader is not None:
        return reader.service or facts.service_of(reader.group) or None
    if step.finding.state is State.DEAD_LETTERED:
        return None  # whoever gave it up, it was not its sender
    return step.sent.send.service if step.sent.send else None


def _last_good(step: Step, steps: Sequence[Step]) -> tuple[Coordinates | None, str | None]:
    """The writing of the event itself when it was written, else the event whose handling should have written it."""
    if step.finding.state is not State.NOT_SENT:
        return coordinates(step.sent), step.sent.send.service if step.sent.send else None
    before = next((other for other in steps if any(sent is step.sent for sent in other.caused)), None)
    if before is None:
        return None, None
    return coordinates(before.sent), before.sent.send.service if before.sent.send else None


def _next_step(step: Step, steps: Sequence[Step], facts: Facts) -> str | None:
    finding, sent = step.finding, step.sent
    who = finding.reader.name if finding.reader else ""
    if step.state is State.ABORTED and finding.tries:
        return f"If work on aborted events is not to count, set {who}'s isolation level to read_committed."
    match finding.state:
        case State.NOT_SENT:
            producer = sent.send.service if sent.send else "the producer"
            if finding.error is None:
                return f"Let {producer} flush before it ends, and send the event again if it is missing."
            if is_unreached(finding.error):
                return f"Look for the broker: {producer} got no answer from it. Then have it send the event again."
            return f"Fix what {producer} sends (or the topic's limits), then have it send again."
        case State.ABORTED:
            producer = sent.send.service if sent.send else "the producer"
            return f"See why {producer} aborted; if the event is to count, have it sent again."
        case State.FAILED:
            again = f"then send {sent.id} again" if sent.place else "then send the event again"
            return f"See why {who} raises this; {again}."
        case State.DEAD_LETTERED:
            dead = dead_letter(step, steps, facts)
            which = dead.place if dead is not None and dead.place is not None else "the dead letter"
            return f"Fix the cause, then send {which} to {sent.topic} again."
        case State.CRASHED:
            return f"Start {_service(step, facts) or who} again: it will get {sent.name} once more. See why it died."
        case State.RETRYING:
            return "Wait for the next attempt; if it fails too, look at the error."
        case State.NO_MEMBER:
            return f"Start {_service(step, facts) or who}: {who} goes on where it stopped."
        case State.STALLED:
            return f"Look at what the members of {who} are doing (a thread dump), or restart them."
        case State.SKIPPED:
            return f"If {who} should have handled {sent.name}, reset its offset or send the event again."
        case State.EXPIRED:
            return f"Raise the retention of {sent.topic}, and send the event again from its source."
        case State.UNCONSUMED:
            return f"Start a group on {sent.topic}, or stop sending to it."
        case _:
            return None


def _missing(trail: Trail, steps: Sequence[Step]) -> list[str]:
    said = [text for step in steps for text in step.finding.missing] + trail.gaps
    return list(dict.fromkeys(said))
