"""The answer on a flow: its verdict, events, hops and spans as the API gives them. Pure."""

from collections.abc import Sequence

from flowtrail.collector.api.answers import (
    Attempt,
    Coordinates,
    Event,
    Flow,
    FlowSummary,
    Hop,
    Span,
    SpanEvent,
    SpanLink,
    State,
    Tone,
    Verdict,
)

from .deliveries import Sent, Try, error_text
from .facts import Facts
from .outcomes import steps_of
from .rows import KINDS, Context, Place, SpanRow
from .steps import Step
from .stitching import Bounds, Trail
from .why import coordinates, verdict

# An event that was given back lies in Kafka still, whoever fetched it before.
STILL_THERE = {State.WAITING, State.STALLED, State.NO_MEMBER, State.EXPIRED}
UNDER_WAY = {State.IN_FLIGHT, State.WAITING, State.RETRYING, State.UNKNOWN, State.NO_MEMBER, State.STALLED}


def tell(trail: Trail, facts: Facts, bounds: Bounds) -> Flow:
    """Return the whole flow with its verdict."""
    steps = steps_of(trail, facts)
    said = verdict(trail, steps, facts)
    failing = _failing_path(trail, steps, said)
    hops = [_hop(step, failing) for step in steps]
    hop_of = {
        row.context: step.id for step in steps for one in step.finding.tries for row in (one.span, one.inferred) if row
    }
    is_under_way = any(step.finding.state in UNDER_WAY for step in steps)
    return Flow(
        id=trail.id,
        title=_title(trail, steps),
        key=_key(steps),
        began_ms=trail.spans[0].start_ms,
        ended_ms=None if is_under_way else max(row.end_ms for row in trail.spans),
        trace_ids=list(dict.fromkeys(row.context.trace_id for row in trail.spans)),
        services=list(dict.fromkeys(row.service for row in trail.spans)),
        verdict=said,
        events=[
            _event(sent, [hop for step, hop in zip(steps, hops, strict=True) if step.sent is sent], trail.id)
            for sent in _events(steps)
        ],
        hops=hops,
        spans=_spans(trail, hop_of, failing),
        causes=[Coordinates(topic=one.topic, partition=one.partition, offset=one.offset) for one in trail.causes],
        gaps=trail.gaps,
        truncated=trail.truncated,
        bounds=f"at most {bounds}" + ("; one of these was met" if trail.truncated else ""),
    )


def summarise(trail: Trail, facts: Facts) -> FlowSummary:
    """Return a flow as a line of the search."""
    steps = steps_of(trail, facts)
    said = verdict(trail, steps, facts)
    is_under_way = any(step.finding.state in UNDER_WAY for step in steps)
    began_ms = trail.spans[0].start_ms
    return FlowSummary(
        id=trail.id,
        title=_title(trail, steps),
        key=_key(steps),
        began_ms=began_ms,
        duration_ms=None if is_under_way else max(row.end_ms for row in trail.spans) - began_ms,
        first_service=trail.spans[0].service,
        first_topic=steps[0].sent.topic if steps else None,
        services=list(dict.fromkeys(row.service for row in trail.spans)),
        events=len(_events(steps)),
        spans=len(trail.spans),
        truncated=trail.truncated,
        state=said.state,
        tone=said.tone,
        sentence=said.sentence,
    )


def tell_event(trail: Trail, facts: Facts, place: Place, cluster: str | None = None) -> Event | None:
    """Return one event of a flow with every group's state; None if the flow does not hold it (in that cluster)."""
    steps = [
        step
        for step in steps_of(trail, facts)
        if step.sent.place == place and (not cluster or step.sent.cluster_id in ("", cluster))
    ]
    if not steps:
        return None
    return _event(steps[0].sent, [_hop(step, frozenset()) for step in steps], trail.id)


def _events(steps: Sequence[Step]) -> list[Sent]:
    return list({id(step.sent): step.sent for step in steps}.values())


def _key(steps: Sequence[Step]) -> str | None:
    return next((step.sent.key for step in steps if step.sent.key), None)


def _title(trail: Trail, steps: Sequence[Step]) -> str:
    key = _key(steps)
    if not steps:
        return trail.spans[0].name
    return f"{key} · {steps[0].sent.topic}" if key else f"{trail.spans[0].name} · {steps[0].sent.topic}"


def _failing_path(trail: Trail, steps: Sequence[Step], said: Verdict) -> frozenset[str]:
    """Hops from the first event to the failure and on through what came of it, by id; none for a healthy flow."""
    if said.tone in (Tone.OK, Tone.QUIET):
        return frozenset()
    culprit = next(
        (
            step
            for step in steps
            if coordinates(step.sent) == said.coordinates
            and (step.finding.reader.group or None if step.finding.reader else None) == said.hop_group
            and step.state is said.state
        ),
        None,
    )
    if culprit is None:
        return frozenset()
    path = {culprit.id}
    at = culprit
    while (before := next((one for one in steps if any(sent is at.sent for sent in one.caused)), None)) is not None:
        if before.id in path:
            break
        path.add(before.id)
        at = before
    queue = [sent for sent in culprit.caused if culprit.finding.state is not State.NOT_SENT]
    while queue:
        sent = queue.pop()
        for step in steps:
            if step.sent is sent and step.id not in path:
                path.add(step.id)
                queue += step.caused
    return frozenset(path)


