"""`flowtrail why`: the story of one flow."""

import re
from typing import Annotated

import typer

from flowtrail.client import Client
from flowtrail.collector.api.answers import FlowSummary, Tone

from .asking import URL_DEFAULT, Exit, Json, Url, asking, console, print_json, refuse_what_nobody_can_search, stop
from .figures import day_and_clock, printable
from .story import badge, render

_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_COORDINATES = re.compile(r"(?P<topic>[a-zA-Z0-9._-]{1,249})/(?P<partition>\d+)/(?P<offset>\d+)")
_PARTS_OF_COORDINATES = re.compile(r"[a-zA-Z0-9._-]{1,249}/-?\d*(/-?\d*)?")
_BROKEN = {Tone.FAIL, Tone.STUCK}


def why(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TRACE|TOPIC/PARTITION/OFFSET|key=KEY",
            help="A trace id, an event's coordinates, a business key (key=ORD-1204) or any attribute=value.",
        ),
    ],
    url: Url = URL_DEFAULT,
    as_json: Json = False,
    whole: Annotated[bool, typer.Option("--whole", help="Tell every hop of a long flow, also what went well.")] = False,
) -> None:
    """Exit status 1 when the flow failed or is stuck."""
    with asking(url) as client:
        flow_id, others = _find(client, what.strip())
        if as_json:
            verdict = client.why(flow_id)
            print_json(client)
        else:
            flow = client.flow(flow_id)
            verdict = flow.verdict
            out = console()
            out.print(render(flow, is_whole=whole))
            _print_others(others)
    raise typer.Exit(Exit.BROKEN if verdict.tone in _BROKEN else Exit.FINE)


def _find(client: Client, what: str) -> tuple[str, list[FlowSummary]]:
    """The id of the flow that is meant, and the others that could have been.

    Of several, the latest that is not well is meant, else the latest; one that began with the key itself comes before
    one that only touched it, such as a batch.
    """
    if _TRACE_ID.fullmatch(what):
        return what.lower(), []
    if coordinates := _COORDINATES.fullmatch(what):
        topic, partition, offset = coordinates["topic"], int(coordinates["partition"]), int(coordinates["offset"])
        event = client.event(topic, partition, offset)
        if event.flow is None:
            stop(f"{event.coordinates} was seen, but no span says which flow it belongs to", Exit.NOT_FOUND)
        return event.flow, []
    if _PARTS_OF_COORDINATES.fullmatch(what):
        stop(
            f"{what} is no event: coordinates are topic/partition/offset, such as orders/2/204 (and key={what} a key)",
            Exit.BAD_USE,
        )
    key = what.removeprefix("key=")
    if not key:
        stop("an empty key says nothing; it looks like key=ORD-1204", Exit.BAD_USE)
    refuse_what_nobody_can_search(key, "WHAT")
    flows = client.flows(key).flows
    if not flows:
        stop(
            f"no flow with {what} was found; its spans may be on their way, or older than what is searched",
            Exit.NOT_FOUND,
        )
    flows = sorted(flows, key=lambda flow: (flow.tone not in _BROKEN, flow.key != key))
    meant = flows[0]
    return meant.id, [flow for flow in flows if flow.id != meant.id]


def _print_others(others: list[FlowSummary]) -> None:
    if not others:
        return
    out = console()
    out.print(f"\n{len(others)} more {'flow matches' if len(others) == 1 else 'flows match'}:", style="dim")
    for flow in others[:5]:
        out.print(f"  {flow.id} {day_and_clock(flow.began_ms)} ", badge(flow.state, flow.tone), printable(flow.title))
