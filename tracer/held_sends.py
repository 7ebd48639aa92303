"""Sends whose spans wait for the outcome of their transaction, which tells whether a reader will ever see them."""

import time
from typing import Final

from opentelemetry.trace import Span

from . import attributes as names
from .under_way import Sending, Transaction

# They all end at once then: half of what the queue holds.
MOST_HELD: Final = 4096


def hold(transaction: Transaction, sent: Span | Sending) -> None:
    """Keep an answered send until its transaction has an outcome; one that has it already ends at once."""
    transaction.held.append((sent, time.time_ns()))
    # Asked after, since another thread may end the transaction meanwhile.
    if transaction.outcome is not None:
        end_held(transaction)
    elif len(transaction.held) > MOST_HELD:
        _end_in_transaction(*transaction.held.popleft(), transaction)


def end_held(transaction: Transaction) -> None:
    """End what a transaction holds, as its outcome is known."""
    held = transaction.held
    while held:
        try:
            sent, ended_ns = held.popleft()
        except IndexError:  # another thread had the last one
            return
        _end_in_transaction(sent, ended_ns, transaction)


def _end_in_transaction(sent: Span | Sending, ended_ns: int, transaction: Transaction) -> None:
    """End a send with the outcome; with the transaction's id where there is none yet."""
    if isinstance(sent, Sending):
        sent.outcome = transaction.outcome
        if sent.deferring is not None:
            sent.deferring.put(sent)
        return
    if transaction.outcome is not None:
        sent.set_attribute(names.TRANSACTION_OUTCOME, transaction.outcome)
    elif transaction.id is not None:
        sent.set_attribute(names.TRANSACTIONAL_ID, transaction.id)
    sent.end(ended_ns)
