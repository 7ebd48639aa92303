"""An event that a reader has not polled, as far as spans tell: passed over, removed, or waiting for somebody. Pure."""

from flowtrail.collector.api.answers import Evidence, State, Tone

from .deliveries import Reader, Sent
from .evidence import commit_evidence, commit_of, is_overtaken, no_members, queue_position
from .facts import READ_WITHIN_MS, SPANS_ARRIVE_WITHIN_MS, Facts
from .findings import Finding
from .rows import CommitRow, Place
from .wording import counted, duration, rate


def judge_untaken(sent: Sent, reader: Reader, facts: Facts) -> Finding:
    """Judge an event by where a reader stands of which no span speaks of it."""
    if sent.place is None:
        return Finding(
            State.UNKNOWN,
            f"Whether {reader.name} read it cannot be known: the sender did not say where it lies.",
            missing=[f"The send span names no offset of {sent.topic}."],
            since_ms=sent.sent_ms,
        )
    place = sent.place
    commit = commit_of(facts, reader, place)
    evidence = commit_evidence(facts, reader, place)
    if commit is not None and commit.committed is not None and commit.committed > place.offset:
        return _passed(sent, place, reader, commit, evidence, facts)
    if commit is None and not _is_expired(place, facts) and is_overtaken(facts, reader, place):
        return _overtaken(sent, place, reader, facts)
    return judge_before(sent, place, reader, facts)


def judge_before(sent: Sent, place: Place, reader: Reader, facts: Facts) -> Finding:
    """Judge an event that a group has before it, as far as is known: removed, or waiting for somebody."""
    commit = commit_of(facts, reader, place)
    evidence = commit_evidence(facts, reader, place)
    if _is_expired(place, facts):
        log = facts.logs[place.topic, place.partition]
        text = f"the log of {place.topic}/{place.partition} starts at {log.log_start}"
        return Finding(
            State.EXPIRED,
            f"Retention removed {place} before {reader.name} read it.",
            since_ms=log.seen_ms,
            evidence=[Evidence(kind="end", text=text, time_ms=log.seen_ms), *evidence],
        )
    return _not_reached(sent, place, reader, commit, evidence, facts)


def _is_expired(place: Place, facts: Facts) -> bool:
    log = facts.logs.get((place.topic, place.partition))
    return log is not None and log.log_start > place.offset


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
    behind = queue_position(place, commit)
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
        unlisted = no_members(facts, reader)
        is_traced = not reader.group or facts.reports_spans(reader.group)
        return Finding(
            State.NO_MEMBER if is_traced else State.STALLED,
            f"{reader.name} shows no sign of life; {place} has waited for {duration(age_ms)}. {unlisted}",
            since_ms=sent.sent_ms,
            evidence=evidence,
            missing=[unlisted],
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


def judge_unread(sent: Sent, facts: Facts) -> Finding:
    """Judge an event of a topic without any reader."""
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
        missing=[*missing, "A group that died before its first commit and its first span would not be seen."],
        evidence=[
            Evidence(
                kind="missing",
                text=f"no span reads {sent.topic}, and no group has a commit there",
                time_ms=facts.now_ms,
            )
        ],
    )
