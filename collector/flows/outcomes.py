"""What became of every hop of a flow in the end: failed attempts are followed through retry topics. Pure.

A failure that was sent to a retry topic and succeeded there is `processed`; one that ended in a dead-letter topic is
`dead_lettered` at the hop where it began, however many retries lie between.
"""

from collections.abc import Sequence
from typing import Final

from flowtrail.collector.api.answers import State, Tone

from .deliveries import Sent, caused_by, events_of
from .evidence import span_evidence
from .facts import Facts
from .forwarders import attach_loose, may_cause
from .rows import Context
from .sending import work_on_aborted
from .states import judge
from .steps import Step, is_dead_letter, is_retry, is_sent
from .stitching import Trail
from .wording import clipped, counted, listed

# The outcome of a transaction that was committed, as the tracer writes it.
_COMMITTED: Final = "committed"
# States that what was forwarded decides: the event went on, whatever became of who sent it on.
_FORWARDING: Final = (
    *(State.FAILED, State.PROCESSED, State.UNKNOWN, State.SKIPPED, State.CRASHED, State.IN_FLIGHT),
    State.READ,
)


def steps_of(trail: Trail, facts: Facts) -> list[Step]:
    """Return the hops of a flow in causal order, with retries followed to their end."""
    events = events_of(trail)
    caused = caused_by(trail, events)
    steps = []
    for sent in events:
        for finding in judge(sent, facts):
            step = Step(sent, finding, attempts=sum(one.is_ended for one in finding.tries))
            for one in finding.tries:
                for span in one.spans:
                    step.caused += [
                        other
                        for other in caused.get(span.context, [])
                        if other not in step.caused and may_cause(step, other, facts)
                    ]
            steps.append(step)
    attach_loose(steps, events, trail, facts)
    _sent_again(steps)
    by_event: dict[str, list[Step]] = {}
    for step in steps:
        by_event.setdefault(step.sent.id, []).append(step)
    for step in steps:
        _resolve(step, by_event, facts, under_way=set())
    for step in steps:
        work_on_aborted(step.sent, step.finding)
    return steps


def _sent_again(steps: Sequence[Step]) -> None:
    """Settle aborted events whose producer sent them anew, as one that reads and writes in transactions does.

    Of what was sent to a topic with a key in one try, the first that was aborted is the first that was committed later,
    in the same try or in another, the second is the second, and so on.
    """
    tries: dict[tuple[str, str, str], dict[Context | None, dict[bool, list[Sent]]]] = {}
    for sent in {id(step.sent): step.sent for step in steps}.values():
        if sent.send is None or not (sent.is_aborted or (sent.outcome == _COMMITTED and is_sent(sent))):
            continue
        one = tries.setdefault((sent.topic, sent.key, sent.send.service), {}).setdefault(sent.send.parent, {})
        one.setdefault(sent.is_aborted, []).append(sent)
    again: dict[int, Sent] = {}
    for by_try in tries.values():
        for own in by_try.values():
            for rank, sent in enumerate(sorted(own.get(True, []), key=lambda one: one.sent_ms)):
                later = [
                    sorted((one for one in other.get(False, []) if one.sent_ms > sent.sent_ms), key=lambda x: x.sent_ms)
                    for other in by_try.values()
                ]
                fitting = [found[rank] for found in later if len(found) > rank]
                if fitting:
                    again[id(sent)] = min(fitting, key=lambda one: one.sent_ms)
    for step in steps:
        if step.finding.state is State.ABORTED and id(step.sent) in again:
            step.finding.tone = Tone.OK
            step.finding.sentence = f"{step.finding.sentence} It was sent again: {again[id(step.sent)].id}."


