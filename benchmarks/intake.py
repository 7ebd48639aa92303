"""How fast the collector takes spans in and stores them, beside the floor of HTTP and one parse.

    python -m benchmarks.intake [--seconds 10] [--rounds 3] [--spans 512] [--connections 4] [--quick] [--json FILE]

Floor and collector take turns on the same machine as the generator, so ratios mean more than figures. `accepted`: until
the last answer; `drained`: until the store holds everything that was accepted. Exit status 1 when the store holds less
or more in the end.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.collector_process import CollectorProcess, stored

Figures = dict[str, float]


def load(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run the generator in a process of its own and return what it says."""
    command = [sys.executable, "-m", "benchmarks.otlp_load", url]
    for name in ("seconds", "spans", "connections"):
        command += [f"--{name}", str(getattr(options, name))]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def floor(options: argparse.Namespace) -> Figures:
    """Figures of the bare receiver."""
    with tempfile.TemporaryDirectory() as folder:
        url_file = Path(folder) / "url"
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_receiver", str(url_file)])
        try:
            while not url_file.exists() or not url_file.read_text():
                if process.poll() is not None:
                    raise RuntimeError("the bare receiver ended")
                time.sleep(0.05)
            told = load(url_file.read_text(), options)
        finally:
            process.send_signal(signal.SIGTERM)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "accepted_spans_s": told["spans"] / told["seconds"],
        "cpu_s_per_million": (used.ru_utime + used.ru_stime) / told["spans"] * 1e6,
    }


def collector(options: argparse.Namespace) -> Figures:
    """Figures of a collector with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        running = CollectorProcess(Path(folder))
        began_s = time.monotonic()
        told = load(running.traces_url, options)
        running.wait_until_drained()
        drained_s = time.monotonic() - began_s
        used = running.stop()
        found = stored(Path(folder))
        stored_bytes = sum(path.stat().st_size for path in (Path(folder) / "store").rglob("*") if path.is_file())
    return {
        "accepted_spans_s": told["spans"] / told["seconds"],
        "drained_spans_s": told["spans"] / drained_s,
        "cpu_s_per_million": used.cpu_s / told["spans"] * 1e6,
        "peak_rss_mb": used.peak_rss_mb,
        "store_bytes_per_span": stored_bytes / told["spans"],
        "missing_spans": told["spans"] - found.spans,
        "spans_twice": found.rows - found.spans,
        "generator_cpu_s_per_million": told["generator_cpu_s"] / told["spans"] * 1e6,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spans", type=int, default=512)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 2, 1
    rounds = [(floor(options), collector(options)) for _ in range(options.rounds)]
    result = {
        "spans_per_request": options.spans,
        "connections": options.connections,
        "floor": {name: spread([bare[name] for bare, _ in rounds]) for name in rounds[0][0]},
        "collector": {name: spread([ours[name] for _, ours in rounds]) for name in rounds[0][1]},
        "accepted_of_floor": spread([ours["accepted_spans_s"] / bare["accepted_spans_s"] for bare, ours in rounds]),
        "cpu_of_floor": spread([ours["cpu_s_per_million"] / bare["cpu_s_per_million"] for bare, ours in rounds]),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    is_exact = all(ours["missing_spans"] == ours["spans_twice"] == 0 for _, ours in rounds)
    return 0 if is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
