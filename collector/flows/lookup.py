"""Flows out of the store: asks for rows in rounds until nothing is missing, or a bound is met.

Many flows are looked up together: a round asks once for all of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from flowtrail.collector.store.queries import Queries

from .facts import FORGOTTEN_AFTER_MS, Facts
from .material import Material
from .rows import Context, Place
from .stitching import Bounds, Trail, Wanted, find_start, follow
from .topics import TopicRoles

# Links and speakers of one look-up; a hot event of a thousand readers still fits.
ROWS_A_SPAN: Final = 10
DAY_MS: Final = 86_400_000

_Seed = TypeVar("_Seed")
_Found = TypeVar("_Found")


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

    def trail(self, seed: str | Context | Place) -> Trail | None:
        """The flow of a trace id, a span or an event; None when nothing of it is stored."""
        return next(iter(self.trails([seed])), None)

    def trails(self, seeds: Iterable[str | Context | Place], bounds: Bounds | None = None) -> list[Trail]:
        """The flows of these seeds, each once, in the seeds' order."""
        bounds = bounds or self.bounds
        material = Material()
        contexts = self._resolve(material, list(seeds), bounds)
        starts, is_cut_back = self._in_rounds(
            material, bounds, contexts, lambda seed: find_start(material, seed), lambda start: start.wanted
        )
        firsts = list(dict.fromkeys(start.context for start in starts if start.context is not None))
        trails, is_cut = self._in_rounds(
            material, bounds, firsts, lambda start: follow(material, start, bounds), lambda trail: trail.wanted
        )
        gaps = {start.context: start.gaps for start in starts if start.context is not None}
        return [
            replace(
                trail,
                gaps=[*gaps.get(trail.start, []), *trail.gaps],
                truncated=trail.truncated or ((is_cut or is_cut_back) and bool(trail.wanted)),
            )
            for trail in trails
        ]

    def facts(self, trails: Sequence[Trail], now_ms: float) -> Facts:
        """What is known of the readers of these flows' topics."""
        if not trails:
            return Facts(now_ms=now_ms, silent_after_ms=self._silent_after_ms, roles=self._roles)
        places = sorted({place for trail in trails for place in _places(trail)})
        lanes = sorted({(place.topic, place.partition) for place in places})
        began_ms = min(row.start_ms for trail in trails for row in trail.spans)
        since_ms = min(began_ms, now_ms) - FORGOTTEN_AFTER_MS
        topics = {row.topic for trail in trails for row in trail.spans if row.topic} | {place.topic for place in places}
        groups = self._queries.groups(since_ms, now_ms)
        readers = {(row.group, row.service) for row in groups if row.topic in topics}
        commits = self._queries.commits(lanes, since_ms)
        all_commits = self._queries.commits(None, max(since_ms, now_ms - DAY_MS)) if commits else []
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
            passed_ms=self._queries.passed(places, since_ms),
            logs={(row.topic, row.partition): row for row in self._queries.logs(lanes, now_ms - DAY_MS)},
            members={row.group: row for row in self._queries.members(now_ms - DAY_MS)},
            last_span_ms=self._queries.last_spans({service for _, service in readers}, began_ms),
            processed_until=self._queries.processed_until(lanes, began_ms - FORGOTTEN_AFTER_MS),
            is_broker_polled=self._queries.last_poll_ms() is not None,
            silent_after_ms=self._silent_after_ms,
            roles=self._roles,
        )

    def _resolve(
        self, material: Material, seeds: Sequence[str | Context | Place], bounds: Bounds
    ) -> list[str | Context]:
        """Turn events into spans: the producer's when it is known, else the first reader's."""
        places = [seed for seed in seeds if isinstance(seed, Place)]
        if places:
            self._load(material, Wanted(places=set(places)), bounds)
        found: list[str | Context] = []
        for seed in seeds:
            if not isinstance(seed, Place):
                found.append(seed)
                continue
            speakers = material.speakers(seed)
            readers = [context for context, operation in speakers if operation == "process"]
            producers = [context for context, operation in speakers if operation == "send"]
            found += (producers or readers or [context for context, _ in speakers])[:1]
        return found

    def _in_rounds(
        self,
        material: Material,
        bounds: Bounds,
        seeds: Sequence[_Seed],
        ask: Callable[[_Seed], _Found],
        wanted_by: Callable[[_Found], Wanted],
    ) -> tuple[list[_Found], bool]:
        """Ask for each seed, load what is wanted, and ask again those that wanted something. True: a bound was met."""
        found = [ask(seed) for seed in seeds]
        for _ in range(bounds.rounds):
            wanted = Wanted()
            for one in found:
                wanted.update(wanted_by(one))
            wanted.traces -= material.traces
            wanted.places -= material.places
            if not wanted:
                return found, False
            if len(material) > bounds.spans * max(1, len(seeds)):
                return found, True
            self._load(material, wanted, bounds)
            found = [ask(seed) if wanted_by(one) else one for seed, one in zip(seeds, found, strict=True)]
        return found, True

    def _load(self, material: Material, wanted: Wanted, bounds: Bounds) -> None:
        if wanted.places:
            material.add_speakers(self._queries.speakers(wanted.places, bounds.spans * ROWS_A_SPAN))
            material.places |= wanted.places
        if wanted.traces:
            material.add_spans(self._queries.spans(wanted.traces, bounds.spans + 1))
            material.add_links(self._queries.links_to(wanted.traces, bounds.spans * ROWS_A_SPAN))
            material.traces |= wanted.traces


def _places(trail: Trail) -> set[Place]:
    """The events of a flow; a poll's links to others' events are none of it."""
    own = {row.place for row in trail.spans if row.place is not None}
    return own | {
        link.place
        for row in trail.spans
        for link in row.links
        if link.place is not None and not row.is_send and link.to in trail.parents
    }
