"""A store with a small world in it: spans by `world`, what a broker says by `commit`, `log` and `members`."""

import itertools
from datetime import UTC, datetime

from flowtrail.collector.api.answers import Flow, Hop
from flowtrail.collector.flows.lookup import Lookup
from flowtrail.collector.flows.rows import Place
from flowtrail.collector.flows.story import tell
from flowtrail.collector.flows.topics import TopicRoles
from flowtrail.collector.store.connection import Store
from flowtrail.collector.store.queries import Queries

from .spans import Made, World

# Long ago enough for nothing to be "just now", and in one day's partition.
NOON_MS = 1_795_348_800_000.0
SILENT_AFTER_MS = 30_000.0
TABLES = ("spans", "events", "links", "edges", "resources", "group_offsets", "topic_offsets", "group_states")

_loads = itertools.count(1)


def emptied(store: Store) -> Store:
    """The store with nothing in it: quicker than a new one."""
    for table in TABLES:
        store.command(f"TRUNCATE TABLE {store.database}.{table}")
    return store


class Scene:
    """What happened, and how the collector tells it. Time is the world's."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.world = World(now_ms=NOON_MS)
        self.queries = Queries(store)
        self.lookup = Lookup(self.queries, silent_after_ms=SILENT_AFTER_MS, roles=TopicRoles())

    def commit(self, group: str, topic: str, committed: int, partition: int = 0) -> None:
        columns = ["group_name", "topic", "partition", "committed"]
        self._insert("group_offsets", columns, group, topic, partition, committed)

    def log(self, topic: str, start: int, end: int, partition: int = 0) -> None:
        self._insert("topic_offsets", ["topic", "partition", "log_start", "log_end"], topic, partition, start, end)

    def members(self, group: str, *members: str, state: str | None = None, is_listed: bool = True) -> None:
        said = state if state is not None else "Stable" if members else "Empty"
        rows = [(member, "client", "host") for member in members]
        self._insert("group_states", ["group_name", "state", "is_listed", "members"], group, said, is_listed, rows)

    def lists_no_members(self, group: str) -> None:
        self.members(group, state="", is_listed=False)

    def load(self) -> None:
        """Bring the spans so far to the store. Each once, however often this is called."""
        if self.world.spans:
            self.store.load(self.world.body(), f"load {next(_loads)}")
            self.world.spans.clear()

    def flow(self, seed: Made | str | Place, after_ms: float = 0) -> Flow:
        """The flow of a span, as told `after_ms` from now."""
        self.load()
        trail = self.lookup.trail(seed.trace_id if isinstance(seed, Made) else seed)
        assert trail is not None, "nothing of this flow is stored"
        now_ms = self.world.now_ms + after_ms
        return tell(trail, self.lookup.facts([trail], now_ms), self.lookup.bounds)

    def hop(self, event: Made, group: str | None, after_ms: float = 0) -> Hop:
        """One event with one group."""
        flow = self.flow(event, after_ms)
        place = (event.topic, event.partition, event.offset)
        for hop in flow.hops:
            at = hop.coordinates
            if hop.group == group and (at.topic, at.partition, at.offset) == place:
                return hop
        raise AssertionError(f"no hop {place} > {group} among {[hop.id for hop in flow.hops]}")

    def _insert(self, table: str, columns: list[str], *values: object) -> None:
        at = datetime.fromtimestamp(self.world.now_ms / 1000, UTC)
        self.store.insert(table, ["time", "cluster_id", *columns], [(at, self.world.cluster_id, *values)])
