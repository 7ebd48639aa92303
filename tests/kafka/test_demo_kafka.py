"""The whole way on Apache Kafka: the shop breaks on purpose, and Flowtrail must say where and why."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowtrail.demo.options import FAULTS
from tests.kafka.broker import KafkaBroker


@pytest.fixture(scope="module")
def report(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run with every fault; the run must end with status 0."""
    folder: Path = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "flowtrail", "demo", "--for", "12s", "--no-ui", "--fault", "all"]
    command += ["--bootstrap-servers", kafka.bootstrap_servers, "--report", str(folder / "report.json")]
    ended = subprocess.run([*command, "--keep", str(folder)], capture_output=True, text=True, timeout=240)
    logs = "\n".join(f"── {log.name}\n{log.read_text()[-2000:]}" for log in sorted((folder / "logs").glob("*")))
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{logs}"
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_every_event_and_every_handled_hop_was_seen(report: dict[str, Any]) -> None:
    for what in ("events", "hops"):
        assert report[what]["seen"] == report[what]["truth"] > 0


def test_every_fault_is_explained_rightly(report: dict[str, Any]) -> None:
    assert {fault["name"] for fault in report["faults"]} == {str(fault) for fault in FAULTS}
    for fault in report["faults"]:
        assert fault["right"] == fault["flows"] > 0, fault
        assert fault["wrong"] == fault["unknown"] == 0, fault


def test_no_healthy_flow_raises_an_alarm(report: dict[str, Any]) -> None:
    assert report["flows"]["false_alarms"] == 0
    assert 0 < report["flows"]["complete"] < report["flows"]["truth"]


def test_the_report_names_the_broker_that_it_ran_on(report: dict[str, Any], kafka: KafkaBroker) -> None:
    assert report["broker"].split()[0] == "kafka"
    assert report["broker"].split()[1].split(".")[0] == kafka.version.split(".")[0]


def test_events_reach_the_graph_while_somebody_looks(report: dict[str, Any]) -> None:
    assert 0 < report["edge_delay_ms"]["p50"] <= report["edge_delay_ms"]["p99"]
