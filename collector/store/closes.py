"""The consumers that their programs closed, as `close` spans say: no trail leads to these, they are about no event.

They lie by service and time, as all spans do, and are told by columns of few values, so that no attribute is read but
those of the spans that are found.
"""

from collections.abc import Iterable
from typing import Final

from flowtrail.collector.flows.rows import CloseRow, Context
from flowtrail.tracer import attributes as names

from .connection import Store

# A flow's polls ended shortly before their consumers were closed, so the first closes after it began are the ones.
MOST_CLOSES: Final = 10_000


def closes(store: Store, services: Iterable[str], groups: Iterable[str], since_ms: float) -> list[CloseRow]:
    """The consumers of these services and groups that were closed since then, at most `MOST_CLOSES`, in order.

    A close that failed is none. One may come twice, as its span may lie in the store twice until a merge.
    """
    of = {"services": sorted(set(services)), "groups": sorted(set(groups))}
    if not of["services"] or not of["groups"]:
        return []
    rows = store.query(
        f"""SELECT lower(hex(trace_id)), lower(hex(span_id)), service, instance, group_name,
            attributes[{{member:String}}], client_id, toUnixTimestamp64Nano(start) AS start_ns, duration_ns
        FROM {store.database}.spans
        WHERE service IN (SELECT arrayJoin({{services:Array(String)}}))
            AND start >= fromUnixTimestamp64Milli({{since:Int64}})
            AND group_name IN (SELECT arrayJoin({{groups:Array(String)}}))
            AND operation = '' AND system = 'kafka' AND name = {{name:String}} AND status_code != 2
        ORDER BY start_ns, trace_id, span_id LIMIT {MOST_CLOSES}""",
        {**of, "since": int(since_ms), "name": names.CLOSE[0], "member": names.MEMBER_ID},
    )
    return [
        CloseRow(Context(row[0], row[1]), row[2], row[3], row[4], row[5], row[6], row[7] / 1e6, (row[7] + row[8]) / 1e6)
        for row in rows
    ]
