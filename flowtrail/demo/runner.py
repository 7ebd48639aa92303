"""Runs the demo: broker, collector, pages and shop; breaks what it was told to break; judges what Flowtrail says.

run(options): 0 all right · 1 Flowtrail was wrong somewhere · 2 could not start · 3 the collector gave no answer ·
130 ended by Ctrl-C before the verdict
"""

import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from flowtrail.client import Client, CollectorError
from flowtrail.collector.api.answers import State
from flowtrail.demo.backstage import Backstage
from flowtrail.demo.broker import Broker, BrokerUnreachable, broker
from flowtrail.demo.campaign import EXTRAS, Kill, Order, Start, Stop, steps
from flowtrail.demo.children import EndedByItself
from flowtrail.demo.diary import Diaries, time_now_ms
from flowtrail.demo.edge_delay import EdgeWatch
from flowtrail.demo.interruption import Interrupted, Interruption, interruption
from flowtrail.demo.next_steps import program_here, why_command
from flowtrail.demo.options import Options
from flowtrail.demo.report import Report, judge
from flowtrail.demo.shopfloor import Shopfloor
from flowtrail.demo.summary import summary
from flowtrail.demo.topics import LABELS
from flowtrail.demo.truth import Truth, evaluate

log = logging.getLogger(__name__)

# What the collector must have seen nothing of before it says so: a group's silence, a topic without readers.
_JUDGED_AFTER_MS: Final = 13_000
_START_TIMEOUT_S: Final = 60
_DRAIN_TIMEOUT_S: Final = 45
_TICK_S: Final = 0.1


class CannotStart(Exception):
    """A part of the demo did not come up in time."""


def run(options: Options, console: Console | None = None) -> int:
    """Run the demo and return its exit status. Everything that it started has ended when it returns."""
    console = console or Console()
    with interruption() as told, ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowtrail-demo-")))
        else:
            folder = options.keep.resolve()
            if folder.exists() and any(folder.iterdir()):
                console.print(
                    f"{folder} is not empty: what another run kept would be taken for this one's", style="red"
                )
                return 2
        try:
            return _Run(options, console, folder, told, stack).run()
        except (CannotStart, EndedByItself, BrokerUnreachable) as error:
            console.print(f"The demo could not run: {error}", style="red", highlight=False, markup=False)
            return 2
        except CollectorError as error:
            console.print(f"The collector could not be asked: {error}", style="red", highlight=False, markup=False)
            return 3
        except Interrupted:
            console.print("Closing the shop…")
            return 0 if options.for_s is None else 130


