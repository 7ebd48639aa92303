"""Telling the chain of commits, whatever the library."""

from typing import TYPE_CHECKING, TypeAlias

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Client, Committed
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Transaction

if TYPE_CHECKING:
    from .known import Known

# By topic and partition, the next offset.
Positions: TypeAlias = dict[tuple[str, int], int]


def tell_commit(
    where: str, known: "Known | None", offsets: Positions, started_ns: int, error: BaseException | None
) -> None:
    """Tell of a commit that the program called for; of its client nothing may be known. Never raises.

    `where` is the library, for failures of ours.
    """
    try:
        CHAIN.commit(Committed(known.client() if known is not None else Client(), offsets, started_ns, error))
    except Exception as failure:
        COUNTS.fail(where, "commit", failure)


def keep_for_commit(transaction: Transaction | None, committed: Committed) -> None:
    """Keep positions for the commit of their transaction. Outside of one there is none: refused, they are told now."""
    if transaction is not None:
        transaction.offsets.append(committed)
    elif committed.error is not None:
        CHAIN.commit(committed)


class LastTold:
    """The last automatic commit that was told: an idle consumer repeats its own for ever."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: tuple[Positions, type[BaseException] | None] | None = None

    def forget(self) -> None:
        """The program commits by itself: whatever the client says next is news."""
        self._said = None

    def is_news(self, offsets: Positions, error: BaseException | None) -> bool:
        """Whether a commit of these positions, with such an error, is to be told; then it is the last one."""
        said = offsets, type(error) if error is not None else None
        if not offsets or said == self._said:
            return False
        self._said = said
        return True
