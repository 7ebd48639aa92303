"""How fast the collector takes spans in and stores them, what that costs, and where the cost lies.

    python -m benchmarks.intake [--quick] [--json FILE] [--rounds 3] [--seconds 10]
                                [--sizes 512,8] [--connections 4,64] [--without-stages]

Cases take turns, round by round, each with a collector of its own and an empty store, and the generator on the same
machine. `drained`: from the first request until the store holds everything that was acknowledged. CPU is the
collector's from then on, without its start and with the merging that follows (of which `cpu_until_drained` is without).
Bytes are those of merged tables. Figures are medians; `spread` has the least and greatest. docs/intake-cost.md says
more. Exit status 1 when the store holds less or more than was acknowledged.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.collector_process import CollectorProcess, merged_bytes, stored
from benchmarks.staged_collector import STAGES

Figures = dict[str, float]

# With so many connections a size is judged: few large requests fill two cores, small ones need company.
JUDGED_AT: Final = {512: 4, 8: 64}
# A generator that is at work for more of the time than this may be what is measured.
MOST_GENERATOR_SHARE: Final = 0.9
# Each stage's journal holds all that comes in a measurement.
JOURNAL_BYTES: Final = str(16 * 1024**3)

# Of 512-span requests on two cores; 8-span requests reach half of the rate. (size, figure, least, most)
TARGETS: Final = (
    ("512", "drained_spans_s", 150_000, None),
    ("512", "cpu_s_per_million", None, 8),
    ("512", "bytes_per_span", None, 45),
    ("512", "peak_rss_mb", None, 1024),
    ("8", "drained_spans_s", 75_000, None),
)


def load(url: str, seconds: float, spans: int, connections: int) -> dict[str, Any]:
    """Run the generator in a process of its own and return what it says."""
    command = [sys.executable, "-m", "benchmarks.otlp_load", url, "--seconds", str(seconds)]
    command += ["--spans", str(spans), "--connections", str(connections)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return told


def whole(spans: int, connections: int, seconds: float, rest_s: float) -> Figures:
    """Figures of a collector from OTLP/HTTP into the store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        CollectorProcess(Path(folder), journal_max_bytes=JOURNAL_BYTES) as collector,
    ):
        start_cpu_s = collector.cpu_s()
        told = load(collector.traces_url, seconds, spans, connections)
        collector.wait_until_drained()
        drained_s = time.time() - told["began_unix_s"]
        drained_cpu_s = collector.cpu_s()
        collector.wait_until_at_rest(rest_s)
        rest_cpu_s = collector.cpu_s()
        used = collector.stop()
        found = stored(Path(folder))
        tables = merged_bytes(Path(folder))
    millions = told["spans"] / 1e6
    return {
        "drained_spans_s": told["spans"] / drained_s,
        "accepted_spans_s": told["spans"] / told["seconds"],
        "cpu_s_per_million": (rest_cpu_s - start_cpu_s) / millions,
        "cpu_until_drained_s_per_million": (drained_cpu_s - start_cpu_s) / millions,
        "start_cpu_s": start_cpu_s,
        "bytes_per_span": sum(tables.values()) / told["spans"],
        **{f"bytes_per_span_{table}": size_bytes / told["spans"] for table, size_bytes in tables.items()},
        "peak_rss_mb": used.peak_rss_mb,
        "missing_spans": told["spans"] - found.spans,
        "spans_twice": found.rows - found.spans,
        "edges_off_by": found.counted - told["spans"],
        **_of_generator(told),
    }


def staged(stage: str, spans: int, connections: int, seconds: float) -> Figures:
    """Figures of a collector that takes its way up to this stage."""
    module = ("benchmarks.staged_collector", stage)
    with (
        tempfile.TemporaryDirectory() as folder,
        CollectorProcess(Path(folder), module, journal_max_bytes=JOURNAL_BYTES) as collector,
    ):
        start_cpu_s = collector.cpu_s()
        told = load(collector.traces_url, seconds, spans, connections)
        collector.wait_until_drained()
        drained_s = time.time() - told["began_unix_s"]
        cpu_s = collector.cpu_s() - start_cpu_s
        collector.stop()
    return {
        "drained_spans_s": told["spans"] / drained_s,
        "accepted_spans_s": told["spans"] / told["seconds"],
        "cpu_s_per_million": cpu_s / told["spans"] * 1e6,
        "cpu_us_per_request": cpu_s / told["requests"] * 1e6,
        **_of_generator(told),
    }


