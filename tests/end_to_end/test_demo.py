"""The whole way on the embedded broker: the shop breaks on purpose, and Flowtrail says where and why."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flowtrail.demo.options import Fault

COMMAND = [sys.executable, "-m", "flowtrail", "demo", "--no-ui"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run with every fault; the run must end with status 0."""
    folder = tmp_path_factory.mktemp("demo")
    wishes = ["--for", "10s", "--fault", "all", "--report", str(folder / "report.json"), "--keep", str(folder / "kept")]
    ended = subprocess.run([*COMMAND, *wishes], capture_output=True, text=True, timeout=170)
    logs = "\n".join(f"── {log.name}\n{log.read_text()[-1500:]}" for log in sorted(folder.glob("kept/logs/*")))
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{logs}"
    assert f"The report is in {folder / 'report.json'}\n" in ended.stdout
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@pytest.mark.timeout(200)
def test_every_event_and_every_handled_hop_is_seen(report: dict[str, Any]) -> None:
    for what in ("events", "hops"):
        assert report[what]["seen"] == report[what]["truth"] > 0


def test_every_fault_is_explained_rightly(report: dict[str, Any]) -> None:
    assert [fault["name"] for fault in report["faults"]] == list(Fault)
    for fault in report["faults"]:
        assert fault["right"] == fault["flows"] > 0, fault


def test_each_fault_is_told_by_the_state_that_it_leads_to(report: dict[str, Any]) -> None:
    told = {fault["name"]: {example["verdict"]["state"] for example in fault["examples"]} for fault in report["faults"]}
    assert told[Fault.HANDLER_RAISES] == {"failed"}
    assert told[Fault.POISON_RECORD] == {"dead_lettered"}
    assert told[Fault.GROUP_DOWN] == {"no_member"}
    assert told[Fault.CONSUMER_KILLED] == {"crashed", "no_member"}
    assert "waiting" in told[Fault.SLOW_CONSUMER]
    assert told[Fault.UNREAD_TOPIC] == {"unconsumed"}
    assert told[Fault.RECORD_TOO_LARGE] == {"not_sent"}


def test_no_healthy_flow_raises_an_alarm(report: dict[str, Any]) -> None:
    assert report["flows"]["false_alarms"] == 0
    assert 0 < report["flows"]["complete"] < report["flows"]["truth"]


def test_events_reach_the_graph_while_somebody_looks(report: dict[str, Any]) -> None:
    assert 0 < report["edge_delay_ms"]["p50"] <= report["edge_delay_ms"]["p99"]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A demo without an end whose folder is `tmp_path / "kept"`."""
    command = [*COMMAND, "--keep", str(tmp_path / "kept")]
    runner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield runner
    finally:
        runner.kill()
        runner.communicate()


def test_one_ctrl_c_closes_the_shop_and_leaves_no_process(shop: "subprocess.Popen[str]", tmp_path: Path) -> None:
    pids = pids_at_work(tmp_path)
    shop.send_signal(signal.SIGINT)
    output, _ = shop.communicate(timeout=30)
    assert shop.returncode == 0, output
    assert "Closing the shop" in output
    assert "Traceback" not in output
    assert not any(map(is_alive, pids))


def test_the_processes_end_when_their_supervisor_is_killed(shop: "subprocess.Popen[str]", tmp_path: Path) -> None:
    pids = pids_at_work(tmp_path)
    shop.kill()
    until(lambda: not any(map(is_alive, pids)), "the children ended")


# With this seed the first order that fails comes within seconds.
ENDLESS_WITH_AN_EARLY_STORY = """
import sys
from flowtrail.demo.options import Options
from flowtrail.demo.runner import run
sys.exit(run(Options(seed=139, story_after_s=1)))
"""


def test_a_demo_without_an_end_tells_the_story_of_a_flow_that_failed(tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    with printed.open("w") as file:
        runner = subprocess.Popen([sys.executable, "-c", ENDLESS_WITH_AN_EARLY_STORY], stdout=file, stderr=file)
    try:
        until(lambda: "KeyError: 'XTS'" in printed.read_text(), "the story was told")
        assert "✕ failed" in printed.read_text()
        on_the_pages = re.compile(r"^on the pages: http://127\.0\.0\.1:\d+/flow/[0-9a-f]{32}$", re.MULTILINE)
        until(lambda: on_the_pages.search(printed.read_text()) is not None, "its page is named")
        runner.send_signal(signal.SIGINT)
        assert runner.wait(30) == 0
    finally:
        runner.kill()
        runner.wait()
    assert printed.read_text().count("The shop is open") == 1
    assert "Traceback" not in printed.read_text()


def test_the_line_that_the_demo_prints_asks_its_own_collector(tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    with printed.open("w") as file:
        runner = subprocess.Popen([*COMMAND, "--keep", str(tmp_path / "kept")], stdout=file, stderr=file)
    try:
        until(lambda: "Ctrl-C closes it." in printed.read_text(), "the shop is open")
        [line] = re.findall(r"^  (.+ why --url .+)$", printed.read_text(), re.MULTILINE)

        def answers() -> bool:
            asked = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30, check=False)
            return asked.returncode in (0, 1) and "o-1-" in asked.stdout

        until(answers, "the line tells the order's story")
        endpoints = json.loads((tmp_path / "kept" / "collector" / "endpoints.json").read_text())
        assert not {4317, 4318, 8680} & {urlsplit(endpoints[name]).port for name in ("otlp_http", "otlp_grpc", "api")}
    finally:
        runner.send_signal(signal.SIGINT)
        runner.wait(30)


def pids_at_work(folder: Path) -> set[int]:
    """The collector's process and the shop's, once the shop handles orders."""
    diaries, endpoints = folder / "kept" / "diaries", folder / "kept" / "collector" / "endpoints.json"

    def lines() -> list[dict[str, Any]]:
        texts = [text for path in diaries.glob("*.jsonl") for text in path.read_text().splitlines(keepends=True)]
        return [json.loads(text) for text in texts if text.endswith("\n")]

    until(lambda: any(line["kind"] == "handled" for line in lines()), "an order was handled")
    of_shop = {line["pid"] for line in lines() if line["kind"] == "started"}
    return {*of_shop, json.loads(endpoints.read_text())["pid"]}


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie that waits for its adopted parent."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def until(is_so: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Wait until it is so, or fail."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
