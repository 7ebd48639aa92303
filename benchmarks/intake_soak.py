"""An hour at 80 % of the load that the collector can take: memory flat, the journal short, the disk as it should be.

    python -m benchmarks.intake_soak [--minutes 60] [--spans-s 0] [--spans 512] [--quick] [--json FILE]

The load it can take is measured first, on the same machine (`--spans-s` says the rate of the soak instead). Memory, the
journal and the disk are looked at throughout. Exit status 1 when the collector's memory or what a span takes on disk
grew from the second quarter to the last, when the journal went over its bound, when the rate was not kept, or when the
store holds less or more than was acknowledged.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.collector_process import CollectorProcess
from benchmarks.intake import whole

SHARE: Final = 0.8
CONNECTIONS: Final = 4
SAMPLES: Final = 200
JOURNAL_BYTES: Final = 1024**3
# SQLite's file keeps pages that are free, and a log beside it.
JOURNAL_FILE_FACTOR: Final = 1.5
# The engine's caches and its allocator breathe; a leak of a byte a span would be a hundred of these in an hour.
MOST_GROWN_MB: Final = 128.0
# Parts that wait for a merge are more at one moment than at another.
MOST_GROWN_ON_DISK: Final = 1.3
# In a shorter soak small parts wait to be merged all the time: what a span takes on disk says nothing yet.
SETTLED_S: Final = 600
LEAST_KEPT: Final = 0.95


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at the collector: seconds since the beginning, its memory, and what lies where."""

    at_s: float
    rss_mb: float
    behind_requests: int
    journal_file_bytes: int
    store_bytes: int
    stored_spans: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a soak showed. `grown_mb` and `grown_on_disk` compare the last quarter with the second, medians each."""

    wanted_spans_s: float
    spans_s: float
    seconds: float
    spans: int
    refused: int
    failed: int
    p99_ms: float
    cpu_s_per_million: float
    rss_mb: float
    peak_rss_mb: float
    grown_mb: float
    most_behind_requests: int
    journal_file_mb: float
    store_mb: float
    bytes_per_span: float
    grown_on_disk: float
    missing: int


def grown(values: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the second quarter and of the last; of fewer than four values the first and the last."""
    quarter = len(values) // 4
    if not quarter:
        return values[0], values[-1]
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


def problems(result: Result) -> list[str]:
    """Say what a soak must not show."""
    told = []
    if result.missing:
        told.append(f"{result.missing} acknowledged spans are not in the store")
    if result.failed or result.refused:
        told.append(f"{result.failed} requests had no answer, {result.refused} were refused")
    if result.spans_s < LEAST_KEPT * result.wanted_spans_s:
        told.append(f"{result.spans_s:.0f} of {result.wanted_spans_s:.0f} spans/s were taken")
    if result.grown_mb > MOST_GROWN_MB:
        told.append(f"memory grew by {result.grown_mb:.0f} MB")
    if result.grown_on_disk > MOST_GROWN_ON_DISK and result.seconds >= SETTLED_S:
        told.append(f"a span takes {result.grown_on_disk:.2f} times as much on disk as before")
    if result.journal_file_mb * 1024**2 > JOURNAL_FILE_FACTOR * JOURNAL_BYTES:
        told.append(f"the journal's file has {result.journal_file_mb:.0f} MB")
    return told


def sample(collector: CollectorProcess, began_s: float) -> Sample:
    health = collector.health()
    [behind] = [reader["behind_requests"] for reader in health["readers"] if reader["name"] == "store"]
    return Sample(
        at_s=time.monotonic() - began_s,
        rss_mb=collector.rss_mb(),
        behind_requests=behind,
        journal_file_bytes=_bytes_of(collector.data_dir, "journal"),
        store_bytes=_bytes_of(collector.data_dir / "store"),
        stored_spans=health["stored_spans"],
    )


def _bytes_of(folder: Path, prefix: str = "") -> int:
    """Return the bytes of files below a folder whose names begin so. What is merged away meanwhile does not count."""
    total = 0
    for held, _, names in os.walk(folder):
        for name in names:
            if name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    total += (Path(held) / name).stat().st_size
    return total


def run(spans_s: float, seconds: float, spans: int = 512) -> tuple[Result, list[Sample]]:
    """Load a collector at this rate for this long."""
    command = [sys.executable, "-m", "benchmarks.otlp_load", "--seconds", str(seconds), "--spans", str(spans)]
    command += ["--connections", str(CONNECTIONS), "--spans-s", str(spans_s)]
    samples = []
    with (
        tempfile.TemporaryDirectory() as folder,
        CollectorProcess(Path(folder), journal_max_bytes=str(JOURNAL_BYTES), retention_days="0") as collector,
    ):
        start_cpu_s = collector.cpu_s()
        began_s = time.monotonic()
        with subprocess.Popen([*command, collector.traces_url], stdout=subprocess.PIPE, text=True) as generator:
            while generator.poll() is None:
                samples.append(sample(collector, began_s))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    generator.wait(seconds / SAMPLES)
            told = json.loads(generator.communicate()[0])
        collector.wait_until_drained()
        cpu_s = collector.cpu_s() - start_cpu_s
        last = sample(collector, began_s)
        used = collector.stop()
    with_spans = [one for one in samples if one.stored_spans] or [last]
    before_mb, after_mb = grown([one.rss_mb for one in with_spans])
    before_bytes, after_bytes = grown([one.store_bytes / one.stored_spans for one in with_spans])
    result = Result(
        wanted_spans_s=round(spans_s),
        spans_s=round(told["spans"] / told["seconds"]),
        seconds=round(told["seconds"], 1),
        spans=told["spans"],
        refused=told["refused"],
        failed=told["failed"],
        p99_ms=round(told["p99_ms"], 1),
        cpu_s_per_million=round(cpu_s / told["spans"] * 1e6, 2),
        rss_mb=round(last.rss_mb),
        peak_rss_mb=round(used.peak_rss_mb),
        grown_mb=round(after_mb - before_mb, 1),
        most_behind_requests=max(one.behind_requests for one in samples),
        journal_file_mb=round(max(one.journal_file_bytes for one in samples) / 1024**2),
        store_mb=round(last.store_bytes / 1024**2),
        bytes_per_span=round(last.store_bytes / told["spans"], 1),
        grown_on_disk=round(after_bytes / before_bytes, 3),
        missing=told["spans"] - last.stored_spans,
    )
    return result, samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--spans", type=int, default=512, help="spans in a request")
    parser.add_argument("--spans-s", type=float, default=0, help="rate; 0 is 80 %% of what is measured")
    parser.add_argument("--quick", action="store_true", help="twenty seconds at 5000 spans a second")
    parser.add_argument("--json", type=Path, help="write the result there too, with every sample")
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.spans_s = 1 / 3, 5000
    spans_s = options.spans_s or SHARE * whole(options.spans, CONNECTIONS, 15, 5)["drained_spans_s"]
    result, samples = run(spans_s, options.minutes * 60, options.spans)
    told = {**asdict(result), "problems": problems(result)}
    print(json.dumps(told, indent=2))
    if options.json:
        options.json.write_text(json.dumps({**told, "samples": [asdict(one) for one in samples]}, indent=1) + "\n")
    return 1 if told["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
