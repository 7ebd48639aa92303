"""What tracing costs a program, beside the other instrumentations: of each client sends, and records that it consumes.

    python -m benchmarks.tracer [--quick] [--without-peers] [--clients kafka-python,…] [--rounds 5] [--json FILE]

Added is what tracing takes on top of the bare client, CPU time in microseconds a record: on the caller's thread, and in
the whole process with the export to a local receiver. Each measurement is a process of its own, in which chunks without
tracing and chunks with it take turns; ways and rounds take turns too. A ratio is the addition of OpenTelemetry's own
instrumentation ("contrib") over Flowtrail's. Broker and receiver are other processes; their cost is not counted.

The first run makes an environment for the other instrumentations, from the package index; `--without-peers` leaves
them out. Figures are printed beside the targets, met or missed; the exit status is 1 when spans are missing or lost.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import Producer

from benchmarks.tracer_cost import peers
from benchmarks.tracer_cost.loops import KEYS, PARTITION, VALUE
from flowtrail.demo.embedded_broker import EmbeddedBroker

ROOT: Final = Path(__file__).parent.parent
CLIENTS: Final = ("kafka-python", "confluent-kafka", "aiokafka")
OPERATIONS: Final = ("send", "consume", "consume_batch")
THREADS: Final = ("caller", "process")
OURS: Final = ("bare", "header", "flowtrail")
OURS_CONSUMING: Final = ("bare", "flowtrail")
PEERS: Final = ("contrib", "ddtrace")
WAYS: Final = OURS + PEERS
# An addition that is smaller counts as this in a ratio: below it there is only noise.
LEAST_US: Final = 0.2
TIMEOUT_S: Final = 300
# By the name of a figure, what it should be: at least (a ratio), at most (anything else).
TARGET_RATIOS: Final = {
    "kafka-python.send.caller": 8.0,
    **{f"{client}.{operation}.process": 8.0 for client in CLIENTS for operation in ("send", "consume")},
}
TARGET_US: Final = {
    "kafka-python.send.caller.flowtrail": 5.0,
    **{f"{client}.{operation}.caller.flowtrail": 5.0 for client in CLIENTS for operation in OPERATIONS[1:]},
}
TARGET_IMPORT_MS: Final = 30.0
TARGET_MEMORY_MB: Final = 20.0


class Case(NamedTuple):
    """One measurement of a round."""

    client: str
    operation: str
    variant: str

    def figure(self, threads: str) -> str:
        return f"{self.client}.{self.operation}.{threads}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case in one round: what it took (µs a record, by whose time), and what became of its spans.

    `records` went through it, `received` spans came to the receiver; `noted`, `exported` and `dropped` are Flowtrail's
    own counts.
    """

    bare_us: dict[str, float]
    added_us: dict[str, float]
    records: int
    received: int
    noted: int = 0
    exported: int = 0
    dropped: int = 0


Measured = dict[Case, list[Outcome]]


