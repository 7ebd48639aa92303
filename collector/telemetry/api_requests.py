"""Counts the API's requests by the pattern of their path, so that ids in paths make no series of their own."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import API_REQUESTS, API_SECONDS

OTHER: Final = "other"
_BUCKETS_S: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BROKE: Final = "500"


class ApiRequests:
    """The instruments. `routes` names the patterns by what answers them."""

    def __init__(self, registry: CollectorRegistry, routes: Mapping[Any, str]) -> None:
        self._routes = routes
        self._requests = Counter(API_REQUESTS.name, API_REQUESTS.help, API_REQUESTS.labels, registry=registry)
        self._seconds = Histogram(
            API_SECONDS.name, API_SECONDS.help, API_SECONDS.labels, registry=registry, buckets=_BUCKETS_S
        )

    def note(self, endpoint: Any, status: str, seconds: float) -> None:
        route = self._routes.get(endpoint, OTHER)
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)


class Counting:
    """ASGI middleware that notes each request as its answer ends; one that raised was answered with 500."""

    def __init__(self, app: ASGIApp, requests: ApiRequests, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._requests = requests
        self._clock_s = clock_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = self._clock_s(), _BROKE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # The router has put in who answers.
            self._requests.note(scope.get("endpoint"), status, self._clock_s() - began_s)
