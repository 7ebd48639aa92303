"""The shop's processes as one thing: opened, given orders, broken and mended, and closed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flowtrail.demo.broker import Broker
from flowtrail.demo.campaign import Kill, Order, Start, Stop
from flowtrail.demo.children import CLOSED_WITHIN_S, Child, EndedByItself, end_together
from flowtrail.demo.diary import Diaries, Diary
from flowtrail.demo.topics import GROUPS, STOREFRONT

_SPAN_DELAY_MS: Final = 300


class Shopfloor:
    """The processes of the shop in `folder`, where their logs and diaries are.

    `otlp_url` is where their spans go, whether or not anybody is there.
    """

    def __init__(self, broker: Broker, folder: Path, diaries: Diaries, otlp_url: str) -> None:
        self._broker = broker
        self._folder = folder
        self._diaries = diaries
        self._diary = Diary(folder / "diaries", "supervisor")
        self._environment: Mapping[str, str] = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": str(_SPAN_DELAY_MS),
        }
        self._processes: dict[str, Child] = {}
        self._stopped_pids: set[int] = set()

    def open(self) -> None:
        """Start every process; `is_ready` tells when all of them can work."""
        for process in (*GROUPS, STOREFRONT):
            self._start(process)

    def is_ready(self) -> bool:
        """Whether every consumer has been given its partitions. Raises EndedByItself."""
        self.check()
        joined = {line["process"] for line in self._diaries.read() if line["kind"] == "joined"}
        return joined >= self._processes.keys()

    def check(self) -> None:
        """Raise EndedByItself when a process is gone that should be there."""
        for child in self._processes.values():
            if not child.is_alive and child.pid not in self._stopped_pids:
                raise EndedByItself(child)

    def take(self, order: Order) -> None:
        """Give the storefront an order. Raises EndedByItself."""
        self._diary.note("ordered", order=order.form["order"], fault=order.fault)
        try:
            self._processes[STOREFRONT].write(json.dumps(order.form).encode())
        except BrokenPipeError as error:
            raise EndedByItself(self._processes[STOREFRONT]) from error

    def end(self, what: Stop | Kill) -> None:
        """End a process, gently or not, and wait until it is gone."""
        child = self._processes[what.process]
        self._stopped_pids.add(child.pid)
        if isinstance(what, Kill):
            child.kill()
        else:
            child.terminate()
            child.wait()
        self._diary.note("stopped", of=what.process, of_pid=child.pid, how=type(what).__name__.lower())

    def mend(self, what: Start) -> None:
        """Start a process again that was ended; one that runs is left alone."""
        if not self._processes[what.process].is_alive:
            self._start(what.process)

    def close(self, timeout_s: float = CLOSED_WITHIN_S) -> None:
        """End all processes, those that take longer by force; closing twice is harmless."""
        end_together(list(self._processes.values()), timeout_s)
        self._diary.close()

    def _start(self, process: str) -> None:
        arguments = [process, "--bootstrap-servers", self._broker.bootstrap_servers]
        arguments += ["--diary", str(self._folder / "diaries"), "--prefix", self._broker.prefix]
        arguments += ["--embedded"] if self._broker.is_embedded else []
        logs = self._folder / "logs"
        self._processes[process] = Child(process, "flowtrail.demo.services", arguments, self._environment, logs)