def _of_generator(told: Mapping[str, Any]) -> Figures:
    return {
        "refused_requests": told["refused"],
        "failed_requests": told["failed"],
        "p99_ms": told["p99_ms"],
        "generator_share": told["generator_share"],
        "generator_cpu_us_per_request": told["generator_cpu_s"] / told["requests"] * 1e6,
        "generator_cpu_s_per_million": told["generator_cpu_s"] / told["spans"] * 1e6,
    }


def summary(rounds: Sequence[Figures]) -> dict[str, Any]:
    """Medians of figures, and under `spread` the least and greatest where there are several rounds."""
    told: dict[str, Any] = {name: _short(statistics.median(one[name] for one in rounds)) for name in rounds[0]}
    told["generator_is_the_bottleneck"] = told["generator_share"] > MOST_GENERATOR_SHARE
    if len(rounds) > 1:
        told["spread"] = {
            name: [_short(min(one[name] for one in rounds)), _short(max(one[name] for one in rounds))]
            for name in rounds[0]
        }
    return told


def _short(value: float) -> float:
    return round(value) if abs(value) >= 1000 else round(value, 3)


def judged(sizes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each target beside its figure, those of sizes that were not measured left out."""
    told = []
    for size, name, least, most in TARGETS:
        if size in sizes:
            figure = sizes[size][name]
            is_met = figure >= least if least is not None else figure <= most
            target = f"at least {least}" if least is not None else f"at most {most}"
            told.append({"spans": size, "name": name, "figure": figure, "target": target, "is_met": is_met})
    return told


def problems(rounds: Sequence[Figures]) -> list[str]:
    """Say what must not be: spans missing or twice, edges that count otherwise, requests without an answer."""
    wrong = ("missing_spans", "spans_twice", "edges_off_by", "failed_requests")
    return [f"{name}: {one[name]:g}" for one in rounds for name in wrong if one[name]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of load; a stage's are half of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="512,8", help="spans in a request")
    parser.add_argument("--connections", default="4,64")
    parser.add_argument("--without-stages", action="store_true")
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.add_argument("--quick", action="store_true", help="a round of two seconds, each size as it is judged")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    counts = [int(count) for count in options.connections.split(",")]
    if options.quick:
        options.seconds, options.rounds = 2, 1
    cases = [(size, count) for size in sizes for count in counts]
    if options.quick:
        cases = [(size, JUDGED_AT.get(size, counts[0])) for size in sizes]
    stages = [] if options.without_stages else [(stage, size) for stage in STAGES for size in sizes]
    wholes: dict[tuple[int, int], list[Figures]] = {case: [] for case in cases}
    parts: dict[tuple[str, int], list[Figures]] = {part: [] for part in stages}
    for number in range(options.rounds):
        for size, count in cases:
            _say(f"round {number + 1}: {size} spans a request, {count} connections")
            wholes[size, count].append(whole(size, count, options.seconds, 3 if options.quick else 30))
        for stage, size in stages:
            _say(f"round {number + 1}: {size} spans a request, up to {stage}")
            parts[stage, size].append(staged(stage, size, JUDGED_AT.get(size, counts[0]), options.seconds / 2))
    result: dict[str, Any] = {}
    for size in sizes:
        at = {str(count): summary(wholes[size, count]) for of_size, count in cases if of_size == size}
        judged_at = str(JUDGED_AT.get(size, counts[0]))
        judged_at = judged_at if judged_at in at else next(iter(at))
        others = {count: figures for count, figures in at.items() if count != judged_at}
        result[str(size)] = {"connections": int(judged_at), **at[judged_at], "at_connections": others}
    result["stages"] = {
        str(size): {stage: summary(parts[stage, size]) for stage in STAGES if (stage, size) in parts} for size in sizes
    }
    result["targets"] = judged(result)
    result["problems"] = [problem for rounds in wholes.values() for problem in problems(rounds)]
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if result["problems"] else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
