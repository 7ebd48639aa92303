"""What is said of one row of a flow when it is chosen."""

import json

from dash.development.base_component import Component

from flowtrail.collector.api.answers import Flow, State, Tone
from flowtrail.ui.address import Address
from flowtrail.ui.components.timeline import kafka_id
from flowtrail.ui.pages.flow_panel import panel

from . import scenario
from .test_timeline import aborted_flow

NOW_MS = 1_763_800_000_000.0


def said(flow: Flow, row: str) -> str:
    """The panel of a row, as the browser gets it."""
    shown = panel(flow, Address(("flow", flow.id), {"row": row}), NOW_MS)
    assert isinstance(shown, Component)
    return json.dumps(shown, default=Component.to_plotly_json)


def test_a_processing_that_was_not_seen_to_end_took_no_known_time() -> None:
    flow = scenario.short_flow(scenario.HEALTHY, State.COMPLETE, Tone.OK, "all went well", NOW_MS)
    work = flow.spans[-1]
    unfinished = work.model_copy(update={"attributes": {"flowtrail.process.unfinished": "true"}})
    assert "not finished" not in said(flow, work.span_id)
    assert "not finished" in said(flow.model_copy(update={"spans": [*flow.spans[:-1], unfinished]}), work.span_id)


def test_a_hop_says_what_is_not_known_of_it() -> None:
    flow = scenario.short_flow(scenario.HEALTHY, State.COMPLETE, Tone.OK, "all went well", NOW_MS)
    [hop] = flow.hops
    inferred = hop.model_copy(update={"missing": ["Whether payments went well inside."]})
    assert "Not known" not in said(flow, kafka_id(hop))
    assert "Whether payments went well inside." in said(flow.model_copy(update={"hops": [inferred]}), kafka_id(hop))


def test_a_send_of_an_aborted_transaction_is_called_aborted_and_lies_nowhere() -> None:
    flow = aborted_flow()
    [send] = [span for span in flow.spans if span.operation == "send"]
    assert "tone-fail" not in said(flow, send.span_id)
    assert '"aborted"' in said(flow, send.span_id)
    assert "in Kafka" not in said(flow, kafka_id(flow.hops[0]))
