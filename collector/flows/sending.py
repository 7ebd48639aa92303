"""What the sender of an event decides: that it was not sent, that its transaction was aborted. Pure."""

from typing import Final

from flowtrail.collector.api.answers import Evidence, State, Tone
from flowtrail.tracer.attributes import UNACKNOWLEDGED_EVENT, UNKNOWN_OUTCOME

from .deliveries import Reader, Sent, Try, error_text
from .evidence import span_evidence
from .findings import Finding
from .rows import SpanRow
from .wording import clipped

# What a producer says of records that it had not sent yet when their transaction was aborted (librdkafka: a purge).
_GIVEN_UP: Final = ("TransactionAborted", "_PURGE_", "Purged in ")
# What producers say when no broker answered them: librdkafka's codes, the exceptions of kafka-python and aiokafka.
_UNREACHED: Final = (
    *("_MSG_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE"),
    *("KafkaTimeoutError", "KafkaConnectionError", "NoBrokersAvailable", "NodeNotReadyError", "RequestTimedOutError"),
)


def is_given_up(sent: Sent) -> bool:
    """Whether a send failed for no reason of its own, but because its transaction was aborted first."""
    return sent.is_aborted and sent.send is not None and any(word in error_text(sent.send) for word in _GIVEN_UP)


def not_sent(sent: Sent) -> Finding:
    """Its send ended with an error: the record never reached the log."""
    assert sent.send is not None
    error = error_text(sent.send)
    return Finding(
        State.NOT_SENT,
        f"{sent.send.service} could not send to {sent.topic}: {clipped(error)}",
        error=error,
        since_ms=sent.send.end_ms,
        evidence=[span_evidence(sent.send.service, "send failed: " + clipped(error), Try(process=sent.send))],
    )


def is_unreached(error: str) -> bool:
    """Whether the text of a send's error says that no broker answered: the record itself may be all right."""
    return any(word in error for word in _UNREACHED)


def is_unacknowledged(send: SpanRow) -> bool:
    """Whether a producer was closed, or its process ended, with a record that no broker had answered for."""
    return send.offset is None and any(event.name == UNACKNOWLEDGED_EVENT for event in send.events)


def unacknowledged(sent: Sent, send: SpanRow) -> Finding:
    """Its producer was closed, or its process ended, before an answer came, and nobody was seen to read it."""
    return Finding(
        State.NOT_SENT,
        f"{send.service} closed its producer, or ended, before {sent.topic} acknowledged the event, "
        "and nobody was seen to read it.",
        since_ms=send.end_ms,
        evidence=[
            span_evidence(
                send.service,
                "no acknowledgement until its producer was closed, or its process ended",
                Try(process=send),
            )
        ],
        missing=["Whether the event was stored all the same cannot be known."],
    )


def aborted(sent: Sent, reader: Reader | None) -> Finding:
    """Its transaction was aborted, and this reader was not seen to take it: then it reads what is committed."""
    assert sent.send is not None
    who = f"{reader.name} never sees it" if reader is not None else "no group that reads committed events ever sees it"
    return Finding(
        State.ABORTED,
        f"{sent.send.service} aborted the transaction of {sent.name}: {who}.",
        since_ms=sent.send.end_ms,
        evidence=[_aborted_evidence(sent.send)],
    )


def work_on_aborted(sent: Sent, finding: Finding) -> None:
    """Let a finding say that this reader took an aborted event: what it made of it is not to count."""
    if not sent.is_aborted or not finding.tries or finding.reader is None:
        return
    assert sent.send is not None
    who, sender = finding.reader.name, sent.send.service
    if finding.state is State.PROCESSED:
        finding.tone = Tone.SLOW
        finding.sentence = f"{who} worked on {sent.name}, whose transaction {sender} aborted."
    else:
        finding.sentence += f" ({sender} aborted the event's transaction: {who} reads uncommitted ones.)"
    finding.evidence = [*finding.evidence, _aborted_evidence(sent.send)]


def with_outcome(sent: Sent, finding: Finding) -> Finding:
    """The finding of an event that nobody took, with what is not known of its transaction."""
    if sent.outcome == UNKNOWN_OUTCOME:
        finding.missing = [
            *finding.missing,
            "Whether its transaction was committed is not known: a group that reads committed events may never see it.",
        ]
    return finding


def _aborted_evidence(send: SpanRow) -> Evidence:
    return span_evidence(send.service, "sent in a transaction that was aborted", Try(process=send))
