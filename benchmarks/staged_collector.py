"""A collector that takes part of its way only, so that each step's cost can be told apart.

    python -m benchmarks.staged_collector STAGE     set up by FLOWTRAIL_*, as the collector is

http     answers 200 to any body
upb      admits it: unfolds, checks, parses
journal  appends it, and a loader reads the journal and stores nothing
load     all of it, as `flowtrail collect` does
hold     all of it but the load: the store is away, and the journal fills
"""

import sys
from typing import Any, Final

from flowtrail.collector import service
from flowtrail.collector.admission import Admission, Admitted
from flowtrail.collector.store.connection import Store, StoreError

STAGES: Final = ("http", "upb", "journal", "load")


_admit = Admission.admit


def admit_unseen(*_: Any, **__: Any) -> Admitted:
    """Takes the place of `Admission.admit`: looks at nothing, and has nothing journalled."""
    return Admitted(b"")


def admit_in_vain(*given: Any, **named: Any) -> Admitted:
    """Takes the place of `Admission.admit`: admits as it does, and has nothing journalled."""
    _admit(*given, **named)
    return Admitted(b"")


def store_nothing(*_: Any, **__: Any) -> None:
    """Takes the place of `Store.load`."""


def be_away(*_: Any, **__: Any) -> None:
    """Takes the place of `Store.load`. Raises StoreError."""
    raise StoreError("the store is away, for a benchmark")


def main() -> int:
    (stage,) = sys.argv[1:]
    if stage == "http":
        Admission.admit = admit_unseen  # type: ignore[method-assign]
    elif stage == "upb":
        Admission.admit = admit_in_vain  # type: ignore[method-assign]
    elif stage == "journal":
        Store.load = store_nothing  # type: ignore[method-assign]
    elif stage == "hold":
        Store.load = be_away  # type: ignore[method-assign]
    elif stage != "load":
        raise SystemExit(f"a stage is one of {', '.join(STAGES)}, hold")
    return service.main()


if __name__ == "__main__":
    sys.exit(main())