def _resolve(step: Step, by_event: dict[str, list[Step]], facts: Facts, under_way: set[str]) -> None:
    """Settle a hop by what its retries came to; each hop once."""
    if step.is_resolved or step.id in under_way:
        return
    under_way = under_way | {step.id}
    finding = step.finding
    # Who has no try and forwarded nevertheless is not traced, wherever it seems to stand.
    if finding.state in _FORWARDING or (step.caused and not finding.tries):
        dead = [sent for sent in step.caused if is_dead_letter(sent, facts) and is_sent(sent)]
        retried = [sent for sent in step.caused if is_retry(sent, facts) and is_sent(sent)]
        if dead:
            _count_tries(step, dead[-1])
            _dead_lettered(step, dead[-1])
        elif retried and finding.reader is not None:
            _count_tries(step, retried[-1])
            later = [other for sent in retried for other in by_event.get(sent.id, [])]
            for other in later:
                _resolve(other, by_event, facts, under_way)
            _retried(step, retried[-1], later)
    step.is_resolved = True


def _count_tries(step: Step, forwarded: Sent) -> None:
    """Count what was tried in this hop by what its forwarded event says: retries inside a handler leave no spans."""
    before = step.sent.past.tried if step.sent.past is not None else 0
    in_all = forwarded.past.tried if forwarded.past is not None else 0
    step.attempts = max(step.attempts, in_all - before)


def _dead_lettered(step: Step, dead: Sent) -> None:
    finding = step.finding
    if finding.error is None and dead.past is not None and dead.past.last_error:
        finding.error = dead.past.last_error
    why = f": {clipped(finding.error)}" if finding.error else ", without an error on its span"
    finding.state = State.DEAD_LETTERED
    finding.tone = None
    finding.missing = [] if finding.reader is not None else ["Which group gave it up is not known."]
    who = finding.reader.name if finding.reader is not None else "A reader without a tracer"
    finding.sentence = f"{who} gave up on {step.sent.name} and sent it to {dead.topic}{why}"
    if not finding.tries:
        told = [one for tries in dead.tries.values() for one in tries][:1]
        said = f"the headers of {dead.place or dead.topic} say that it was given up"
        finding.evidence = [*finding.evidence, *(span_evidence(one.span.service, said, one) for one in told)]
        finding.since_ms = dead.sent_ms


def _retried(step: Step, retry: Sent, later: Sequence[Step]) -> None:
    finding = step.finding
    assert finding.reader is not None
    # Where the group reads its own retries, what others make of them is beside the point.
    own = [other for other in later if other.finding.reader and other.finding.reader.key == finding.reader.key]
    later = own or later
    states = {other.finding.state for other in later}
    did = f"failed on {step.sent.name}" if finding.error else f"sent {step.sent.name} on"
    first = "failed first" if finding.error else "sent it on"
    step.attempts += sum(other.attempts for other in later)
    known = {(one.span_id, one.text) for one in finding.evidence}
    finding.evidence += [
        one
        for other in later
        for one in other.finding.evidence
        if one.kind == "span" and (one.span_id, one.text) not in known
    ]
    last = later[-1].finding if later else None
    if states & {State.DEAD_LETTERED, State.FAILED} and State.PROCESSED not in states:
        is_dead = State.DEAD_LETTERED in states
        worst = next(
            one.finding for one in later if one.finding.state is (State.DEAD_LETTERED if is_dead else State.FAILED)
        )
        finding.error = finding.error or worst.error
        finding.state = State.DEAD_LETTERED if is_dead else State.FAILED
        end = "gave up on" if is_dead else "failed on"
        finding.sentence = (
            f"{finding.reader.name} {end} {step.sent.name} after {counted(step.attempts, 'attempt')}: "
            f"{clipped(finding.error or 'no error on its spans')}"
        )
    elif State.PROCESSED in states:
        well = next(other.finding for other in later if other.finding.state is State.PROCESSED)
        finding.state = State.PROCESSED
        finding.sentence = (
            f"{finding.reader.name} {first}; {retry.topic} brought it through at attempt {step.attempts}."
        )
        finding.since_ms = well.since_ms
        finding.missing = list(well.missing)
        finding.error = None
    elif last is not None and states <= {State.UNKNOWN, State.SKIPPED, State.UNINSTRUMENTED}:
        finding.state = State.UNKNOWN
        finding.sentence = (
            f"{finding.reader.name} {first}; whether {retry.topic} brought it through is not known. ({last.sentence})"
        )
        finding.missing = list(dict.fromkeys([*finding.missing, *last.missing]))
    else:
        waiting = f" ({last.sentence})" if last is not None else ""
        finding.state = State.RETRYING
        finding.sentence = f"{finding.reader.name} {did}; it waits for another attempt in {retry.topic}.{waiting}"
    finding.tone = None


