"""`flowtrail graph`: who talks to whom."""

from collections import Counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowtrail.client import Client
from flowtrail.collector.api.answers import Edge, Graph, Node, Tone

from .asking import URL_DEFAULT, Json, Last, Url, asking, began_ms, console, print_json
from .figures import clock, count, duration, printable, rate, share
from .story import GLYPHS, STYLES

_KIND_STYLES = {"service": "blue", "topic": "magenta", "group": "cyan"}


def graph(
    focus: Annotated[
        str | None, typer.Option(metavar="KIND:NAME", help="Only what is near a node, such as group:payments-workers.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="How many edges away from --focus.")] = None,
    last: Last = None,
    url: Url = URL_DEFAULT,
    as_json: Json = False,
) -> None:
    """Broken nodes first, then every edge."""
    with asking(url) as client:
        found = client.graph(focus=focus, depth=depth, from_ms=began_ms(last))
        if as_json:
            print_json(client)
        else:
            _print(found, _lag_by_topic(client, found), console())


def _lag_by_topic(client: Client, found: Graph) -> dict[tuple[str, str], int | None]:
    """Return the lag of each (topic node, group node). Only where a group reads several topics is it asked for."""
    lag = {node.id: node.lag for node in found.nodes if node.kind == "group" and node.lag}
    ways = {(edge.source, edge.target) for edge in found.edges if edge.target in lag}
    read = Counter(group for _, group in ways)
    if all(times == 1 for times in read.values()):
        return {(topic, group): lag[group] for topic, group in ways}
    parts: Counter[tuple[str, str]] = Counter()
    for group in client.lag().groups:
        for part in group.partitions:
            parts[f"topic:{part.topic}", f"group:{group.group}"] += part.lag or 0
    return {way: parts[way] for way in ways}


def _print(found: Graph, lag: dict[tuple[str, str], int | None], out: Console) -> None:
    if not found.nodes:
        out.print("Nothing was seen yet; instrument a service, or run `flowtrail demo`.", markup=False)
        return
    nodes = {node.id: node for node in found.nodes}
    troubles: dict[tuple[Tone, str, str | None], list[Node]] = {}
    for node in (nodes[broken] for broken in found.broken if broken in nodes):
        troubles.setdefault((node.tone, node.state, node.reason), []).append(node)
    for same in troubles.values():
        out.print(_trouble(same))
    if found.broken:
        out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("from", overflow="fold")
    table.add_column("to", overflow="fold")
    for figure in ("events", "rate", "failed", "p95"):
        table.add_column(figure, justify="right", no_wrap=True)
    for edge in sorted(found.edges, key=lambda edge: (edge.source, edge.target, edge.kind)):
        table.add_row(
            _name(edge.source, nodes), _target(edge, nodes, lag.get((edge.source, edge.target))), *_figures(edge)
        )
    out.print(table)
    out.print(f"\n{clock(found.from_ms)} to {clock(found.to_ms)}", style="dim")
    if found.truncated:
        out.print("The graph is larger than what is shown; look closer with --focus.", style="dim")


def _trouble(nodes: list[Node]) -> Text:
    """One line for all that the same is the matter with."""
    node = nodes[0]
    line = Text(f"{GLYPHS[node.tone]} {node.state} ", style=STYLES[node.tone])
    line.append_text(Text(", ").join(_name(one.id, {one.id: one}) for one in nodes))
    if node.reason:
        line.append(f": {printable(node.reason)}", style="not bold default")
    return line


def _name(node_id: str, nodes: dict[str, Node]) -> Text:
    """A node as `--focus` takes it: `group:payments-workers`."""
    node = nodes.get(node_id)
    if node is None:
        return Text(printable(node_id))
    return Text.assemble((f"{node.kind}:", "dim"), (printable(node.name), _KIND_STYLES.get(node.kind, "")))


def _target(edge: Edge, nodes: dict[str, Node], lag: int | None) -> Text:
    name = _name(edge.target, nodes)
    node = nodes.get(edge.target)
    if node is not None and node.tone is not Tone.OK:
        name = Text(f"{GLYPHS[node.tone]} ", style=STYLES[node.tone]).append_text(name)
    if lag:
        name.append(f" lag {count(lag)}", style="dim")
    return name


def _figures(edge: Edge) -> tuple[str | Text, ...]:
    failed = share(
        edge.error_share if edge.error_share is not None else (edge.errors / edge.messages if edge.messages else None)
    )
    return (
        count(edge.messages),
        rate(edge.rate_per_s),
        Text(failed, style="red" if edge.errors else ""),
        duration(edge.p95_ms),
    )