class _Run:
    """One run; its parts end in the order in which `stack` is unwound, the last started first."""

    def __init__(
        self, options: Options, console: Console, folder: Path, interruption: Interruption, stack: ExitStack
    ) -> None:
        self._options = options
        self._console = console
        self._folder = folder
        self._interruption = interruption
        self._stack = stack
        self._diaries = Diaries(folder / "diaries", is_endless=options.for_s is None)
        self._pending: list[Stop | Kill] = []
        self._healthy_with: dict[str, set[str]] = {}
        self._number_of_orders = 0
        self._truth = Truth()
        self._truth_lock = threading.Lock()
        for name in ("diaries", "logs", "collector"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def run(self) -> int:
        with self._progress("starting") as said:
            said("a broker")
            self._broker: Broker = self._stack.enter_context(broker(self._options.bootstrap_servers))
            self._readers = self._broker.readers()
            said("the collector")
            self._backstage = Backstage(self._broker, self._folder)
            self._stack.callback(self._backstage.close)
            self._wait_for(self._backstage.is_ready, "the collector is not ready")
            self._ui_url = self._backstage.open_pages() if self._options.is_ui_wanted else None
            said("the shop: consumers join their groups")
            self._open_shop(self._backstage.otlp_url)
        where = "the embedded broker" if self._broker.is_embedded else self._broker.name
        self._console.print(f"The shop is open on {where} at {self._broker.bootstrap_servers}", highlight=False)
        for name, url in (
            ("pages", self._ui_url),
            ("API", self._backstage.api_url),
            ("OTLP", self._backstage.otlp_url),
        ):
            if url is not None:
                self._console.print(f"  {name:<6} {url}", highlight=False)
        first = next(step.what.form["order"] for step in steps(self._options) if isinstance(step.what, Order))
        self._console.print("Ask in another terminal, such as about the first order:", highlight=False)
        self._print_as_it_is(f"  {why_command(f'key={first}', self._backstage.api_url, program_here())}")
        if self._options.for_s is None:
            self._console.print("Ctrl-C closes it.")
        return self._trade()

    def _print_as_it_is(self, line: str) -> None:
        """Print a line that can be copied, however narrow the terminal is."""
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _open_shop(self, otlp_url: str) -> None:
        self._shop = Shopfloor(self._broker, self._folder, self._diaries, otlp_url)
        self._stack.callback(self._shop.close)
        self._shop.open()
        self._wait_for(self._shop.is_ready, "not every consumer joined its group")

    def _trade(self) -> int:
        watch = EdgeWatch(self._backstage.api_url) if self._options.for_s is not None else None
        if watch is not None:
            self._stack.callback(watch.close)
        begin_s = time.monotonic()
        is_story_told = False
        with self._progress("open", total=self._options.for_s) as said:
            for step in steps(self._options):
                while (left_s := begin_s + step.at_s - time.monotonic()) > 0:
                    self._tick(min(left_s, _TICK_S))
                    elapsed_s = time.monotonic() - begin_s
                    said(f"{self._number_of_orders} orders", elapsed_s)
                    is_due = self._options.for_s is None and elapsed_s > self._options.story_after_s
                    if is_due and not is_story_told:
                        is_story_told = self._tell_a_story()
                self._do(step.what)
            while self._options.for_s is not None and time.monotonic() - begin_s < self._options.for_s:
                self._tick(_TICK_S)
        with self._progress("the work drains") as said:
            self._drain(said)
        if watch is not None:
            watch.close()
        return self._report(watch)

    def _do(self, what: Order | Stop | Kill | Start) -> None:
        match what:
            case Order(form, fault):
                for extra in form.keys() & set(EXTRAS) if fault is None else ():
                    self._healthy_with.setdefault(extra, set()).add(form["order"])
                self._shop.take(what)
                self._number_of_orders += 1
            case Start():
                self._shop.mend(what)
            case Stop() | Kill():
                self._pending.append(what)

    def _tick(self, seconds: float) -> None:
        """Let time go by, and end the processes whose time has come."""
        self._interruption.pause(seconds)
        self._backstage.check()
        self._shop.check()
        if self._pending:
            truth = self._truth_now()
            for pending in [what for what in self._pending if _is_due(what, truth, self._healthy_with)]:
                self._pending.remove(pending)
                self._shop.end(pending)

    def _drain(self, said: Callable[..., None]) -> None:
        """Wait until every healthy order is through, and until the collector can have noticed what is broken."""
        deadline_s = time.monotonic() + _DRAIN_TIMEOUT_S
        while time.monotonic() < deadline_s:
            self._tick(_TICK_S)
            truth = self._truth_now()
            left = sum(1 for f in truth.flows.values() if f.fault is None and f.expected.state is not State.COMPLETE)
            broken_ms = [
                f.moved_ms
                for f in truth.flows.values()
                if f.expected.state not in (State.COMPLETE, State.WAITING, State.IN_FLIGHT)
            ]
            quiet_ms = time_now_ms() - max(broken_ms, default=0)
            said(f"{left} orders are under way" if left else "what is broken must have been so for a while")
            if not left and not self._pending and quiet_ms > _JUDGED_AFTER_MS:
                return

    def _report(self, watch: EdgeWatch | None) -> int:
        # What goes on happening while Flowtrail is asked is not part of the run.
        truth = self._truth_now()
        with self._progress("asking Flowtrail", total=len(truth.flows)) as said:
            judgements = judge(self._backstage.api_url, self._truth_now, time_now_ms, lambda count: said("", count))
        faults = self._options.broken
        sights = watch.sights if watch is not None else ()
        report = Report(truth, judgements, faults, self._broker.name, sights)
        if self._options.report is not None:
            self._options.report.write_text(json.dumps(report.as_json(), indent=2) + "\n")
        self._tell_a_story()
        self._console.print(summary(report))
        if self._options.report is not None:
            self._print_as_it_is(f"The report is in {self._options.report}")
        return 0 if report.is_right else 1

    def _tell_a_story(self) -> bool:
        """Print the story of a flow that broke; False when there is none yet that Flowtrail knows to be broken."""
        from flowtrail.cli.story import render

        broken = [f for f in self._truth_now().flows.values() if f.expected.state in _TELLING]
        with Client(self._backstage.api_url) as client:
            try:
                for flow in broken[:1]:
                    for found in client.flows(flow.order).flows:
                        if found.state in _TELLING:
                            self._console.print(render(client.flow(found.id)))
                            if self._ui_url is not None:
                                self._print_as_it_is(f"on the pages: {self._ui_url}/flow/{found.id}")
                            return True
            except CollectorError as error:
                log.warning("no story: %s", error)
        return False

    def _truth_now(self) -> Truth:
        """Return the truth up to this moment; any thread may ask. Raises Interrupted."""
        self._interruption.check()
        with self._truth_lock:
            before = self._diaries.version
            lines = self._diaries.read()
            if self._diaries.version != before:
                self._truth = evaluate(lines, self._readers)
            return self._truth

    def _wait_for(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not is_so():
            if time.monotonic() > deadline_s:
                raise CannotStart(f"{otherwise} after {_START_TIMEOUT_S} s; --keep FOLDER keeps the logs")
            self._interruption.pause(_TICK_S)

    @contextmanager
    def _progress(self, title: str, total: float | None = None) -> Iterator[Callable[..., None]]:
        """Show a line that is gone afterwards; call what this yields with a text and how much is done.

        Where no terminal is, nothing is shown: a progress that is gone would leave blank lines.
        """
        if not self._console.is_terminal:
            yield lambda _text, _completed=None: None
            return
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
        ]
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=total, said="")

            def said(text: str, completed: float | None = None) -> None:
                progress.update(task, said=text, completed=completed)

            yield said


# The states that make a good first story: an error with a name.
_TELLING: Final = (State.FAILED, State.DEAD_LETTERED)


def _is_due(what: Stop | Kill, truth: Truth, healthy_with: dict[str, set[str]]) -> bool:
    if isinstance(what, Stop):
        flows = [truth.flows.get(order) for order in healthy_with.get(what.extra, ())]
        return all(flow is not None and flow.expected.state is State.COMPLETE for flow in flows)
    flow = truth.flows.get(what.order)
    if flow is None:
        return False
    is_in_hand = any(hop.event.topic.endswith(LABELS) and hop.state is State.IN_FLIGHT for hop in flow.hops)
    return is_in_hand and time_now_ms() - flow.moved_ms >= what.after_s * 1000
