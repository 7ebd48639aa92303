"""The receiver keeps to OTLP/HTTP: the right code and body for whatever is sent, and nothing of others is lost."""

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flowtrail.collector.admission import Admission, Admitted, Refusal
from flowtrail.collector.receivers.decompression import zstd
from flowtrail.collector.receivers.otlp_http import OtlpHttpReceiver
from flowtrail.collector.receivers.signals import OtherSignals

from .otlp_bodies import body, logs, metrics, request, send, span
from .otlp_intake import MAX_BODY_BYTES, IntakeHere

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
GZIP = {"content-encoding": "gzip"}
ZSTD = {"content-encoding": "zstd"}
FOLDED_BY: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "zstd": zstd.compress}
PATH = "/v1/traces"


class Collector(IntakeHere):
    """A receiver in front of a journal, asked without a socket."""

    def __init__(self, folder: Path, other_signals: OtherSignals = "drop") -> None:
        super().__init__(folder, other_signals)
        self.receiver = OtlpHttpReceiver(self.intake)

    def ask(self, *calls: tuple[str, str, bytes, dict[str, str]]) -> list[httpx.Response]:
        """Send all requests at the same time."""

        async def together() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.receiver)
            async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
                return await asyncio.gather(
                    *(
                        client.request(method, path, content=data, headers=headers)
                        for method, path, data, headers in calls
                    )
                )

        return asyncio.run(together())

    def post(self, data: bytes, headers: dict[str, str]) -> httpx.Response:
        return self.ask(("POST", PATH, data, headers))[0]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with closing(Collector(tmp_path)) as collector:
        yield collector


def status_of(response: httpx.Response) -> Status:
    """The google.rpc.Status in a response, in the encoding that the response says."""
    if response.headers["content-type"] == "application/json":
        return Status(**json.loads(response.content))
    assert response.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(response.content)


@pytest.mark.parametrize("encoding", FOLDED_BY)
@pytest.mark.parametrize("spans", [1, 150], ids=["small", "large"])
def test_protobuf_is_journalled_as_it_came(collector: Collector, encoding: str, spans: int) -> None:
    sent = body(*[span(send("orders", 0, n)) for n in range(spans)])
    response = collector.post(FOLDED_BY[encoding](sent), {**PROTOBUF, "content-encoding": encoding})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "application/x-protobuf"
    assert collector.bodies == [sent]


@pytest.mark.parametrize("is_upper", [True, False])
def test_json_is_journalled_as_protobuf_with_its_hex_ids(collector: Collector, is_upper: bool) -> None:
    trace_id, span_id = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
    told = {
        "traceId": trace_id.upper() if is_upper else trace_id,
        "spanId": span_id,
        "parentSpanId": "",
        "name": "process orders",
        "kind": 5,
        "startTimeUnixNano": "1790000000000000001",
        "endTimeUnixNano": 1790000000000000002,
        "attributes": [{"key": "messaging.kafka.offset", "value": {"intValue": "7"}}],
        "links": [{"traceId": trace_id, "spanId": span_id}],
        "notYetInvented": {"a": 1},
    }
    sent = {"resourceSpans": [{"scopeSpans": [{"scope": {}, "spans": [told]}]}]}
    response = collector.post(json.dumps(sent).encode(), JSON)
    assert (response.status_code, response.content) == (200, b"{}")
    assert response.headers["content-type"] == "application/json"
    [kept] = [ExportTraceServiceRequest.FromString(data) for data in collector.bodies]
    kept_span = kept.resource_spans[0].scope_spans[0].spans[0]
    assert (kept_span.trace_id.hex(), kept_span.span_id.hex(), kept_span.parent_span_id) == (trace_id, span_id, b"")
    assert kept_span.links[0].trace_id.hex() == trace_id
    assert kept_span.start_time_unix_nano == 1790000000000000001
    assert kept_span.attributes[0].value.int_value == 7


