"""The collector as a process: it says where it is, shows an event at once, stops cleanly and refuses a wrong setup."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.collector_process import PATIENCE_S, CollectorProcess, stored
from flowtrail.collector.settings import Settings

from .otlp_bodies import body, send, span

PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collector")


@pytest.fixture(scope="module")
def collector(data_dir: Path) -> Iterator[CollectorProcess]:
    """One collector for the tests of this file; the last of them stops it."""
    process = CollectorProcess(data_dir)
    yield process
    if process.is_running():
        process.kill()


def start_in_vain(**options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{f"FLOWTRAIL_{name.upper()}": value for name, value in options.items()}}
    return subprocess.run(
        [sys.executable, "-m", "flowtrail.collector.service"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_a_span_comes_through_to_the_store_and_health_counts_it(collector: CollectorProcess) -> None:
    sent = body(span(send("orders", 0, 1), start_ns=time.time_ns()))
    assert requests.post(collector.traces_url, data=sent, headers=PROTOBUF, timeout=10).status_code == 200
    collector.wait_until_drained()
    health = collector.health()
    assert health["ready"]
    assert health["received_requests"] == 1
    assert health["stored_spans"] == 1
    assert [reader["name"] for reader in health["readers"]] == ["store"]


def test_the_endpoints_file_says_where_it_is(collector: CollectorProcess, data_dir: Path) -> None:
    told = json.loads((data_dir / "endpoints.json").read_text())
    assert collector.traces_url == told["otlp_http"] + "/v1/traces"
    os.kill(told["pid"], 0)  # raises when there is no such process


@pytest.mark.usefixtures("collector")
def test_a_second_collector_on_the_same_data_is_told_who_has_it(data_dir: Path) -> None:
    second = start_in_vain(data_dir=str(data_dir))
    pid = json.loads((data_dir / "endpoints.json").read_text())["pid"]
    assert second.returncode == 2
    assert f"in use by another collector (process {pid})" in second.stderr
    assert (data_dir / "endpoints.json").exists()


def test_it_ends_cleanly_when_asked_and_keeps_what_it_took(collector: CollectorProcess, data_dir: Path) -> None:
    collector.stop()
    assert collector.status == 0
    assert not (data_dir / "endpoints.json").exists()
    assert stored(data_dir).spans == 1


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start_in_vain(data_dir=str(tmp_path), otlp_http_port=str(port))
    assert refused.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_port", "99999"),
        ("export_url", "jaeger:4318"),
        ("store_dsn", "postgres://x"),
        ("lag_interval_ms", "0"),
        ("database", "a b"),
        ("kafka_properties", '{"bootstrap.servers": "x"}'),
    ],
)
def test_a_wrong_option_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FLOWTRAIL_{name.upper()}", value)
    with pytest.raises(ValueError, match=name):
        Settings()


def test_a_body_larger_than_the_journal_is_refused_as_a_setting() -> None:
    with pytest.raises(ValueError, match="journal_max_bytes"):
        Settings(max_body_bytes=100, journal_max_bytes=10)


def test_every_option_is_described_in_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith((".", "(503).")), name


def test_the_store_lies_in_the_data_directory_unless_told() -> None:
    assert Settings(data_dir=Path("/data")).store_dsn == "chdb:///data/store"
    assert Settings(data_dir=Path("/data"), store_dsn="https://ch:8443").store_dsn == "https://ch:8443"
