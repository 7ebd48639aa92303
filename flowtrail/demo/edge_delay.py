"""How long it takes from an event's send until `/v1/graph` has counted it in its edge."""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowtrail.client import Client, CollectorError
from flowtrail.demo.diary import time_now_ms
from flowtrail.demo.topics import service_of
from flowtrail.demo.truth import Sent

log = logging.getLogger(__name__)

SentEdge: TypeAlias = tuple[str, str]
"""Service and topic."""

_INTERVAL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at the graph showed: how many events each edge from a service to a topic counts."""

    time_ms: float
    counts: dict[SentEdge, int]


def edge_delays_ms(events: Iterable[Sent], sights: Sequence[Sight]) -> list[float]:
    """Return a delay for each acknowledged event: until the first sight that counts as many as were sent by then.

    An event that no sight counts has no delay. Refused sends are counted by the graph too, so they keep their place
    in the line.
    """
    sent_ms: defaultdict[SentEdge, list[tuple[float, bool]]] = defaultdict(list)
    for event in events:
        sent_ms[service_of(event.process), event.topic].append((event.began_ms, event.place is not None))
    delays: list[float] = []
    for edge, sends in sent_ms.items():
        sends.sort()
        seen = 0
        for sight in sights:
            count = sight.counts.get(edge, 0)
            delays += [sight.time_ms - began_ms for began_ms, is_acknowledged in sends[seen:count] if is_acknowledged]
            seen = max(seen, count)
    return delays


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that `share` of the values do not exceed; None when there are none."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class EdgeWatch:
    """Looks at the graph ten times a second, on a thread, until it is closed."""

    def __init__(self, api_url: str) -> None:
        self._api_url = api_url
        self._from_ms = time_now_ms() - 10_000  # edges are counted by ten seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge watch", daemon=True)
        self.sights: list[Sight] = []
        self._thread.start()

    def close(self) -> None:
        """Look no more; closing twice is harmless."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        with Client(self._api_url) as client:
            while not self._closing.wait(_INTERVAL_S):
                try:
                    graph = client.graph(from_ms=self._from_ms)
                except CollectorError as error:
                    log.warning("no graph: %s", error)
                    continue
                counts = {
                    (edge.source.removeprefix("service:"), edge.target.removeprefix("topic:")): edge.messages
                    for edge in graph.edges
                    if edge.kind == "send"
                }
                if not self.sights or self.sights[-1].counts != counts:
                    self.sights.append(Sight(time_now_ms(), counts))
