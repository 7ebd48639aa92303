"""What goes with every response: a strict Content-Security-Policy, and compression."""

import gzip
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from flask import Flask, Response, request

COMPRESSED: Final = frozenset(
    {"text/html", "text/css", "text/javascript", "application/javascript", "application/json", "image/svg+xml"}
)
LEAST_BYTES: Final = 1_024
LEVEL: Final = 5
MOST_KEPT: Final = 128  # compressed static files; Dash's and ours together are fewer


def add_policy(server: Flask, script_hashes: Callable[[], list[str]]) -> None:
    """Let pages load and connect to nothing but this server.

    Dash's own inline scripts are allowed by their hashes. AG Grid and React set inline styles.
    """

    def with_policy(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = "; ".join(
                [
                    "default-src 'none'",
                    " ".join(["script-src 'self'", *script_hashes()]),
                    "connect-src 'self'",
                    "style-src 'self' 'unsafe-inline'",
                    "img-src 'self' data:",
                    "font-src 'self' data:",
                    "base-uri 'none'",
                    "form-action 'self'",
                    "frame-ancestors 'none'",
                ]
            )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    server.after_request(with_policy)


def add_compression(server: Flask) -> None:
    """Answer with gzip where the browser takes it. Static files, which have an ETag, are compressed once."""
    kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def compressed(response: Response) -> Response:
        if (
            response.status_code != 200
            or response.mimetype not in COMPRESSED
            or "Content-Encoding" in response.headers
            or request.accept_encodings.quality("gzip") == 0
        ):
            return response
        response.direct_passthrough = False
        close_file = getattr(response.response, "close", None)
        if close_file is not None:
            response.call_on_close(close_file)
        etag = (
            response.headers.get("ETag") if request.path.startswith(("/assets/", "/_dash-component-suites/")) else None
        )
        key = (request.path, etag or "")
        body = kept.get(key)
        if body is None:
            raw = response.get_data()
            if len(raw) < LEAST_BYTES:
                return response
            body = gzip.compress(raw, LEVEL, mtime=0)
            if etag:
                kept[key] = body
                while len(kept) > MOST_KEPT:
                    kept.popitem(last=False)
        response.set_data(body)
        response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
        return response

    server.after_request(compressed)
