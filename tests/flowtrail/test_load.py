"""The load that judges the collector is honest: what it sends is new each time, and what it counts was answered."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.intake import judged, problems, staged, summary
from benchmarks.kafka_spans import BLOCK_SPANS, Renewable
from benchmarks.otlp_load import Load
from benchmarks.staged_collector import STAGES


def spans_of(body: bytes) -> list[Span]:
    parsed = ExportTraceServiceRequest.FromString(body)
    return [span for resource in parsed.resource_spans for scope in resource.scope_spans for span in scope.spans]


def attribute(span: Span, name: str) -> str | int:
    (value,) = (told.value for told in span.attributes if told.key == name)
    return value.string_value or value.int_value


@pytest.mark.parametrize("spans", [1, 2, 7, 8, 512, 600])
def test_requests_of_any_size_have_ids_times_and_offsets_that_no_other_has(spans: int) -> None:
    began_ns = time.time_ns()
    bodies = [bytes(request) for request in islice(Renewable(spans), 2 * BLOCK_SPANS // spans + 2)]
    ended_ns = time.time_ns()
    sent = [span for body in bodies for span in spans_of(body)]
    assert len(sent) == spans * len(bodies)
    assert (
        len({span.span_id for span in sent}) == len({attribute(s, "messaging.kafka.offset") for s in sent}) == len(sent)
    )
    assert len({span.trace_id for span in sent}) == len(bodies) * ((spans + 1) // 2)
    assert len({span.start_time_unix_nano for span in sent}) > 0.99 * len(sent)
    assert all(began_ns - 10**9 < span.start_time_unix_nano < span.end_time_unix_nano for span in sent)
    assert all(span.start_time_unix_nano <= ended_ns for span in sent)


def test_a_process_span_has_the_trace_of_its_send_and_links_to_it() -> None:
    body = bytes(next(iter(Renewable(8))))
    sends, processes = spans_of(body)[::2], spans_of(body)[1::2]
    for send, process in zip(sends, processes, strict=True):
        (link,) = process.links
        assert process.trace_id == send.trace_id == link.trace_id
        assert link.span_id == send.span_id != process.span_id


def test_a_request_stands_after_its_head_which_knows_its_length() -> None:
    for request in islice(Renewable(8, b"length: %d\r\n"), 70):
        head, _, body = bytes(request).partition(b"\r\n")
        assert head == b"length: %d" % len(body)
        assert len(spans_of(body)) == 8


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A receiver that gives these answers in turn, then the last for good; an empty one closes the connection."""
    left = list(answers)

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as came:
            while head := came.readline():
                while (line := came.readline()) != b"\r\n":
                    head += line
                came.read(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if not answer:
                    return
                for piece in (answer[:5], answer[5:]):
                    connection.sendall(piece)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces"
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in threads:
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def test_spans_count_when_they_are_acknowledged_and_what_is_refused_or_dropped_is_told_apart() -> None:
    with answering(OK, BUSY, b"", OK) as url:
        load = Load(url, spans=8, connections=1)
        told = load.run(seconds=0.7)
        load.close()
    assert (told.refused, told.failed) == (1, 1)
    assert told.requests > 2
    assert told.spans == 8 * told.requests


def test_an_answer_that_blames_the_generator_ends_the_measurement() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as url:
        load = Load(url, spans=8, connections=1)
        with pytest.raises(RuntimeError, match="400"):
            load.run(seconds=5)
        load.close()


def test_a_rate_is_kept_by_all_connections_together() -> None:
    with answering(OK) as url:
        load = Load(url, spans=8, connections=3, spans_s=800)
        told = load.run(seconds=0.5)
        load.close()
    assert 1 <= told.requests <= 51


@pytest.mark.parametrize("stage", STAGES)
def test_a_collector_takes_its_way_up_to_each_stage(stage: str) -> None:
    figures = staged(stage, spans=8, connections=2, seconds=0.1)
    assert figures["drained_spans_s"] > 0
    assert figures["failed_requests"] == figures["refused_requests"] == 0


GOOD = {"drained_spans_s": 150_000.0, "cpu_s_per_million": 8.0, "bytes_per_span": 45.0, "peak_rss_mb": 1024.0}


def test_figures_stand_beside_their_targets() -> None:
    assert [told["is_met"] for told in judged({"512": GOOD, "8": {**GOOD, "drained_spans_s": 75_000}})] == [True] * 5
    assert [told["name"] for told in judged({"8": GOOD})] == ["drained_spans_s"]
    for name, wrong in (("drained_spans_s", 149_999.0), ("cpu_s_per_million", 8.1), ("peak_rss_mb", 1025.0)):
        assert [told["name"] for told in judged({"512": {**GOOD, name: wrong}}) if not told["is_met"]] == [name]


def test_a_summary_has_medians_and_a_spread_and_says_when_the_generator_was_too_slow() -> None:
    rounds = [{"drained_spans_s": rate, "generator_share": 0.5} for rate in (10.0, 30.0, 20.0)]
    assert summary(rounds) == {
        "drained_spans_s": 20,
        "generator_share": 0.5,
        "generator_is_the_bottleneck": False,
        "spread": {"drained_spans_s": [10, 30], "generator_share": [0.5, 0.5]},
    }
    assert summary([{"generator_share": 0.95}])["generator_is_the_bottleneck"]


def test_spans_that_are_missing_or_twice_are_a_problem_of_the_intake() -> None:
    right = {"missing_spans": 0.0, "spans_twice": 0.0, "edges_off_by": 0.0, "failed_requests": 0.0}
    assert problems([right, right]) == []
    for name in right:
        assert problems([right, {**right, name: -1.0}]) == [f"{name}: -1"]
