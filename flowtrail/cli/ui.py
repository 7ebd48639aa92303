"""`flowtrail ui`: the pages, as a process of their own."""

import logging
import signal
import sys
from typing import Annotated

import typer

from .asking import URL_DEFAULT, Exit, Url, need, stop


def ui(
    url: Url = URL_DEFAULT,
    host: Annotated[str, typer.Option(help="The address to serve on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to serve on; 0 is any free one.")] = 8681,
) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    need("ui", ("dash", "dash_ag_grid", "networkx", "waitress"))
    from flowtrail.ui.app import run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Both: the first process of a container has no default for SIGTERM, a shell's background job none for SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        run(url, host, port)
    except OSError as error:
        stop(f"the pages cannot be served on {host}:{port}: {error.strerror or error}", Exit.BAD_USE)
