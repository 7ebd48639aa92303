"""A flow's rows: causal order, time in Kafka as rows, branches folded, failures marked."""

import pytest

from flowtrail.collector.api.answers import Flow, Span, State, Tone
from flowtrail.ui.components.plan import build as build_plan
from flowtrail.ui.components.timeline import make_timeline

from . import scenario

NOW_MS = 1_763_800_000_000.0


@pytest.fixture(scope="module")
def failed() -> Flow:
    return scenario.failed_flow(NOW_MS)


def test_time_in_kafka_stands_between_the_send_and_the_processing(failed: Flow) -> None:
    rows = make_timeline(failed).rows
    at = next(i for i, row in enumerate(rows) if row["id"].startswith("in:orders/7/918244>payments-workers"))
    assert rows[at]["kind"] == "kafka"
    assert rows[at + 1]["name"] == "process orders"
    assert rows[at + 1]["depth"] == rows[at]["depth"] + 1
    sender = next(row for row in reversed(rows[:at]) if row["depth"] == rows[at]["depth"] - 1)
    assert sender["kind"] == "send"


def test_a_bar_in_kafka_begins_with_the_send_and_ends_with_the_processing(failed: Flow) -> None:
    rows = {row["id"]: row for row in make_timeline(failed, folded=False).rows}
    waits = rows["in:payments.retry/1/40118>payments-retry"]
    works = next(row for row in rows.values() if row["name"] == "process payments.retry")
    assert waits["x1"] == pytest.approx(works["x0"], abs=0.01)


def test_every_span_and_every_time_in_kafka_is_a_row_of_its_own(failed: Flow) -> None:
    timeline = make_timeline(failed)
    ids = [row["id"] for row in timeline.rows]
    assert len(ids) == len(set(ids)) == timeline.total == len(failed.spans) + len(failed.hops)


def test_the_failing_path_folds_healthy_branches_into_one_line(failed: Flow) -> None:
    timeline = make_timeline(failed, "path")
    folded = [row for row in timeline.rows if row["kind"] == "folded"]
    assert [row["name"] for row in folded] == ["11 rows in 2 branches went well"]
    assert len(timeline.rows) == timeline.on_path + 1


def test_an_event_that_was_given_up_says_so_where_it_failed_first_and_where_it_was_sent_last(failed: Flow) -> None:
    """As a collector tells it that knows what became of every attempt."""
    hops = [
        hop.model_copy(update={"state": State.DEAD_LETTERED}) if hop.tone is Tone.FAIL else hop for hop in failed.hops
    ]
    rows = make_timeline(failed.model_copy(update={"hops": hops}), "path").rows
    assert [row["name"] for row in rows if row.get("word") == "dead-lettered"] == [
        "process orders",
        "send payments.dlq",
    ]
    again = [row for row in rows if row["name"] == "process payments.retry"]
    assert [row["attempt"] for row in again] == [2, 3]


def test_only_failed_shows_what_failed(failed: Flow) -> None:
    rows = make_timeline(failed, "failed").rows
    assert len(rows) == make_timeline(failed).failed
    assert {row["tone"] for row in rows} == {"fail"}


def test_a_gap_that_is_crossed_in_kafka_says_how_long_it_was(failed: Flow) -> None:
    waits = {row["id"]: row for row in make_timeline(failed).rows}["in:payments.retry/1/40391>payments-retry"]
    assert waits["aside"].replace("\u202f", " ") == "4 h 12 m in Kafka"


def test_an_unread_event_stays_open(failed: Flow) -> None:
    (last,) = [row for row in make_timeline(failed).rows if row.get("open")]
    assert (last["took"], last["x1"], last["aside"]) == ("unread", 100.0, "nobody reads")


def test_a_new_trace_id_is_marked_where_it_begins(failed: Flow) -> None:
    marked = [row["trace"] for row in make_timeline(failed).rows if "trace" in row]
    assert marked == [scenario.RETRY_TRACE[:6], scenario.LAST_TRACE[:6]]


def test_an_event_that_was_not_sent_has_no_time_in_kafka() -> None:
    flow = scenario.short_flow(scenario.NOT_SENT, State.NOT_SENT, Tone.FAIL, "too large", NOW_MS)
    rows = make_timeline(flow).rows
    assert all(row["kind"] != "kafka" for row in rows)
    assert [row["word"] for row in rows if "word" in row] == ["not sent"]


