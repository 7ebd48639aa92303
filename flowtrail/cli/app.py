"""The commands together."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from .asking import Exit
from .collect import collect
from .demo import FAULTS_EXPLAINED, demo
from .flows import flows
from .graph import graph
from .journal import app as journal
from .lag import lag
from .ui import ui
from .why import why

app = typer.Typer(
    name="flowtrail",
    help="Follow every event through Kafka: where it went, how far each group lags, and why a flow failed or is stuck.",
    epilog="Exit status: 0 fine, 1 the flow is broken (why) or the demo was not explained, 2 bad use, "
    "3 the collector was not reached, 4 there is no such flow, event or group, 130 ended by Ctrl-C.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flowtrail {version('flowtrail')}")
        raise typer.Exit


@app.callback()
def _flowtrail(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of `flowtrail` itself."""


app.command(
    "demo",
    help="Run the order-processing demo: six services, a broker, a collector and the pages.",
    epilog=FAULTS_EXPLAINED,
)(demo)
app.command("collect", help="Run the collector: receive spans, store them, answer questions. Runs until Ctrl-C.")(
    collect
)
app.command("ui", help="Serve the pages, which ask a collector. Runs until Ctrl-C.")(ui)
app.command("why", help="Tell the story of a flow, why it failed or is stuck, and what to do next.")(why)
app.command("flows", help="Search flows, latest first.")(flows)
app.command("graph", help="Show who talks to whom over which topic, and what is broken.")(graph)
app.add_typer(journal, name="journal")
app.command("lag", help="Show how far consumer groups are behind.")(lag)


def run(arguments: list[str]) -> int:
    """Run a command line (without the program's name; none shows the help) and return its exit status.

    What was typed wrongly is one sentence on standard error.
    """
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments or ["--help"], prog_name="flowtrail", standalone_mode=False)
    except typer.TyperException as error:
        print(f"flowtrail: {error.format_message()} (flowtrail --help lists what there is)", file=sys.stderr)
        return Exit.BAD_USE
    except typer.Abort:
        return Exit.INTERRUPTED
    return status if isinstance(status, int) else Exit.FINE
