"""A typed client of the collector's HTTP API; the CLI and the UI use nothing else.

with Client("http://127.0.0.1:8680") as flowtrail:
    print(flowtrail.why("4bf92f3577b34da6a3ce929d0e0e4736").sentence)
"""

import os
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote

import requests
import requests.auth
from pydantic import ValidationError

from flowtrail.collector.api.answers import (
    Answer,
    Attempt,
    Coordinates,
    Edge,
    Event,
    Evidence,
    Flow,
    FlowList,
    FlowSummary,
    Graph,
    GroupLag,
    Health,
    Hop,
    LagList,
    Node,
    NodeDetail,
    PartitionLag,
    Point,
    Problem,
    ReaderHealth,
    Series,
    Span,
    SpanEvent,
    SpanLink,
    State,
    Tone,
    Verdict,
)

# Whoever asks needs the answers too: they are to be had from here.
__all__ = [
    "DEFAULT_URL",
    "TOKEN_VARIABLE",
    "Answer",
    "Attempt",
    "Client",
    "CollectorError",
    "Coordinates",
    "Edge",
    "Event",
    "Evidence",
    "Flow",
    "FlowList",
    "FlowSummary",
    "Graph",
    "GroupLag",
    "Health",
    "Hop",
    "LagList",
    "Node",
    "NodeDetail",
    "NotFound",
    "PartitionLag",
    "Point",
    "Problem",
    "ReaderHealth",
    "Series",
    "Span",
    "SpanEvent",
    "SpanLink",
    "State",
    "Tone",
    "Verdict",
]

DEFAULT_URL: Final = "http://127.0.0.1:8680"
TOKEN_VARIABLE: Final = "FLOWTRAIL_TOKEN"

_A = TypeVar("_A", bound=Answer)


class CollectorError(Exception):
    """The collector could not be asked, or refused: `status` is its HTTP status, None without an answer of ours."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotFound(CollectorError):
    """There is no such flow, event, node or group, or its spans have not arrived (yet)."""


class _Bearer(requests.auth.AuthBase):
    """Shows a token. A header of the session's would give way to what a .netrc says of the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Client:
    """Asks a collector. Methods raise `NotFound` or `CollectorError`; times are ms since the epoch.

    `token` is for a collector that asks for one; None: what FLOWTRAIL_TOKEN says, if anything.
    """

    def __init__(self, url: str = DEFAULT_URL, timeout_s: float = 15, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
        if token:
            self._session.auth = _Bearer(token)
        self.last_answer = b""  # the body of the last good answer, byte for byte

    def graph(
        self,
        *,
        from_ms: float | None = None,
        to_ms: float | None = None,
        focus: str | None = None,
        depth: int | None = None,
        compare_to_ms: float | None = None,
    ) -> Graph:
        """Who talks to whom. `focus` is a node id; `depth` its distance in edges."""
        return self._get(
            Graph,
            "/v1/graph",
            {"from": from_ms, "to": to_ms, "focus": focus, "depth": depth, "compare_to": compare_to_ms},
        )

    def node(self, node_id: str) -> NodeDetail:
        """One node of the graph, such as `group:payments-workers`, with its last hour."""
        return self._get(NodeDetail, f"/v1/nodes/{quote(node_id, safe='')}", {})

    def flows(
        self,
        q: str | None = None,
        *,
        topic: str | None = None,
        service: str | None = None,
        state: str | None = None,
        from_ms: float | None = None,
        to_ms: float | None = None,
        limit: int | None = None,
    ) -> FlowList:
        """Search: `q` is a business key, `attribute=value`, a trace id or `topic/partition/offset`."""
        return self._get(
            FlowList,
            "/v1/flows",
            {"q": q, "topic": topic, "service": service, "state": state}
            | {"from": from_ms, "to": to_ms, "limit": limit},
        )

    def flow(self, flow: str) -> Flow:
        """A stitched flow, by its id or by any trace id in it."""
        return self._get(Flow, f"/v1/flows/{quote(flow, safe='')}", {})

    def why(self, flow: str) -> Verdict:
        """The verdict on a flow."""
        return self._get(Verdict, f"/v1/flows/{quote(flow, safe='')}/why", {})

    def event(self, topic: str, partition: int, offset: int, cluster_id: str | None = None) -> Event:
        """One event: its producer, key, and every group's state."""
        path = f"/v1/events/{quote(topic, safe='')}/{partition}/{offset}"
        return self._get(Event, path, {"cluster": cluster_id})

    def lag(self) -> LagList:
        """Committed lag of every group."""
        return self._get(LagList, "/v1/lag", {})

    def group_lag(self, group: str) -> GroupLag:
        """Committed lag of one group, by partition."""
        return self._get(GroupLag, f"/v1/lag/{quote(group, safe='')}", {})

    def health(self) -> Health:
        """The collector itself."""
        return self._get(Health, "/v1/health", {})

    def close(self) -> None:
        """Give back the connections; closing twice is harmless."""
        self._session.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def _get(self, model: type[_A], path: str, params: dict[str, Any]) -> _A:
        given = {name: value for name, value in params.items() if value is not None}
        try:
            response = self._session.get(self.url + path, params=given, timeout=self._timeout_s)
        except requests.RequestException as error:
            raise CollectorError(
                f"no answer from the collector at {self.url} ({type(error).__name__}); "
                "start one with `flowtrail collect`, or name another with --url"
            ) from error
        if response.ok:
            try:
                answer = model.model_validate_json(response.content)
            except ValidationError as error:
                raise CollectorError(
                    f"{self.url}{path} answered, but not as a collector of this version does "
                    f"({error.error_count()} differences); is it a collector's API, and Flowtrail the same version?"
                ) from error
            self.last_answer = response.content
            return answer
        try:
            problem = Problem.model_validate_json(response.content)
            message = f"{problem.title}: {problem.detail}"
        except ValueError:
            message = f"the collector answered {response.status_code} without a reason"
        kind = NotFound if response.status_code == 404 else CollectorError
        raise kind(message, response.status_code)
