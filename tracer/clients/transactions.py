"""A producer's open transaction and its end, whatever the library. Nothing here raises."""

from typing import TYPE_CHECKING, TypeVar

from flowtrail.tracer.under_way import Transaction

if TYPE_CHECKING:
    from .known import Known

K = TypeVar("K", bound="Known")


def open_transaction(known: K | None) -> tuple[K | None, Transaction | None]:
    """Return what is known of a producer (None for nothing), and its transaction if one is open."""
    return known, known.transaction if known is not None else None


def end_transaction(
    known: "Known | None", transaction: Transaction | None, outcome: str | None, error: BaseException | None
) -> None:
    """End a producer's transaction. Without one nothing happens; without an outcome it stays open."""
    if known is not None and transaction is not None and outcome is not None:
        known.end_transaction(transaction, outcome, error)
