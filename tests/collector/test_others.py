"""Flows hold together where other vendors' instrumentations made the spans (recorded; see tests/data/others)."""

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowtrail.collector.api.answers import State
from flowtrail.collector.flows.lookup import Lookup
from flowtrail.collector.flows.story import tell
from flowtrail.collector.store.connection import Store, open_store
from flowtrail.collector.store.queries import Queries

from .scenes import SILENT_AFTER_MS, emptied

RECORDED = Path(__file__).parent.parent / "data" / "others"
YEAR_2100_MS = 4_102_444_800_000


@pytest.fixture(scope="module")
def one_store(store_dsn: str) -> Iterator[Store]:
    opened = open_store(store_dsn, "test_others")
    yield opened
    opened.close()


class Told:
    """All flows of one vendor's recording, as told a minute after its end."""

    def __init__(self, store: Store, vendor: str) -> None:
        emptied(store).load(gzip.decompress((RECORDED / f"{vendor}.pb.gz").read_bytes()), f"others {vendor}")
        queries = Queries(store)
        lookup = Lookup(queries, silent_after_ms=SILENT_AFTER_MS)
        trails = lookup.trails(queries.first_traces(0, YEAR_2100_MS, 500))
        newest_ms = max(row.end_ms for trail in trails for row in trail.spans)
        facts = lookup.facts(trails, newest_ms + 2 * SILENT_AFTER_MS)
        self.flows = [tell(trail, facts, lookup.bounds) for trail in trails]
        self.topics = [{row.topic.partition(".")[2] for row in trail.spans if row.topic} for trail in trails]
        self.verdicts = Counter(
            (flow.verdict.state, (flow.verdict.hop_topic or "").partition(".")[2]) for flow in self.flows
        )


@pytest.mark.parametrize(
    ("vendor", "through"),
    [("java", 50), ("java-optin-receive", 50), ("go", 50), ("node", 50), ("sarama", 50), ("spring", 49)],
)
def test_an_order_and_its_payment_are_one_flow_and_its_end_is_told(one_store: Store, vendor: str, through: int) -> None:
    told = Told(one_store, vendor)
    assert sum({"orders", "payments"} <= topics for topics in told.topics) == through
    assert told.verdicts[State.NOT_SENT, "orders"] == 1
    assert told.verdicts[State.DEAD_LETTERED, "payments"] == 1
    [dead] = [
        flow
        for flow in told.flows
        if flow.verdict.state is State.DEAD_LETTERED and str(flow.verdict.hop_topic).endswith(".payments")
    ]
    assert {"orders", "payments", "payments.retry", "payments.dlq"} <= {
        event.coordinates.topic.partition(".")[2] for event in dead.events
    }


@pytest.mark.parametrize("vendor", ["java", "java-optin-receive", "go"])
def test_orders_that_wait_for_a_stopped_group_say_so(one_store: Store, vendor: str) -> None:
    assert Told(one_store, vendor).verdicts[State.NO_MEMBER, "payments"] == 10
