"""Flows as the API answers them, for the tests of what is printed."""

from flowtrail.collector.api.answers import (
    Attempt,
    Coordinates,
    Event,
    Evidence,
    Flow,
    Hop,
    Span,
    State,
    Tone,
    Verdict,
)

BEGAN_MS = 1_795_388_046_101.0  # 2026-11-22 22:54:06.101 UTC
FLOW_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def at(topic: str, partition: int | None, offset: int | None) -> Coordinates:
    return Coordinates(topic=topic, partition=partition, offset=offset)


def hop(
    where: Coordinates,
    group: str | None,
    state: State = State.PROCESSED,
    tone: Tone = Tone.OK,
    *,
    sentence: str = "went well",
    error: str | None = None,
    in_kafka_ms: float | None = 22,
    processing_ms: float | None = 135,
    caused: list[Coordinates] | None = None,
    attempts: list[Attempt] | None = None,
) -> Hop:
    return Hop(
        id=f"{where}>{group}",
        coordinates=where,
        group=group,
        service=group.split("-")[0] if group else None,
        state=state,
        tone=tone,
        sentence=sentence,
        error=error,
        in_kafka_ms=in_kafka_ms,
        processing_ms=processing_ms,
        caused=caused or [],
        attempts=attempts or [],
        on_failing_path=tone is not Tone.OK,
    )


def event(where: Coordinates, producer: str, after_ms: float) -> Event:
    return Event(coordinates=where, key="ORD-1204", producer=producer, sent_ms=BEGAN_MS + after_ms)


def span(name: str, service: str, after_ms: float, duration_ms: float) -> Span:
    return Span(
        trace_id=FLOW_ID,
        span_id=f"{int(after_ms) + 1:016x}",
        parent_span_id=None,
        name=name,
        service=service,
        kind="producer",
        start_ms=BEGAN_MS + after_ms,
        duration_ms=duration_ms,
    )


PLACED = at("orders", 2, 204)
RETRIED = at("payments.retry", 1, 40118)
DEAD = at("payments.dlq", 0, 1882)
STOCK = at("stock", 0, 88)

_TIMEOUT = "GatewayTimeout: POST card-gateway/charge, no answer in 2 s"


def dead_lettered() -> Flow:
    """A payment that was tried, tried again and given up, beside a branch that went well."""
    verdict = Verdict(
        flow=FLOW_ID,
        state=State.DEAD_LETTERED,
        tone=Tone.FAIL,
        sentence="payments-workers could not charge order ORD-1204: card-gateway timed out, twice.",
        consequence="The event lies in payments.dlq/0/1882, which nobody reads.",
        coordinates=PLACED,
        hop_topic="orders",
        hop_group="payments-workers",
        service="payments",
        error=_TIMEOUT,
        attempt=2,
        time_ms=BEGAN_MS + 2_050,
        last_good=PLACED,
        last_good_service="storefront",
        next_step="See why card-gateway answers so late. Once it is well, send payments.dlq/0/1882 again.",
        evidence=[
            Evidence(kind="span", text="process orders ended with an error", time_ms=BEGAN_MS + 2_050),
            Evidence(kind="link", text="payments.dlq/0/1882 was sent while the last attempt was processed"),
        ],
        missing=["Who else reads payments.dlq: the broker lists no groups."],
    )
    return Flow(
        id=FLOW_ID,
        title="ORD-1204 in orders",
        key="ORD-1204",
        began_ms=BEGAN_MS,
        ended_ms=BEGAN_MS + 34_400,
        trace_ids=[FLOW_ID, FLOW_ID[::-1]],
        services=["storefront", "inventory", "payments"],
        verdict=verdict,
        events=[
            event(PLACED, "storefront", 0),
            event(STOCK, "inventory", 140),
            event(RETRIED, "payments", 2_040),
            event(DEAD, "payments", 34_200),
        ],
        hops=[
            hop(PLACED, "inventory-workers", caused=[STOCK]),
            hop(
                PLACED,
                "payments-workers",
                State.DEAD_LETTERED,
                Tone.FAIL,
                sentence="sent to payments.retry",
                error=_TIMEOUT,
                processing_ms=2_010,
                caused=[RETRIED],
                attempts=[
                    Attempt(number=1, started_ms=BEGAN_MS + 40, ended_ms=BEGAN_MS + 2_050, error=_TIMEOUT),
                    Attempt(number=2, started_ms=BEGAN_MS + 2_100, ended_ms=BEGAN_MS + 4_100, error=_TIMEOUT),
                ],
            ),
            hop(STOCK, "shipping", in_kafka_ms=4.04, processing_ms=0.84),
            hop(
                RETRIED,
                "payments-retry",
                State.DEAD_LETTERED,
                Tone.FAIL,
                error=_TIMEOUT,
                in_kafka_ms=30_000,
                processing_ms=2_000,
                caused=[DEAD],
            ),
            hop(
                DEAD,
                None,
                State.UNCONSUMED,
                Tone.SLOW,
                sentence="lies there; no group is known for this topic",
                in_kafka_ms=None,
                processing_ms=None,
            ),
        ],
        spans=[span("send orders", "storefront", 0, 6), span("process orders", "payments", 40, 2_010)],
    )


def complete() -> Flow:
    """One event, one group, nothing wrong."""
    return Flow(
        id=FLOW_ID,
        title="ORD-7 in orders",
        key="ORD-7",
        began_ms=BEGAN_MS,
        ended_ms=BEGAN_MS + 160,
        trace_ids=[FLOW_ID],
        services=["storefront", "inventory"],
        verdict=Verdict(
            flow=FLOW_ID, state=State.COMPLETE, tone=Tone.OK, sentence="All 1 event was handled by every group."
        ),
        events=[event(PLACED, "storefront", 0)],
        hops=[hop(PLACED, "inventory-workers")],
        spans=[span("send orders", "storefront", 0, 6)],
    )
