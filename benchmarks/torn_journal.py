"""What a power cut leaves of a journal's last write: everything that was synchronised, and anything after it.

SQLite's write-ahead log is a header of 32 bytes, then frames: 24 bytes and a page each (https://sqlite.org/fileformat2.html,
section 4). A commit is the frame that tells the size of the database; until the next one, nothing was promised.
"""

import random
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
_MOST_NOISE_BYTES: Final = 200_000


def last_commit(log: bytes) -> int:
    """Return where the last whole commit of a write-ahead log ends; 0 for a log without a header."""
    if len(log) < HEADER_BYTES:
        return 0
    page_bytes = int.from_bytes(log[8:12], "big")
    salts = log[16:24]
    committed = at = HEADER_BYTES
    while at + FRAME_HEADER_BYTES + page_bytes <= len(log) and log[at + 8 : at + 16] == salts:
        is_commit = any(log[at + 4 : at + 8])
        at += FRAME_HEADER_BYTES + page_bytes
        if is_commit:
            committed = at
    return committed


def tear(log_file: Path, randomness: random.Random) -> int:
    """Cut what follows the last commit of a log and put noise there; return the noise's bytes.

    No log, or an empty one, is left alone: 0.
    """
    log = log_file.read_bytes() if log_file.exists() else b""
    committed = last_commit(log)
    if not committed:
        return 0
    # A frame that has a good beginning and no good end, then whatever lay on the disk.
    page_bytes = int.from_bytes(log[8:12], "big")
    frame = bytes(4) + randomness.randbytes(4) + log[16:24] + randomness.randbytes(8 + page_bytes)
    noise = (frame + randomness.randbytes(_MOST_NOISE_BYTES))[: randomness.randrange(1, _MOST_NOISE_BYTES)]
    with log_file.open("r+b") as opened:
        opened.truncate(committed)
        opened.seek(committed)
        opened.write(noise)
    return len(noise)
