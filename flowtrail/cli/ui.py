"""`flowtrail ui`: the pages, as a process of their own."""

from typing import Annotated

import typer

from .asking import URL_DEFAULT, Url, need


def ui(
    url: Url = URL_DEFAULT,
    host: Annotated[str, typer.Option(help="The address to serve on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to serve on; 0 is any free one.")] = 8681,
) -> None:
    """Serve until Ctrl-C."""
    need("ui", ("dash", "dash_ag_grid", "networkx", "waitress"))
    from flowtrail.ui.app import run

    run(url, host, port)
