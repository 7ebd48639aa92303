"""The receiver keeps to OTLP/gRPC: the right code and details for whatever is sent, and it starts and stops cleanly."""

import gzip
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from flowtrail.collector.admission import (
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    Admission,
    Admitted,
    Peer,
    Refusal,
)
from flowtrail.collector.receivers import otlp_grpc
from flowtrail.collector.receivers.otlp_grpc import OtlpGrpcReceiver, serving
from flowtrail.collector.receivers.signals import OtherSignals

from .otlp_bodies import body, logs, metrics, request, send, span
from .otlp_intake import MAX_BODY_BYTES, IntakeHere

PATIENCE_S = 20
GOOD = body(span())


class Collector(IntakeHere):
    """A receiver in front of a journal, and a channel to it."""

    def __init__(self, folder: Path, other_signals: OtherSignals = "drop") -> None:
        super().__init__(folder, other_signals)
        self.ended = threading.Event()
        self._open = ExitStack()
        server = serving(OtlpGrpcReceiver(self.intake), "127.0.0.1", 0, self.ended.set, grace_s=PATIENCE_S)
        self.port = self._open.enter_context(server)
        self.channel = self._open.enter_context(channel_to(self.port))

    def export(self, data: bytes, signal: str = "Trace", **how: Any) -> bytes:
        """Call Export of a signal's service; raises grpc.RpcError."""
        method = f"/opentelemetry.proto.collector.{SERVICES[signal]}.v1.{signal}Service/Export"
        answer: bytes = self.channel.unary_unary(method)(data, timeout=PATIENCE_S, **how)
        return answer

    def failure(self, data: bytes, **how: Any) -> Any:
        with pytest.raises(grpc.RpcError) as failed:
            self.export(data, **how)
        return failed.value

    def stop(self) -> None:
        self._open.close()

    def close(self) -> None:
        self.stop()
        super().close()


# A client's options by which it pings ten times a second, calls or not.
RESTLESS = {
    "keepalive_time_ms": 100,
    "keepalive_permit_without_calls": 1,
    "http2.max_pings_without_data": 0,
    "http2.min_time_between_pings_ms": 100,
    "use_local_subchannel_pool": 1,
}
SERVICES = {"Trace": "trace", "Metrics": "metrics", "Logs": "logs"}


@contextmanager
def channel_to(port: int) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with closing(Collector(tmp_path)) as collector:
        yield collector


def status_of(failure: Any) -> Status:
    """The google.rpc.Status in the trailers of a call."""
    return Status.FromString(dict(failure.trailing_metadata())["grpc-status-details-bin"])


def retry_after_s(failure: Any) -> int | None:
    """Seconds of the RetryInfo in a failure; None without one."""
    for detail in status_of(failure).details:
        info = RetryInfo()
        if detail.Unpack(info):
            return int(info.retry_delay.seconds)
    return None


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("spans", [1, 150], ids=["small", "large"])
def test_a_request_is_journalled_as_it_came(collector: Collector, compression: Any, spans: int) -> None:
    sent = body(*[span(send("orders", 0, n)) for n in range(spans)])
    assert collector.export(sent, compression=compression) == b""
    assert collector.bodies == [sent]
    assert (collector.intake.received, collector.intake.refused) == (1, {})


def test_an_empty_request_succeeds_and_writes_nothing(collector: Collector) -> None:
    assert collector.export(b"") == b""
    assert collector.bodies == []


def test_the_same_body_twice_is_journalled_once(collector: Collector) -> None:
    assert [collector.export(GOOD) for _ in range(2)] == [b"", b""]
    assert (collector.intake.received, collector.intake.duplicates, collector.bodies) == (2, 1, [GOOD])


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"hello, world", grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        (GOOD[:-1], grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        (gzip.compress(GOOD)[:-5], grpc.StatusCode.INVALID_ARGUMENT, "not_gzip"),
        (gzip.compress(b"\0" * 10**7), grpc.StatusCode.RESOURCE_EXHAUSTED, "too_large"),
    ],
    ids=["not protobuf", "truncated", "truncated gzip", "bomb"],
)
def test_bad_input_gets_the_right_code_and_is_not_sent_again(
    collector: Collector, data: bytes, code: grpc.StatusCode, reason: str
) -> None:
    failure = collector.failure(data)
    assert failure.code() == code
    assert status_of(failure) == Status(code=code.value[0], message=failure.details())
    assert failure.details()
    assert collector.intake.refused == {reason: 1}
    assert collector.bodies == []


