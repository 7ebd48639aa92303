"""The HTTP API as an ASGI application. Questions to the store run in threads; answers are JSON, gzipped on request."""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version as version_of
from typing import Final

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowtrail.collector.admission.tokens import Tokens
from flowtrail.collector.flows.lookup import Lookup
from flowtrail.collector.flows.topics import TopicRoles
from flowtrail.collector.graph.lookup import GraphLookup
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import QUERY_TIMEOUT_S, Store, StoreError, TookTooLong
from flowtrail.collector.store.queries import Queries
from flowtrail.collector.telemetry.api_requests import ApiRequests, Counting

from .answers import Answer, Health, Problem
from .guard import Guard
from .hosts import own_names
from .openapi import describe
from .parameters import BadParameter, read_all
from .routes import PATHS, NotThere, Path, Question, Sources

_LOG: Final = logging.getLogger(__name__)
# Below this a body gets no smaller.
GZIP_FROM_BYTES: Final = 1024
READY_WITHIN_S: Final = 2.0
READY_THREADS: Final = 4


def make_app(
    store: Store,
    settings: Settings,
    health: Callable[[], Health],
    clock_s: Callable[[], float] = time.time,
    tokens: Tokens | None = None,
    registry: CollectorRegistry | None = None,
) -> Starlette:
    """Return the API over a store. `health` is asked for `/v1/health` and `/readyz`; it must be quick and not raise.

    Without `tokens` nobody needs one. `/metrics` tells of the API's own requests and of what else is in `registry`.
    """
    registry = registry or CollectorRegistry()
    queries = Queries(store)
    roles = TopicRoles(settings.dead_letter_topics, settings.retry_topics)
    sources = Sources(
        queries=queries,
        lookup=Lookup(queries, silent_after_ms=settings.silent_after_ms, roles=roles),
        graphs=GraphLookup(queries, silent_after_ms=settings.silent_after_ms, roles=roles),
        health=health,
        silent_after_ms=settings.silent_after_ms,
        is_polling=bool(settings.bootstrap_servers),
    )
    description = json.dumps(describe(PATHS, version_of("flowtrail"))).encode()

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return Response(b'{"alive":true}', media_type="application/json")

    # Of their own: a store that hangs may hold every thread that answers questions.
    threads = anyio.CapacityLimiter(READY_THREADS)

    async def readyz(_: Request) -> Response:
        with anyio.move_on_after(READY_WITHIN_S):
            said = await anyio.to_thread.run_sync(health, limiter=threads, abandon_on_cancel=True)
            return _json(said, 200 if said.ready else 503)
        return _problem(503, "Not ready", f"The collector could not say within {READY_WITHIN_S:g} s how it is.")

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await anyio.to_thread.run_sync(encode, registry, limiter=threads, abandon_on_cancel=True)
        return Response(text, headers={"Content-Type": content_type})

    routes = [
        *(Route(path.path, _endpoint(path, sources, clock_s)) for path in PATHS),
        Route("/openapi.json", openapi),
        Route("/metrics", metrics),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    requests = ApiRequests(registry, {route.endpoint: route.path for route in routes})
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Counting, requests),
            Middleware(Guard, own_names(settings.api_hosts), tokens),
            Middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES),
        ],
        exception_handlers={HTTPException: _refused, Exception: _broke},
    )


def _endpoint(path: Path, sources: Sources, clock_s: Callable[[], float]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            values = read_all(path.parameters, request.path_params, request.query_params)
            found = await run_in_threadpool(path.handler, Question(values, clock_s() * 1000, sources))
        except BadParameter as error:
            return _problem(400, "Bad parameter", str(error))
        except NotThere as error:
            return _problem(404, "Not found", str(error))
        except TookTooLong as error:
            _LOG.warning("%s: %s", path.path, error)
            return _problem(
                504, "The question takes too long", f"It was ended after {QUERY_TIMEOUT_S} s. Ask for a shorter time."
            )
        except StoreError as error:
            _LOG.warning("the store did not answer %s: %s", path.path, error)
            return _problem(503, "The store cannot be asked", "It did not answer. Try again; /readyz says how it is.")
        if not path.has_version:
            return _json(found)
        tag = f'"{getattr(found, "version")}"'  # noqa: B009 (only answers with a version get here)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        asked_for = request.headers.get("if-none-match", "")
        if tag in [part.strip().removeprefix("W/") for part in asked_for.split(",")]:
            return Response(status_code=304, headers=headers)
        return _json(found, headers=headers)

    return answer


def _json(answer: Answer, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(answer.model_dump_json(), status, media_type="application/json", headers=headers)


def _problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = Problem(status=status, title=title, detail=detail).model_dump_json()
    return Response(body, status, media_type="application/problem+json", headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, another method than GET."""
    assert isinstance(error, HTTPException)
    details = {
        404: f"There is no {request.url.path} here; /openapi.json lists what there is.",
        405: f"{request.url.path} takes GET only.",
    }
    headers = dict(error.headers) if error.headers else None
    return _problem(error.status_code, error.detail, details.get(error.status_code, error.detail), headers)


async def _broke(request: Request, error: Exception) -> Response:
    _LOG.error("%s failed", request.url.path, exc_info=error)
    return _problem(500, "The collector failed", "This is a defect; the collector's log says more.")
