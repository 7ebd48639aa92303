"""`flowtrail flows`: search."""

from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from flowtrail.collector.api.answers import FlowList, State, Tone

from .asking import URL_DEFAULT, Json, Last, Url, asking, began_ms, console, print_json, refuse_what_nobody_can_search
from .figures import day_and_clock, duration, printable
from .story import badge

_STATES: Final = (*State, *Tone)


def flows(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]",
            help="A business key, attribute=value, a trace id or topic/partition/offset.",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Only flows with an event on this topic.")] = None,
    service: Annotated[str | None, typer.Option(help="Only flows that this service took part in.")] = None,
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE|TONE", help=f"Only flows in one of: {', '.join(_STATES)}."),
    ] = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many flows at most.")] = 20,
    url: Url = URL_DEFAULT,
    as_json: Json = False,
) -> None:
    """Latest first."""
    if state is not None and state not in _STATES:
        raise typer.BadParameter(f"{state!r} is none of {', '.join(_STATES)}", param_hint="--state")
    for text, name in ((what, "WHAT"), (topic, "--topic"), (service, "--service")):
        refuse_what_nobody_can_search(text, name)
    with asking(url) as client:
        found = client.flows(what, topic=topic, service=service, state=state, from_ms=began_ms(last), limit=limit)
        if as_json:
            print_json(client)
        else:
            _print(found, limit)


def _print(found: FlowList, limit: int) -> None:
    out = console()
    if not found.flows:
        out.print(
            f"No flow matches between {day_and_clock(found.from_ms)} and {day_and_clock(found.to_ms)}; "
            "widen the time with --last, or send something."
        )
        return
    for flow in found.flows:
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_row(badge(flow.state, flow.tone), Text(printable(flow.title), style="bold"))
        out.print(head)
        took = "under way" if flow.duration_ms is None else duration(flow.duration_ms)
        ways = " → ".join(printable(service) for service in flow.services)
        out.print(f"  {flow.id}  {day_and_clock(flow.began_ms)}  {took}", style="dim", markup=False)
        out.print(f"  {ways}", style="dim", markup=False)
        if flow.sentence and flow.state is not State.COMPLETE:
            out.print(Text(f"  {printable(flow.sentence)}"))
    if found.truncated:
        if len(found.flows) >= limit:
            more = f"{limit} shown; more may match: raise --limit, or narrow the search."
        else:
            more = f"More may match than the {found.examined} flows that were looked at; narrow the search."
        out.print(f"\n{more}", style="dim")
