"""A collector as a process of its own, for what cannot be shown inside one: kills, restarts, CPU and memory."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Used:
    """What a process used in its life. Peak memory is the largest resident set."""

    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds: rows of spans, different spans, and events as the edges count them."""

    rows: int
    spans: int
    counted: int


class CollectorProcess:
    """Runs `flowtrail.collector.service` on free ports over a data directory; further options by name."""

    def __init__(self, data_dir: Path, **options: str) -> None:
        self.data_dir = data_dir
        # A person's own settings are for a collector of theirs, and may name its store.
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.upper().startswith("FLOWTRAIL_")},
            "FLOWTRAIL_DATA_DIR": str(data_dir),
            "FLOWTRAIL_OTLP_HTTP_PORT": "0",
            "FLOWTRAIL_API_PORT": "0",
            **{f"FLOWTRAIL_{name.upper()}": value for name, value in options.items()},
        }
        self.start()

    def start(self) -> None:
        """Start, and return when it is ready."""
        endpoints_file = self.data_dir / "endpoints.json"
        endpoints_file.unlink(missing_ok=True)
        began = time.monotonic()
        self._process = subprocess.Popen([sys.executable, "-m", "flowtrail.collector.service"], env=self._environment)
        while not endpoints_file.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the collector ended with status {self._process.returncode}")
            if time.monotonic() - began > PATIENCE_S:
                self.kill()
                raise TimeoutError("the collector did not start in time")
            time.sleep(0.02)
        self.start_s = time.monotonic() - began
        endpoints = json.loads(endpoints_file.read_text())
        self.traces_url: str = endpoints["otlp_http"] + "/v1/traces"
        self.api_url: str = endpoints["api"]

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> Used:
        """Ask it to end, and return what it used."""
        self._process.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return Used(cpu_s=used.ru_utime + used.ru_stime, peak_rss_mb=used.ru_maxrss / unit)

    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.returncode

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(self.api_url + "/v1/health", timeout=10).json()
        return answer

    def wait_until_drained(self, reader: str = "store", timeout_s: float = 300) -> None:
        """Return when everything that was accepted is where this reader brings it."""
        deadline = time.monotonic() + timeout_s
        while True:
            behind = {told["name"]: told["behind_requests"] for told in self.health()["readers"]}
            if behind[reader] == 0:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{behind[reader]} requests are left")
            time.sleep(0.2)  # each question costs the collector a query


_COUNT = """
import json, sys
from flowtrail.collector.store.connection import open_store
store = open_store(sys.argv[1])
[(rows, spans)] = store.query(f"SELECT count(), uniqExact(trace_id, span_id) FROM {store.database}.spans")
[(counted,)] = store.query(f"SELECT sum(messages) FROM {store.database}.edges")
print(json.dumps([rows, spans, counted]))
store.close()
"""


def stored(data_dir: Path) -> Stored:
    """Count what lies in a collector's store. The collector must have ended; a process of its own opens the store,
    since an engine holds one path."""
    answer = subprocess.run(
        [sys.executable, "-c", _COUNT, f"chdb://{data_dir.absolute() / 'store'}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Stored(*json.loads(answer.stdout))
