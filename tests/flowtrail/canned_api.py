"""A collector's API for tests: it answers what it was given, byte for byte, and remembers what was asked."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from flowtrail.collector.api.answers import Answer, Problem


class CannedApi:
    """Answers on a free port while the `with` block runs; a path that has no answer is a 404 with a Problem."""

    def __init__(self) -> None:
        self._bodies: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, body: Answer | bytes, status: int = 200) -> None:
        """From now on, `path` (still quoted, without query) is answered like this."""
        self._bodies[path] = (status, body if isinstance(body, bytes) else body.model_dump_json().encode())

    def __enter__(self) -> "CannedApi":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                api.asked.append((parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}))
                missing = Problem(status=404, title="No such thing", detail="it may not have arrived yet")
                status, body = api._bodies.get(parts.path, (404, missing.model_dump_json().encode()))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Tests print enough."""

        return Handler
