"""Sends a live collector what no SDK sends, on every way in, and looks at what it answers and what it stores.

    python -m benchmarks.fuzz [--minutes 10] [--quick] [--seed N] [--keep FOLDER] [--json FILE]

Every body must be answered: taken, or refused with a code that blames the sender. What was taken must be in the store
in the end, and nothing may be set aside there: the receiver's parser and the database's must be of one mind. Hypothesis
makes the bodies (benchmarks/fuzz_bodies.py) and shrinks one that is answered wrongly. `--keep` writes findings to a
folder; those that are mended belong to tests/data/fuzz, which every test run sends again. Exit status 1 with a finding.
"""

import argparse
import base64
import contextlib
import http.client
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.collector_process import CollectorProcess, span_ids
from benchmarks.fuzz_bodies import FIRST_NS, LAST_NS, damaged, fold, folded, json_bodies, protobuf_bodies
from flowtrail.collector.journal.sqlite import SqliteJournal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
GRPC: Final = "grpc"
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# What a sender may be told: taken, or that it is the sender's fault. 503 and UNAVAILABLE would hide one of ours.
RIGHT: Final = {"200", "400", "413", "415", "OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
ROUND: Final = 100
# A message costs milliseconds to make, damage to it microseconds.
VARIANTS: Final = 15
ANSWER_TIMEOUT_S: Final = 10.0
MOST_FINDINGS: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """A body that was answered or stored wrongly. `body` is base64, as it was before it was folded `how`."""

    way: str
    how: str
    what: str
    body: str


class Wrong(Exception):
    """An answer that must not be."""


@dataclass
class Result:
    """How many bodies went which way, and how they were answered. `missing` were taken and are not in the store."""

    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    taken_spans: int = 0
    missing: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return not self.findings and not self.missing and bool(self.answers)


class Sender:
    """Sends bodies over each way in, and remembers which spans were taken."""

    def __init__(self, collector: CollectorProcess) -> None:
        parts = urlsplit(collector.traces_url)
        self._path = parts.path
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_TIMEOUT_S)
        self._channel = grpc.insecure_channel(urlsplit(collector.grpc_url).netloc)
        self._export: Callable[..., bytes] = self._channel.unary_unary(EXPORT)
        self.answers: Counter[str] = Counter()
        self.taken: set[tuple[bytes, bytes]] = set()

    def send(self, way: str, body: bytes, how: str) -> None:
        """Send a body; `how` it is folded counts for HTTP alone. Raises Wrong."""
        status, answer = self._by_grpc(body) if way == GRPC else self._by_http(way, *fold(body, how))
        self.answers[f"{way} {status}"] += 1
        if status not in RIGHT:
            raise Wrong(f"answered {status}: {answer[:200]!r}")
        if status in {"200", "OK"} and way != JSON and not answer:
            self.taken |= kept_ids(body)

    def close(self) -> None:
        self._http.close()
        self._channel.close()

    def _by_http(self, content_type: str, data: bytes, encoding: str) -> tuple[str, bytes]:
        headers = {"Content-Type": content_type, **({"Content-Encoding": encoding} if encoding else {})}
        try:
            self._http.request("POST", self._path, data, headers)
            response = self._http.getresponse()
            return str(response.status), response.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            return repr(error), b""

    def _by_grpc(self, body: bytes) -> tuple[str, bytes]:
        try:
            return "OK", self._export(body, timeout=ANSWER_TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code().name, error.details().encode()


def kept_ids(body: bytes) -> set[tuple[bytes, bytes]]:
    """Return trace and span id of the spans that the store keeps of a body."""
    return {
        (span.trace_id, span.span_id)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if len(span.trace_id) == 16 and len(span.span_id) == 8 and FIRST_NS <= span.start_time_unix_nano <= LAST_NS
    }


def one_round(sender: Sender, number: int, examples: int) -> Finding | None:
    """Send so many bodies, each with its variants; return the smallest that is answered wrongly."""
    last: list[Finding] = []

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def send(data: st.DataObject) -> None:
        way = data.draw(st.sampled_from((PROTOBUF, JSON, GRPC)))
        body = data.draw(json_bodies if way == JSON else protobuf_bodies)
        how = "" if way == GRPC else data.draw(folded)
        randomness = random.Random(data.draw(st.integers(0, 2**32)))
        for variant in (body, *(damaged(body, randomness) for _ in range(VARIANTS))):
            try:
                sender.send(way, variant, how)
            except Wrong as wrong:
                last[:] = [Finding(way, how, str(wrong), base64.b64encode(variant).decode())]
                raise

    try:
        send()
    except Wrong:
        return last[0]
    return None


def run(seconds: float, first_seed: int = 1, examples: int = ROUND) -> Result:
    """Fuzz for this long, at least one round."""
    result = Result()
    with (
        tempfile.TemporaryDirectory() as folder,
        CollectorProcess(Path(folder), retention_days="0") as collector,
        contextlib.closing(Sender(collector)) as sender,
    ):
        began_s = time.monotonic()
        for number in itertools.count(first_seed):
            found = one_round(sender, number, examples)
            if found:
                result.findings.append(found)
            is_over = time.monotonic() - began_s >= seconds or len(result.findings) >= MOST_FINDINGS
            if is_over or not collector.is_running():
                break
        result.seconds = round(time.monotonic() - began_s, 1)
        result.answers, result.taken_spans = dict(sorted(sender.answers.items())), len(sender.taken)
        if not collector.is_running():
            result.findings.append(Finding("", "", f"the collector ended with status {collector.status}", ""))
            return result
        collector.wait_until_drained()
        collector.stop()
        result.findings += set_aside(Path(folder))
        result.missing = len(sender.taken - span_ids(Path(folder)))
    return result


def set_aside(data_dir: Path) -> list[Finding]:
    """Return the bodies that were taken and that the store refused."""
    journal = SqliteJournal(data_dir / "journal.sqlite", max_bytes=1, required=["store"])
    try:
        return [
            Finding("", "", f"set aside: {entry.reason[:500]}", base64.b64encode(entry.body).decode())
            for entry in journal.those_set_aside()
        ]
    finally:
        journal.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round; each takes the next")
    parser.add_argument("--keep", type=Path, help="folder for the bodies of findings")
    parser.add_argument("--quick", action="store_true", help="five seconds")
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args()
    result = run(5 if options.quick else options.minutes * 60, options.seed)
    told: dict[str, Any] = {"seed": options.seed, **asdict(result), "is_right": result.is_right}
    text = json.dumps(told, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for number, found in enumerate(result.findings):
            suffix = ".json" if found.way == JSON else ".pb"
            (options.keep / f"finding-{options.seed}-{number}{suffix}").write_bytes(base64.b64decode(found.body))
    return 0 if result.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
