"""The report as a table on a terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from flowtrail.demo.report import Judgement, Report

_SHOWN = 8


def summary(report: Report) -> Group:
    """Return the figures, and the first flows on which Flowtrail was not right."""
    figures = report.as_json()
    flows, delay = figures["flows"], figures["edge_delay_ms"]
    head = Table.grid(padding=(0, 2))
    head.add_row("events seen", f"{figures['events']['seen']} of {figures['events']['truth']}")
    head.add_row("handled hops seen", f"{figures['hops']['seen']} of {figures['hops']['truth']}")
    head.add_row("flows", f"{flows['truth']}, {flows['complete']} complete, {flows['false_alarms']} false alarms")
    head.add_row("event to edge", f"p50 {delay['p50']} ms, p99 {delay['p99']} ms")
    head.add_row("broker", figures["broker"])
    parts: list[Table | Text] = [head]
    if figures["faults"]:
        faults = Table(box=None, pad_edge=False)
        for name in ("fault", "flows", "right", "wrong", "unknown"):
            faults.add_column(name, justify="left" if name == "fault" else "right")
        for fault in figures["faults"]:
            style = "" if fault["flows"] == fault["right"] > 0 else "red"
            faults.add_row(*(str(fault[name]) for name in ("name", "flows", "right", "wrong", "unknown")), style=style)
        parts.append(faults)
    for judgement in report.wrong()[:_SHOWN]:
        parts.append(_line(judgement))
    for what, missing in (("event", report.missing_events()), ("hop", report.missing_hops())):
        for place in missing[:_SHOWN]:
            parts.append(Text(f"not seen: {what} {place}", style="red"))
    is_right = Text("Flowtrail was right.", style="green") if report.is_right else Text("Flowtrail was wrong.", "red")
    return Group(*parts, is_right)


def _line(judgement: Judgement) -> Text:
    said = "knew no such flow" if judgement.said is None else f"said {judgement.said.state} {judgement.said.hop or ''}"
    expected = f"{judgement.expected.state} {judgement.expected.hop or ''}"
    return Text(f"{judgement.order} ({judgement.fault or 'healthy'}): {said}, the truth is {expected}", style="red")
