"""The collector as a process: it says where it is, shows an event at once, stops cleanly and refuses a wrong setup."""

import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import uvicorn
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from benchmarks.collector_process import PATIENCE_S, CollectorProcess, stored
from flowtrail.collector.journal.contract import JournalError
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.service import Broken, StartError, run, running
from flowtrail.collector.settings import Settings

from .otlp_bodies import body, logs, send, span
from .otlp_endpoint import Endpoint

_numbers = itertools.count(1)

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


def settings_here(data_dir: Path, store_dsn: str, **options: Any) -> Settings:
    """Settings of a collector in this process: it shares the engine, has a database of its own, and keeps all."""
    database = f"collector_{next(_numbers)}"
    return Settings(
        data_dir=data_dir,
        store_dsn=store_dsn,
        database=database,
        retention_days=0,
        otlp_http_port=0,
        otlp_grpc_port=0,
        api_port=0,
        **options,
    )


@contextmanager
def running_here(data_dir: Path, store_dsn: str, **options: Any) -> Iterator[tuple[str, str]]:
    """A collector in this process; yields the URLs of its API and for traces. None of its servers may end."""
    ended: list[str] = []
    with running(settings_here(data_dir, store_dsn, **options), ended.append) as endpoints:
        yield endpoints["api"], endpoints["otlp_http"] + "/v1/traces"
    assert ended == []


def post(traces_url: str, one: Span) -> int:
    """Send a span; return the answer's status."""
    return requests.post(traces_url, data=body(one), headers=PROTOBUF, timeout=10).status_code


def is_taken(traces_url: str, one: Span) -> bool:
    return post(traces_url, one) == 200


def health_of(api_url: str) -> dict[str, Any]:
    told: dict[str, Any] = requests.get(api_url + "/v1/health", timeout=10).json()
    return told


def reader(health: dict[str, Any], name: str) -> dict[str, Any]:
    """What health tells of one reader."""
    [told] = [told for told in health["readers"] if told["name"] == name]
    return dict(told)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it does not come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.05)


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
    assert "--otlp-http-port takes another port" in refused.stderr


def test_a_grpc_port_that_is_taken_is_named(tmp_path: Path, store_dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = settings_here(tmp_path, store_dsn).model_copy(update={"otlp_grpc_port": port})
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}; --otlp-grpc-port"):
            run(wrong)


def test_what_comes_by_grpc_is_stored_and_counted_with_what_comes_by_http(tmp_path: Path, store_dsn: str) -> None:
    ended: list[str] = []
    with running(settings_here(tmp_path, store_dsn), ended.append) as endpoints:
        assert is_taken(endpoints["otlp_http"] + "/v1/traces", span())
        with grpc.insecure_channel(endpoints["otlp_grpc"].removeprefix("http://")) as channel:
            service = "/opentelemetry.proto.collector.{}.v1.{}Service/Export"
            channel.unary_unary(service.format("trace", "Trace"))(body(span()), timeout=10)
            channel.unary_unary(service.format("logs", "Logs"))(logs(3).SerializeToString(), timeout=10)
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(service.format("trace", "Trace"))(b"no request", timeout=10)
        until(lambda: health_of(endpoints["api"])["stored_spans"] == 2)
        health = health_of(endpoints["api"])
    assert ended == []
    assert (health["received_requests"], health["rejected_requests"]) == (2, {"malformed": 1})
    assert health["dropped_items"] == {"logs": 3}


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"no.such": 1}, 'No such configuration property: "no.such"'),
        ({"socket.timeout.ms": "soon"}, "socket.timeout.ms"),
    ],
)
def test_a_kafka_property_that_librdkafka_does_not_take_ends_the_start(
    tmp_path: Path, properties: dict[str, Any], said: str
) -> None:
    wrong = Settings(data_dir=tmp_path, kafka_properties=properties)
    with pytest.raises(StartError, match="--kafka-properties: ") as refused, running(wrong, lambda _name: None):
        pass
    assert said in str(refused.value)


@pytest.mark.parametrize("servers", ["nonsense", "broker:", "broker:port", "broker:70000", "a:9092,,b:9092", ":9092"])
def test_brokers_that_are_no_host_and_port_are_refused(servers: str) -> None:
    with pytest.raises(ValidationError, match="must be host:port"):
        Settings(bootstrap_servers=servers)


