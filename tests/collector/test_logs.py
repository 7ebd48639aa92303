"""The log as text and as JSON, without secrets."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.collector_process import CollectorProcess
from flowtrail.collector.masking import secrets_of
from flowtrail.collector.settings import Settings
from flowtrail.collector.telemetry.logs import formatter

SECRETS: dict[str, Any] = {
    "store_dsn": "https://me:hush%40home@db:8443?password=hush-query",
    "export_url": "https://me:hush-export@jaeger/v1/traces?api_key=hush%22key",
    "kafka_properties": {"sasl.username": "me-myself", "sasl.password": 'hush"kafka'},
}


def record(text: str, *arguments: Any, level: int = logging.WARNING, exc_info: Any = None) -> logging.LogRecord:
    made = logging.LogRecord("flowtrail.part", level, "file.py", 1, text, arguments, exc_info)
    made.created = 1_767_225_600.5
    return made


def as_json(one: logging.LogRecord, **options: Any) -> dict[str, str]:
    (line,) = formatter(Settings(log_format="json", **options)).format(one).splitlines()
    told: dict[str, str] = json.loads(line)
    return told


def failed(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_a_json_line_has_time_level_logger_thread_and_message() -> None:
    assert as_json(record("%s of\n%d", "one", 2)) == {
        "time": "2026-01-01T00:00:00.500+00:00",
        "level": "warning",
        "logger": "flowtrail.part",
        "thread": "MainThread",
        "message": "one of\n2",
    }


def test_an_exception_is_in_the_same_line_with_its_type_and_trace() -> None:
    told = as_json(record("it broke", exc_info=failed("because")))
    assert told["exception"] == "ValueError"
    assert told["trace"].startswith("Traceback")
    assert told["trace"].endswith("ValueError: because")


def test_a_text_line_is_for_people() -> None:
    line = formatter(Settings()).format(record("it broke"))
    assert line.endswith(" WARNING flowtrail.part: it broke")


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "secret", ["hush%40home", "hush@home", "hush-query", "hush-export", "hush%22key", 'hush"key', 'hush"kafka']
)
def test_no_secret_of_the_options_is_in_a_line(log_format: Any, secret: str) -> None:
    lines = formatter(Settings(log_format=log_format, **SECRETS))
    line = lines.format(record("said %s", secret, exc_info=failed(f"and {secret} again")))
    assert "hush" not in line
    assert line.count("***") >= 2


def test_what_is_no_secret_stays() -> None:
    assert as_json(record("me-myself at db:8443"), **SECRETS)["message"] == "me-myself at db:8443"
    short = {"sasl.password": "a"}
    assert as_json(record("a banana"), kafka_properties=short)["message"] == "a banana"


def test_without_secrets_there_are_none() -> None:
    assert secrets_of(Settings()) == []


def test_a_collector_writes_json_of_the_level_that_was_asked_for(tmp_path: Path) -> None:
    for level, wanted in (("info", {"info"}), ("error", set[str]())):
        log_file = tmp_path / f"{level}.log"
        with CollectorProcess(tmp_path / "data", log_file=log_file, log_format="json", log_level=level) as process:
            process.stop()
        told = [json.loads(line) for line in log_file.read_text().splitlines()]
        assert {line["level"] for line in told} == wanted
        assert any("OTLP/HTTP on " in line["message"] for line in told) == (level == "info")
