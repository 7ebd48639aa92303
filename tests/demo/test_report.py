"""The report tells right from wrong and unknown, and has the shape that its readers rely on."""

from dataclasses import replace

from flowtrail.collector.api.answers import State
from flowtrail.demo.options import Fault
from flowtrail.demo.report import Judgement, Report
from flowtrail.demo.truth import Expected, Place

from .histories import History

ORDER = Place("orders", 0, 7)
HOP = Expected("orders/0/7>packers", State.FAILED)
COMPLETE = Expected(None, State.COMPLETE)

TRUTH = History("packers").ordered(fault="handler-raises").sent(ORDER).did(ORDER, "begun", "failed").truth()
RIGHT = Judgement(
    "o-1", "handler-raises", HOP, HOP, "f1", events=frozenset({ORDER}), handled=frozenset({(ORDER, "packers")})
)
HEALTHY = Judgement("o-2", None, COMPLETE, COMPLETE, "f2")


def report(*judgements: Judgement) -> Report:
    return Report(TRUTH, judgements, (Fault.HANDLER_RAISES,), "embedded")


def test_a_run_on_which_everything_was_told_is_right() -> None:
    told = report(RIGHT, HEALTHY)
    assert told.is_right
    assert told.as_json() == {
        "events": {"truth": 1, "seen": 1},
        "hops": {"truth": 1, "seen": 1},
        "flows": {"truth": 2, "complete": 1, "false_alarms": 0},
        "faults": [
            {
                "name": "handler-raises",
                "flows": 1,
                "right": 1,
                "wrong": 0,
                "unknown": 0,
                "examples": [
                    {
                        "flow": "f1",
                        "expected": {"hop": "orders/0/7>packers", "state": "failed"},
                        "verdict": {"hop": "orders/0/7>packers", "state": "failed"},
                    }
                ],
            }
        ],
        "edge_delay_ms": {"p50": None, "p99": None},
        "broker": "embedded",
    }


def test_the_right_state_at_another_hop_is_wrong() -> None:
    told = report(replace(RIGHT, said=Expected("orders/0/8>packers", State.FAILED)))
    assert not told.is_right
    assert (told.as_json()["faults"][0]["wrong"], told.as_json()["faults"][0]["unknown"]) == (1, 0)


def test_a_flow_that_was_not_found_is_unknown_and_its_events_are_missing() -> None:
    told = report(Judgement("o-1", "handler-raises", HOP, None))
    assert told.as_json()["faults"][0]["unknown"] == 1
    assert told.missing_events() == [ORDER]
    assert told.missing_hops() == [(ORDER, "packers")]
    assert not told.is_right


def test_a_healthy_flow_that_is_blamed_is_a_false_alarm() -> None:
    told = report(RIGHT, replace(HEALTHY, said=HOP))
    assert told.as_json()["flows"]["false_alarms"] == 1
    assert not told.is_right


def test_a_healthy_flow_that_is_only_called_slow_is_no_alarm_but_not_complete_either() -> None:
    told = report(RIGHT, replace(HEALTHY, said=Expected("orders/0/9>packers", State.WAITING)))
    assert told.as_json()["flows"] == {"truth": 2, "complete": 0, "false_alarms": 0}
    assert not told.is_right


def test_a_fault_that_befell_no_order_is_not_right() -> None:
    assert not report(HEALTHY).is_right
