"""What a collector that is away costs the services that send to it: the demo's shop at full speed, three ways.

    python -m benchmarks.collector_away [--quick] [--rounds 5] [--orders 400] [--json FILE]

`up`: a collector takes the spans. `down`: nobody listens. `hanging`: somebody accepts the connection and never answers.
The same orders go through the same six services each time, on a broker of their own; the rate is orders a second from
the first order to the last hop handled. The three take turns, so that what else the machine does hits all alike.

Exit status 1 when a span is neither exported nor counted as dropped, when a collector that is up misses one, when a
service speaks of it more than once a minute, or when the shop does less than half of its work without a collector.
"""

import argparse
import json
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.collector_process import CollectorProcess
from flowtrail.collector.api.answers import State
from flowtrail.demo.broker import broker
from flowtrail.demo.campaign import Order, steps
from flowtrail.demo.diary import Diaries
from flowtrail.demo.options import Options
from flowtrail.demo.shopfloor import Shopfloor
from flowtrail.demo.truth import Truth, evaluate

WAYS: Final = ("up", "down", "hanging")
TIMEOUT_S: Final = 120
# Of the rate with a collector; far below what is measured, so that a busy machine is no failure.
LEAST_RATIO: Final = 0.5


@dataclass(frozen=True, slots=True)
class Round:
    """One run. Spans over all services: `noted` came to an end, a collector took the `exported`, `dropped` were lost.

    `most_lines_a_minute` is how often the noisiest service spoke of that in its log, by the minute.
    """

    way: str
    orders_per_s: float
    noted: int
    exported: int
    dropped: int
    most_lines_a_minute: int


def main() -> int:
    """Return 0 when all is right, 1 when something is not."""
    parser = argparse.ArgumentParser(description="What a collector that is away costs the services.")
    parser.add_argument("--quick", action="store_true", help="one round of few orders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=400)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    rounds, orders = (1, 100) if given.quick else (given.rounds, given.orders)
    measured = [measure(way, orders) for _ in range(rounds) for way in WAYS]
    for one in measured:
        print(
            f"{one.way:<8} {one.orders_per_s:6.1f} orders/s  {one.noted} spans, {one.dropped} dropped, "
            f"at most {one.most_lines_a_minute} log lines a minute about it"
        )
    ratios = ratios_to_up(measured)
    for way, values in ratios.items():
        spread = f"{min(values):.2f}–{max(values):.2f}"
        print(f"{way} / up: {statistics.median(values):.2f} ({spread}, {len(values)} rounds)")
    if given.json is not None:
        figures = {"rounds": [asdict(one) for one in measured], "ratio_to_up": ratios}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    wrong = problems(measured)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def problems(measured: list[Round]) -> list[str]:
    """Return a sentence for each thing that is not as it should be; none when all is right."""
    found = []
    for one in measured:
        lost = one.noted - one.exported
        if one.noted == 0:
            found.append(f"{one.way}: no service made a span")
        if one.dropped != lost:
            found.append(f"{one.way}: {lost} spans were not exported, and {one.dropped} were counted as dropped")
        if one.way == "up" and lost:
            found.append(f"{one.way}: {lost} spans did not reach the collector")
        if one.way != "up" and one.exported:
            found.append(f"{one.way}: {one.exported} spans count as exported, and nobody was there")
        if one.most_lines_a_minute > 1:
            found.append(f"{one.way}: a service logged {one.most_lines_a_minute} lines about it within a minute")
    for way, values in ratios_to_up(measured).items():
        if statistics.median(values) < LEAST_RATIO:
            found.append(f"{way}: the shop did {statistics.median(values):.2f} of its work, less than {LEAST_RATIO}")
    return found


def ratios_to_up(measured: list[Round]) -> dict[str, list[float]]:
    """Return, by way, the rate of each round as a share of the rate that the shop had with its collector up."""
    up = [one.orders_per_s for one in of_way(measured, "up")]
    return {
        way: [one.orders_per_s / at_up for one, at_up in zip(of_way(measured, way), up, strict=True)]
        for way in WAYS
        if way != "up"
    }


def of_way(measured: list[Round], way: str) -> list[Round]:
    """Return the rounds of one way, in their order."""
    return [one for one in measured if one.way == way]


def measure(way: str, number_of_orders: int) -> Round:
    """Put that many healthy orders through a shop whose collector is up, down or hanging."""
    with tempfile.TemporaryDirectory(prefix="flowtrail-away-") as name, collector(way, Path(name)) as otlp_url:
        folder = Path(name)
        for part in ("diaries", "logs"):
            (folder / part).mkdir()
        diaries = Diaries(folder / "diaries")
        with broker("") as kafka:
            shop = Shopfloor(kafka, folder, diaries, otlp_url)
            try:
                orders_per_s = full_speed(shop, diaries, kafka.readers(), number_of_orders)
            finally:
                shop.close(timeout_s=30)
        tracers = [line for line in diaries.read() if line["kind"] == "traced"]
        lines = [most_lines_a_minute(log.read_text()) for log in (folder / "logs").iterdir()]
        return Round(
            way,
            orders_per_s,
            sum(tracer["noted"] for tracer in tracers),
            sum(tracer["exported"] for tracer in tracers),
            sum(tracer["dropped"] for tracer in tracers),
            max(lines),
        )


def full_speed(shop: Shopfloor, diaries: Diaries, readers: dict[str, tuple[str, ...]], number_of_orders: int) -> float:
    """Return the orders a second that a shop does when the customers come all at once."""
    shop.open()
    until(shop.is_ready)
    planned = steps(Options(for_s=float(number_of_orders), rate_per_s=1))
    orders = [step.what for step in planned if isinstance(step.what, Order)]

    def is_done() -> bool:
        shop.check()
        truth: Truth = evaluate(diaries.read(), readers)
        return len(truth.flows) == len(orders) and all(
            flow.expected.state is State.COMPLETE for flow in truth.flows.values()
        )

    for order in orders:
        shop.take(order)
    until(is_done)
    handled_ms = [line["time_ms"] for line in diaries.read() if line["kind"] == "handled"]
    ordered_ms = [line["time_ms"] for line in diaries.read() if line["kind"] == "ordered"]
    took_ms: float = max(handled_ms) - min(ordered_ms)
    return 1000 * len(orders) / took_ms


@contextmanager
def collector(way: str, folder: Path) -> Iterator[str]:
    """Yield where the services send their spans."""
    if way == "up":
        running = CollectorProcess(folder / "collector")
        try:
            yield running.traces_url.removesuffix("/v1/traces")
        finally:
            running.stop()
        return
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if way == "hanging":
            listener.listen(64)  # the kernel accepts, and nobody reads
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def most_lines_a_minute(log: str) -> int:
    """Return the most lines about lost spans that fall into one minute of a service's log."""
    minutes = re.findall(r"^(\S+ \d\d:\d\d).* WARNING .*spans? dropped", log, re.MULTILINE)
    return max((minutes.count(minute) for minute in minutes), default=0)


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so; raises TimeoutError."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {TIMEOUT_S} s")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
