"""`make bench` runs every benchmark: each has a short form, writes its figures, and fails when something is wrong."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.collector_away import LEAST_RATIO, Round, problems
from benchmarks.durability import Result as Durability
from benchmarks.export_outage import Result as ExportOutage
from benchmarks.hostile import Measured as Attacked
from benchmarks.hostile import problems as hostile_problems
from benchmarks.intake_soak import Result as IntakeSoak
from benchmarks.intake_soak import grown as intake_grown
from benchmarks.intake_soak import problems as intake_soak_problems
from benchmarks.tracer import Case, Measured, Outcome, cases, report, summary
from benchmarks.tracer import problems as tracer_problems
from benchmarks.tracer_defects import CONTROL, Answer, Answers, knows, probes
from benchmarks.tracer_defects import problems as defects
from benchmarks.tracer_defects import report as defects_report
from benchmarks.tracer_probes.worker import MODULES
from benchmarks.tracer_soak import MOST_GROWN_MB, grown_mb
from benchmarks.tracer_soak import Result as Soak
from benchmarks.tracer_soak import problems as soak_problems

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
# Programs that benchmarks start; each is run by one of them, never by a person.
PARTS = {
    "attacks.py",
    "collector_process.py",
    "fuzz_bodies.py",
    "kafka_spans.py",
    "otlp_load.py",
    "soak_worker.py",
    "staged_collector.py",
    "torn_journal.py",
}
BENCHMARKS = sorted(path.name for path in FOLDER.glob("[a-z]*.py") if path.name not in PARTS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_has_a_short_form_and_says_how_it_is_run(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert 'if __name__ == "__main__":' in text
    assert '"--quick"' in text  # what `make bench` looks for
    assert '"--json"' in text


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_can_fail(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert "sys.exit(main())" in text
    (main,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "main")
    statuses = [ast.unparse(node.value) for node in ast.walk(main) if isinstance(node, ast.Return) and node.value]
    assert any(re.search(r"\b1\b", status) for status in statuses), statuses


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_is_used_by_a_benchmark(name: str) -> None:
    module = name.removesuffix(".py")
    users = [path.name for path in FOLDER.glob("*.py") if path.name != name]
    assert any(re.search(rf"\b{module}\b", (FOLDER / user).read_text()) for user in users)


UP = Round("up", orders_per_s=40, noted=1000, exported=1000, dropped=0, most_lines_a_minute=0)
DOWN = Round("down", orders_per_s=39, noted=1000, exported=0, dropped=1000, most_lines_a_minute=1)
HANGING = replace(DOWN, way="hanging")


def test_services_that_go_on_without_their_collector_are_no_problem() -> None:
    assert problems([UP, DOWN, HANGING]) == []


@pytest.mark.parametrize(
    ("up", "down", "problem"),
    [
        (UP, replace(DOWN, dropped=999), "1000 spans were not exported, and 999 were counted"),
        (UP, replace(DOWN, noted=0, dropped=0), "no service made a span"),
        (UP, replace(DOWN, most_lines_a_minute=2), "2 lines about it within a minute"),
        (UP, replace(DOWN, exported=10, dropped=990), "10 spans count as exported"),
        (UP, replace(DOWN, orders_per_s=UP.orders_per_s * LEAST_RATIO * 0.9), "0.45 of its work"),
        (replace(UP, exported=998, dropped=2), DOWN, "2 spans did not reach the collector"),
    ],
)
def test_what_a_collector_that_is_away_must_not_cost_is_a_problem(up: Round, down: Round, problem: str) -> None:
    (found,) = problems([up, down, HANGING])
    assert problem in found


EXACT = Durability(
    kills=2, acknowledged_spans=500, sent_again=3, missing=0, twice=0, edges_off_by=0, slowest_start_s=1.0
)


def test_kills_that_lose_or_double_something_are_not_exact() -> None:
    assert EXACT.is_exact
    for wrong in ({"missing": 1}, {"twice": 1}, {"edges_off_by": -1}, {"acknowledged_spans": 0}):
        assert not replace(EXACT, **wrong).is_exact
    assert EXACT.is_right
    assert not replace(EXACT, slowest_start_s=5.0).is_right
    assert not replace(EXACT, missing=1).is_right


INTAKE_SOAKED = IntakeSoak(
    wanted_spans_s=1000,
    spans_s=1000,
    seconds=3600,
    spans=3_600_000,
    refused=0,
    failed=0,
    p99_ms=20,
    cpu_s_per_million=8,
    rss_mb=800,
    peak_rss_mb=900,
    grown_mb=2,
    most_behind_requests=9,
    journal_file_mb=40,
    store_mb=140,
    bytes_per_span=40,
    grown_on_disk=1.1,
    missing=0,
)


def test_a_soak_of_the_intake_that_grows_or_falls_behind_is_a_problem() -> None:
    assert intake_soak_problems(INTAKE_SOAKED) == []
    for wrong in (
        {"missing": 1},
        {"missing": -1},
        {"failed": 1},
        {"refused": 1},
        {"spans_s": 900},
        {"grown_mb": 129},
        {"grown_on_disk": 1.4},
        {"journal_file_mb": 1600},
    ):
        (_,) = intake_soak_problems(replace(INTAKE_SOAKED, **wrong))
    assert intake_soak_problems(replace(INTAKE_SOAKED, seconds=20, grown_on_disk=1.6)) == []


def test_an_intake_grows_from_the_second_quarter_to_the_last() -> None:
    assert intake_grown([9.0, 9.0, 1.0, 3.0, 7.0, 7.0, 4.0, 6.0]) == (2, 5)
    assert intake_grown([1.0, 2.0]) == (1, 2)


CALM = Attacked(
    "calm", spans=1000, refused=0, failed=0, p50_ms=1, p99_ms=9, max_ms=10, rss_mb=400, log_lines=0, attacker={}
)


def test_an_honest_sender_that_is_not_served_is_a_problem_of_the_collector() -> None:
    idle = replace(CALM, attack="idle", spans=500, p99_ms=90)
    assert hostile_problems([CALM, idle], {"missing": 0, "twice": 0}) == []
    assert hostile_problems([CALM, idle], {"missing": 50, "twice": 0}) == ["missing: 50 spans"]
    for wrong in (
        {"spans": 499},
        {"refused": 1},
        {"failed": 1},
        {"max_ms": 10_001},
        {"rss_mb": 1025},
        {"log_lines": 101},
    ):
        (problem,) = hostile_problems([CALM, replace(idle, **wrong)], {})  # type: ignore[arg-type]  # one at a time
        assert problem.startswith("idle: ")


RIGHT = ExportOutage(
    away_s=5,
    sent=900,
    missing=0,
    twice=20,
    api_answers=9,
    api_failures=0,
    api_slowest_ms=80.0,
    caught_up_after_s=2.0,
)


def test_an_outage_that_loses_or_doubles_something_is_not_right() -> None:
    assert RIGHT.is_right
    for wrong in ({"missing": 1}, {"twice": 2000}, {"sent": 0}, {"api_answers": 0}, {"api_failures": 1}):
        assert not replace(RIGHT, **wrong).is_right


def traced(caller_us: float, process_us: float) -> Outcome:
    """A case whose 500 records made 500 spans."""
    bare_us, added_us = {"caller": 9.0, "process": 13.0}, {"caller": caller_us, "process": process_us}
    return Outcome(bare_us, added_us, records=500, received=500, noted=500, exported=500)


SENT = Case("kafka-python", "send", "flowtrail")
BESIDE = SENT._replace(variant="contrib")
BARE = SENT._replace(variant="bare")
COST: Measured = {
    BARE: [replace(traced(0.1, 0.2), received=0)] * 3,
    SENT: [traced(4, 8), traced(5, 8), traced(4, 10)],
    BESIDE: [traced(40, 80), traced(40, 72), traced(44, 80)],
}


def test_a_ratio_is_what_the_other_adds_over_what_flowtrail_adds_and_has_a_spread() -> None:
    figures = summary(COST)
    assert figures["ratios"] == {"kafka-python.send.caller": 10, "kafka-python.send.process": 9}
    assert figures["spread"]["kafka-python.send.caller"] == [8, 11]
    assert figures["us"]["kafka-python.send.caller.bare"] == 9
    assert figures["us"]["kafka-python.send.caller.noise"] == 0.1
    assert figures["us"]["kafka-python.send.process.contrib"] == 80


def test_what_made_no_spans_has_no_figures_since_not_to_trace_costs_nothing() -> None:
    figures = summary({**COST, SENT: [replace(traced(0, 0), received=0, noted=0, exported=0)] * 3})
    assert figures["ratios"] == {}
    assert "kafka-python.send.caller.flowtrail" not in figures["us"]
    lines = report(
        {**figures, "import_ms": {"flowtrail_ms": 1}, "memory_mb": {"flowtrail": 21}},
        ["kafka-python"],
        ("bare", "flowtrail", "contrib"),
    )
    assert any("kafka-python.send.caller" in line and "not measured" in line for line in lines)
    assert any("full queue" in line and "missed" in line for line in lines)


def test_spans_that_are_missing_or_lost_are_a_problem_of_the_measurement() -> None:
    assert tracer_problems(COST) == []
    right = traced(4, 8)
    for case, wrong in (
        (BARE, replace(right, received=1)),
        (SENT, replace(right, dropped=1)),
        (SENT, replace(right, received=499)),
        (SENT, replace(right, exported=499)),
        (SENT, replace(right, records=501)),
        (BESIDE, replace(right, received=499)),
        (Case("aiokafka", "consume", "ddtrace"), replace(right, received=0)),
        (Case("aiokafka", "consume", "contrib"), replace(right, received=499)),
    ):
        assert len(tracer_problems({case: [wrong]})) == 1, (case, wrong)


def test_each_client_is_measured_beside_its_peers_where_they_know_it() -> None:
    compared = list(cases(["kafka-python", "aiokafka"], ("bare", "header", "flowtrail", "contrib", "ddtrace")))
    assert Case("kafka-python", "send", "ddtrace") not in compared
    assert Case("aiokafka", "consume", "ddtrace") in compared
    assert Case("aiokafka", "consume", "header") not in compared
    assert Case("aiokafka", "consume_batch", "flowtrail") in compared
    assert Case("aiokafka", "consume_batch", "contrib") not in compared
    assert len(compared) == len(set(compared)) == 20


SOAKED = Soak(
    client="kafka-python",
    events=1000,
    taken=1000,
    took_s=1.0,
    noted=1010,
    exported=1000,
    dropped=10,
    received=1000,
    kept_errors=0,
    peak_mb=60.0,
    grown_mb=0.1,
)


def test_a_soak_whose_spans_are_all_accounted_for_is_no_problem() -> None:
    assert soak_problems([SOAKED]) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"taken": 999}, "999 of 1000 events came back"),
        ({"noted": 10, "exported": 10, "dropped": 0, "received": 10}, "1000 events have 10 spans"),
        ({"dropped": 9}, "1010 spans, 1000 exported and 9 dropped"),
        ({"received": 1001}, "1000 spans count as exported, and 1001 arrived"),
        ({"kept_errors": 1}, "1 exceptions were kept"),
        ({"grown_mb": MOST_GROWN_MB + 1}, "memory grew by 9.0 MB"),
    ],
)
def test_what_a_soak_must_not_show_is_a_problem(wrong: dict[str, float], problem: str) -> None:
    (found,) = soak_problems([replace(SOAKED, **wrong)])  # type: ignore[arg-type]  # one field at a time
    assert problem in found


def test_memory_grows_from_the_second_quarter_of_a_run_to_its_last() -> None:
    assert grown_mb([10.0, 50.0, 50.0, 51.0, 51.0, 51.0, 52.0, 52.0]) == 1.5
    assert grown_mb([50.0, 60.0, 70.0]) == 0.0


def test_every_probe_says_what_is_right_and_is_asked() -> None:
    for client, module in MODULES.items():
        source = ast.parse((FOLDER / "tracer_probes" / f"{module}.py").read_text())
        functions = [node for node in source.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        written = {node.name: ast.get_docstring(node) for node in functions if not node.name.startswith("_")}
        assert {probe.name: probe.sentence for probe in probes([client])} == written
        assert all(written.values())


def test_a_defect_of_flowtrails_own_and_a_probe_that_fails_by_itself_are_problems() -> None:
    first, second = list(probes(["kafka-python"]))[:2]
    answers: Answers = {
        (first, CONTROL): Answer("wrong", "no span"),  # nobody traces: no span is what there is
        (first, "contrib"): Answer("raised", "TypeError: no"),
        (first, "flowtrail"): Answer("right"),
        (second, CONTROL): Answer("right"),
        (second, "contrib"): Answer("wrong", "no span"),
        (second, "flowtrail"): Answer("not meant", "this version has none"),
    }
    assert defects(answers) == []
    assert defects({**answers, (first, "flowtrail"): Answer("wrong", "no span")}) != []
    assert defects({**answers, (first, "flowtrail"): Answer("raised", "TypeError: no")}) != []
    assert defects({**answers, (first, CONTROL): Answer("raised", "TypeError: no")}) != []
    lines = defects_report(answers, ("contrib", "ddtrace", "flowtrail"))
    assert lines[2] == f"| kafka-python | {first.sentence} | raised | – | right |"
    assert not knows("ddtrace", "kafka-python")
