"""Millions of events through each traced client at full speed: is every span accounted for, and is memory flat?

    python -m benchmarks.tracer_soak [--quick] [--client kafka-python] [--events 10000000] [--json FILE]

Each client runs in a process of its own, sends and takes every event, and exports to a receiver that counts, in another
process. The broker is the embedded one, in this process: it keeps the newest records only, so nothing fills up.

Exit status 1 when an event has no span, when spans are neither exported nor counted as dropped, when the receiver has
another number than was exported, when something of ours failed, or when memory grew.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.soak_worker import CLIENTS
from flowtrail.demo.embedded_broker import EmbeddedBroker

PATIENCE_S: Final = 30
# From the second quarter of a run to the last. A leak of one byte an event is 10 MB in ten million; the allocator's own
# swings are a few.
MOST_GROWN_MB: Final = 8.0


@dataclass(frozen=True, slots=True)
class Result:
    """One client's run. `taken` events came back; spans were noted, exported, dropped, and `received` at the other end.

    `kept_errors` are exceptions that were kept from the program. Memory is in MB: at its most, and how much more the
    last quarter of the run used than the second, by the medians.
    """

    client: str
    events: int
    taken: int
    took_s: float
    noted: int
    exported: int
    dropped: int
    received: int
    kept_errors: int
    peak_mb: float
    grown_mb: float


def main() -> int:
    """Return 0 when all is right, 1 when something is not."""
    parser = argparse.ArgumentParser(description="Millions of events through each traced client.")
    parser.add_argument("--quick", action="store_true", help="a few thousand events")
    parser.add_argument("--client", choices=list(CLIENTS), help="this one only")
    parser.add_argument("--events", type=int, default=10_000_000, help="through each client")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    clients = [given.client] if given.client else list(CLIENTS)
    results = [soak(client, 20_000 if given.quick else given.events) for client in clients]
    for one in results:
        print(
            f"{one.client:<15} {one.events:,} events in {one.took_s:.0f} s  "
            f"{one.noted:,} spans: {one.exported:,} exported, {one.dropped:,} dropped  "
            f"{one.peak_mb:.0f} MB at most, {one.grown_mb:+.1f} MB on the way"
        )
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(one) for one in results], indent=2) + "\n")
    wrong = problems(results)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def problems(results: list[Result]) -> list[str]:
    """Return a sentence for each thing that is not as it should be; none when all is right."""
    found = []
    for one in results:
        if one.taken != one.events:
            found.append(f"{one.client}: {one.taken} of {one.events} events came back")
        if one.noted < one.events:
            found.append(f"{one.client}: {one.events} events have {one.noted} spans")
        if one.noted != one.exported + one.dropped:
            found.append(f"{one.client}: {one.noted} spans, {one.exported} exported and {one.dropped} dropped")
        if one.received != one.exported:
            found.append(f"{one.client}: {one.exported} spans count as exported, and {one.received} arrived")
        if one.kept_errors:
            found.append(f"{one.client}: {one.kept_errors} exceptions were kept from the program")
        if one.grown_mb > MOST_GROWN_MB:
            found.append(f"{one.client}: memory grew by {one.grown_mb:.1f} MB, more than {MOST_GROWN_MB}")
    return found


def grown_mb(rss_mb: list[float]) -> float:
    """Return by how much the last quarter of the samples is above the second; 0 for fewer than four samples."""
    quarter = len(rss_mb) // 4
    if not quarter:
        return 0.0
    return statistics.median(rss_mb[-quarter:]) - statistics.median(rss_mb[quarter : 2 * quarter])


def soak(client: str, events: int) -> Result:
    """Run one client in a process of its own, with a broker and a receiver that nobody else uses."""
    with EmbeddedBroker() as broker, receiver() as url:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
        }
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "FLOWTRAIL_"))}
        worker = subprocess.run(
            [sys.executable, "-m", "benchmarks.soak_worker", client, str(events), broker.bootstrap_servers],
            env=mine | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        told = json.loads(worker.stdout)
        with urllib.request.urlopen(f"{url}/count", timeout=PATIENCE_S) as answer:
            received = int(answer.read())
    return Result(
        client=client,
        events=events,
        taken=told["taken"],
        took_s=told["took_s"],
        noted=told["noted"],
        exported=told["exported"],
        dropped=told["dropped"],
        received=received,
        kept_errors=told["interceptor_errors"],
        peak_mb=round(max(told["rss_mb"], default=0.0), 1),
        grown_mb=round(grown_mb(told["rss_mb"]), 1),
    )


@contextmanager
def receiver() -> Iterator[str]:
    """A process that takes spans in and counts them; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="flowtrail-soak-") as folder:
        file = Path(folder) / "url"
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.tracer_cost.receiver", str(file)])
        try:
            ends = time.monotonic() + PATIENCE_S
            while not (file.exists() and file.read_text()):
                if process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError("the receiver did not start")
                time.sleep(0.02)
            yield file.read_text()
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


if __name__ == "__main__":
    sys.exit(main())
