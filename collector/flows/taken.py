"""An event that somebody polled or processed: processed, failed, or still in hand. Pure.

The latest attempt that ended decides.
"""

from collections.abc import Sequence
from typing import Final

from flowtrail.collector.api.answers import State

from .deliveries import Reader, Sent, Try
from .evidence import commit_evidence, span_evidence
from .facts import Facts
from .findings import Finding
from .in_hand import judge_in_hand
from .wording import clipped, duration

# What an open try comes to where nobody will get the event again.
_WENT_PAST: Final = (State.SKIPPED, State.UNKNOWN, State.READ)


def judge_taken(sent: Sent, reader: Reader, tries: Sequence[Try], facts: Facts) -> Finding:
    """Judge an event by its tries with a reader; there must be one."""
    ended = [one for one in tries if one.is_ended]
    last = ended[-1] if ended else None
    open_try = tries[-1] if not tries[-1].is_ended else None
    if last is not None and last.error is None:
        again = f" at attempt {len(ended)}" if len(ended) > 1 else ""
        took = duration(last.span.duration_ns / 1e6)
        if last.span.is_inferred:
            return _inferred(reader, last, again, took)
        return Finding(
            State.PROCESSED,
            f"{reader.name} processed it{again} in {took}.",
            since_ms=last.span.end_ms,
            evidence=[span_evidence(reader.name, f"processing ended well after {took}", last)],
        )
    if last is not None and open_try is None:
        return _failed(sent, reader, ended, facts)
    assert open_try is not None
    finding = judge_in_hand(sent, reader, open_try, facts)
    if last is not None and open_try.process is None and finding.state in _WENT_PAST:
        return _failed(sent, reader, ended, facts)  # it went past what it had failed on
    if last is not None and finding.state in (State.IN_FLIGHT, State.WAITING):
        has_it = "has it in hand again" if finding.state is State.IN_FLIGHT else "gave it back for another attempt"
        finding.state = State.RETRYING
        finding.sentence = f"{reader.name} failed {_attempts(len(ended))}and {has_it}: {clipped(last.error or '')}"
    if last is not None:
        finding.error = last.error
        finding.evidence.insert(0, span_evidence(reader.name, "processing failed: " + clipped(last.error or ""), last))
    return finding


def _inferred(reader: Reader, last: Try, again: str, took: str) -> Finding:
    """Its client saw the program come back for more, and no more than that."""
    return Finding(
        State.PROCESSED,
        f"{reader.name} was seen to come back for more{again} after {took}; whether it went well inside is not known.",
        since_ms=last.span.end_ms,
        evidence=[span_evidence(reader.name, f"came back for more after {took} (inferred)", last)],
        missing=[
            f"Whether {reader.name} went well inside: it was seen to come back for more, which shows no error that it "
            "handled itself, nor work that it handed to a thread or a task. Say it by process(record)."
        ],
    )


def _failed(sent: Sent, reader: Reader, ended: Sequence[Try], facts: Facts) -> Finding:
    last = ended[-1]
    error = last.error or "error"
    finding = Finding(
        State.FAILED,
        f"{reader.name} failed {_attempts(len(ended))}on {sent.name}: {clipped(error)}",
        error=error,
        since_ms=next(one for one in ended if one.error).span.end_ms,
        evidence=[
            span_evidence(reader.name, f"failed on {sent.name}: {clipped(one.error)}", one)
            for one in ended
            if one.error
        ],
    )
    if sent.place is not None:
        finding.evidence += commit_evidence(facts, reader, sent.place)
    return finding


def _attempts(number: int) -> str:
    return "" if number == 1 else f"{number} times "
