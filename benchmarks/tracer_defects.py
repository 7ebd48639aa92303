"""Who gets it right: each known defect of a Kafka instrumentation, tried with each of them.

    python -m benchmarks.tracer_defects [--quick] [--without-peers] [--clients kafka-python,…] [--json FILE]

Every probe is a process of its own with a client as a program uses it, on the embedded broker; it looks at the spans
that were made and at the records that were sent. Each is tried without tracing first: what is raised then is the
client's own. Prints a table in Markdown, and below it what was wrong. The exit status is 1 when Flowtrail gets one
wrong, or when a probe fails by itself.

The first run makes an environment for the other instrumentations, from the package index; `--without-peers` and
`--quick` leave them out.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.tracer_cost import peers
from benchmarks.tracer_probes.worker import MODULES
from flowtrail.demo.embedded_broker import EmbeddedBroker

ROOT: Final = Path(__file__).parent.parent
TIMEOUT_S: Final = 90
CONTROL: Final = "bare"
OURS: Final = "flowtrail"
PEERS: Final = ("contrib", "ddtrace")


class Probe(NamedTuple):
    """A probe of one client; `sentence` says what is right."""

    client: str
    name: str
    sentence: str


class Answer(NamedTuple):
    """What came of a probe: "right", "wrong", "raised" (out of the client) or "not meant", and why."""

    said: str
    why: str = ""


Answers = dict[tuple[Probe, str], Answer]


def main() -> int:
    """Return 0 when Flowtrail gets everything right, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Flowtrail alone")
    parser.add_argument("--without-peers", action="store_true", help="leave the other instrumentations out")
    parser.add_argument("--clients", default=",".join(MODULES), help="those to try, with commas between")
    parser.add_argument("--json", type=Path, help="file for the answers")
    given = parser.parse_args()
    clients = given.clients.split(",")
    if unknown := set(clients) - set(MODULES):
        parser.error(f"--clients: {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    is_alone = given.quick or given.without_peers
    python = Path(sys.executable) if is_alone else peers.python()
    ways = (OURS,) if is_alone else (*PEERS, OURS)
    with EmbeddedBroker() as broker, ThreadPoolExecutor(2) as pool:

        def answer(asked: tuple[Probe, str]) -> tuple[tuple[Probe, str], Answer]:
            return asked, ask(python, *asked, broker.bootstrap_servers)

        questions = [(probe, way) for probe in probes(clients) for way in (CONTROL, *ways) if knows(way, probe.client)]
        answers: Answers = dict(pool.map(answer, questions))
    print("\n".join(report(answers, ways)))
    if given.json is not None:
        rows = [{**probe._asdict(), "way": way, **answer._asdict()} for (probe, way), answer in answers.items()]
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    wrong = problems(answers)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def probes(clients: list[str]) -> Iterator[Probe]:
    """Yield the probes of these clients, in their order."""
    for client in clients:
        found: tuple[Callable[..., Any], ...] = import_module(f"benchmarks.tracer_probes.{MODULES[client]}").PROBES
        for function in found:
            yield Probe(client, function.__name__, (function.__doc__ or "").strip())


def knows(way: str, client: str) -> bool:
    """Whether this way of tracing has anything for the client."""
    return (way, client) != ("ddtrace", "kafka-python")


def ask(python: Path, probe: Probe, way: str, bootstrap_servers: str) -> Answer:
    """Run a probe in a process of its own. Raises RuntimeError when that fails by itself."""
    own = ("OTEL_", "FLOWTRAIL_", "DD_")
    variables = {name: value for name, value in os.environ.items() if not name.upper().startswith(own)} | {
        "DD_KAFKA_PROPAGATION_ENABLED": "true",  # off by default, and then no record carries a context
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
    }
    command = [str(python), "-m", "benchmarks.tracer_probes.worker", probe.client, probe.name, way, bootstrap_servers]
    try:
        done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Answer("raised", f"no end within {TIMEOUT_S} s")
    if done.returncode:
        raise RuntimeError(f"{probe.client}, {probe.name}, {way}: status {done.returncode}\n{done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Answer(told["said"], told["why"])


def report(answers: Answers, ways: tuple[str, ...]) -> list[str]:
    """Return a Markdown table, a row for each probe, then a line for each answer that is not "right"."""
    lines = [f"| client | what is right | {' | '.join(ways)} |", "|---" * (2 + len(ways)) + "|"]
    for probe in dict.fromkeys(probe for probe, _ in answers):
        cells = [answers[probe, way].said if (probe, way) in answers else "–" for way in ways]
        lines.append(f"| {probe.client} | {probe.sentence} | {' | '.join(cells)} |")
    lines.append("")
    for (probe, way), answer in answers.items():
        if way in ways and answer.said != "right":
            lines.append(f"- {way}, {probe.client}. {probe.sentence}: {answer.why}")
    return lines


def problems(answers: Answers) -> list[str]:
    """Return a sentence for each thing that Flowtrail gets wrong, and for each probe that fails without tracing."""
    found = []
    for (probe, way), answer in answers.items():
        if way == CONTROL and answer.said == "raised":
            found.append(f"{probe.client}, {probe.name}: fails without tracing: {answer.why}")
        if way == OURS and answer.said in ("wrong", "raised"):
            found.append(f"{probe.client}, {probe.name}: {way} is {answer.said}: {answer.why}")
    return found


if __name__ == "__main__":
    sys.exit(main())
