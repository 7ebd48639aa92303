"""What may come in, whatever the wire: who may send, how much, and what of it is kept.

    receiver ──bytes, encodings, who sent them──▶ Admission.admit ──▶ Admitted, for the journal
                                                                └──▶ Refusal, which each wire says in its own way

answers.py     Peer, Admitted, Refusal: what goes in and comes out
admission.py   the steps in their order
tokens.py      who may send, by the tokens of a file
redaction.py   what of a request must not be kept
limits.py      how much a request may hold
rates.py       how much each sender may send in a time
memory.py      how much memory bodies may hold that are under way
tls.py         certificates of every server, taken up anew when their files change
"""

from .admission import Admission
from .answers import (
    INVALID_ARGUMENT,
    JSON,
    PROTOBUF,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    Admitted,
    Peer,
    Refusal,
    too_large,
)

__all__ = [
    "INVALID_ARGUMENT",
    "JSON",
    "PROTOBUF",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "Admission",
    "Admitted",
    "Peer",
    "Refusal",
    "too_large",
]
