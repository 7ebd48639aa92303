"""Flowtrail itself, as the demo runs it: the collector and the pages, each a process of its own."""

import json
import socket
from pathlib import Path
from typing import Final

from flowtrail.demo.broker import Broker
from flowtrail.demo.children import Child, EndedByItself, end_together

# Quicker than what a collector does on its own, so that nobody has to wait for a verdict.
_LAG_INTERVAL_MS: Final = 1000
_SILENT_AFTER_MS: Final = 6000
_PAGES_PORT: Final = 8681


class Backstage:
    """The collector, with its data in `folder`, and on demand the pages.

    The collector takes any free ports: on its usual ones it would get the spans of other services, and be in the way
    of a collector of yours. Only the pages, which people have as a bookmark, take their usual port when it is free.
    `otlp_url` and `api_url` are known once `is_ready`.
    """

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._logs = folder / "logs"
        data = folder / "collector"
        self._endpoints = data / "endpoints.json"
        settings = {
            "FLOWTRAIL_DATA_DIR": str(data),
            "FLOWTRAIL_OTLP_HTTP_PORT": "0",
            "FLOWTRAIL_OTLP_GRPC_PORT": "0",
            "FLOWTRAIL_API_PORT": "0",
            "FLOWTRAIL_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "FLOWTRAIL_LAG_INTERVAL_MS": str(_LAG_INTERVAL_MS),
            "FLOWTRAIL_SILENT_AFTER_MS": str(_SILENT_AFTER_MS),
        }
        self._children = [Child("collector", "flowtrail.demo.attached", ["collector"], settings, self._logs)]
        self.otlp_url = self.api_url = ""

    def is_ready(self) -> bool:
        """Whether the collector takes spans and answers. Raises EndedByItself."""
        self.check()
        if not self._endpoints.exists():
            return False
        urls = json.loads(self._endpoints.read_text())
        self.otlp_url, self.api_url = urls["otlp_http"], urls["api"]
        return True

    def open_pages(self) -> str:
        """Start the pages and return their address."""
        port = str(_PAGES_PORT if _is_free(_PAGES_PORT) else _free_port())
        arguments = ["ui", self.api_url, "127.0.0.1", port]
        self._children.append(Child("ui", "flowtrail.demo.attached", arguments, {}, self._logs))
        return f"http://127.0.0.1:{port}"

    def check(self) -> None:
        """Raise EndedByItself when a process is gone."""
        for child in self._children:
            if not child.is_alive:
                raise EndedByItself(child)

    def close(self) -> None:
        """End both, the pages first; closing twice is harmless."""
        for child in reversed(self._children):
            end_together([child])


def _is_free(port: int) -> bool:
    """Whether this port can be had on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
