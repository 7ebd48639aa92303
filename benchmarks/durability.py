"""Kills the collector under load, again and again, and counts: every acknowledged span must be there, once.

    python -m benchmarks.durability [--quick] [--kills 100] [--full-mib 1024] [--json FILE]

Senders do as an OTLP exporter does: a request without an answer is sent again, byte for byte, until it is acknowledged.
So in the end the store must hold exactly the spans of all requests, and the edges must count exactly their events.
Kills come at random moments, one in four while the collector starts, and after every other one the journal's last write
is torn as by a power cut. Then a journal is filled while the store takes nothing, and the collector is killed and
started over it: that must not take 5 s either. Otherwise the exit status is 1.
"""

import argparse
import functools
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import requests

from benchmarks.collector_process import CollectorProcess, stored
from benchmarks.kafka_spans import HEADERS, template, with_ids
from benchmarks.otlp_load import Load
from benchmarks.torn_journal import tear

# Spans in a request of each sender.
SENDERS: Final = (100, 100, 8, 8, 1, 512)
LONGEST_START_S: Final = 5.0
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """Spans that were acknowledged, and what the store held in the end.

    `is_exact`: some were, nothing is missing, and nothing is there twice. `killed_while_starting` and `torn` are among
    the kills. CPU of a start tells a slow collector from a machine that others use.
    """

    kills: int
    acknowledged_spans: int
    sent_again: int
    missing: int
    twice: int
    edges_off_by: int
    slowest_start_s: float
    slowest_start_cpu_s: float = 0.0
    killed_while_starting: int = 0
    torn: int = 0

    @property
    def is_exact(self) -> bool:
        return self.acknowledged_spans > 0 and self.missing == self.twice == self.edges_off_by == 0

    @property
    def is_right(self) -> bool:
        """Exact, and every start was short."""
        return self.is_exact and self.slowest_start_s < LONGEST_START_S


class Senders:
    """Send as fast as they are answered, to wherever the collector is now."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged_spans = 0
        self.sent_again = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n, spans)) for n, spans in enumerate(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every sender bring its last request home, then end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, spans: int) -> None:
        encoded = template(spans, time.time_ns())
        with requests.Session() as session:
            while not self._stop.is_set():
                body = with_ids(encoded, number)
                while not self._post(session, body):
                    with self._lock:
                        self.sent_again += 1
                    time.sleep(0.05)
                with self._lock:
                    self.acknowledged_spans += spans
                number += len(SENDERS)

    def _post(self, session: requests.Session, body: bytes) -> bool:
        try:
            return session.post(self.url, data=body, headers=HEADERS, timeout=10).status_code == 200
        except requests.RequestException:
            return False


def run(kills: int, seed: int = 1) -> Result:
    """Kill a collector this many times under load, and count."""
    randomness = random.Random(seed)
    killed_while_starting = torn = 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        collector = parts.enter_context(CollectorProcess(Path(folder)))
        senders = Senders(collector.traces_url)
        slowest_start_s, slowest_start_cpu_s = collector.start_s, collector.cpu_s()
        try:
            for number in range(kills):
                if number % 4 == 3:
                    collector.kill()
                    collector.begin()
                    killed_while_starting += 1
                time.sleep(randomness.uniform(0.05, 1.5))
                collector.kill()
                if number % 2:
                    torn += tear(Path(folder) / "journal.sqlite-wal", randomness) > 0
                collector.start()
                senders.url = collector.traces_url
                slowest_start_s = max(slowest_start_s, collector.start_s)
                slowest_start_cpu_s = max(slowest_start_cpu_s, collector.cpu_s())
            time.sleep(0.2)
        finally:
            senders.stop()
        collector.wait_until_drained()
        collector.stop()
        found = stored(Path(folder))
    return Result(
        kills=kills + killed_while_starting,
        acknowledged_spans=senders.acknowledged_spans,
        sent_again=senders.sent_again,
        missing=senders.acknowledged_spans - found.spans,
        twice=found.rows - found.spans,
        edges_off_by=found.counted - senders.acknowledged_spans,
        slowest_start_s=round(slowest_start_s, 2),
        slowest_start_cpu_s=round(slowest_start_cpu_s, 2),
        killed_while_starting=killed_while_starting,
        torn=torn,
    )


def run_full(full_mib: int, seconds: float = 300) -> Result:
    """Fill a journal of this size while the store takes nothing, kill the collector, start it over that, and count."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        start = functools.partial(
            CollectorProcess, Path(folder), journal_max_bytes=str(full_mib * MIB), max_body_bytes=str(MIB)
        )
        collector = parts.enter_context(start(module=("benchmarks.staged_collector", "hold")))
        acknowledged_spans = 0
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            load = Load(collector.traces_url, spans=512, connections=4)
            told = load.run(seconds=min(2.0, seconds))
            load.close()
            acknowledged_spans += told.spans
            if told.refused:
                break
        else:
            raise TimeoutError(f"the journal was not full after {seconds} s")
        collector.kill()
        collector = parts.enter_context(start())
        start_cpu_s = collector.cpu_s()
        collector.wait_until_drained(timeout_s=10 * seconds)
        collector.stop()
        found = stored(Path(folder))
    return Result(
        kills=1,
        acknowledged_spans=acknowledged_spans,
        sent_again=0,
        missing=acknowledged_spans - found.spans,
        twice=found.rows - found.spans,
        edges_off_by=found.counted - acknowledged_spans,
        slowest_start_s=round(collector.start_s, 2),
        slowest_start_cpu_s=round(start_cpu_s, 2),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--full-mib", type=int, default=1024, help="size of the journal that is filled")
    parser.add_argument("--quick", action="store_true", help="four kills, and a journal of 32 MiB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.full_mib = 4, 32
    results = {"under_load": run(options.kills, options.seed), "full_journal": run_full(options.full_mib)}
    told = {
        name: {**asdict(result), "is_exact": result.is_exact, "is_right": result.is_right}
        for name, result in results.items()
    }
    text = json.dumps(told, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if all(result.is_right for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
