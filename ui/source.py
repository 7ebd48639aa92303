"""Where pages get their data: the collector's answers, and the last good ones while it is away."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import requests

from flowtrail.client import (
    Answer,
    Client,
    CollectorError,
    Flow,
    FlowList,
    Graph,
    GroupLag,
    Health,
    LagList,
    NodeDetail,
)

from .address import Window

A = TypeVar("A", bound=Answer)

MOST_KEPT: Final = 48
MOST_FLOWS: Final = 100
MOST_REQUESTS: Final = 8  # to the collector at a time
OLD_MS: Final = 30_000.0  # until then an answer is shown while a fresh one is on its way
NODE_PATIENCE_S: Final = 0.4
FRESH_MS: Final = 1_500.0  # several parts of one page, and several readers, share an answer
FLOW_FRESH_MS: Final = 4_000.0
LARGE_FLOW_SPANS: Final = 2_000
LARGE_FLOW_FRESH_MS: Final = 60_000.0  # seconds to fetch and read: not again for every row that is chosen


@dataclass(frozen=True, slots=True)
class Away:
    """The collector did not answer: since when, what it said (None: nothing), and when it did last (None: never)."""

    since_ms: float
    reason: str | None
    last_good_ms: float | None


class Source:
    """Asks one collector, from any thread. An answer is kept: it stands in while the collector is away.

    Methods raise `NotFound` for what does not exist, `CollectorError` when the collector is away and nothing is kept.
    """

    def __init__(self, api_url: str, clock_ms: Callable[[], float] = lambda: time.time() * 1000) -> None:
        self.api_url = api_url
        self.now_ms = clock_ms
        self._local = threading.local()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()
        self._away: Away | None = None
        self._last_good_ms: float | None = None
        self._under_way: dict[Hashable, Future[Answer]] = {}
        self._threads = ThreadPoolExecutor(MOST_REQUESTS, "flowtrail-ui")

    @property
    def away(self) -> Away | None:
        """Set from the first request that was not answered until the next that is."""
        return self._away

    def graph(self, window: Window, focus: str | None = None, depth: int | None = None) -> Graph:
        """Who talks to whom within the window."""
        key = ("graph", window.key, focus, depth)
        return self._read(
            key,
            lambda client: client.graph(from_ms=window.from_ms, to_ms=window.to_ms, focus=focus, depth=depth),
        )

    def node(self, node_id: str) -> NodeDetail | None:
        """One node with its last hour; None while the collector still reads it together."""
        try:
            return self._read(("node", node_id), lambda client: client.node(node_id), patience_s=NODE_PATIENCE_S)
        except TimeoutError:
            return None

    def flows(
        self, q: str | None, topic: str | None, service: str | None, state: str | None, window: Window
    ) -> FlowList:
        """The flow search."""
        key = ("flows", q, topic, service, state, window.key)
        return self._read(
            key,
            lambda client: client.flows(
                q,
                topic=topic,
                service=service,
                state=state,
                from_ms=window.from_ms,
                to_ms=window.to_ms,
                limit=MOST_FLOWS,
            ),
        )

    def flow(self, flow_id: str) -> Flow:
        """One flow, whole."""

        def fresh_ms(flow: Flow) -> float:
            return LARGE_FLOW_FRESH_MS if len(flow.spans) >= LARGE_FLOW_SPANS else FLOW_FRESH_MS

        return self._read(("flow", flow_id), lambda client: client.flow(flow_id), fresh_ms)

    def lag(self) -> LagList:
        """Every group's lag."""
        return self._read(("lag",), lambda client: client.lag())

    def group_lag(self, group: str) -> GroupLag:
        """One group's lag, by partition."""
        return self._read(("lag", group), lambda client: client.group_lag(group))

    def health(self) -> Health:
        """The collector itself."""
        return self._read(("health",), lambda client: client.health())

    def _read(
        self,
        key: Hashable,
        ask: Callable[[Client], A],
        fresh_ms: Callable[[A], float] = lambda answer: FRESH_MS,
        patience_s: float | None = None,
    ) -> A:
        """A fresh answer; one that is a little old at once, while a fresh one is on its way; else wait for it.

        Raises `TimeoutError` when there is none within `patience_s`; the answer is kept when it comes.
        """
        with self._lock:
            kept = self._kept.get(key)
        age_ms = self.now_ms() - kept[0] if kept is not None else 0
        if kept is not None and 0 <= age_ms < fresh_ms(cast(A, kept[1])):
            return cast(A, kept[1])
        asked = self._asked(key, ask)
        if kept is not None and 0 <= age_ms < OLD_MS:
            return cast(A, kept[1])
        try:
            return cast(A, asked.result(patience_s))
        except CollectorError as error:
            if kept is None or _is_refusal(error):
                raise
            return cast(A, kept[1])

    def _asked(self, key: Hashable, ask: Callable[[Client], A]) -> "Future[Answer]":
        """The request for `key` that is under way; one at a time."""
        with self._lock:
            future = self._under_way.get(key)
            if future is None:
                future = self._under_way[key] = self._threads.submit(self._ask, key, ask)
            return future

    def _ask(self, key: Hashable, ask: Callable[[Client], A]) -> Answer:
        try:
            answer = ask(self._client())
            now_ms = self.now_ms()
            self._answered(now_ms)
            with self._lock:
                self._kept[key] = (now_ms, answer)
                self._kept.move_to_end(key)
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            return answer
        except CollectorError as error:
            if _is_refusal(error):  # it no longer exists
                with self._lock:
                    self._kept.pop(key, None)
                self._answered(self.now_ms())
            else:
                self._away = self._away or Away(self.now_ms(), self._why(error), self._last_good_ms)
            raise
        finally:
            with self._lock:
                self._under_way.pop(key, None)

    def _answered(self, now_ms: float) -> None:
        self._away, self._last_good_ms = None, now_ms

    def _why(self, error: CollectorError) -> str | None:
        """What the collector, or who is there instead of it, said; None when nobody answered."""
        return None if isinstance(error.__cause__, requests.RequestException) else _sentence(str(error))

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = Client(self.api_url)
        return client

    def __repr__(self) -> str:
        return f"<Source at {self.api_url}{', away' if self._away else ''}>"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"


def _is_refusal(error: CollectorError) -> bool:
    """Whether the collector answered, and that there is no such thing."""
    return error.status is not None and error.status < 500
