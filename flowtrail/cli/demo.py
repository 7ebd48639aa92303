"""`flowtrail demo`: maps its options to the demo's own."""

from pathlib import Path
from typing import Annotated

import typer

from flowtrail.demo.options import ALL, FAULTS, Options, faults_named

from .asking import console, need
from .figures import parse_duration_ms

_DEFAULTS = Options()
FAULTS_EXPLAINED = "\n\n".join(f"{fault}: {what}" for fault, what in FAULTS.items())


def demo(
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            help="Customers order for so long (30s, 2m); then the work drains and is judged. (default: until Ctrl-C)",
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Orders a second; each makes five events and more.")
    ] = _DEFAULTS.rate_per_s,
    seed: Annotated[int, typer.Option(help="The same seed gives the same customers.")] = _DEFAULTS.seed,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"What to break: {', '.join(FAULTS)} or {ALL}; repeatable. "
            "(default: nothing with --for, else a small share of everything)",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write truth and what Flowtrail saw as JSON to FILE; needs --for."),
    ] = None,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Do not start the pages.")] = False,
    bootstrap_servers: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A Kafka of yours instead of the embedded broker.")
    ] = _DEFAULTS.bootstrap_servers,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep data, logs and diaries there. (default: a temporary folder)"),
    ] = None,
) -> None:
    """Exit status 0 only if every fault was explained rightly, nothing is missing, and there was no false alarm."""
    need("all", ("kafka", "confluent_kafka", "chdb", "starlette", "uvicorn"))
    try:
        for_s = None if for_ is None else parse_duration_ms(for_) / 1e3
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from error
    try:
        options = Options(
            for_s=for_s,
            rate_per_s=rate,
            seed=seed,
            faults=faults_named(fault or []),
            report=report,
            is_ui_wanted=not no_ui,
            bootstrap_servers=bootstrap_servers,
            keep=keep,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    from flowtrail.demo.runner import run

    raise typer.Exit(run(options, console()))