@pytest.mark.parametrize("servers", ["", "broker:9092", "a:9092,b-1.c:9093", "a:1, b:2", "[::1]:9092", "SSL://a:9093"])
def test_brokers_are_named_as_librdkafka_names_them(servers: str) -> None:
    assert Settings(bootstrap_servers=servers).bootstrap_servers == servers


def test_an_export_endpoint_that_is_away_delays_nothing_and_gets_everything_once_it_is_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    collector = CollectorProcess(tmp_path, export_url=f"http://127.0.0.1:{port}/v1/traces")
    try:
        spans = [span(send("orders", 0, number), kind=4, start_ns=time.time_ns()) for number in range(10)]
        for one in spans:
            assert post(collector.traces_url, one) == 200
        collector.wait_until_drained("store")
        until(lambda: reader(collector.health(), "export")["last_error"] is not None)
        health = collector.health()
        assert health["ready"]
        assert (health["stored_spans"], reader(health, "export")["behind_requests"]) == (10, 10)
        graph = requests.get(collector.api_url + "/v1/graph", timeout=10).json()
        assert [(edge["source"], edge["target"], edge["messages"]) for edge in graph["edges"]] == [
            ("service:orders", "topic:orders", 10)
        ]
        flow = requests.get(f"{collector.api_url}/v1/flows/{spans[0].trace_id.hex()}", timeout=10).json()
        assert [told["span_id"] for told in flow["spans"]] == [spans[0].span_id.hex()]
        with closing(Endpoint(port)) as endpoint:
            collector.wait_until_drained("export", timeout_s=PATIENCE_S)
            assert endpoint.spans() == [one.span_id for one in spans]
    finally:
        collector.kill()


def test_health_counts_what_the_endpoint_and_the_store_refused(tmp_path: Path, store_dsn: str) -> None:
    with closing(Endpoint()) as endpoint:
        bad = span()
        endpoint.refuses = bad.span_id
        with running_here(tmp_path, store_dsn, export_url=endpoint.url) as (api_url, traces_url):
            for one in (bad, span(), span(trace_id=b"short")):
                assert post(traces_url, one) == 200
            until(lambda: all(told["behind_requests"] == 0 for told in health_of(api_url)["readers"]))
            health = health_of(api_url)
    assert reader(health, "export")["set_aside_requests"] == 1
    assert (reader(health, "store")["set_aside_requests"], health["set_aside_requests"]) == (0, 0)
    assert (health["stored_spans"], health["rejected_spans"]) == (2, 1)


def test_health_counts_what_an_exporter_skipped_when_the_journal_was_full(tmp_path: Path, store_dsn: str) -> None:
    options = {"export_url": "http://127.0.0.1:9/v1/traces", "max_body_bytes": 1000, "journal_max_bytes": 1000}
    with running_here(tmp_path, store_dsn, **options) as (api_url, traces_url):
        sent = [span() for _ in range(20)]
        for one in sent:
            until(functools.partial(is_taken, traces_url, one))
        until(lambda: reader(health_of(api_url), "store")["behind_requests"] == 0)
        told = reader(health_of(api_url), "export")
    assert told["skipped_requests"] > 0
    assert told["skipped_requests"] + told["behind_requests"] == len(sent)


def test_a_journal_that_cannot_be_read_is_not_ready_and_says_why(
    tmp_path: Path, store_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise JournalError("disk I/O error")

    with running_here(tmp_path, store_dsn) as (api_url, _):
        with monkeypatch.context() as patched:
            patched.setattr(SqliteJournal, "depth", broken)
            answer = requests.get(api_url + "/readyz", timeout=10)
        assert (answer.status_code, answer.json()["reason"]) == (503, "the journal cannot be read: disk I/O error")
        assert requests.get(api_url + "/readyz", timeout=10).status_code == 200


def test_a_server_that_ends_by_itself_ends_the_collector_with_an_error(
    tmp_path: Path, store_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: uvicorn.Server, sockets: object = None) -> None:
        raise MemoryError

    monkeypatch.setattr(uvicorn.Server, "run", breaks)
    rescue = threading.Timer(PATIENCE_S, os.kill, (os.getpid(), signal.SIGTERM))
    rescue.start()
    try:
        with pytest.raises(Broken, match="server ended by itself"):
            run(settings_here(tmp_path, store_dsn))
    finally:
        rescue.cancel()
    assert not (tmp_path / "endpoints.json").exists()


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