def main() -> int:
    """Return 0 when no span was lost, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of few records")
    parser.add_argument("--without-peers", action="store_true", help="leave the other instrumentations out")
    parser.add_argument("--clients", default=",".join(CLIENTS), help="those to measure, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=8, help="pairs of chunks in each measurement")
    parser.add_argument("--records", type=int, default=2000, help="records in each chunk")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    rounds, chunks, records = (1, 3, 1000) if given.quick else (given.rounds, given.chunks, given.records)
    clients = given.clients.split(",")
    if unknown := set(clients) - set(CLIENTS):
        parser.error(f"--clients: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    python = Path(sys.executable) if given.without_peers else peers.python()
    ways = OURS if given.without_peers else WAYS
    measured: Measured = {case: [] for case in cases(clients, ways)}
    with receiver() as url, EmbeddedBroker() as broker:
        preload(broker.bootstrap_servers, records)
        for number in range(rounds):
            for case, outcomes in measured.items():
                say(f"round {number + 1} of {rounds}: {case.client} {case.operation}, {case.variant}")
                outcomes.append(run(python, case, broker.bootstrap_servers, url, chunks, records))
        imports_ms = import_ms(python, times=3 if given.quick else 15)
        memory_mb, is_full = memory(python, broker.bootstrap_servers)
    figures = {**summary(measured), "import_ms": imports_ms, "memory_mb": memory_mb}
    print("\n".join(report(figures, clients, ways)))
    if given.without_peers:
        print("The other instrumentations were left out (--without-peers): no ratios.")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    wrong = problems(measured)
    if not is_full:
        wrong.append("memory: the queue never got full")
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def cases(clients: list[str], ways: tuple[str, ...]) -> Iterator[Case]:
    """Yield the cases of a round, those that are compared one after the other."""
    for client in clients:
        for operation in OPERATIONS:
            for way in ways:
                # A static header is for sends. The others make one span of a batch, or none, so its records have no
                # ratio. ddtrace has nothing for kafka-python.
                ways_of = {"send": WAYS, "consume": (*OURS_CONSUMING, *PEERS)}.get(operation, OURS_CONSUMING)
                if way in ways_of and (way, client) != ("ddtrace", "kafka-python"):
                    yield Case(client, operation, way)


def run(python: Path, case: Case, bootstrap_servers: str, url: str, chunks: int, records: int) -> Outcome:
    """Run one case in a process of its own. Raises RuntimeError with what the process said when it fails."""
    before = received(url)
    topic = f"sent-{case.client}" if case.operation == "send" else "preloaded"
    told = tell(
        python,
        "worker",
        [*case, bootstrap_servers, topic, str(chunks), str(records)],
        environment(url, chunks, records),
    )
    pairs = {threads: list(zip(told[f"bare_{threads}_us"], told[f"{threads}_us"], strict=True)) for threads in THREADS}
    return Outcome(
        {threads: statistics.median(bare for bare, _ in pairs[threads]) for threads in THREADS},
        {threads: statistics.median(traced - bare for bare, traced in pairs[threads]) for threads in THREADS},
        told["records"],
        received(url) - before,
        told["noted"],
        told["exported"],
        told["dropped"],
    )


def environment(url: str, chunks: int, records: int) -> dict[str, str]:
    """Return variables with which every way of tracing hands all its spans to `url`, none dropped, and nothing more."""
    own = ("OTEL_", "FLOWTRAIL_", "DD_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(own)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled already
    return kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_MAX_QUEUE_SIZE": str(4 * records * (chunks + 1)),
        "DD_TRACE_AGENT_URL": url,
        "DD_TRACE_WRITER_BUFFER_SIZE_BYTES": str(256 * 1024**2),
        "DD_KAFKA_PROPAGATION_ENABLED": "true",  # off by default, and then there is no trace from send to record
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
    }


def tell(python: Path, module: str, arguments: list[str], variables: dict[str, str]) -> dict[str, Any]:
    """Run a part and return the JSON of its last line."""
    command = [str(python), "-m", f"benchmarks.tracer_cost.{module}", *arguments]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def import_ms(python: Path, times: int) -> dict[str, float]:
    """Return the medians of importing the SDK, and of importing Flowtrail when the SDK is there (ms of CPU time)."""
    variables = environment("http://127.0.0.1:9", 1, 1)
    told = [tell(python, "footprint", ["import"], variables) for _ in range(times + 1)][1:]
    return {name: round(statistics.median(one[name] for one in told), 1) for name in told[0]}


def memory(python: Path, bootstrap_servers: str) -> tuple[dict[str, float], bool]:
    """Return what a process grows by (MB) while nobody takes its spans, and whether Flowtrail's queue was full."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hanging:  # accepted by the kernel, and never answered
        variables = environment(f"http://127.0.0.1:{hanging.getsockname()[1]}", 1, 1)
        del variables["OTEL_BSP_MAX_QUEUE_SIZE"]  # the queue that a program has by default
        bare, traced = (
            tell(python, "footprint", ["memory", way, bootstrap_servers, "memory"], variables)
            for way in ("bare", "flowtrail")
        )
    return {way: round(told["added_mb"], 1) for way, told in (("bare", bare), ("flowtrail", traced))}, traced[
        "dropped"
    ] > 0


def summary(measured: Measured) -> dict[str, dict[str, Any]]:
    """Return the figures: `ratios` and `us` by name, and the least and greatest of the rounds in `spread`.

    A `us` is an addition to the bare client; for "bare" it is the client itself, "noise" what it adds to itself. What
    did not make all its spans has no figures: not to trace costs nothing.
    """
    measured = {case: outcomes for case, outcomes in measured.items() if not any(_wrong(case, one) for one in outcomes)}
    us: dict[str, float] = {}
    ratios: dict[str, float] = {}
    spread: dict[str, list[float]] = {}
    for case, outcomes in measured.items():
        for threads in THREADS:
            name = f"{case.figure(threads)}.{case.variant}"
            if case.variant == "bare":
                _put(us, spread, name, [one.bare_us[threads] for one in outcomes])
                name = f"{case.figure(threads)}.noise"
            _put(us, spread, name, [one.added_us[threads] for one in outcomes])
            ours = measured.get(case._replace(variant="flowtrail"))
            if case.variant == "contrib" and ours is not None:
                pairs = zip(outcomes, ours, strict=True)
                values = [theirs.added_us[threads] / max(LEAST_US, own.added_us[threads]) for theirs, own in pairs]
                _put(ratios, spread, case.figure(threads), values)
    return {"ratios": ratios, "us": us, "spread": spread}


def _put(figures: dict[str, float], spread: dict[str, list[float]], name: str, values: list[float]) -> None:
    figures[name] = round(statistics.median(values), 2)
    spread[name] = [round(min(values), 2), round(max(values), 2)]


