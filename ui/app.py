"""The web UI: a Dash app that knows a collector by its HTTP API alone.

make_app("http://127.0.0.1:8680")                  the app, for a WSGI server or a test
run("http://127.0.0.1:8680", "127.0.0.1", 8681)    serve it
"""

import hashlib
import json
import logging
from importlib.resources import files
from typing import Any, Final

import dash
from dash import ClientsideFunction, Input, Output, State
from dash.exceptions import PreventUpdate
from flask import Flask, Response, request
from waitress.server import create_server

from flowtrail.client import CollectorError

from . import shell
from .address import Address
from .components.scene import broken_nodes
from .pages import flow, flows, group, lag, live_map, start
from .pages.view import View
from .responses import add_compression, add_policy
from .source import Source

_LOG: Final = logging.getLogger(__name__)

DEFAULT_PORT: Final = 8681
THREADS: Final = 8

# The theme is set before the first paint, so its script stands in the head; the other scripts follow the body.
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <meta name="color-scheme" content="light dark">
        <title>{%title%}</title>
        <script src="/assets/theme.js"></script>
        {%favicon%}
        {%css%}
    </head>
    <body>
        {%app_entry%}
        <footer>
            {%config%}
            {%scripts%}
            {%renderer%}
        </footer>
    </body>
</html>"""


def make_app(api_url: str) -> dash.Dash:
    """The app for the collector at `api_url`. Nothing is asked yet: the collector may start later."""
    app = dash.Dash(
        "flowtrail.ui",
        title="Flowtrail",
        update_title="",
        assets_folder=str(files("flowtrail.ui") / "assets"),
        assets_ignore="theme.js",
        serve_locally=True,
        suppress_callback_exceptions=True,
        index_string=_PAGE,
        include_pages_meta=False,
        add_log_handler=False,
    )
    source = Source(api_url)
    app.layout = shell.layout()
    _add_callbacks(app, source, live_map.Map(source))
    add_policy(app.server, lambda: [str(value) for value in app.csp_hashes()])
    add_compression(app.server)
    return app


def run(api_url: str, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> None:
    """Serve the UI until the process is told to end."""
    server = create_server(make_app(api_url).server, host=host, port=port, threads=THREADS)
    # A host name may stand for several addresses; then the server says so in another attribute.
    for bound in getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]:
        _LOG.info("pages on http://%s:%s, asking %s", *bound, api_url)
    try:
        server.run()
    finally:
        server.close()


def show(address: Address, source: Source, map_of_all: live_map.Map, now_ms: float) -> View:
    """The page of an address; one that says so where the collector is away and nothing is kept."""
    try:
        match address.path:
            case ():
                return start.page(address, source, now_ms)
            case ("map",):
                return live_map.page(address, source, map_of_all, now_ms)
            case ("flows",):
                return flows.page(address, source, now_ms)
            case ("flow", _):
                return flow.page(address, source, now_ms)
            case ("lag",):
                return lag.page(address, source, now_ms)
            case ("lag", _):
                return group.page(address, source, now_ms)
            case _:
                return View("No such page", shell.unknown_page(address), is_live=False)
    except CollectorError:
        return View("Collector away", shell.away_page(source.api_url))


def _add_callbacks(app: dash.Dash, source: Source, map_of_all: live_map.Map) -> None:
    @app.callback(
        Output("main", "children"),
        Output("panel", "children"),
        Output("top", "children"),
        Output("banner", "children"),
        Output("app", "className"),
        Output("shown", "data"),
        Output("title", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "data"),
        State("shown", "data"),
    )
    def page(pathname: str, search: str, tick: int, shown: dict[str, Any] | None) -> tuple[Any, ...]:
        address, now_ms = Address.parse(pathname, search), source.now_ms()
        # A tick may overtake the answer to a new address, which Dash then drops: it has to bring that page itself.
        is_tick = dash.ctx.triggered_id == "tick" and shown is not None and shown["address"] == address.here()
        same = shown is not None and shown["key"] == address.main_key
        if is_tick and same and shown is not None and not shown["live"]:
            raise PreventUpdate
        view = show(address, source, map_of_all, now_ms)
        if shown is not None and shown["refreshes_itself"] != view.refreshes_itself:
            same = False  # the first steps give way to the map
        stays = same and (view.refreshes_itself or not is_tick)
        return (
            dash.no_update if stays else view.drawn(),
            view.panel,
            shell.top_bar(address, _broken(address, source, now_ms), now_ms, is_away=source.away is not None),
            shell.away_banner(source.away),
            "with-panel" if view.panel is not None else "",
            {
                "key": address.main_key,
                "live": view.is_live,
                "refreshes_itself": view.refreshes_itself,
                "address": address.here(),
                "tick": tick,
            },
            f"{view.title} · Flowtrail",
        )

    def scene() -> Response:
        """The map's scene as JSON, 304 while it is the same; 503 when there is none."""
        address = Address.parse("/map", request.query_string.decode())
        try:
            body = json.dumps(map_of_all.scene(address, source.now_ms()), separators=(",", ":")).encode()
        except CollectorError as error:
            return Response(json.dumps({"detail": str(error)}), 503, mimetype="application/json")
        response = Response(body, mimetype="application/json")
        response.set_etag(hashlib.blake2b(body, digest_size=12).hexdigest())
        response.headers["Cache-Control"] = "no-cache"
        response.make_conditional(request)
        return response

    server: Flask = app.server
    server.add_url_rule("/_map", view_func=scene)
    for name, output, inputs in (
        ("tick", Output("tick", "data"), [Input("pulse", "n_intervals"), State("shown", "data")]),
        ("title", Output("title", "modified_timestamp"), [Input("title", "data")]),
        ("narrow", Output("timeline", "columnDefs"), [Input("timeline", "id"), State("timeline", "columnDefs")]),
    ):
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("flowtrail", name), output, *inputs, prevent_initial_call=name != "narrow"
        )


def _broken(address: Address, source: Source, now_ms: float) -> int:
    """How many things are broken now; none where nothing is known."""
    try:
        return len(broken_nodes(source.graph(address.window(now_ms))))
    except CollectorError:
        return 0
