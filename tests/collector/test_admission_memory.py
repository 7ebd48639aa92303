"""The bound on memory: bodies hold a part of it, whoever finds none comes back, and the process stays below."""

import gzip
import threading
from collections import Counter
from pathlib import Path

import pytest
import requests

from benchmarks.collector_process import CollectorProcess, stored
from flowtrail.collector.admission import PROTOBUF, UNAVAILABLE, Admission, Peer, Refusal
from flowtrail.collector.admission.memory import MemoryGate

from .otlp_bodies import body, span
from .test_otlp_http import Collector

MIB = 1024**2


class Resident:
    """A process's memory, and the time, as a test says they are."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.now_s = 0.0

    def gate(self, max_bytes: int) -> MemoryGate:
        return MemoryGate(max_bytes, lambda: self.size_bytes, lambda: self.now_s)


def test_bodies_hold_a_quarter_of_the_bound_at_most() -> None:
    gate = Resident().gate(1000)
    with gate.holding(200), gate.holding() as second:
        second.grow(50)
        with pytest.raises(Refusal) as refused:
            second.grow(1)
        assert gate.held_bytes == 250
    assert gate.held_bytes == 0
    assert (refused.value.status, refused.value.code, refused.value.reason) == (429, UNAVAILABLE, "memory")
    assert refused.value.retry_after_s


def test_nothing_is_taken_where_the_process_is_near_the_bound() -> None:
    resident = Resident()
    gate = resident.gate(1000)
    resident.size_bytes = 480
    with gate.holding(20), pytest.raises(Refusal):
        gate.holding(1)
    with pytest.raises(Refusal):
        gate.holding(1)  # given back, but the memory may be in use until it is looked at again
    resident.now_s, resident.size_bytes = 1.0, 300
    with gate.holding(100):
        assert gate.held_bytes == 100


def test_without_a_bound_everything_is_taken() -> None:
    with MemoryGate().holding(10**15):
        pass


def test_what_a_body_takes_is_given_back_whatever_becomes_of_it() -> None:
    gate = Resident().gate(10**7)
    admission = Admission(10**6, memory=gate)
    admission.admit(gzip.compress(body(span())), PROTOBUF, "gzip", Peer())
    for data, encoding in ((b"\xff", ""), (b"no gzip", "gzip"), (gzip.compress(bytes(2 * 10**6)), "gzip")):
        with pytest.raises(Refusal):
            admission.admit(data, PROTOBUF, encoding, Peer())
    assert gate.held_bytes == 0


def test_a_body_that_unfolds_far_needs_the_memory_for_it() -> None:
    sent = gzip.compress(body(span({"a": "b" * 500_000})))
    assert Admission(10**6, memory=Resident().gate(10**7)).unfold(sent, "gzip", Peer())
    with pytest.raises(Refusal, match="send it again"):
        Admission(10**6, memory=Resident().gate(10**6)).unfold(sent, "gzip", Peer())


def test_a_sender_over_http_is_told_to_come_back(tmp_path: Path) -> None:
    collector = Collector(tmp_path)
    collector.intake.memory = Resident().gate(1000)
    refused = collector.post(body(*[span() for _ in range(20)]), {"content-type": "application/x-protobuf"})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert collector.intake.memory.held_bytes == 0
    collector.close()


def test_a_process_stays_below_its_bound_under_a_flood_of_large_bodies(tmp_path: Path) -> None:
    bound_mb = 1536
    collector = CollectorProcess(tmp_path, max_memory_bytes=str(bound_mb * MIB), retention_days="0")
    seen: Counter[int] = Counter()
    large = body(*[span({"text": "x" * 20_000}) for _ in range(1500)])
    headers = {"content-type": "application/x-protobuf"}

    def send(another: bytes) -> None:  # requests may be joined: each is another one
        answer = requests.post(collector.traces_url, data=large + another, headers=headers, timeout=90)
        seen[answer.status_code] += 1

    threads = [threading.Thread(target=send, args=(body(span()),)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collector.wait_until_drained()
    used = collector.stop()
    assert seen[429]
    assert seen[200] + seen[429] == 24
    assert used.peak_rss_mb < bound_mb
    assert stored(tmp_path).spans == (1500 + seen[200] if seen[200] else 0)
