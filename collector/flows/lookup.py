"""Flows out of the store: asks for rows in rounds until nothing is missing, or a bound is met.

Many flows are looked up together: a round asks once for all of them.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final, ParamSpec, TypeVar

from flowtrail.collector.store.queries import Queries

from .facts import FORGOTTEN_AFTER_MS, Facts
from .material import Material
from .rows import Context, Place, SpeakerRow
from .stitching import Bounds, Trail, Wanted, find_start, follow
from .topics import TopicRoles

# Links and speakers of one look-up; a hot event of a thousand readers still fits.
ROWS_A_SPAN: Final = 10
# Spans in memory for one look-up of many flows: each may have as many as its bounds allow, all together this many.
MOST_SPANS: Final = 60_000
DAY_MS: Final = 86_400_000

_Seed = TypeVar("_Seed")
_Found = TypeVar("_Found")
_Rows = TypeVar("_Rows")
_Asked = ParamSpec("_Asked")


@dataclass(frozen=True)
class Found:
    """The flows of some seeds. `is_whole` false: so much belongs to them that some seeds were not looked at."""

    trails: list[Trail]
    is_whole: bool = True


class Lookup:
    """Finds and stitches flows. Safe from any thread; keeps nothing between calls."""

    def __init__(
        self,
        queries: Queries,
        *,
        silent_after_ms: float,
        roles: TopicRoles | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._queries = queries
        self._silent_after_ms = silent_after_ms
        self._roles = roles or TopicRoles()
        self.bounds = bounds or Bounds()

    def trail(self, seed: str | Context | Place, cluster: str | None = None) -> Trail | None:
        """The flow of a trace id, a span or an event (of that cluster); None when nothing of it is stored."""
        return next(iter(self.find([seed], cluster=cluster).trails), None)

    def trails(self, seeds: Iterable[str | Context | Place]) -> list[Trail]:
        """The flows of these seeds, each once, in the seeds' order."""
        return self.find(seeds).trails

    def find(
        self, seeds: Iterable[str | Context | Place], bounds: Bounds | None = None, cluster: str | None = None
    ) -> Found:
        """The same within these bounds (for each flow), events taken for those of `cluster`."""
        bounds = bounds or self.bounds
        asked = list(seeds)
        most = min(bounds.spans * max(1, len(asked)), max(bounds.spans, MOST_SPANS))
        material = Material()
        contexts = self._resolve(material, asked, most, cluster)
        starts, is_cut_back = self._in_rounds(
            material, bounds, most, contexts, lambda seed: find_start(material, seed), lambda start: start.wanted
        )
        firsts = list(dict.fromkeys(start.context for start in starts if start.context is not None))
        trails, is_cut = self._in_rounds(
            material, bounds, most, firsts, lambda start: follow(material, start, bounds), lambda trail: trail.wanted
        )
        gaps = {start.context: start.gaps for start in starts if start.context is not None}
        return Found(
            [
                replace(
                    trail,
                    gaps=[*gaps.get(trail.start, []), *trail.gaps],
                    truncated=trail.truncated
                    or ((is_cut or is_cut_back) and bool(trail.wanted))
                    or any(row.context.trace_id in material.cut or row.place in material.cut for row in trail.spans),
                )
                for trail in trails
            ],
            is_whole=all(start.context is not None or not start.wanted for start in starts),
        )

    def with_facts(self, trails: Iterable[Trail], now_ms: float) -> list[tuple[Trail, Facts]]:
        """These flows, each with the facts of its own clusters."""
        by_clusters: dict[frozenset[str], list[Trail]] = {}
        for trail in trails:
            by_clusters.setdefault(trail.clusters, []).append(trail)
        return [
            (trail, facts) for same in by_clusters.values() for facts in [self.facts(same, now_ms)] for trail in same
        ]

    def facts(self, trails: Sequence[Trail], now_ms: float) -> Facts:
        """What is known of the readers of these flows' topics, in the clusters that the flows name.

        Facts do not tell clusters apart: see `with_facts` for flows of several.
        """
        if not trails:
            return Facts(now_ms=now_ms, silent_after_ms=self._silent_after_ms, roles=self._roles)
        places = sorted({place for trail in trails for place in _places(trail)})
        lanes = sorted({(place.topic, place.partition) for place in places})
        began_ms = min(row.start_ms for trail in trails for row in trail.spans)
        since_ms = min(began_ms, now_ms) - FORGOTTEN_AFTER_MS
        topics = {row.topic for trail in trails for row in trail.spans if row.topic} | {place.topic for place in places}
        clusters = frozenset[str]().union(*(trail.clusters for trail in trails))
        passed = _beside(self._queries.passed, places, since_ms, clusters)
        logs = _beside(self._queries.logs, lanes, now_ms - DAY_MS, clusters)
        members = _beside(self._queries.members, now_ms - DAY_MS, clusters)
        processed = _beside(self._queries.processed_until, lanes, began_ms - FORGOTTEN_AFTER_MS, clusters)
        polled = _beside(self._queries.last_poll_ms)
        polls = [row for trail in trails for row in trail.spans if row.group and (row.is_receive or row.is_process)]
        closes = _beside(self._queries.closes, {row.service for row in polls}, {row.group for row in polls}, began_ms)
        groups = self._queries.groups(since_ms, now_ms, clusters)
        readers = {(row.group, row.service) for row in groups if row.topic in topics}
        commits = self._queries.commits(lanes, since_ms, clusters)
        all_commits = self._queries.commits(None, max(since_ms, now_ms - DAY_MS), clusters) if commits else []
        known = {(row.group, row.topic, row.partition) for row in commits}
        concerned = {group for group, _ in readers} | {row.group for row in commits}
        commits += [
            row
            for row in all_commits
            if (row.group in concerned or row.topic in topics) and (row.group, row.topic, row.partition) not in known
        ]
        return Facts(
            now_ms=now_ms,
            groups=[row for row in groups if (row.group, row.service) in readers or row.group in concerned],
            commits=commits,
            passed_ms=passed.result(),
            logs={(row.topic, row.partition): row for row in logs.result()},
            members={row.group: row for row in members.result()},
            last_span_ms=self._queries.last_spans({service for _, service in readers}, began_ms),
            processed_until=processed.result(),
            closes=closes.result(),
            is_broker_polled=polled.result() is not None,
            silent_after_ms=self._silent_after_ms,
            roles=self._roles,
        )

    def _resolve(
        self, material: Material, seeds: Sequence[str | Context | Place], most: int, cluster: str | None
    ) -> list[str | Context]:
        """Turn events into spans: the producer's when it is known, else the first reader's.

        Of several clusters with such an event, a span that names `cluster` comes before one that names none.
        """
        places = [seed for seed in seeds if isinstance(seed, Place)]
        speakers = self._load_speakers(material, places, most * ROWS_A_SPAN)
        found: list[str | Context] = []
        for seed in seeds:
            if not isinstance(seed, Place):
                found.append(seed)
                continue
            fitting = [
                row for row in speakers if row.place == seed and (not cluster or row.cluster_id in ("", cluster))
            ]
            ranks = {"send": 0, "process": 1}
            found += [
                row.context
                for row in sorted(
                    fitting,
                    key=lambda row: (
                        row.cluster_id != (cluster or row.cluster_id),
                        ranks.get(row.operation, 2),
                        row.context,
                    ),
                )[:1]
            ]
        return found

    def _in_rounds(
        self,
        material: Material,
        bounds: Bounds,
        most: int,
        seeds: Sequence[_Seed],
        ask: Callable[[_Seed], _Found],
        wanted_by: Callable[[_Found], Wanted],
    ) -> tuple[list[_Found], bool]:
        """Ask for each seed, load what is wanted, and ask again those that wanted something. True: a bound was met.

        `most` is the number of spans for all seeds together.
        """
        found = [ask(seed) for seed in seeds]
        for _ in range(bounds.rounds):
            wanted = Wanted()
            for one in found:
                wanted.update(wanted_by(one))
            wanted.traces -= material.traces
            wanted.places -= material.places
            if not wanted:
                return found, False
            if len(material) > most:
                return found, True
            self._load(material, wanted, most, bounds.spans)
            found = [ask(seed) if wanted_by(one) else one for seed, one in zip(seeds, found, strict=True)]
        return found, True

    def _load(self, material: Material, wanted: Wanted, most: int, of_a_trace: int) -> None:
        """Load what is wanted whole where it fits; a trace of which nothing fitted stays wanted."""
        speakers = _beside(self._load_speakers, material, wanted.places, most * ROWS_A_SPAN)
        linked = _beside(self._queries.links_to, wanted.traces, most * ROWS_A_SPAN + 1)
        rows = self._queries.spans(wanted.traces, most + 1, of_a_trace + 1)
        found = Counter(row.context.trace_id for row in rows)
        traces: Set[str] = wanted.traces if len(rows) <= most else found.keys()
        links = linked.result()
        speakers.result()
        if len(rows) > most or len(links) > most * ROWS_A_SPAN:
            material.cut |= traces
        material.cut |= {trace_id for trace_id, number in found.items() if number > of_a_trace}
        material.add_spans(rows)
        material.add_links(links)
        material.traces |= traces

    def _load_speakers(self, material: Material, places: Collection[Place], most: int) -> list[SpeakerRow]:
        found = self._queries.speakers(places, most + 1)
        if len(found) > most:
            material.cut.update(places)
        material.add_speakers(found)
        material.places.update(places)
        return found


def _beside(ask: Callable[_Asked, _Rows], *args: _Asked.args, **named: _Asked.kwargs) -> "Future[_Rows]":
    """Ask the store while the caller asks it something else: a look-up does little but wait for it.

    In a daemon thread, not in a pool: a pool's threads would hold up the end of the process while a store hangs.
    """
    answer: Future[_Rows] = Future()

    def run() -> None:
        try:
            answer.set_result(ask(*args, **named))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="flowtrail-lookup", daemon=True).start()
    return answer


def _places(trail: Trail) -> set[Place]:
    """The events of a flow; a poll's links to others' events are none of it."""
    own = {row.place for row in trail.spans if row.place is not None}
    return own | {
        link.place
        for row in trail.spans
        for link in row.links
        if link.place is not None and not row.is_send and link.to in trail.parents
    }
