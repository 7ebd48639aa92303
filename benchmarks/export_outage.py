"""An exporter's endpoint goes away under load and comes back: what arrived, what came twice, did the API go on.

python -m benchmarks.export_outage [--quick] [--away-s 60] [--json FILE]

Exit status 1 when a span is missing, when more came twice than one batch holds, or when the API did not answer.
"""

import argparse
import gzip
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.collector_process import PATIENCE_S, CollectorProcess
from benchmarks.kafka_spans import HEADERS, template, with_ids

SPANS = 20
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Result:
    """Spans sent to the collector and arrived at the endpoint; answers of the API while the endpoint was away."""

    away_s: float
    sent: int
    missing: int
    twice: int
    api_answers: int
    api_failures: int
    api_slowest_ms: float
    caught_up_after_s: float

    @property
    def is_right(self) -> bool:
        """Nothing missing, nothing twice beyond one batch of 64 requests, and the API answered throughout."""
        is_whole = self.sent > 0 and self.missing == 0
        return is_whole and self.twice <= 64 * SPANS and self.api_answers > 0 and self.api_failures == 0


class Endpoint:
    """Counts the spans that it takes, by trace and span id. Away, nothing listens on its port."""

    def __init__(self, port: int = 0, seen: Counter[bytes] | None = None) -> None:
        self.seen: Counter[bytes] = Counter() if seen is None else seen
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
                    for scope in resource.scope_spans:
                        endpoint.seen.update(told.trace_id + told.span_id for told in scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def run(away_s: float, before_s: float = 2) -> Result:
    """Send steadily: the endpoint is there, away for `away_s`, there again."""
    encoded = template(SPANS, time.time_ns())
    sent = 0
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint()
        collector = CollectorProcess(Path(folder), export_url=f"http://127.0.0.1:{endpoint.port}/v1/traces")

        def send() -> None:
            nonlocal sent
            while not stop.is_set():
                body = with_ids(encoded, sent)
                requests.post(collector.traces_url, data=body, headers=HEADERS, timeout=10).raise_for_status()
                sent += 1
                time.sleep(PAUSE_S)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            time.sleep(before_s)
            endpoint.close()
            answers, failures, slowest_s = _ask_for(collector.api_url + "/v1/graph", away_s)
            with closing(Endpoint(endpoint.port, endpoint.seen)):
                back_since_s = time.monotonic()
                stop.set()
                sender.join()
                # The exporter waits up to half a minute between two tries.
                collector.wait_until_drained("export", timeout_s=PATIENCE_S + away_s)
                caught_up_after_s = time.monotonic() - back_since_s
        finally:
            stop.set()
            sender.join()
            collector.stop()
    spans = sent * SPANS
    return Result(
        away_s=away_s,
        sent=spans,
        missing=spans - len(endpoint.seen),
        twice=endpoint.seen.total() - len(endpoint.seen),
        api_answers=answers,
        api_failures=failures,
        api_slowest_ms=round(slowest_s * 1000, 1),
        caught_up_after_s=round(caught_up_after_s, 1),
    )


def _ask_for(url: str, seconds: float) -> tuple[int, int, float]:
    """Ask again and again; return answers, failures, and the longest time an answer took in seconds."""
    answers, failures, slowest_s = 0, 0, 0.0
    until_s = time.monotonic() + seconds
    while (began_s := time.monotonic()) < until_s:
        try:
            is_answer = requests.get(url, timeout=10).status_code == 200
        except requests.RequestException:
            is_answer = False
        answers += is_answer
        failures += not is_answer
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        time.sleep(0.25)
    return answers, failures, slowest_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away-s", type=float, default=60)
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.add_argument("--quick", action="store_true", help="five seconds away")
    options = parser.parse_args()
    result = run(5 if options.quick else options.away_s)
    text = json.dumps({**asdict(result), "is_right": result.is_right}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if result.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
