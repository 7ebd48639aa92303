"""`flowtrail graph`: who talks to whom."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
            _print(found, console())


def _print(found: Graph, out: Console) -> None:
    if not found.nodes:
        out.print("Nothing was seen yet; instrument a service, or run `flowtrail demo`.", markup=False)
        return
    nodes = {node.id: node for node in found.nodes}
    for broken in found.broken:
        if broken in nodes:
            out.print(_trouble(nodes[broken]))
    if found.broken:
        out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("from", overflow="fold")
    table.add_column("to", overflow="fold")
    for figure in ("events", "rate", "failed", "p95"):
        table.add_column(figure, justify="right", no_wrap=True)
    for edge in sorted(found.edges, key=lambda edge: (edge.source, edge.target, edge.kind)):
        table.add_row(_name(edge.source, nodes), _target(edge, nodes), *_figures(edge))
    out.print(table)
    out.print(f"\n{clock(found.from_ms)} to {clock(found.to_ms)}", style="dim")
    if found.truncated:
        out.print("The graph is larger than what is shown; look closer with --focus.", style="dim")


def _trouble(node: Node) -> Text:
    line = Text(f"{GLYPHS[node.tone]} {node.state} ", style=STYLES[node.tone])
    line.append_text(_name(node.id, {node.id: node}))
    if node.reason:
        line.append(f": {printable(node.reason)}", style="not bold default")
    return line


def _name(node_id: str, nodes: dict[str, Node]) -> Text:
    node = nodes.get(node_id)
    if node is None:
        return Text(printable(node_id))
    return Text(printable(node.name), style=_KIND_STYLES.get(node.kind, ""))


def _target(edge: Edge, nodes: dict[str, Node]) -> Text:
    name = _name(edge.target, nodes)
    node = nodes.get(edge.target)
    if node is not None and node.tone is not Tone.OK:
        name = Text(f"{GLYPHS[node.tone]} ", style=STYLES[node.tone]).append_text(name)
    if node is not None and node.kind == "group" and node.lag:
        name.append(f" lag {count(node.lag)}", style="dim")
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