# ── what came of it ─────────────────────────────────────────────────────────────────────────────────────────────


def consequence(step: Step, steps: Sequence[Step], facts: Facts) -> str | None:
    """What a failing hop led to downstream, in one or two sentences; None when there is nothing to add."""
    said = [_of_itself(step, steps, facts)]
    went_well = [
        other
        for other in steps
        if other is not step and other.sent is step.sent and other.finding.loudness is Tone.OK and other.finding.reader
    ]
    went_well = [other for other in went_well if other.finding.state is not State.READ]
    if went_well:
        names = [other.finding.reader.name for other in went_well if other.finding.reader]
        said.append(f"{listed(names)} processed the same event.")
    if step.finding.state is State.ABORTED:
        eager = [
            other.finding.reader.name
            for other in steps
            if other is not step and other.sent is step.sent and other.finding.tries and other.finding.reader
        ]
        said += [f"{name} worked on the same event, since it reads uncommitted ones." for name in eager]
    return " ".join(filter(None, said)) or None


def _of_itself(step: Step, steps: Sequence[Step], facts: Facts) -> str | None:
    state, reader = step.finding.state, step.finding.reader
    if state is State.DEAD_LETTERED:
        dead = dead_letter(step, steps, facts)
        if dead is None:
            return None
        readers = [other.finding.reader.name for other in steps if other.sent is dead and other.finding.reader]
        return f"The event lies in {dead.place or dead.topic}, " + (
            f"which {listed(readers)} reads." if readers else "which nobody reads."
        )
    if state is State.NOT_SENT:
        if step.finding.error is None:
            return None
        return "The event never reached Kafka: nothing that follows it can happen."
    if step.state is State.ABORTED and reader is not None and step.finding.tries:
        sent_on = sorted({sent.topic for sent in step.caused if is_sent(sent)})
        return f"It sent on to {listed(sent_on)}." if sent_on else f"{reader.name} sent nothing on."
    if state is State.ABORTED:
        return "It may lie in the log, where only groups that read uncommitted events see it."
    if state is State.UNCONSUMED:
        return "It lies there until retention removes it."
    if state is State.EXPIRED:
        return "It is gone from the log: only its producer can send it again."
    if state in (State.FAILED, State.CRASHED, State.NO_MEMBER, State.STALLED, State.SKIPPED) and reader is not None:
        sent_on = sorted({sent.topic for sent in step.caused if is_sent(sent)})
        if sent_on:
            return f"Before that it had sent on to {listed(sent_on)}."
        if state in (State.FAILED, State.SKIPPED):
            return f"{reader.name} sent nothing on."
        return "Nothing after it has happened yet."
    return None


def dead_letter(step: Step, steps: Sequence[Step], facts: Facts) -> Sent | None:
    """The dead letter that a hop ended in, through whatever retries; None without one."""
    found = [sent for sent in _downstream(step, steps) if is_dead_letter(sent, facts)]
    return found[-1] if found else None


def _downstream(step: Step, steps: Sequence[Step]) -> list[Sent]:
    found: list[Sent] = []
    queue = list(step.caused)
    while queue:
        sent = queue.pop(0)
        if sent in found:
            continue
        found.append(sent)
        queue += [other for later in steps if later.sent is sent for other in later.caused]
    return found
