"""Who forwarded an event: the hop behind a retry or a dead letter. Pure.

Most often it was sent while the hop was processed. Else its own word on where it lay first tells, then who tried before
it was sent. Some dead letters were sent by programs that no span tells of, such as Kafka Connect.
"""

from collections.abc import Sequence

from .deliveries import Sent
from .facts import Facts
from .rows import Context, Place
from .steps import Step, is_forwarded, is_sent
from .stitching import Trail


def attach_loose(steps: Sequence[Step], events: Sequence[Sent], trail: Trail, facts: Facts) -> None:
    """Find the hop behind a retry or dead letter that was sent after the processing, with the record's old headers."""
    caused = {sent.id for step in steps for sent in step.caused}
    sender_of: dict[Context, Sent] = {sent.send.context: sent for sent in events if sent.send is not None}
    for sent in events:
        if sent.id in caused or not is_forwarded(sent, facts):
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
    return first in (step.sent.place, _first(step.sent))


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
    found = [
        step
        for step in steps
        if step.sent is not sent and step.finding.tries and first in (step.sent.place, _first(step.sent))
    ]
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