def report(figures: dict[str, dict[str, Any]], clients: list[str], ways: tuple[str, ...]) -> list[str]:
    """Return the figures as lines for a person, with the targets beside them."""
    us, ratios, spread = figures["us"], figures["ratios"], figures["spread"]
    names = {"bare": "bare client", "noise": "noise", "header": "+ one header", "flowtrail": "+ Flowtrail"}
    lines = [f"{'CPU time, µs a record':<28}{'caller’s thread':>26}{'whole process':>26}"]
    for client in clients:
        for operation in OPERATIONS:
            lines.append(f"{client} {operation}")
            for way in ("bare", "noise", *ways[1:]):
                row = [f"{client}.{operation}.{threads}.{way}" for threads in THREADS]
                if all(name in us for name in row):
                    cells = "".join(f"{_with_spread(us[name], spread[name]):>26}" for name in row)
                    lines.append(f"  {names.get(way, '+ ' + way):<26}{cells}")
            row = [f"{client}.{operation}.{threads}" for threads in THREADS]
            if all(name in ratios for name in row):
                cells = "".join(f"{_with_spread(ratios[name], spread[name]):>26}" for name in row)
                lines.append(f"  {'contrib / Flowtrail':<26}{cells}")
    lines.append("targets")
    if PEERS[0] in ways:
        lines += [_beside(name, ratios.get(name), least) for name, least in _of(clients, TARGET_RATIOS)]
    lines += [_beside(name + " µs", us.get(name), most=most) for name, most in _of(clients, TARGET_US)]
    lines.append(_beside("import, ms of CPU", figures["import_ms"]["flowtrail_ms"], most=TARGET_IMPORT_MS))
    lines.append(_beside("full queue, MB", figures["memory_mb"]["flowtrail"], most=TARGET_MEMORY_MB))
    return lines


def _of(clients: list[str], targets: dict[str, float]) -> list[tuple[str, float]]:
    return [(name, target) for name, target in targets.items() if name.split(".")[0] in clients]


def _with_spread(value: float, spread: list[float]) -> str:
    least, greatest = spread
    return f"{value:.1f}" if least == greatest else f"{value:.1f} ({least:.1f} – {greatest:.1f})"


def _beside(name: str, value: float | None, least: float | None = None, *, most: float | None = None) -> str:
    bound, limit = ("at least", least) if least is not None else ("at most", most)
    assert limit is not None
    if value is None:
        return f"  {name:<42}{'–':>8}   {bound:<8} {limit:4.1f}   not measured: spans are missing"
    is_met = value >= limit if least is not None else value <= limit
    return f"  {name:<42}{value:8.1f}   {bound:<8} {limit:4.1f}   {'met' if is_met else 'missed'}"


def problems(measured: Measured) -> list[str]:
    """Return a sentence for each count that is wrong; none when every span was made and came to the receiver."""
    return [
        f"{case.client} {case.operation}, {case.variant}: {said}"
        for case, outcomes in measured.items()
        for one in outcomes
        if (said := _wrong(case, one))
    ]


def _wrong(case: Case, one: Outcome) -> str:
    match case.variant:
        case "bare" | "header":
            return f"{one.received} spans came from a client that is not traced" if one.received else ""
        case "ddtrace":  # its requests say how many traces they hold, and a trace may have many spans
            return "" if one.received else "no span came"
        case "flowtrail" if one.dropped or one.noted != one.exported or one.exported != one.received:
            return f"{one.noted} spans noted, {one.exported} exported, {one.dropped} dropped, {one.received} received"
    # Flowtrail tells of a client's end too.
    if case.operation == "send" and case.variant != "flowtrail" and one.received != one.records:
        return f"{one.received} spans for {one.records} sends"
    if case.operation != "consume_batch" and one.received < one.records:
        return f"{one.received} spans for {one.records} records"
    return ""


def preload(bootstrap_servers: str, records: int) -> None:
    """Fill the topic that is consumed: records with a trace context each, as a traced producer sends them."""
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for number in range(1, records + 1):
        context = b"00-%032x-%016x-01" % (number, number)
        key = KEYS[number % len(KEYS)]
        producer.produce("preloaded", VALUE, key, partition=PARTITION, headers=[("traceparent", context)])
    producer.flush()


@contextmanager
def receiver() -> Iterator[str]:
    """Yield the URL of a receiver that runs while the block does."""
    with tempfile.TemporaryDirectory() as folder:
        url_file = Path(folder) / "url"
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.tracer_cost.receiver", str(url_file)], cwd=ROOT)
        try:
            while not url_file.exists() or not url_file.read_text():
                if process.poll() is not None:
                    raise RuntimeError("the receiver ended")
                time.sleep(0.05)
            yield url_file.read_text()
        finally:
            process.terminate()
            process.wait()


def received(url: str) -> int:
    """Return how many spans came to the receiver so far."""
    with urllib.request.urlopen(url + "/count", timeout=10) as answer:
        return int(answer.read())


def say(text: str) -> None:
    """Show progress to a person, over the line before."""
    if sys.stderr.isatty():
        print(f"\r{text:<79}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
