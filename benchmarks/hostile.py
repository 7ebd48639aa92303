"""Attacks on a live collector, while an honest sender goes on: is it served, and how much later?

    python -m benchmarks.hostile [--quick] [--seconds 20] [--only idle,slow] [--json FILE]

Attacker, collector and sender share the machine, so an attack costs the honest sender some of it in any case. Exit
status 1 when an honest request has no answer, is refused or waits longer than an exporter would, when the sender gets
less than half as much through as when nobody attacks, when spans are missing or twice in the end, or when the
collector's memory or log grow beyond their bounds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.attacks import ATTACKS
from benchmarks.collector_process import CollectorProcess, stored
from benchmarks.otlp_load import Load, Told

# The honest sender: a rate that leaves the machine room, over connections that it opens under attack.
SPANS: Final = 50
SPANS_S: Final = 5_000.0
CONNECTIONS: Final = 4
# OTLP exporters wait ten seconds for an answer, by default.
LONGEST_ANSWER_MS: Final = 10_000.0
# Of what it sends when calm; the attacker takes its own share of the machine.
LEAST_SERVED: Final = 0.5
MOST_RSS_MB: Final = 1024.0
# An attacker must not fill the disk with what is logged of it.
MOST_LOG_LINES: Final = 100
CALM: Final = "calm"


@dataclass(frozen=True, slots=True)
class Measured:
    """How an honest sender did, the collector's memory then, and the lines that it logged of it.

    `attacker` says what came of the attack.
    """

    attack: str
    spans: int
    refused: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    rss_mb: float
    log_lines: int
    attacker: Mapping[str, int]


@contextmanager
def attacked(name: str, url: str, connections: int) -> Iterator[dict[str, int]]:
    """An attack that goes on while the block does; what came of it is in the dictionary then."""
    command = [sys.executable, "-m", "benchmarks.attacks", name, url, "--connections", str(connections)]
    came: dict[str, int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"the attack {name} did not begin")
            yield came
            told, _ = process.communicate("", timeout=60)
            came.update(json.loads(told))
        finally:
            process.kill()


def honest(url: str, seconds: float) -> Told:
    load = Load(url, SPANS, CONNECTIONS, SPANS_S)
    told = load.run(seconds)
    load.close()
    return told


def lines_of(log_file: Path) -> int:
    return log_file.read_bytes().count(b"\n")


def measured(name: str, collector: CollectorProcess, log_file: Path, seconds: float, divisor: int = 1) -> Measured:
    """Measure the honest sender under an attack; `divisor` makes the attack smaller."""
    lines_before = lines_of(log_file)
    if name == CALM:
        came: dict[str, int] = {}
        told = honest(collector.traces_url, seconds)
    else:
        connections = max(2, ATTACKS[name][1] // divisor)
        with attacked(name, collector.traces_url, connections) as came:
            told = honest(collector.traces_url, seconds)
    rss_mb = collector.rss_mb()
    return Measured(
        name,
        told.spans,
        told.refused,
        told.failed,
        round(told.p50_ms, 1),
        round(told.p99_ms, 1),
        round(told.max_ms, 1),
        round(rss_mb),
        lines_of(log_file) - lines_before,
        came,
    )


def problems(results: list[Measured], counted: Mapping[str, int]) -> list[str]:
    """Say what must not be; the first result is the calm one. `counted`: spans `missing` and `twice` in the end."""
    told = [f"{name}: {count} spans" for name, count in counted.items() if count]
    for result in results:
        if result.spans < LEAST_SERVED * results[0].spans or not result.spans:
            told.append(f"{result.attack}: {result.spans} honest spans were served, {results[0].spans} when calm")
        if result.failed or result.refused:
            told.append(f"{result.attack}: {result.failed} honest requests failed, {result.refused} were refused")
        if result.max_ms > LONGEST_ANSWER_MS:
            told.append(f"{result.attack}: an honest request waited {result.max_ms:.0f} ms")
        if result.rss_mb > MOST_RSS_MB:
            told.append(f"{result.attack}: the collector held {result.rss_mb:.0f} MB")
        if result.log_lines > MOST_LOG_LINES:
            told.append(f"{result.attack}: the collector logged {result.log_lines} lines")
    return told


def run(names: list[str], seconds: float, divisor: int = 1) -> tuple[list[Measured], dict[str, int]]:
    """Measure calm, then each attack, on one collector; and count what it stored."""
    with tempfile.TemporaryDirectory() as folder:
        log_file = Path(folder) / "log"
        with CollectorProcess(Path(folder), log_file=log_file) as collector:
            results = [measured(name, collector, log_file, seconds, divisor) for name in (CALM, *names)]
            collector.wait_until_drained()
            collector.stop()
        found = stored(Path(folder))
    sent = sum(result.spans for result in results)
    return results, {"missing": sent - found.spans, "twice": found.rows - found.spans}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each attack")
    parser.add_argument("--only", default=",".join(ATTACKS), help="names of attacks")
    parser.add_argument("--quick", action="store_true", help="two seconds each, a tenth of the connections")
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args()
    results, counted = run(
        options.only.split(","), 2 if options.quick else options.seconds, divisor=10 if options.quick else 1
    )
    told: dict[str, Any] = {"attacks": [asdict(result) for result in results], **counted}
    told["problems"] = problems(results, counted)
    text = json.dumps(told, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if told["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
