"""An event that was polled and whose processing has not ended: in flight, skipped, crashed, given back. Pure."""

from flowtrail.collector.api.answers import Evidence, State

from .deliveries import Reader, Sent, Try, is_own
from .evidence import close_evidence, commit_evidence, commit_of, is_overtaken, no_members, span_evidence
from .facts import SPANS_ARRIVE_WITHIN_MS, Facts
from .findings import Finding
from .rows import CloseRow, Place
from .untaken import judge_before
from .wording import counted, duration


def judge_in_hand(sent: Sent, reader: Reader, open_try: Try, facts: Facts) -> Finding:
    """Polled, and no processing has ended since."""
    if open_try.is_without_group:
        return _read_without_group(sent, reader, open_try)
    process = open_try.process
    close = facts.close_of(open_try.span)
    # An unfinished span ends when nobody could come back to it any more, which may be long after it was taken up.
    polled_ms = open_try.taken_ms
    age = duration(facts.now_ms - polled_ms)
    did = "polled it"
    if process is not None:
        did = f"had it in hand when its {'consumer was closed' if close is not None else 'process stopped'}"
    evidence = [span_evidence(reader.name, did, open_try)]
    # A service may have got a tracer that reports processing since: what it took before is not held against it.
    is_reporting = process is not None or facts.reports_processing(reader, polled_ms)
    missing = [] if is_reporting else [_no_processing(reader)]
    passed_ms = _passed_ms(facts, reader, sent.place, polled_ms)
    if passed_ms is not None:
        return _open_and_passed(sent, reader, open_try, passed_ms, evidence, missing, facts)
    if close is not None:
        evidence.append(close_evidence(reader.name, close))
        if process is None:
            return _given_back(sent, reader, open_try, close, evidence, missing, facts)
    commit = commit_of(facts, reader, sent.place)
    evidence_of_commit = commit_evidence(facts, reader, sent.place)
    member = open_try.span.member_id
    members = facts.members_of(reader.group)
    gone = _gone(facts, reader, member, polled_ms)
    if gone is not None:
        evidence.append(gone)
        if is_reporting or commit is not None:
            return Finding(
                State.CRASHED,
                f"{reader.name} polled {sent.name} {age} ago and never finished it: its member has left the group.",
                since_ms=polled_ms,
                evidence=evidence + evidence_of_commit,
                missing=missing,
            )
        return _unsaid(sent, reader, f"polled {sent.name} {age} ago, and its member has left", polled_ms, evidence)
    patience_ms = facts.patience_ms(reader)
    if process is not None and facts.now_ms - process.end_ms > _stopped_after_ms(facts, open_try, close):
        # Whatever else its process does now, it stopped working on this event.
        if commit is None:
            return _left_in_hand(sent, reader, polled_ms, "; its commits are not known", evidence, facts)
        stopped = duration(facts.now_ms - process.end_ms)
        evidence.append(
            Evidence(kind="silence", text=f"it stopped {stopped} ago with the event in hand", time_ms=process.end_ms)
        )
        return Finding(
            State.CRASHED,
            f"{reader.name} polled {sent.name} {age} ago and never finished it: it stopped with it in hand.",
            since_ms=polled_ms,
            evidence=evidence + evidence_of_commit,
        )
    is_late = facts.now_ms - polled_ms > max(patience_ms, SPANS_ARRIVE_WITHIN_MS)
    if is_late and commit is None and is_overtaken(facts, reader, sent.place):
        return Finding(
            State.UNKNOWN,
            f"{reader.name} polled {sent.name} {age} ago and processed later events: "
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
            return _unsaid(sent, reader, f"polled {sent.name} {age} ago", polled_ms, evidence)
        return Finding(
            State.CRASHED,
            f"{reader.name} polled {sent.name} {age} ago and never finished it; its process has been silent since. "
            f"{no_members(facts, reader)}",
            since_ms=polled_ms,
            evidence=evidence + evidence_of_commit,
            missing=[no_members(facts, reader), *missing],
        )
    if is_late and not is_reporting and commit is None:
        return _unsaid(sent, reader, f"polled {sent.name} {age} ago", polled_ms, evidence)
    return Finding(
        State.IN_FLIGHT,
        f"{reader.name} has had it in hand for {age}."
        if is_reporting
        else f"{reader.name} received it {age} ago and has not committed it.",
        since_ms=polled_ms,
        evidence=evidence,
        missing=missing,
    )


def _stopped_after_ms(facts: Facts, one: Try, close: CloseRow | None) -> float:
    """How long after an unfinished processing nothing else is to come of it.

    Where the consumer was closed, or the process told nothing later, only what is on its way: a commit at the close,
    and spans. Elsewhere another thread of the process may have the event.
    """
    if close is not None or _is_its_last_word(facts, one):
        return SPANS_ARRIVE_WITHIN_MS
    return max(facts.silent_after_ms, SPANS_ARRIVE_WITHIN_MS)


def _read_without_group(sent: Sent, reader: Reader, open_try: Try) -> Finding:
    """Read by a consumer in no group: it commits nothing, so it leaves nothing undone."""
    return Finding(
        State.READ,
        f"{reader.name} read {sent.name} without a group: it commits nothing, and nobody waits for it.",
        since_ms=open_try.taken_ms,
        evidence=[span_evidence(reader.name, "read it without a group", open_try)],
    )


def _given_back(
    sent: Sent,
    reader: Reader,
    open_try: Try,
    close: CloseRow,
    evidence: list[Evidence],
    missing: list[str],
    facts: Facts,
) -> Finding:
    """Fetched by a consumer that its program closed before it took the event up: the group has it before it still."""
    commit = commit_of(facts, reader, sent.place)
    did = f"fetched {sent.name} and closed its consumer {duration(facts.now_ms - close.end_ms)} ago"
    if commit is None and missing:
        return _unsaid(sent, reader, did, open_try.taken_ms, evidence)
    if sent.place is None or (commit is None and is_overtaken(facts, reader, sent.place)):
        return Finding(
            State.UNKNOWN,
            f"{reader.name} {did}: whether it skipped this one is not known.",
            since_ms=open_try.taken_ms,
            evidence=evidence,
            missing=[f"Commits of {reader.name} are not known."],
        )
    finding = judge_before(sent, sent.place, reader, facts)
    finding.evidence = [*evidence, *finding.evidence]
    finding.missing = [*finding.missing, *missing]
    return finding


def _passed_ms(facts: Facts, reader: Reader, place: Place | None, polled_ms: float) -> float | None:
    """When the group went past an event that it polled; None when it did not, or went back and polled it again."""
    passed_ms = facts.passed_ms.get((reader.group, place)) if place is not None else None
    if passed_ms is None or place is None or passed_ms >= polled_ms:
        return passed_ms
    commit = commit_of(facts, reader, place)
    is_back = commit is not None and commit.committed is not None and commit.committed <= place.offset
    return None if is_back else passed_ms


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
    gone = _gone(facts, reader, open_try.span.member_id, passed_ms)
    if missing and gone is not None and _is_its_last_word(facts, open_try):
        return Finding(
            State.UNKNOWN,
            f"{reader.name} polled {sent.name}, committed past it and was not heard of again: "
            "whether it processed it is not known.",
            since_ms=passed_ms,
            evidence=[*evidence, gone, *commit_evidence(facts, reader, sent.place)],
            missing=missing,
        )
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
    patience_ms = 0.0 if is_overtaken(facts, reader, sent.place) else facts.patience_ms(reader)
    grace_ms = max(patience_ms, SPANS_ARRIVE_WITHIN_MS)
    if facts.now_ms - max(passed_ms, open_try.taken_ms) > grace_ms:
        return Finding(
            State.SKIPPED,
            f"{reader.name} polled {sent.name} and committed past it, and no span says that it processed it.",
            since_ms=passed_ms,
            evidence=evidence + commit_evidence(facts, reader, sent.place),
            missing=["A processing whose span was not sampled, or was lost, looks the same."],
        )
    return Finding(
        State.IN_FLIGHT,
        f"{reader.name} has had it in hand for {duration(facts.now_ms - open_try.taken_ms)}, and committed past it.",
        since_ms=open_try.taken_ms,
        evidence=evidence,
    )


def _gone(facts: Facts, reader: Reader, member: str, since_ms: float) -> Evidence | None:
    """Evidence that a member has left its group since; None when it has not, or nobody says."""
    members = facts.members_of(reader.group)
    if members is None or not member or members.seen_ms <= since_ms or member in members.members:
        return None
    text = f"{member} is not among the {counted(len(members.members), 'member')} of {reader.group}"
    return Evidence(kind="members", text=text, time_ms=members.seen_ms)


def _is_its_last_word(facts: Facts, one: Try) -> bool:
    """Whether a process of which our tracer tells told nothing after this: a client commits by itself while a handler
    dies."""
    span = one.span
    last_ms = facts.last_span_ms.get((span.service, span.instance))
    return is_own(span) and last_ms is not None and last_ms <= span.end_ms


def _left_in_hand(
    sent: Sent, reader: Reader, since_ms: float, also: str, evidence: list[Evidence], facts: Facts
) -> Finding:
    """In hand when its consumer closed, and no position says that it was not done: a program that ends in good order
    leaves that behind, and one that failed on it may do so too."""
    return Finding(
        State.UNKNOWN,
        f"{reader.name} had {sent.name} in hand when it stopped{also}: whether it was done with it is not known.",
        since_ms=since_ms,
        evidence=evidence + commit_evidence(facts, reader, sent.place),
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