def test_a_message_over_the_limit_is_refused_and_counted(collector: Collector) -> None:
    failure = collector.failure(b"\0" * (MAX_BODY_BYTES + 1))
    assert failure.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    # grpcio answers it by itself: that it was one is known a little later.
    collector.stop()
    assert collector.intake.refused == {"too_large": 1}


def test_a_bomb_is_unfolded_by_admission_within_its_limits(collector: Collector) -> None:
    failure = collector.failure(b"\0" * 10**7, compression=grpc.Compression.Gzip)
    assert failure.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status_of(failure).message == f"the body is larger than {MAX_BODY_BYTES} bytes after decompression"
    assert collector.intake.refused == {"too_large": 1}


def test_a_compression_that_is_not_read_is_refused_by_its_name(collector: Collector) -> None:
    failure = collector.failure(GOOD, compression=grpc.Compression.Deflate)
    assert failure.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "deflate" in failure.details()


def test_another_service_is_said_not_to_be_there(collector: Collector) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        collector.channel.unary_unary("/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export")(b"")
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_full_journal_tells_senders_when_to_come_back(collector: Collector) -> None:
    collector.journal.is_full = True
    failure = collector.failure(GOOD)
    assert failure.code() == grpc.StatusCode.UNAVAILABLE
    assert retry_after_s(failure) == 5
    assert (collector.intake.received, collector.intake.refused) == (0, {"journal_full": 1})
    collector.journal.is_full = False
    assert collector.export(GOOD) == b""


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal(400, INVALID_ARGUMENT, "malformed", "no"), grpc.StatusCode.INVALID_ARGUMENT),
        (Refusal(401, 16, "no_token", "who is there?"), grpc.StatusCode.UNAUTHENTICATED),
        (Refusal(403, 7, "token", "not you"), grpc.StatusCode.PERMISSION_DENIED),
        (Refusal(413, RESOURCE_EXHAUSTED, "too_large", "too large"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Refusal(429, RESOURCE_EXHAUSTED, "rate", "slower", 7), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Refusal(503, UNAVAILABLE, "memory", "later", 1), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else "",
)
def test_a_refusal_keeps_its_code_and_says_when_to_come_back_only_where_that_helps(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, refusal: Refusal, code: grpc.StatusCode
) -> None:
    def refuse(*_: object) -> Admitted:
        raise refusal

    monkeypatch.setattr(Admission, "admit", refuse)
    failure = collector.failure(GOOD)
    assert (failure.code(), failure.details()) == (code, refusal.message)
    assert (status_of(failure).code, status_of(failure).message) == (refusal.code, refusal.message)
    assert retry_after_s(failure) == refusal.retry_after_s


def test_a_sender_of_a_message_that_does_not_come_is_told_to_come_back(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_grpc, "BODY_TIMEOUT_S", 0.05)
    is_told = threading.Event()

    def nothing() -> Iterator[bytes]:
        is_told.wait(PATIENCE_S)
        yield from ()

    call = collector.channel.stream_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    with pytest.raises(grpc.RpcError) as failed:
        call(nothing(), timeout=PATIENCE_S)
    is_told.set()
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert collector.intake.refused == {"slow": 1}


def test_a_sender_that_pings_all_the_time_is_told_to_calm_down_and_is_served_again(collector: Collector) -> None:
    options = [(f"grpc.{name}", value) for name, value in RESTLESS.items()]
    states: queue.Queue[grpc.ChannelConnectivity] = queue.Queue()
    with grpc.insecure_channel(f"127.0.0.1:{collector.port}", options=options) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        export(GOOD, timeout=PATIENCE_S)
        channel.subscribe(states.put)
        while states.get(timeout=PATIENCE_S) is not grpc.ChannelConnectivity.READY:
            continue
        assert states.get(timeout=PATIENCE_S) is grpc.ChannelConnectivity.IDLE  # the connection was closed
        assert export(GOOD, timeout=PATIENCE_S) == b""
        channel.unsubscribe(states.put)


def test_what_was_left_out_is_told_as_a_partial_success(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "admit", lambda *_: Admitted(GOOD, 3, "three were too old"))
    told = ExportTraceServiceResponse.FromString(collector.export(GOOD))
    assert (told.partial_success.rejected_spans, told.partial_success.error_message) == (3, "three were too old")


def test_admission_is_told_who_sends(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    peers: list[Peer] = []

    def admit(_self: Admission, _data: bytes, _type: str, _encoding: str, peer: Peer) -> Admitted:
        peers.append(peer)
        return Admitted(b"")

    monkeypatch.setattr(Admission, "admit", admit)
    collector.export(GOOD, metadata=[("authorization", "Bearer hidden")])
    collector.export(GOOD)
    assert peers == [Peer("127.0.0.1", "Bearer hidden", name=""), Peer("127.0.0.1", "", name="")]


OTHERS: dict[str, tuple[Message, type[Any], str]] = {
    "Metrics": (metrics(3), ExportMetricsServiceResponse, "rejected_data_points"),
    "Logs": (logs(3), ExportLogsServiceResponse, "rejected_log_records"),
}


@pytest.mark.parametrize("signal", OTHERS)
def test_metrics_and_logs_are_taken_and_dropped(collector: Collector, signal: str) -> None:
    message, *_ = OTHERS[signal]
    assert collector.export(message.SerializeToString(), signal, compression=grpc.Compression.Gzip) == b""
    assert collector.intake.dropped == {signal.lower(): 3}
    assert collector.bodies == []
    assert collector.failure(b"hello", signal=signal).code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("signal", OTHERS)
def test_metrics_and_logs_are_refused_by_a_partial_success_where_that_is_wanted(tmp_path: Path, signal: str) -> None:
    message, response, rejected = OTHERS[signal]
    with closing(Collector(tmp_path, "refuse")) as collector:
        told = response.FromString(collector.export(message.SerializeToString(), signal))
        assert getattr(told.partial_success, rejected) == 3
        assert told.partial_success.error_message


def test_a_port_that_is_taken_is_an_error_and_not_shared(collector: Collector) -> None:
    second = serving(OtlpGrpcReceiver(collector.intake), "127.0.0.1", collector.port, collector.ended.set)
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{collector.port}"), second:
        pass


def test_stopping_answers_what_is_under_way_and_takes_no_more(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_appending, may_go_on = threading.Event(), threading.Event()
    append = collector.journal.append

    def slow(bodies: Any) -> Any:
        is_appending.set()
        assert may_go_on.wait(PATIENCE_S)
        return append(bodies)

    monkeypatch.setattr(collector.journal, "append", slow)
    with channel_to(collector.port) as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        under_way = call.future(GOOD)
        assert is_appending.wait(PATIENCE_S)
        stopper = threading.Thread(target=collector.stop)
        stopper.start()
        may_go_on.set()
        stopper.join(PATIENCE_S)
        assert under_way.result(PATIENCE_S) == b""
        assert collector.bodies == [GOOD]
        with pytest.raises(grpc.RpcError) as refused:
            call(GOOD)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not collector.ended.is_set()


def test_a_sender_that_has_gone_disturbs_nobody(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    is_appending, may_go_on = threading.Event(), threading.Event()
    append = collector.journal.append

    def slow(bodies: Any) -> Any:
        is_appending.set()
        assert may_go_on.wait(PATIENCE_S)
        return append(bodies)

    monkeypatch.setattr(collector.journal, "append", slow)
    call = collector.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    gone = call.future(GOOD)
    assert is_appending.wait(PATIENCE_S)
    gone.cancel()
    may_go_on.set()
    other = request(span()).SerializeToString()
    assert collector.export(other) == b""
    assert collector.bodies == [GOOD, other]
