"""`flowtrail lag`: how far consumer groups are behind."""

from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flowtrail.collector.api.answers import GroupLag, LagList, Tone

from .asking import URL_DEFAULT, Json, Url, asking, console, print_json
from .figures import UNKNOWN, clock, count, duration, printable, rate
from .story import GLYPHS, STYLES


def lag(
    group: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="One group, by partition.", show_default=False)
    ] = None,
    url: Url = URL_DEFAULT,
    as_json: Json = False,
) -> None:
    """Every group, worst first; or one group's partitions."""
    with asking(url) as client:
        found = client.lag() if group is None else client.group_lag(group)
        if as_json:
            print_json(client)
        elif isinstance(found, LagList):
            _print_groups(found, console())
        else:
            _print_group(found, console())


def _print_groups(found: LagList, out: Console) -> None:
    if not found.groups:
        out.print(found.note or "No group is known yet.", markup=False)
        return
    for group in found.groups:
        out.print(_head(group))
        out.print(
            Padding(Text(printable(group.reason), style="" if group.tone is not Tone.OK else "dim"), (0, 0, 0, 2))
        )
    if found.polled_at_ms is not None:
        out.print(f"\npolled at {clock(found.polled_at_ms)}", style="dim")
    if found.note:
        out.print(Text(printable(found.note), style="dim"))


def _print_group(group: GroupLag, out: Console) -> None:
    out.print(_head(group))
    out.print(Text(printable(group.reason)))
    facts = [
        f"read {rate(group.consumed_per_s)}, written {rate(group.produced_per_s)}",
        f"members {count(group.members)}",
        f"oldest {duration(group.oldest_ms)}",
    ]
    out.print(" · ".join(facts), style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("partition", overflow="fold")
    for figure in ("committed", "end", "lag", "lost", "last moved"):
        table.add_column(figure, justify="right", no_wrap=True)
    for part in group.partitions:
        table.add_row(
            Text(f"{printable(part.topic)}/{part.partition}", style="magenta"),
            _position(part.committed),
            _position(part.log_end),
            Text(count(part.lag), style="bold" if part.lag else ""),
            count(part.lost),
            clock(part.committed_at_ms),
        )
    out.print(table)
    if group.no_commit:
        they = (
            "1 partition has no commit: its"
            if group.no_commit == 1
            else f"{group.no_commit} partitions have no commit: their"
        )
        out.print(f"{they} lag is not known.", style="dim")


def _head(group: GroupLag) -> Table:
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_column(width=12, no_wrap=True)
    head.add_column(overflow="fold")
    head.add_row(
        Text(f"{GLYPHS[group.tone]} {group.state.replace('_', ' ')}", style=STYLES[group.tone]),
        Text.assemble(
            (printable(group.group), "bold cyan"),
            (f" on {', '.join(map(printable, group.topics))}" if group.topics else "", "dim"),
            f"  lag {count(group.lag)}",
            (f"  drained in {duration(group.time_to_drain_ms)}" if group.lag and group.time_to_drain_ms else "", "dim"),
        ),
    )
    return head


def _position(position: int | None) -> str:
    """An offset as it can be copied: without spaces."""
    return UNKNOWN if position is None else str(position)
