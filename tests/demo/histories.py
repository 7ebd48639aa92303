"""Histories of a shop, written as its processes would have told them."""

from typing import Any, Self

from flowtrail.demo.diary import Line
from flowtrail.demo.truth import Place, Truth, evaluate

READERS = {
    "orders": ("packers",),
    "orders.retry": ("packers",),
    "orders.dlq": (),
    "parcels": ("drivers",),
    "wishes": (),
}


class History:
    """Lines, a second apart."""

    def __init__(self, *processes: str) -> None:
        self.lines: list[Line] = []
        for process in processes:
            self.tell(process, "started", group=process)

    def tell(self, process: str, kind: str, **facts: Any) -> Self:
        """Add a line."""
        self.lines.append({"time_ms": 1000.0 * len(self.lines), "process": process, "pid": 1, "kind": kind, **facts})
        return self

    def ordered(self, order: str = "o-1", fault: str | None = None) -> Self:
        """The customer ordered."""
        return self.tell("supervisor", "ordered", order=order, fault=fault)

    def sent(self, place: Place, by: str = "shop", cause: Place | None = None, order: str = "o-1") -> Self:
        """`by` sent an event, while it handled `cause`."""
        causes = [] if cause is None else [{**cause._asdict(), "group": by}]
        began_ms = 1000.0 * len(self.lines)
        return self.tell(by, "sent", **place._asdict(), orders=[order], began_ms=began_ms, cause=causes)

    def not_sent(self, topic: str, by: str = "shop", order: str = "o-1") -> Self:
        """`by` could not send an event."""
        began_ms = 1000.0 * len(self.lines)
        return self.tell(by, "not_sent", topic=topic, orders=[order], began_ms=began_ms, cause=[], error="TooLarge")

    def did(self, place: Place, *kinds: str, by: str = "packers") -> Self:
        """`by` polled, began, handled or failed an event."""
        for kind in kinds:
            self.tell(by, kind, **place._asdict(), group=by)
        return self

    def stopped(self, process: str) -> Self:
        """The supervisor ended a process."""
        return self.tell("supervisor", "stopped", of=process, of_pid=1)

    def truth(self) -> Truth:
        """What it comes to."""
        return evaluate(self.lines, READERS)
