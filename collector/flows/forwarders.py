"""Who forwarded an event: the hop behind a retry or a dead letter. Pure.

Most often it was sent while the hop was processed. Else its own word on where it lay first tells, then who tried before
it was sent. Some dead letters were sent by programs that no span tells of, such as Kafka Connect.
"""

from collections.abc import Sequence

from flowtrail.collector.api.answers import State

from .deliveries import Reader, Sent, is_own
from .facts import Facts
from .findings import Finding
from .rows import Context, Place
from .steps import Step, is_forwarded, is_sent
from .stitching import Trail


def attach_loose(steps: list[Step], events: Sequence[Sent], trail: Trail, facts: Facts) -> None:
    """Find the hop behind a retry or dead letter that was sent after the processing, with the record's old headers.

    One that no span can tell of is added to `steps`.
    """
    caused = {sent.id for step in steps for sent in step.caused}
    sender_of: dict[Context, Sent] = {sent.send.context: sent for sent in events if sent.send is not None}
    for sent in events:
        if sent.id in caused or not is_forwarded(sent, facts):
            continue
        if sent.past is not None and sent.past.is_by_framework:
            _attach_unseen(sent, steps, facts)
            continue
        tried = _forwarders(sent, steps)
        if tried:
            _likeliest(tried, sent, facts).caused.append(sent)
            continue
        send = sent.send
        if send is None or _first(sent) is not None:
            continue
        parent = trail.parents.get(send.context)
        origin = sender_of.get(parent) if parent is not None else None
        tried = [
            step
            for step in steps
            if step.sent is not sent
            and (origin is None or step.sent is origin or step.sent.key == sent.key)
            and any(
                one.span.service == send.service and one.span.start_ns <= send.start_ns for one in step.finding.tries
            )
        ]
        if tried:
            _likeliest(tried, sent, facts).caused.append(sent)


def may_cause(step: Step, sent: Sent, facts: Facts) -> bool:
    """Whether what was sent while a hop was processed can be this hop's.

    In the processing of a batch, or of another event, a retry or a dead letter is sent for the event that it names.
    """
    first = _first(sent)
    if first is None or step.sent.place is None or not is_forwarded(sent, facts):
        return True
    return first in _places(step.sent)


def _first(sent: Sent) -> Place | None:
    """Where an event says that it lay first; None where it says nothing."""
    return sent.past.first if sent.past is not None else None


def _forwarders(sent: Sent, steps: Sequence[Step]) -> list[Step]:
    """The hops that may have forwarded an event, by its own word on where it lay first; none when it gives no word.

    A second retry names the first event too: so it may come from that one, or from what else names it. Who tried in the
    sender's own service before the event was sent is meant, as far as there is one.
    """
    first = _first(sent)
    if first is None:
        return []
    found = [step for step in steps if step.sent is not sent and step.finding.tries and first in _places(step.sent)]
    found = [step for step in found if any(one.taken_ms <= sent.sent_ms for one in step.finding.tries)] or found
    service = sent.send.service if sent.send is not None else ""
    return [step for step in found if any(one.span.service == service for one in step.finding.tries)] or found


def _likeliest(steps: Sequence[Step], forwarded: Sent, facts: Facts) -> Step:
    """The hop that forwarded an event, of those that may have: one that forwarded none yet, one that failed on it, the
    latest."""
    free = [step for step in steps if not any(is_forwarded(one, facts) and is_sent(one) for one in step.caused)]
    failed = [step for step in free or steps if _last_error(step, forwarded.sent_ms) is not None]
    return max(failed or free or steps, key=lambda step: max(one.taken_ms for one in step.finding.tries))


def _last_error(step: Step, before_ms: float) -> str | None:
    """The error of the last try that began before then and ended; None when it ended well, or there is none."""
    ended = [one for one in step.processes if one.taken_ms <= before_ms]
    return ended[-1].error if ended else None


def _attach_unseen(sent: Sent, steps: list[Step], facts: Facts) -> None:
    """Find the hop behind the dead letter of a framework, which is none of a Python program's.

    It is that of a program which another tracer follows and which failed, else that of the one group without a tracer.
    Where several may have given it up, that is nobody's in particular.
    """
    first = _first(sent)
    of_event = [step for step in steps if step.sent is not sent and first is not None and first in _places(step.sent)]
    if not of_event:
        return
    foreign = [step for step in of_event if any(not is_own(one.span) for one in step.finding.tries)]
    failed = [step for step in foreign if _last_error(step, sent.sent_ms) is not None]
    unseen = [step for step in of_event if step.finding.reader and _is_unseen(step.finding.reader, facts)]
    if failed or (foreign and not unseen):
        _likeliest(failed or foreign, sent, facts).caused.append(sent)
    elif len(unseen) == 1:
        unseen[0].caused.append(sent)
    else:
        _nobodys(of_event, steps).caused.append(sent)


def _nobodys(of_event: Sequence[Step], steps: list[Step]) -> Step:
    """The hop of an event that has no reader: the one that says that nobody reads it, else a new one."""
    event = of_event[0].sent
    own = [step for step in of_event if step.sent is event]
    for step in own:
        if step.finding.reader is None and step.finding.state in (State.WAITING, State.UNCONSUMED, State.DEAD_LETTERED):
            return step
    step = Step(event, Finding(State.DEAD_LETTERED, ""))
    steps.insert(steps.index(own[-1]) + 1, step)
    return step


def _is_unseen(reader: Reader, facts: Facts) -> bool:
    return bool(reader.group) and not facts.reports_spans(reader.group)


def _places(sent: Sent) -> tuple[Place | None, Place | None]:
    """Where an event lies, and where it lay first."""
    return sent.place, _first(sent)