def _hop(step: Step, failing: frozenset[str]) -> Hop:
    finding, sent = step.finding, step.sent
    first = finding.tries[0] if finding.tries else None
    done = step.processes[-1] if step.processes else None
    is_taken = done is not None or finding.state not in STILL_THERE
    return Hop(
        id=step.id,
        coordinates=coordinates(sent),
        group=finding.reader.group or None if finding.reader else None,
        service=(first.span.service if first else None) or (finding.reader.service or None if finding.reader else None),
        state=finding.state,
        tone=finding.loudness,
        sentence=finding.sentence,
        error=finding.error,
        sent_ms=sent.sent_ms,
        in_kafka_ms=max(0.0, first.taken_ms - _left_ms(sent)) if first and sent.send and is_taken else None,
        processing_ms=done.span.duration_ns / 1e6 if done else None,
        attempts=[_attempt(number, one) for number, one in enumerate(finding.tries, 1)],
        evidence=finding.evidence,
        missing=finding.missing,
        caused=[coordinates(other) for other in step.caused],
        on_failing_path=step.id in failing,
    )


def _left_ms(sent: Sent) -> float:
    """When an event was in Kafka: its record's timestamp is the producer's, so the send's begin."""
    return sent.sent_ms


def _attempt(number: int, one: Try) -> Attempt:
    span, poll, process = one.span, one.poll, one.process
    return Attempt(
        number=number,
        service=span.service,
        member_id=span.member_id or (poll.member_id if poll else "") or None,
        polled_ms=poll.end_ms if poll else None,
        started_ms=process.start_ms if process else None,
        ended_ms=process.end_ms if process and one.is_ended else None,
        error=one.error,
        trace_id=span.context.trace_id,
        span_id=span.context.span_id,
    )


def _event(sent: Sent, hops: Sequence[Hop], flow: str) -> Event:
    send = sent.send
    speaker = send or next((one.span for tries in sent.tries.values() for one in tries), None)
    return Event(
        coordinates=coordinates(sent),
        key=sent.key or None,
        producer=send.service if send else None,
        sent_ms=sent.sent_ms,
        acknowledged_ms=send.end_ms if send and not send.is_error and send.offset is not None else None,
        error=error_text(send) if send and send.is_error else None,
        trace_id=speaker.context.trace_id if speaker else None,
        span_id=speaker.context.span_id if speaker else None,
        groups=list(hops),
        flow=flow,
    )


def _spans(trail: Trail, hop_of: dict[Context, str], failing: frozenset[str]) -> list[Span]:
    linked_from: dict[Context, list[SpanRow]] = {}
    for row in trail.spans:
        for link in row.links:
            if link.to in trail.parents:
                linked_from.setdefault(link.to, []).append(row)
    on_path = _spans_on_path(trail, hop_of, failing)
    return [_span(row, trail, hop_of, linked_from.get(row.context, []), row.context in on_path) for row in trail.spans]


def _spans_on_path(trail: Trail, hop_of: dict[Context, str], failing: frozenset[str]) -> set[Context]:
    """Spans of the failing hops, and all that led to them."""
    found: set[Context] = set()
    if not failing:
        return found
    ends = [context for context, hop in hop_of.items() if hop in failing]
    ends += [row.context for row in trail.spans if row.is_send and row.place and f"{row.place}>" in failing]
    ends += [row.context for row in trail.spans if row.is_send and f"{row.topic}/{row.context.span_id}>" in failing]
    for end in ends:
        at: Context | None = end
        while at is not None and at not in found:
            found.add(at)
            at = trail.parents.get(at)
    return found


def _span(row: SpanRow, trail: Trail, hop_of: dict[Context, str], linked: list[SpanRow], on_path: bool) -> Span:
    parent = trail.parents[row.context]
    return Span(
        trace_id=row.context.trace_id,
        span_id=row.context.span_id,
        parent_span_id=row.parent_span_id or None,
        parent=parent.span_id if parent else None,
        name=row.name,
        service=row.service,
        kind=KINDS[row.kind] if 0 <= row.kind < len(KINDS) else "internal",
        operation=row.operation or None,
        topic=row.topic or None,
        partition=row.partition,
        offset=row.offset,
        group=row.group or None,
        start_ms=row.start_ms,
        duration_ms=row.duration_ns / 1e6,
        is_error=row.is_error,
        error=error_text(row) if row.is_error else None,
        hop=hop_of.get(row.context),
        on_failing_path=on_path,
        attributes=dict(row.attributes),
        links=[
            SpanLink(trace_id=link.to.trace_id, span_id=link.to.span_id, attributes=dict(link.attributes))
            for link in row.links
        ],
        linked_from=[SpanLink(trace_id=one.context.trace_id, span_id=one.context.span_id) for one in linked],
        events=[
            SpanEvent(time_ms=event.time_ns / 1e6, name=event.name, attributes=dict(event.attributes))
            for event in row.events
        ],
    )
