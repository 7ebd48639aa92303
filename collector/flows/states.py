"""How far one event came with one reader: the first state that the evidence supports, with that evidence. Pure.

What each state rests on stands in docs/why-a-flow-failed.md. Two rules hold throughout: the latest
ended attempt decides, and silence is only read as a state once spans and commits have had the time to arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from flowtrail.collector.api.answers import Evidence, State, Tone
from flowtrail.tracer.attributes import UNACKNOWLEDGED_EVENT, UNKNOWN_OUTCOME

from .deliveries import Reader, Sent, Try, error_text
from .facts import READ_WITHIN_MS, SPANS_ARRIVE_WITHIN_MS, Facts
from .rows import CommitRow, Place, SpanRow
from .wording import clipped, count, counted, duration, rate

TONES: Final[dict[State, Tone]] = {
    State.COMPLETE: Tone.OK,
    State.PROCESSED: Tone.OK,
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


# What a producer says of records that it had not sent yet when their transaction was aborted (librdkafka: a purge).
_GIVEN_UP: Final = ("TransactionAborted", "_PURGE_", "Purged in ")


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


def judge(sent: Sent, facts: Facts) -> list[Finding]:
    """Return one finding for each reader of an event, by name; one without a reader where nobody reads or it was not
    sent. The list is empty only for an event that nobody has had the time to read."""
    if sent.send is not None and sent.send.is_error:
        is_given_up = sent.is_aborted and any(word in error_text(sent.send) for word in _GIVEN_UP)
        return [_aborted(sent, None) if is_given_up else _not_sent(sent)]
    if sent.send is not None and not sent.tries and not sent.is_aborted and _is_unacknowledged(sent.send):
        return [_unacknowledged(sent, sent.send)]
    readers = {reader.key: reader for reader in facts.readers(sent.topic, sent.sent_ms)} | sent.readers
    if not readers:
        return [_aborted(sent, None) if sent.is_aborted else _said_of_outcome(sent, _unread(sent, facts))]
    found = []
    for key in sorted(readers):
        reader, tries = readers[key], sent.tries.get(key, [])
        if tries:
            finding = _taken(sent, reader, tries, facts)
        elif sent.is_aborted:
            finding = _aborted(sent, reader)
        else:
            finding = _said_of_outcome(sent, _untaken(sent, reader, facts))
        finding.reader, finding.tries = reader, tries
        found.append(finding)
    return found


def _not_sent(sent: Sent) -> Finding:
    assert sent.send is not None
    error = error_text(sent.send)
    return Finding(
        State.NOT_SENT,
        f"{sent.send.service} could not send to {sent.topic}: {clipped(error)}",
        error=error,
        since_ms=sent.send.end_ms,
        evidence=[_span(sent.send.service, "send failed: " + clipped(error), Try(process=sent.send))],
    )


def _is_unacknowledged(send: SpanRow) -> bool:
    return send.offset is None and any(event.name == UNACKNOWLEDGED_EVENT for event in send.events)


def _unacknowledged(sent: Sent, send: SpanRow) -> Finding:
    """Its producer closed before an answer came, and nobody was seen to read it."""
    return Finding(
        State.NOT_SENT,
        f"{send.service} closed before {sent.topic} acknowledged the event, and nobody was seen to read it.",
        since_ms=send.end_ms,
        evidence=[_span(send.service, "no acknowledgement before its producer closed", Try(process=send))],
        missing=["Whether the event was stored all the same cannot be known."],
    )


def _aborted(sent: Sent, reader: Reader | None) -> Finding:
    """Its transaction was aborted, and this reader was not seen to take it: then it reads what is committed."""
    assert sent.send is not None
    who = f"{reader.name} never sees it" if reader is not None else "no group that reads committed events ever sees it"
    return Finding(
        State.ABORTED,
        f"{sent.send.service} aborted the transaction of {sent.id}: {who}.",
        since_ms=sent.send.end_ms,
        evidence=[_span(sent.send.service, "sent in a transaction that was aborted", Try(process=sent.send))],
    )


def _said_of_outcome(sent: Sent, finding: Finding) -> Finding:
    """The finding of an event that nobody took, with what is not known of its transaction."""
    if sent.outcome == UNKNOWN_OUTCOME:
        finding.missing = [
            *finding.missing,
            "Whether its transaction was committed is not known: a group that reads committed events may never see it.",
        ]
    return finding


def _unread(sent: Sent, facts: Facts) -> Finding:
    age_ms = facts.now_ms - sent.sent_ms
    missing = [] if facts.is_broker_polled else ["No broker is polled: a group without a tracer would not be seen."]
    if age_ms < READ_WITHIN_MS:
        return Finding(
            State.WAITING,
            f"Sent {duration(age_ms)} ago; no group of {sent.topic} is known yet.",
            missing=missing,
            since_ms=sent.sent_ms,
        )
    return Finding(
        State.UNCONSUMED,
        f"Nobody reads {sent.topic}: no group is known for it.",
        since_ms=sent.sent_ms,
        missing=missing,
        evidence=[
            Evidence(
                kind="missing",
                text=f"no span reads {sent.topic}, and no group has a commit there",
                time_ms=facts.now_ms,
            )
        ],
    )


# ── somebody polled or processed it ─────────────────────────────────────────────────────────────────────────────


def _taken(sent: Sent, reader: Reader, tries: Sequence[Try], facts: Facts) -> Finding:
    ended = [one for one in tries if one.is_ended]
    last = ended[-1] if ended else None
    open_try = tries[-1] if not tries[-1].is_ended else None
    if last is not None and last.error is None:
        again = f" at attempt {len(ended)}" if len(ended) > 1 else ""
        took = duration(last.span.duration_ns / 1e6)
        ended_well = f"processing ended well after {took}"
        if last.span.is_inferred:
            ended_well = f"came back for more after {took} (inferred: an error that it handled itself is not seen)"
        return Finding(
            State.PROCESSED,
            f"{reader.name} processed it{again} in {took}.",
            since_ms=last.span.end_ms,
            evidence=[_span(reader.name, ended_well, last)],
        )
    if last is not None and open_try is None:
        return _failed(sent, reader, ended, facts)
    assert open_try is not None
    finding = _open(sent, reader, open_try, facts)
    if last is not None and open_try.process is None and finding.state in (State.SKIPPED, State.UNKNOWN):
        return _failed(sent, reader, ended, facts)  # it went past what it had failed on
    if last is not None and finding.state is State.IN_FLIGHT:
        finding.state = State.RETRYING
        finding.sentence = (
            f"{reader.name} failed {_attempts(len(ended))}and has it in hand again: {clipped(last.error or '')}"
        )
    if last is not None:
        finding.error = last.error
        finding.evidence.insert(0, _span(reader.name, "processing failed: " + clipped(last.error or ""), last))
    return finding


def _failed(sent: Sent, reader: Reader, ended: Sequence[Try], facts: Facts) -> Finding:
    last = ended[-1]
    error = last.error or "error"
    finding = Finding(
        State.FAILED,
        f"{reader.name} failed {_attempts(len(ended))}on {sent.id}: {clipped(error)}",
        error=error,
        since_ms=next(one for one in ended if one.error).span.end_ms,
        evidence=[_span(reader.name, f"failed on {sent.id}: {clipped(one.error)}", one) for one in ended if one.error],
    )
    if sent.place is not None:
        finding.evidence += _commit_evidence(facts, reader, sent.place)
    return finding


def _open(sent: Sent, reader: Reader, open_try: Try, facts: Facts) -> Finding:
    """Polled, and no processing has ended since."""
    process = open_try.process
    # An unfinished span ends when nobody could come back to it any more, which may be long after it was taken up.
    polled_ms = open_try.taken_ms
    age = duration(facts.now_ms - polled_ms)
    did = "had it in hand when its consumer closed, or its process ended" if process is not None else "polled it"
    evidence = [_span(reader.name, did, open_try)]
    # A service may have got a tracer that reports processing since: what it took before is not held against it.
    is_reporting = process is not None or facts.reports_processing(reader, polled_ms)
    missing = [] if is_reporting else [_no_processing(reader)]
    passed_ms = _passed_ms(facts, reader, sent.place, polled_ms)
    if passed_ms is not None:
        return _open_and_passed(sent, reader, open_try, passed_ms, evidence, missing, facts)
    commit = _commit(facts, reader, sent.place)
    evidence_of_commit = _commit_evidence(facts, reader, sent.place)
    member = open_try.span.member_id
    members = facts.members_of(reader.group)
    if members is not None and member and members.seen_ms > polled_ms and member not in members.members:
        text = f"{member} is not among the {counted(len(members.members), 'member')} of {reader.group}"
        evidence.append(Evidence(kind="members", text=text, time_ms=members.seen_ms))
        if is_reporting or commit is not None:
            return Finding(
                State.CRASHED,
                f"{reader.name} polled {sent.id} {age} ago and never finished it: its member has left the group.",
                since_ms=polled_ms,
                evidence=evidence + evidence_of_commit,
                missing=missing,
            )
        return _unsaid(sent, reader, f"polled {sent.id} {age} ago, and its member has left", polled_ms, evidence)
    patience_ms = facts.patience_ms(reader)
    if process is not None and facts.now_ms - process.end_ms > max(facts.silent_after_ms, SPANS_ARRIVE_WITHIN_MS):
        # Whatever else its process does now, it stopped working on this event.
        if commit is None:
            return _left_in_hand(sent, reader, polled_ms, "; its commits are not known", evidence, facts)
        stopped = duration(facts.now_ms - process.end_ms)
        evidence.append(
            Evidence(kind="silence", text=f"it stopped {stopped} ago with the event in hand", time_ms=process.end_ms)
        )
        return Finding(
            State.CRASHED,
            f"{reader.name} polled {sent.id} {age} ago and never finished it: it stopped with it in hand.",
            since_ms=polled_ms,
            evidence=evidence + evidence_of_commit,
        )
    is_late = facts.now_ms - polled_ms > max(patience_ms, SPANS_ARRIVE_WITHIN_MS)
    if is_late and commit is None and _is_overtaken(facts, reader, sent.place):
        return Finding(
            State.UNKNOWN,
            f"{reader.name} polled {sent.id} {age} ago and processed later events: "
            "whether it skipped this one is not known.",
            since_ms=polled_ms,
            evidence=evidence,
            missing=[f"Commits of {reader.name} are not known."],
        )
    last_ms = facts.last_span_ms.get((open_try.span.service, open_try.span.instance), facts.last_sign_ms(reader))
    silent_ms = facts.now_ms - max(last_ms or polled_ms, polled_ms)
    if silent_ms > patience_ms and (members is None or not member):
        silence = f"no span of this process for {duration(silent_ms)}"
        evidence.append(Evidence(kind="silence", text=silence, time_ms=facts.now_ms))
        if not is_reporting and commit is None:
            return _unsaid(sent, reader, f"polled {sent.id} {age} ago", polled_ms, evidence)
        return Finding(
            State.CRASHED,
            f"{reader.name} polled {sent.id} {age} ago and never finished it; its process has been silent since. "
            f"{_no_members(facts, reader)}",
            since_ms=polled_ms,
            evidence=evidence + evidence_of_commit,
            missing=[_no_members(facts, reader), *missing],
        )
    if is_late and not is_reporting and commit is None:
        return _unsaid(sent, reader, f"polled {sent.id} {age} ago", polled_ms, evidence)
    return Finding(
        State.IN_FLIGHT,
        f"{reader.name} has had it in hand for {age}."
        if is_reporting
        else f"{reader.name} received it {age} ago and has not committed it.",
        since_ms=polled_ms,
        evidence=evidence,
        missing=missing,
    )


def _passed_ms(facts: Facts, reader: Reader, place: Place | None, polled_ms: float) -> float | None:
    """When the group went past an event that it polled; None when it did not, or went back and polled it again."""
    passed_ms = facts.passed_ms.get((reader.group, place)) if place is not None else None
    if passed_ms is None or place is None or passed_ms >= polled_ms:
        return passed_ms
    commit = _commit(facts, reader, place)
    is_back = commit is not None and commit.committed is not None and commit.committed <= place.offset
    return None if is_back else passed_ms


def _is_overtaken(facts: Facts, reader: Reader, place: Place | None) -> bool:
    """Whether the group processed a later event of the partition."""
    if place is None:
        return False
    return facts.processed_until.get((reader.group, (place.topic, place.partition)), -1) > place.offset


def _open_and_passed(
    sent: Sent,
    reader: Reader,
    open_try: Try,
    passed_ms: float,
    evidence: list[Evidence],
    missing: list[str],
    facts: Facts,
) -> Finding:
    """Polled and committed past: whoever had it may be gone by now, but nobody will get it again."""
    if missing:
        return Finding(
            State.PROCESSED,
            f"{reader.name} committed past it; its client reports no processing.",
            since_ms=passed_ms,
            evidence=evidence,
            missing=missing,
        )
    if open_try.process is not None:
        return _left_in_hand(sent, reader, passed_ms, ", and committed past it", evidence, facts)
    patience_ms = 0.0 if _is_overtaken(facts, reader, sent.place) else facts.patience_ms(reader)
    grace_ms = max(patience_ms, SPANS_ARRIVE_WITHIN_MS)
    if facts.now_ms - max(passed_ms, open_try.taken_ms) > grace_ms:
        return Finding(
            State.SKIPPED,
            f"{reader.name} polled {sent.id} and committed past it, and no span says that it processed it.",
            since_ms=passed_ms,
            evidence=evidence + _commit_evidence(facts, reader, sent.place),
            missing=["A processing whose span was not sampled, or was lost, looks the same."],
        )
    return Finding(
        State.IN_FLIGHT,
        f"{reader.name} has had it in hand for {duration(facts.now_ms - open_try.taken_ms)}, and committed past it.",
        since_ms=open_try.taken_ms,
        evidence=evidence,
    )


def _left_in_hand(
    sent: Sent, reader: Reader, since_ms: float, also: str, evidence: list[Evidence], facts: Facts
) -> Finding:
    """In hand when its consumer closed, and no position says that it was not done: a program that ends in good order
    leaves that behind, and one that failed on it may do so too."""
    return Finding(
        State.UNKNOWN,
        f"{reader.name} had {sent.id} in hand when it stopped{also}: whether it was done with it is not known.",
        since_ms=since_ms,
        evidence=evidence + _commit_evidence(facts, reader, sent.place),
        missing=[f"{reader.name} does not say what it processes: it is inferred from one poll to the next."],
    )


def _unsaid(sent: Sent, reader: Reader, did: str, polled_ms: float, evidence: list[Evidence]) -> Finding:
    """Polled by a client that reports no processing, and no position tells how far it came."""
    return Finding(
        State.UNKNOWN,
        f"{reader.name} {did}; whether it processed it is not known.",
        since_ms=polled_ms,
        evidence=evidence,
        missing=[_no_processing(reader), f"Commits of {reader.name} are not known."],
    )


def _no_processing(reader: Reader) -> str:
    return f"{reader.name} reports no processing: whether its handler failed cannot be known."


# ── nobody has polled it ────────────────────────────────────────────────────────────────────────────────────────


def _untaken(sent: Sent, reader: Reader, facts: Facts) -> Finding:
    if sent.place is None:
        return Finding(
            State.UNKNOWN,
            f"Whether {reader.name} read it cannot be known: the sender did not say where it lies.",
            missing=[f"The send span names no offset of {sent.topic}."],
            since_ms=sent.sent_ms,
        )
    place = sent.place
    commit = _commit(facts, reader, place)
    evidence = _commit_evidence(facts, reader, place)
    if commit is not None and commit.committed is not None and commit.committed > place.offset:
        return _passed(sent, place, reader, commit, evidence, facts)
    log = facts.logs.get((place.topic, place.partition))
    if log is not None and log.log_start > place.offset:
        text = f"the log of {place.topic}/{place.partition} starts at {log.log_start}"
        return Finding(
            State.EXPIRED,
            f"Retention removed {place} before {reader.name} read it.",
            since_ms=log.seen_ms,
            evidence=[Evidence(kind="end", text=text, time_ms=log.seen_ms), *evidence],
        )
    if commit is None and _is_overtaken(facts, reader, place):
        return _overtaken(sent, place, reader, facts)
    return _not_reached(sent, place, reader, commit, evidence, facts)


def _passed(
    sent: Sent, place: Place, reader: Reader, commit: CommitRow, evidence: list[Evidence], facts: Facts
) -> Finding:
    passed_ms = facts.passed_ms.get((reader.group, place), commit.seen_ms)
    if not facts.reports_spans(reader.group):
        return Finding(
            State.UNINSTRUMENTED,
            f"{reader.group} committed past it; it reports no spans.",
            since_ms=passed_ms,
            evidence=evidence,
            missing=[f"{reader.group} has no tracer."],
        )
    if facts.now_ms - max(passed_ms, sent.sent_ms) < SPANS_ARRIVE_WITHIN_MS:
        return Finding(
            State.IN_FLIGHT,
            f"{reader.name} committed past it just now; its spans are still on their way.",
            since_ms=passed_ms,
            evidence=evidence,
        )
    first_sign_ms = facts.first_sign_ms(reader, place.topic)
    if first_sign_ms is not None and first_sign_ms > sent.sent_ms and (commit.first_committed or 0) > place.offset:
        return Finding(
            State.SKIPPED,
            f"{reader.name} began after it, at a later offset: it was never meant for this group.",
            tone=Tone.OK,
            since_ms=passed_ms,
            evidence=evidence,
        )
    return Finding(
        State.SKIPPED,
        f"{reader.name} committed past {place} and never processed it.",
        since_ms=passed_ms,
        evidence=evidence,
    )


def _overtaken(sent: Sent, place: Place, reader: Reader, facts: Facts) -> Finding:
    """Later offsets of the partition were processed; commits are not known."""
    missing = [f"Commits of {reader.name} are not known."]
    if facts.now_ms - sent.sent_ms < max(facts.silent_after_ms, SPANS_ARRIVE_WITHIN_MS):
        return Finding(
            State.IN_FLIGHT,
            f"{reader.name} processed later events; the spans of this one are still on their way.",
            since_ms=sent.sent_ms,
            missing=missing,
        )
    first_sign_ms = facts.first_sign_ms(reader, place.topic)
    is_newcomer = first_sign_ms is not None and first_sign_ms > sent.sent_ms + facts.silent_after_ms
    return Finding(
        State.SKIPPED,
        f"{reader.name} began after it, at a later offset."
        if is_newcomer
        else f"{reader.name} processed later events of {place.topic}/{place.partition}, and never {place}.",
        tone=Tone.OK if is_newcomer else None,
        since_ms=sent.sent_ms,
        missing=missing,
        evidence=[Evidence(kind="missing", text=f"no span of {reader.name} speaks of {place}", time_ms=facts.now_ms)],
    )


def _not_reached(
    sent: Sent, place: Place, reader: Reader, commit: CommitRow | None, evidence: list[Evidence], facts: Facts
) -> Finding:
    """The group stands before the event: it waits, or nobody comes for it."""
    age_ms = facts.now_ms - sent.sent_ms
    sign_ms = facts.last_sign_ms(reader)
    members = facts.members_of(reader.group)
    quiet_ms = facts.now_ms - max(sign_ms or sent.sent_ms, sent.sent_ms)
    patience_ms = facts.patience_ms(reader)
    behind = _position(place, commit)
    if members is not None and not members.members:
        is_seen_after = members.seen_ms > max(sent.sent_ms, sign_ms or 0)
        if is_seen_after and age_ms > min(READ_WITHIN_MS, facts.silent_after_ms):
            text = f"{reader.group} is {members.state or 'empty'}: no members"
            evidence.append(Evidence(kind="members", text=text, time_ms=members.seen_ms))
            return Finding(
                State.NO_MEMBER,
                f"{reader.group} has no members; {place} has waited for {duration(age_ms)}.",
                since_ms=sent.sent_ms,
                evidence=evidence,
            )
    elif quiet_ms > patience_ms:
        if members is not None:
            crew = counted(len(members.members), "member")
            text = f"{crew} listed, no commit moved and no span for {duration(quiet_ms)}"
            evidence.append(Evidence(kind="members", text=text, time_ms=members.seen_ms))
            return Finding(
                State.STALLED,
                f"{reader.name} has {crew} and has not moved for {duration(quiet_ms)}; {place} waits{behind}.",
                since_ms=max(sign_ms or sent.sent_ms, sent.sent_ms),
                evidence=evidence,
            )
        evidence.append(
            Evidence(
                kind="silence",
                time_ms=facts.now_ms,
                text=f"neither a span nor a commit of {reader.name} for {duration(quiet_ms)}",
            )
        )
        is_traced = not reader.group or facts.reports_spans(reader.group)
        return Finding(
            State.NO_MEMBER if is_traced else State.STALLED,
            f"{reader.name} shows no sign of life; {place} has waited for {duration(age_ms)}. "
            f"{_no_members(facts, reader)}",
            since_ms=sent.sent_ms,
            evidence=evidence,
            missing=[_no_members(facts, reader)],
        )
    per_s = facts.rate_per_s(reader, place.topic)
    ahead = place.offset - commit.committed if commit is not None and commit.committed is not None else None
    soon = f", about {duration(ahead / per_s * 1000)} at {rate(per_s)}" if ahead and per_s > 0 else ""
    return Finding(
        State.WAITING,
        f"It has waited for {reader.name} for {duration(age_ms)}{behind}{soon}.",
        since_ms=sent.sent_ms,
        evidence=evidence,
    )


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _span(who: str, text: str, one: Try) -> Evidence:
    span = one.span
    context = span.context
    return Evidence(
        kind="span", text=f"{who}: {text}", time_ms=span.end_ms, trace_id=context.trace_id, span_id=context.span_id
    )


def _commit(facts: Facts, reader: Reader, place: Place | None) -> CommitRow | None:
    return facts.commit(reader.group, place.topic, place.partition) if reader.group and place else None


def _commit_evidence(facts: Facts, reader: Reader, place: Place | None) -> list[Evidence]:
    commit = _commit(facts, reader, place)
    if commit is None or place is None:
        return []
    if commit.committed is None:
        text = f"{reader.group} has no commit in {place.topic}/{place.partition}"
    else:
        side = "past it" if commit.committed > place.offset else "not past it"
        text = f"{reader.group} stands at {place.topic}/{place.partition}/{commit.committed}, {side}"
    return [Evidence(kind="commit", text=text, time_ms=commit.seen_ms)]


def _position(place: Place, commit: CommitRow | None) -> str:
    if commit is None or commit.committed is None:
        return ""
    ahead = place.offset - commit.committed
    return ", next in line" if ahead <= 0 else f", {count(ahead)} events before it"


def _no_members(facts: Facts, reader: Reader) -> str:
    if not facts.is_broker_polled:
        return "No broker is polled, so this rests on spans alone."
    return "The broker lists no members, so this rests on commits and spans."


def _attempts(number: int) -> str:
    return "" if number == 1 else f"{number} times "
