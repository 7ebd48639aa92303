"""The lag page's figures."""

from flowtrail.collector.api.answers import PartitionLag
from flowtrail.ui.pages.lag import to_drain, waiting_without_commit

from . import scenario

NOW_MS = 1_763_800_000_000.0


def _partition(number: int, committed: int | None, log_end: int) -> PartitionLag:
    lag = None if committed is None else log_end - committed
    return PartitionLag(topic="a", partition=number, committed=committed, log_start=2, log_end=log_end, lag=lag)


def test_events_that_wait_where_nothing_was_committed_are_counted_beside_the_lag() -> None:
    partitions = [_partition(0, 4, 5), _partition(1, None, 5), _partition(2, None, 2)]
    group = scenario.lag(NOW_MS).groups[0].model_copy(update={"partitions": partitions, "lag": 1})
    assert waiting_without_commit(group) == 3


def test_who_has_caught_up_has_nothing_to_drain() -> None:
    group = (
        scenario.lag(NOW_MS)
        .groups[0]
        .model_copy(update={"partitions": [_partition(0, 5, 5)], "lag": 0, "state": "ok", "time_to_drain_ms": None})
    )
    assert to_drain(group).startswith("0")
    waits = group.model_copy(update={"partitions": [_partition(0, 5, 5), _partition(1, None, 9)]})
    assert to_drain(waits) == "–"
