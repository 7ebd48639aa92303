"""A collector's API that answers from tests/ui/scenario.py, over real HTTP.

with FakeCollector() as collector:
    Client(collector.url).graph()
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowtrail.collector.api.answers import Answer, Flow, FlowList, Graph, Problem

from . import scenario

STARTS_WITHIN_S = 20


class FakeCollector:
    """`is_empty`: nothing ever came. `is_away`: every answer is 503. `is_garbled`: every answer is another
    program's. `seen` counts the requests by path."""

    def __init__(self) -> None:
        self.is_empty = False
        self.is_away = False
        self.is_garbled = False
        self.extra_node = False
        self.seen: dict[str, int] = {}
        self._began_ms = time.time() * 1000
        self._big: Flow | None = None
        answers: dict[str, Callable[[Request], Answer]] = {
            "/v1/graph": self._graph,
            "/v1/nodes/{id:path}": self._node,
            "/v1/flows": self._flows,
            "/v1/flows/{id}": self._flow,
            "/v1/lag": lambda request: scenario.lag(self._now_ms()),
            "/v1/lag/{group:path}": self._group,
            "/v1/health": lambda request: scenario.health(0 if self.is_empty else 123_456),
        }
        routes = [Route(path, self._answering(answer)) for path, answer in answers.items()]
        config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="fake collector", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __enter__(self) -> "FakeCollector":
        self._thread.start()
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._server.started:
            assert time.monotonic() < deadline, "the fake collector did not start"
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STARTS_WITHIN_S)

    def _now_ms(self) -> float:
        return time.time() * 1000

    def _answering(self, answer: Callable[[Request], Answer]) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            self.seen[request.url.path] = self.seen.get(request.url.path, 0) + 1
            if self.is_garbled:
                return Response("<html>Welcome</html>", media_type="text/html")
            try:
                if self.is_away:
                    raise ConnectionError
                body: Answer = answer(request)
                status = 200
            except KeyError as error:
                status, body = 404, Problem(status=404, title="not found", detail=f"nothing is known of {error}")
            except ConnectionError:
                status, body = 503, Problem(status=503, title="not ready", detail="the store cannot be reached")
            return Response(body.model_dump_json(), status, media_type="application/json")

        return respond

    def _whole(self, request: Request) -> Graph:
        now_ms = self._now_ms()
        begin = float(request.query_params.get("from", now_ms - 900_000))
        end = float(request.query_params.get("to", now_ms))
        graph = scenario.graph(now_ms, begin, end)
        if self.is_empty:
            return graph.model_copy(update={"nodes": [], "edges": [], "broken": []})
        if self.extra_node:
            new = graph.nodes[0].model_copy(update={"id": "service:loyalty", "name": "loyalty"})
            edge = graph.edges[0].model_copy(update={"source": "service:loyalty", "target": "topic:shipments"})
            return graph.model_copy(update={"nodes": [*graph.nodes, new], "edges": [*graph.edges, edge]})
        return graph

    def _graph(self, request: Request) -> Answer:
        whole, focus = self._whole(request), request.query_params.get("focus")
        if focus is None:
            return whole
        if focus not in {node.id for node in whole.nodes}:
            raise KeyError(focus)
        return scenario.around(whole, focus, int(request.query_params.get("depth", 1)))

    def _node(self, request: Request) -> Answer:
        whole, node_id = self._whole(request), request.path_params["id"]
        if node_id not in {node.id for node in whole.nodes}:
            raise KeyError(node_id)
        return scenario.node_detail(whole, node_id, self._now_ms())

    def _flows(self, request: Request) -> Answer:
        asked, flows = request.query_params, scenario.flows(self._now_ms())
        found = [flows[i] for i in dict.fromkeys(flow.id for flow in flows.values())] if not self.is_empty else []
        matching = [
            scenario.summary(flow)
            for flow in found
            if asked.get("q", "") in (flow.key or "") + " ".join(flow.trace_ids)
            and asked.get("state") in (None, flow.verdict.state)
            and (asked.get("service") is None or asked["service"] in flow.services)
            and (asked.get("topic") is None or any(e.coordinates.topic == asked["topic"] for e in flow.events))
        ]
        begin, end = float(asked.get("from", 0)), float(asked.get("to", self._now_ms()))
        return FlowList(flows=matching, examined=len(found), truncated=False, from_ms=begin, to_ms=end)

    def _flow(self, request: Request) -> Answer:
        flow_id = request.path_params["id"]
        if flow_id == scenario.BIG:
            self._big = self._big or scenario.big_flow(self._began_ms)
            return self._big
        return scenario.flows(self._began_ms)[flow_id]

    def _group(self, request: Request) -> Answer:
        groups = {group.group: group for group in scenario.lag(self._now_ms()).groups}
        return groups[request.path_params["group"]]