def aborted_flow() -> Flow:
    """A send that its producer gave up when its transaction was aborted."""
    flow = scenario.short_flow(scenario.NOT_SENT, State.NOT_SENT, Tone.FAIL, "aborted", NOW_MS)
    [hop] = [one.model_copy(update={"state": State.ABORTED, "tone": Tone.SLOW}) for one in flow.hops]
    events = [event.model_copy(update={"groups": [hop]}) for event in flow.events]
    return flow.model_copy(update={"hops": [hop], "events": events})


def test_a_send_of_an_aborted_transaction_did_not_fail_and_was_never_in_kafka() -> None:
    timeline = make_timeline(aborted_flow())
    assert all(row["kind"] != "kafka" for row in timeline.rows)
    assert [(row["word"], row["tone"]) for row in timeline.rows if "word" in row] == [("aborted", Tone.SLOW)]
    assert timeline.failed == 0


def test_an_aborted_event_with_an_offset_was_in_kafka() -> None:
    flow = scenario.short_flow(scenario.HEALTHY, State.ABORTED, Tone.SLOW, "aborted", NOW_MS)
    assert "kafka" in {row["kind"] for row in make_timeline(flow).rows}


def test_a_processing_that_was_not_seen_to_end_says_so_in_place_of_a_duration() -> None:
    flow = scenario.short_flow(scenario.HEALTHY, State.COMPLETE, Tone.OK, "all went well", NOW_MS)
    said = {"flowtrail.process.unfinished": "true"}
    for took_ms, aside in ((17, None), (0.001, "not finished")):
        spans = [
            span.model_copy(update={"attributes": said, "duration_ms": took_ms})
            if span.operation == "process"
            else span
            for span in flow.spans
        ]
        [row] = [row for row in make_timeline(flow.model_copy(update={"spans": spans})).rows if row.get("unfinished")]
        assert (row["name"], row["took"], row.get("aside")) == ("process orders", "not finished", aside)


def test_a_healthy_flow_has_no_failing_path_and_no_failure() -> None:
    flow = scenario.short_flow(scenario.HEALTHY, State.COMPLETE, Tone.OK, "all went well", NOW_MS)
    timeline = make_timeline(flow, "path")
    assert (timeline.on_path, timeline.failed, len(timeline.rows)) == (0, 0, timeline.total)


def test_a_poll_that_began_before_the_flow_does_not_stretch_the_axis() -> None:
    flow = scenario.short_flow(scenario.CRASHED, State.CRASHED, Tone.FAIL, "gone", NOW_MS)
    timeline = make_timeline(flow)
    assert timeline.axis.times[0] == flow.spans[0].start_ms
    assert next(row for row in timeline.rows if row["kind"] == "poll")["x0"] == 0


def test_spans_that_are_each_others_parents_are_still_shown(failed: Flow) -> None:
    def span(own: str, parent: str) -> Span:
        return Span(
            trace_id="a" * 32,
            span_id=own,
            parent_span_id=parent,
            parent=parent,
            name=own,
            service="odd",
            kind="internal",
            start_ms=1,
            duration_ms=1,
        )

    odd = failed.model_copy(update={"spans": [span("x", "y"), span("y", "x")], "hops": [], "events": []})
    assert {row["id"] for row in make_timeline(odd).rows} == {"x", "y"}


def test_a_flow_of_which_nothing_is_known_has_no_rows(failed: Flow) -> None:
    nothing = failed.model_copy(update={"spans": [], "hops": [], "events": []})
    assert make_timeline(nothing).rows == []
    assert build_plan(nothing)["stops"] == []


def test_the_plan_marks_who_failed_and_leads_there(failed: Flow) -> None:
    plan = build_plan(failed)
    assert {stop["id"] for stop in plan["stops"] if stop["tone"] == "fail"} == {"service:payments"}
    legs = {leg["id"]: leg["tone"] for leg in plan["legs"]}
    assert legs["topic:orders>service:payments"] == "fail"
    assert legs["topic:orders>service:inventory"] == "ok"
