"""A collector as a process of its own, for what cannot be shown inside one: kills, restarts, CPU and memory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psutil
import requests

PATIENCE_S: Final = 60
SERVICE: Final = ("flowtrail.collector.service",)

# A collector that is at rest takes less than this part of a core; what takes more is merging.
RESTING_SHARE: Final = 0.1


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
    """Runs `flowtrail.collector.service` on free ports over a data directory; further options by name.

    `module` is another program that does, with its arguments. What it logs goes to `log_file`, else where we write.
    """

    def __init__(
        self, data_dir: Path, module: Sequence[str] = SERVICE, log_file: Path | None = None, **options: str
    ) -> None:
        self._log_file = log_file
        self.data_dir = data_dir
        self._endpoints_file = data_dir / "endpoints.json"
        self._command = [sys.executable, "-m", *module]
        # A person's own settings are for a collector of theirs, and may name its store.
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.upper().startswith("FLOWTRAIL_")},
            "FLOWTRAIL_DATA_DIR": str(data_dir),
            "FLOWTRAIL_OTLP_HTTP_PORT": "0",
            "FLOWTRAIL_OTLP_GRPC_PORT": "0",
            "FLOWTRAIL_API_PORT": "0",
            **{f"FLOWTRAIL_{name.upper()}": value for name, value in options.items()},
        }
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, where it still runs: whoever fails leaves none behind."""
        if self.is_running():
            self.kill()

    def start(self) -> None:
        """Start, and return when it is ready."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start, and return at once."""
        self._endpoints_file.unlink(missing_ok=True)
        self._began_s = time.monotonic()
        with open(self._log_file, "ab") if self._log_file else contextlib.nullcontext() as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log)

    def wait_until_ready(self) -> None:
        while not self._endpoints_file.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the collector ended with status {self._process.returncode}")
            if time.monotonic() - self._began_s > PATIENCE_S:
                self.kill()
                raise TimeoutError("the collector did not start in time")
            time.sleep(0.02)
        self.start_s = time.monotonic() - self._began_s
        endpoints = json.loads(self._endpoints_file.read_text())
        self.traces_url: str = endpoints["otlp_http"] + "/v1/traces"
        self.grpc_url: str = endpoints["otlp_grpc"]
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

    def cpu_s(self) -> float:
        """CPU seconds that it has used since it began."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Resident memory now."""
        return float(psutil.Process(self._process.pid).memory_info().rss / 1024**2)

    def wait_until_at_rest(self, timeout_s: float = 30) -> None:
        """Return when what goes on after a load, merging above all, has ended or taken this long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            before_s, began_s = self.cpu_s(), time.monotonic()
            time.sleep(1)
            if self.cpu_s() - before_s < RESTING_SHARE * (time.monotonic() - began_s):
                return

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


_COUNT: Final = """
[(table,)] = store.query("SELECT max(name) FROM system.tables WHERE database = {database:String}"
    " AND name IN ('spans', 'raw_spans') AND engine LIKE '%MergeTree'", {"database": store.database})
[(rows, spans)] = store.query(f"SELECT count(), uniqExact(trace_id, span_id) FROM {store.database}.{table}")
[(counted,)] = store.query(f"SELECT sum(messages) FROM {store.database}.edges")
print(json.dumps([rows, spans, counted]))
"""

_IDS: Final = """
print(json.dumps(store.query(f"SELECT DISTINCT hex(trace_id), hex(span_id) FROM {store.database}.spans")))
"""

_MERGE: Final = """
database = {"database": store.database}
tables = store.query("SELECT name FROM system.tables WHERE database = {database:String}"
    " AND engine LIKE '%MergeTree'", database)
for (name,) in tables:
    store.command(f"OPTIMIZE TABLE {store.database}.{name} FINAL")
print(json.dumps(dict(store.query("SELECT table, sum(bytes_on_disk) FROM system.parts"
    " WHERE active AND database = {database:String} GROUP BY table ORDER BY table", database))))
"""


def stored(data_dir: Path) -> Stored:
    """Count what lies in a collector's store. The collector must have ended."""
    return Stored(*_asked(data_dir, _COUNT))


def span_ids(data_dir: Path) -> set[tuple[bytes, bytes]]:
    """Return trace and span id of all that lies in a collector's store. The collector must have ended."""
    return {(bytes.fromhex(trace), bytes.fromhex(span)) for trace, span in _asked(data_dir, _IDS)}


def merged_bytes(data_dir: Path) -> dict[str, int]:
    """Merge what lies in a collector's store, and return the bytes of each table. The collector must have ended."""
    told: dict[str, int] = _asked(data_dir, _MERGE)
    return told


def _asked(data_dir: Path, program: str) -> Any:
    """Run a program over `store` in a process of its own, since an engine holds one path; it prints JSON."""
    opening = "import json, sys\nfrom flowtrail.collector.store.connection import open_store\n"
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{opening}store = open_store(sys.argv[1])\n{program}\nstore.close()",
            f"chdb://{data_dir.absolute() / 'store'}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(answer.stdout)
