"""What a run of the demo is told: every option with its default, unit, and what leaving it out means."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from flowtrail.collector.settings import are_brokers


class Fault(StrEnum):
    """What the demo can break. Each breaks orders of its own, so that none hides another."""

    HANDLER_RAISES = "handler-raises"
    POISON_RECORD = "poison-record"
    GROUP_DOWN = "group-down"
    SLOW_CONSUMER = "slow-consumer"
    CONSUMER_KILLED = "consumer-killed"
    UNREAD_TOPIC = "unread-topic"
    RECORD_TOO_LARGE = "record-too-large"


FAULTS: Final[dict[Fault, str]] = {
    Fault.HANDLER_RAISES: "payments meets a currency that it has no rate for; it logs the error and goes on",
    Fault.POISON_RECORD: "a card that nobody can read goes through the retry topic to the dead-letter topic",
    Fault.GROUP_DOWN: "the process that writes invoices is stopped; its group has no member",
    Fault.SLOW_CONSUMER: "gift wrapping takes seconds for each gift; the others wait in the queue",
    Fault.CONSUMER_KILLED: "the label printer jams, and its process is killed with the record in hand",
    Fault.UNREAD_TOPIC: "loyalty points are sent to a topic that nobody reads",
    Fault.RECORD_TOO_LARGE: "a customer's note makes the record larger than the producer may send",
}

ALL: Final = "all"


def faults_named(names: tuple[str, ...] | list[str]) -> tuple[Fault, ...]:
    """Return the faults of these names, each once, in the order of the catalogue; `all` names every one.

    Raises ValueError, with the names that there are, for any other name.
    """
    if ALL in names:
        return tuple(Fault)
    unknown = [name for name in names if name not in set(Fault)]
    if unknown:
        raise ValueError(f"there is no fault called {', '.join(unknown)}; choose from {', '.join(Fault)} or {ALL}")
    return tuple(fault for fault in Fault if fault in names)


@dataclass(frozen=True, slots=True)
class Options:
    """One run of the demo."""

    for_s: float | None = None
    """Seconds during which customers order; then the work drains and is judged. None: until Ctrl-C, not judged."""

    rate_per_s: float = 4.0
    """Orders a second; each makes five events and more."""

    seed: int = 1
    """Seed of everything that is left to chance: the same seed gives the same customers."""

    faults: tuple[Fault, ...] = field(default=())
    """What to break. None named: nothing when the run has an end, a small share of everything when it has not."""

    report: Path | None = None
    """File for the report as JSON; needs `for_s`. None: a table on the terminal only."""

    is_ui_wanted: bool = True
    """Start the web pages too."""

    bootstrap_servers: str = ""
    """A broker of yours, host:port. Empty: the embedded one. Topics and groups made there get a prefix of their own."""

    keep: Path | None = None
    """Empty or new folder for the collector's data, the services' logs and diaries. None: a temporary one."""

    story_after_s: float = 20.0
    """Seconds after which a run without an end tells the story of a broken flow, as soon as there is one."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything starts."""
        if self.for_s is not None and self.for_s < 5:
            raise ValueError("a run needs at least 5 seconds: its consumers must be seen alive before they break")
        if self.rate_per_s <= 0:
            raise ValueError("the rate is orders a second, more than 0")
        if self.bootstrap_servers and not are_brokers(self.bootstrap_servers):
            raise ValueError("brokers are host:port, several separated by commas, such as 127.0.0.1:9092")
        if self.report is not None and self.for_s is None:
            raise ValueError("a report needs a run that ends: say for how long")

    @property
    def broken(self) -> tuple[Fault, ...]:
        """What this run breaks."""
        return self.faults or (tuple(Fault) if self.for_s is None else ())
