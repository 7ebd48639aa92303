"""`make bench` runs every benchmark: each has a short form, writes its figures, and fails when something is wrong."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.collector_away import LEAST_RATIO, Round, problems
from benchmarks.durability import Result as Durability
from benchmarks.export_outage import Result as ExportOutage

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
# Programs that benchmarks start; each is run by one of them, never by a person.
PARTS = {"bare_receiver.py", "collector_process.py", "otlp_load.py"}
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