def test_a_content_type_may_carry_parameters(collector: Collector) -> None:
    response = collector.post(b'{"resourceSpans":[]}', {"content-type": "application/json; charset=utf-8"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("data", "headers"), [(b"", PROTOBUF), (b"{}", JSON), (gzip.compress(b""), {**PROTOBUF, **GZIP})]
)
def test_an_empty_request_succeeds_and_writes_nothing(
    collector: Collector, data: bytes, headers: dict[str, str]
) -> None:
    assert collector.post(data, headers).status_code == 200
    assert collector.bodies == []


def test_the_same_body_twice_is_journalled_once(collector: Collector) -> None:
    sent = body(span())
    assert [collector.post(sent, PROTOBUF).status_code for _ in range(2)] == [200, 200]
    assert collector.bodies == [sent]
    assert (collector.intake.received, collector.intake.duplicates) == (2, 1)


GOOD = body(span())

REFUSED: dict[str, tuple[str, str, bytes, dict[str, str], int, str]] = {
    "other path": ("POST", "/v1/profiles", GOOD, PROTOBUF, 404, "path"),
    "other method": ("GET", PATH, b"", PROTOBUF, 405, "method"),
    "other type": ("POST", PATH, GOOD, {"content-type": "text/plain"}, 415, "content_type"),
    "no type": ("POST", PATH, GOOD, {}, 415, "content_type"),
    "brotli": ("POST", PATH, GOOD, {**PROTOBUF, "content-encoding": "br"}, 415, "content_encoding"),
    "snappy": ("POST", PATH, GOOD, {**PROTOBUF, "content-encoding": "snappy"}, 415, "content_encoding"),
    "truncated": ("POST", PATH, GOOD[:-1], PROTOBUF, 400, "malformed"),
    "not protobuf": ("POST", PATH, b"hello, world", PROTOBUF, 400, "malformed"),
    "text that is not UTF-8": ("POST", PATH, GOOD.replace(b"work", b"\xff\xfe\xff\xfe"), PROTOBUF, 400, "malformed"),
    "not gzip": ("POST", PATH, GOOD, {**PROTOBUF, **GZIP}, 400, "not_gzip"),
    "truncated gzip": ("POST", PATH, gzip.compress(GOOD)[:-5], {**PROTOBUF, **GZIP}, 400, "not_gzip"),
    "bytes after gzip": ("POST", PATH, gzip.compress(GOOD) + b"more", {**PROTOBUF, **GZIP}, 400, "not_gzip"),
    "not zstd": ("POST", PATH, GOOD, {**PROTOBUF, **ZSTD}, 400, "not_zstd"),
    "truncated zstd": ("POST", PATH, zstd.compress(GOOD)[:-5], {**PROTOBUF, **ZSTD}, 400, "not_zstd"),
    "bytes after zstd": ("POST", PATH, zstd.compress(GOOD) + b"more", {**PROTOBUF, **ZSTD}, 400, "not_zstd"),
    "too large out of zstd": ("POST", PATH, zstd.compress(b"\0" * 10**7), {**PROTOBUF, **ZSTD}, 413, "too_large"),
    "not JSON": ("POST", PATH, b'{"resourceSpans": [', JSON, 400, "malformed"),
    "a JSON list": ("POST", PATH, b"[]", JSON, 400, "malformed"),
    "JSON of another shape": ("POST", PATH, b'{"resourceSpans": 7}', JSON, 400, "malformed"),
    "too large": ("POST", PATH, b"x" * (MAX_BODY_BYTES + 1), PROTOBUF, 413, "too_large"),
    "too large unfolded": ("POST", PATH, gzip.compress(b"\0" * 10**7), {**PROTOBUF, **GZIP}, 413, "too_large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_the_right_code_and_body(collector: Collector, case: str) -> None:
    method, path, data, headers, status, reason = REFUSED[case]
    [response] = collector.ask((method, path, data, headers))
    assert response.status_code == status
    assert status_of(response).message
    if headers.get("content-type") in {"application/x-protobuf", "application/json"}:
        assert response.headers["content-type"] == headers["content-type"]
    assert "retry-after" not in response.headers
    assert collector.intake.refused == {reason: 1}
    assert collector.bodies == []


@pytest.mark.parametrize(
    ("refusal", "headers"),
    [
        (Refusal(401, 16, "token", "who is there?"), {"www-authenticate": "Bearer"}),
        (Refusal(413, 8, "too_large", "too large"), {"connection": "close"}),
        (Refusal(429, 8, "rate", "slower", 7), {"retry-after": "7"}),
        (Refusal(503, 14, "memory", "later", 1), {"retry-after": "1"}),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else "",
)
@pytest.mark.parametrize("asked", [PROTOBUF, JSON], ids=["protobuf", "json"])
def test_a_refusal_keeps_its_status_and_says_when_to_come_back_only_where_that_helps(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal,
    headers: dict[str, str],
    asked: dict[str, str],
) -> None:
    def refuse(*_: object) -> Admitted:
        raise refusal

    monkeypatch.setattr(Admission, "admit", refuse)
    response = collector.post(b"", asked)
    assert response.status_code == refusal.status
    assert status_of(response) == Status(code=refusal.code, message=refusal.message)
    told = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    assert told == headers
    assert collector.intake.refused == {refusal.reason: 1}


def test_a_sender_of_another_encoding_is_told_which_are_read(collector: Collector) -> None:
    response = collector.post(GOOD, {**PROTOBUF, "content-encoding": "snappy"})
    assert response.headers["accept-encoding"] == "zstd, gzip"
    assert "'snappy'" in status_of(response).message


def test_a_span_id_that_is_not_hex_is_refused_by_name(collector: Collector) -> None:
    sent = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}
    response = collector.post(json.dumps(sent).encode(), JSON)
    assert response.status_code == 400
    assert "traceId" in status_of(response).message


def test_closing_waits_for_no_body_that_is_being_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_parsing, may_end = threading.Event(), threading.Event()

    def slow(*_: object) -> Admitted:
        is_parsing.set()
        may_end.wait(20)
        return Admitted(b"")

    monkeypatch.setattr(Admission, "admit", slow)
    with closing(Collector(tmp_path)) as collector:
        sender = threading.Thread(target=collector.post, args=(b"x" * 50_000, PROTOBUF))
        sender.start()
        assert is_parsing.wait(20)
        closer = threading.Thread(target=collector.intake.close)
        closer.start()
        closer.join(10)
        is_closed = not closer.is_alive()
        may_end.set()
        sender.join()
        assert is_closed


def test_a_full_journal_tells_senders_when_to_come_back(tmp_path: Path) -> None:
    with closing(Collector(tmp_path)) as collector:
        collector.journal.is_full = True
        response = collector.post(GOOD, PROTOBUF)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert status_of(response).code == 14  # UNAVAILABLE
        assert collector.intake.received == 0


SHORT: dict[str, tuple[Message, type[Any], str]] = {
    "metrics": (metrics(3), ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (logs(3), ExportLogsServiceResponse, "rejected_log_records"),
}
NO_OBJECT = {"metrics": '{"resourceMetrics": 7}', "logs": '{"resourceLogs": 7}'}


def as_json(message: Message) -> bytes:
    return json_format.MessageToJson(message).encode()


@pytest.mark.parametrize("encoding", FOLDED_BY)
@pytest.mark.parametrize("signal", SHORT)
def test_metrics_and_logs_are_taken_and_dropped(collector: Collector, signal: str, encoding: str) -> None:
    message, *_ = SHORT[signal]
    folded = {"content-encoding": encoding}
    protobuf, text = collector.ask(
        ("POST", f"/v1/{signal}", FOLDED_BY[encoding](message.SerializeToString()), {**PROTOBUF, **folded}),
        ("POST", f"/v1/{signal}", FOLDED_BY[encoding](as_json(message)), {**JSON, **folded}),
    )
    assert (protobuf.status_code, protobuf.content) == (200, b"")
    assert (text.status_code, text.content) == (200, b"{}")
    assert collector.intake.dropped == {signal: 6}
    assert (collector.intake.received, collector.bodies) == (0, [])


@pytest.mark.parametrize("signal", SHORT)
def test_metrics_and_logs_are_refused_by_a_partial_success_where_that_is_wanted(tmp_path: Path, signal: str) -> None:
    message, response, rejected = SHORT[signal]
    with closing(Collector(tmp_path, "refuse")) as collector:
        protobuf, text, empty = collector.ask(
            ("POST", f"/v1/{signal}", message.SerializeToString(), PROTOBUF),
            ("POST", f"/v1/{signal}", as_json(message), JSON),
            ("POST", f"/v1/{signal}", b"", PROTOBUF),
        )
        assert (protobuf.status_code, text.status_code) == (200, 200)
        for told in (response.FromString(protobuf.content), json_format.Parse(text.content, response())):
            assert getattr(told.partial_success, rejected) == 3
            assert told.partial_success.error_message
        assert (empty.status_code, empty.content) == (200, b"")
        assert collector.intake.dropped == {signal: 6}


@pytest.mark.parametrize("signal", SHORT)
def test_the_limits_hold_for_metrics_and_logs_too(collector: Collector, signal: str) -> None:
    path, text = f"/v1/{signal}", NO_OBJECT[signal].encode()
    answers = collector.ask(
        ("POST", path, b"x" * (MAX_BODY_BYTES + 1), PROTOBUF),
        ("POST", path, gzip.compress(b"\0" * 10**7), {**PROTOBUF, **GZIP}),
        ("POST", path, zstd.compress(b"\0" * 10**7), {**PROTOBUF, **ZSTD}),
        ("POST", path, b"hello, world", PROTOBUF),
        ("POST", path, text, JSON),
        ("GET", path, b"", PROTOBUF),
        ("POST", path, b"", {"content-type": "text/plain"}),
        ("POST", path, b"", {**PROTOBUF, "content-encoding": "snappy"}),
    )
    assert [answer.status_code for answer in answers] == [413, 413, 413, 400, 400, 405, 415, 415]
    assert all(status_of(answer).message for answer in answers)
    assert collector.intake.dropped == {}


anything = st.one_of(
    st.binary(max_size=300),
    st.integers(0, len(GOOD) - 1).map(lambda end: GOOD[:end]),
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
        lambda change: GOOD[: change[0]] + bytes([change[1]]) + GOOD[change[0] + 1 :]
    ),
    st.binary(max_size=100).map(gzip.compress),
    st.integers(0, 60).map(lambda end: gzip.compress(GOOD)[:end]),
    st.binary(max_size=100).map(zstd.compress),
    st.integers(0, 60).map(lambda end: zstd.compress(GOOD)[:end]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["resourceSpans", "scopeSpans", "spans", "traceId", "links"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
any_headers = st.fixed_dictionaries(
    {"content-type": st.sampled_from(["application/x-protobuf", "application/json", "text/html"])},
    optional={"content-encoding": st.sampled_from(["gzip", "identity", "zstd"])},
)


@pytest.fixture(scope="module")
def lasting_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with closing(Collector(tmp_path_factory.mktemp("fuzz"))) as collector:
        yield collector


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=anything, headers=any_headers)
def test_whatever_one_sends_another_is_served(
    lasting_collector: Collector, data: bytes, headers: dict[str, str]
) -> None:
    honest = body(span())
    bad, good = lasting_collector.ask(("POST", PATH, data, headers), ("POST", PATH, honest, PROTOBUF))
    assert good.status_code == 200
    assert honest in lasting_collector.bodies
    assert bad.status_code in {200, 400, 413, 415}
    if bad.status_code != 200:
        assert status_of(bad).message
    for kept in lasting_collector.bodies:
        ExportTraceServiceRequest.FromString(kept)
    lasting_collector.bodies.clear()


def test_concatenated_bodies_are_one_request() -> None:
    one, two = request(span()), request(span(), span())
    joined: Any = ExportTraceServiceRequest.FromString(one.SerializeToString() + two.SerializeToString())
    assert [len(part.scope_spans[0].spans) for part in joined.resource_spans] == [1, 2]
