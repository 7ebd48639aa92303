"""Another backend for tests: what an exporter sends arrives here."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Endpoint:
    """An OTLP/HTTP endpoint that keeps what it takes. `answers` are given first, one a request, in place of 200."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        self.refuses: bytes | None = None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                status, headers = endpoint.answers.pop(0) if endpoint.answers else (200, {})
                if endpoint.refuses is not None and endpoint.refuses in data:
                    status = 400
                if status == 200:
                    endpoint.bodies.append(data)
                self.send_response(status)
                for name, value in {**headers, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet: the test says what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def spans(self) -> list[bytes]:
        """The ids of all spans that were taken."""
        requests = [ExportTraceServiceRequest.FromString(data) for data in self.bodies]
        return [
            told.span_id
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for told in scope.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
