"""A person reads in a terminal what happened, why, and what to do."""

import io
from datetime import UTC

import pytest
from rich.console import Console

from flowtrail.cli.story import render
from flowtrail.collector.api.answers import Flow, State

from .stories import complete, dead_lettered


def text_of(flow: Flow, width: int = 80) -> str:
    written = io.StringIO()
    Console(file=written, width=width, color_system=None).print(render(flow, zone=UTC))
    return written.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, text_of(dead_lettered(), width).splitlines())) <= width


def test_a_failed_flow_is_told_hop_by_hop_then_judged() -> None:
    lines = [line.rstrip() for line in text_of(dead_lettered()).splitlines()]
    assert lines[:6] == [
        "ORD-1204 in orders ─────────────────────────────────────────────────────────────",
        "began 2026-11-22 22:54:06 · took 34.4 s · 4 events · 2 spans · 2 traces",
        "",
        "event and group                                             in Kafka        work",
        "orders/2/204                                     sent by storefront 22:54:06.101",
        "├ inventory-workers · inventory         ✓ processed            22 ms      135 ms",
    ]
    verdict = lines.index("✕ dead-lettered · 22:54:08.151 ─────────────────────────────────────────────────")
    assert lines[verdict + 1 : verdict + 3] == [
        "payments-workers could not charge order ORD-1204: card-gateway timed out, twice.",
        "The event lies in payments.dlq/0/1882, which nobody reads.",
    ]


@pytest.mark.parametrize(
    "fact",
    [
        "First failure  orders/2/204 → payments-workers, attempt 2",
        "Error          GatewayTimeout: POST card-gateway/charge, no answer in 2 s",
        "Last good      storefront · orders/2/204",
        "Evidence       22:54:08.151 process orders ended with an error",
        "Not known      Who else reads payments.dlq: the broker lists no groups.",
        "Next  See why card-gateway answers so late.",
        "attempt 2 22:54:08.201 same error",
        "flow 4bf92f3577b34da6a3ce929d0e0e4736",
    ],
)
def test_a_verdict_names_what_it_rests_on_and_what_to_do(fact: str) -> None:
    assert fact in text_of(dead_lettered())


def test_an_event_that_nobody_read_is_still_there() -> None:
    (line,) = [line for line in text_of(dead_lettered()).splitlines() if "nobody reads  " in line]
    assert "still there" in line


def test_a_healthy_flow_names_no_failure() -> None:
    text = text_of(complete())
    assert "✓ complete" in text
    assert "First failure" not in text


def test_a_hop_that_went_well_by_inference_says_so_beneath_its_line() -> None:
    said = "payments was seen to come back for more after 2 s; whether it went well inside is not known."
    stated = complete().hops[0].model_copy(update={"sentence": said})
    inferred = stated.model_copy(update={"missing": ["Whether payments went well inside: …"]})
    assert said[:40] not in text_of(complete().model_copy(update={"hops": [stated]}))
    assert said[:40] in text_of(complete().model_copy(update={"hops": [inferred]}))


def test_a_reader_without_a_group_is_named_by_its_service() -> None:
    read = complete().hops[0].model_copy(update={"state": State.READ, "group": None, "service": "peek"})
    assert "peek · no group" in text_of(complete().model_copy(update={"hops": [read]}))


def test_a_flow_that_is_cut_short_says_its_bounds() -> None:
    flow = complete().model_copy(update={"truncated": True, "bounds": "at most 20 000 spans", "gaps": ["no context"]})
    assert "Cut short  at most 20 000 spans" in text_of(flow)
    assert "Gaps       no context" in text_of(flow)


def test_every_state_can_be_told() -> None:
    for state in State:
        hops = [complete().hops[0].model_copy(update={"state": state})]
        assert text_of(complete().model_copy(update={"hops": hops}))


def test_what_a_record_brought_cannot_steer_the_terminal() -> None:
    flow = complete().model_copy(update={"title": "key \x1b[2J [bold]not markup[/bold]"})
    assert "key �[2J [bold]not markup[/bold]" in text_of(flow)
