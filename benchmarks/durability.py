"""Kills the collector under load, again and again, and counts: every acknowledged span must be there, once.

    python -m benchmarks.durability [--quick] [--kills 10] [--json FILE]

Senders do as an OTLP exporter does: a request without an answer is sent again, byte for byte, until it is acknowledged.
So in the end the store must hold exactly the spans of all requests, and the edges must count exactly their events;
otherwise the exit status is 1.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from benchmarks.collector_process import CollectorProcess, stored
from benchmarks.kafka_spans import HEADERS, template, with_ids

SENDERS = 4
SPANS = 100


@dataclass(frozen=True, slots=True)
class Result:
    """Spans that were acknowledged, and what the store held in the end.

    `is_exact`: some were, nothing is missing, and nothing is there twice.
    """

    kills: int
    acknowledged_spans: int
    sent_again: int
    missing: int
    twice: int
    edges_off_by: int
    slowest_start_s: float

    @property
    def is_exact(self) -> bool:
        return self.acknowledged_spans > 0 and self.missing == self.twice == self.edges_off_by == 0


class Senders:
    """Send as fast as they are answered, to wherever the collector is now."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged = 0
        self.sent_again = 0
        self._encoded = template(SPANS, time.time_ns())
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every sender bring its last request home, then end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, sender: int) -> None:
        number = sender
        while not self._stop.is_set():
            body = with_ids(self._encoded, number)
            while not self._post(body):
                with self._lock:
                    self.sent_again += 1
                time.sleep(0.05)
            with self._lock:
                self.acknowledged += 1
            number += SENDERS

    def _post(self, body: bytes) -> bool:
        try:
            return requests.post(self.url, data=body, headers=HEADERS, timeout=10).status_code == 200
        except requests.RequestException:
            return False


def run(kills: int, seed: int = 1) -> Result:
    """Kill a collector this many times under load, and count."""
    randomness = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder))
        senders = Senders(collector.traces_url)
        slowest_start_s = collector.start_s
        try:
            for _ in range(kills):
                time.sleep(randomness.uniform(0.2, 1.5))
                collector.kill()
                collector.start()
                senders.url = collector.traces_url
                slowest_start_s = max(slowest_start_s, collector.start_s)
            time.sleep(0.2)
        finally:
            senders.stop()
        collector.wait_until_drained()
        collector.stop()
        found = stored(Path(folder))
    spans = senders.acknowledged * SPANS
    return Result(
        kills=kills,
        acknowledged_spans=spans,
        sent_again=senders.sent_again,
        missing=spans - found.spans,
        twice=found.rows - found.spans,
        edges_off_by=found.counted - spans,
        slowest_start_s=round(slowest_start_s, 2),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args()
    result = run(2 if options.quick else options.kills, options.seed)
    text = json.dumps({**asdict(result), "is_exact": result.is_exact}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if result.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
