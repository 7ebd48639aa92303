"""How far one event came with one reader: the first state that the evidence supports, with that evidence. Pure.

What each state rests on stands in docs/why-a-flow-failed.md. Two rules hold throughout: the latest
ended attempt decides, and silence is only read as a state once spans and commits have had the time to arrive.
"""

from .deliveries import Sent
from .facts import Facts
from .findings import Finding
from .sending import aborted, is_given_up, is_unacknowledged, not_sent, unacknowledged, with_outcome
from .taken import judge_taken
from .untaken import judge_unread, judge_untaken


def judge(sent: Sent, facts: Facts) -> list[Finding]:
    """Return one finding for each reader of an event, by name; one without a reader where nobody reads or it was not
    sent. The list is empty only for an event that nobody has had the time to read."""
    if sent.send is not None and sent.send.is_error:
        return [aborted(sent, None) if is_given_up(sent) else not_sent(sent)]
    if sent.send is not None and not sent.tries and not sent.is_aborted and is_unacknowledged(sent.send):
        return [unacknowledged(sent, sent.send)]
    readers = {reader.key: reader for reader in facts.readers(sent.topic, sent.sent_ms)} | sent.readers
    if not readers:
        return [aborted(sent, None) if sent.is_aborted else with_outcome(sent, judge_unread(sent, facts))]
    found = []
    for key in sorted(readers):
        reader, tries = readers[key], sent.tries.get(key, [])
        if tries:
            finding = judge_taken(sent, reader, tries, facts)
        elif sent.is_aborted:
            finding = aborted(sent, reader)
        else:
            finding = with_outcome(sent, judge_untaken(sent, reader, facts))
        finding.reader, finding.tries = reader, tries
        found.append(finding)
    return found
