"""What did not run is said aloud; in CI (the environment has CI=true) it is a failure. And what all tests share."""

import logging
import os
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.collector.senders import HOW_TO_GET as HOW_TO_GET_SENDERS
from tests.kafka.broker import HOW_TO_GET

# A slow machine is no wrong answer: Hypothesis' own limit of 200 ms an example would make it one.
hypothesis.settings.register_profile("flowtrail", deadline=None)
hypothesis.settings.load_profile("flowtrail")

# Their lines come when the machine is slow, of a topic that they have not yet heard of, say.
KAFKA_LIBRARIES = frozenset({"kafka", "aiokafka"})

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# Suites that need something that pip does not install, by their marker.
HOW_TO_RUN = {
    "kafka": HOW_TO_GET,
    "senders": HOW_TO_GET_SENDERS,
    "browser": "Browser tests need Chromium: `apt-get install chromium` on Debian, `brew install chromium` on macOS",
}


def _is_not_of_a_kafka_library(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] not in KAFKA_LIBRARIES


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, without what the Kafka libraries log of themselves: that is no test's matter."""
    caplog.handler.addFilter(_is_not_of_a_kafka_library)
    yield caplog
    caplog.handler.removeFilter(_is_not_of_a_kafka_library)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"nothing may be skipped in CI, but this was: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI and report.outcome == "skipped":
        _refuse_skip(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the suites of which something was skipped, and how to get what they miss."""
    skipped = terminalreporter.getreports("skipped")
    for marker, how in HOW_TO_RUN.items():
        count = sum(marker in report.keywords for report in skipped)
        if count:
            terminalreporter.section(f"{count} {marker} tests did NOT run", sep="!", yellow=True, bold=True)
            terminalreporter.line(how)
