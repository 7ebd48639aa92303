"""Tokens that senders, or those who ask the API, show as `Authorization: Bearer …` (RFC 6750).

They stand in a file, one a line: a name, blanks, the token. `#` begins a comment.

    # name       token
    checkout     6f1c0b7e…
    payments     91ab3e20…
    payments     77d2c4f8…     the next one: a name may have several, so that a token is changed without a gap

The file is read again when it changes. One that cannot be read then leaves the tokens as they were: a slip in it locks
nobody out, and lets nobody in.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

# A token that can be guessed is none.
SHORTEST_TOKEN: Final = 16
LOOK_AGAIN_S: Final = 1.0


class BadTokens(Exception):
    """The file of tokens cannot be read, or a line of it is wrong; the message says which, and shows no token."""


class Tokens:
    """Knows who has which token. Raises BadTokens when the file is wrong at the start. Safe to use from any thread."""

    def __init__(self, path: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock_s = clock_s
        self._seen = stamp_of(path)
        self._names = read_tokens(path)
        self._look_at_s = clock_s() + LOOK_AGAIN_S

    def name_of(self, authorization: str) -> str | None:
        """Return whose token an `Authorization` shows; None for another scheme, or a token that nobody has.

        Takes as long whichever token it is, and for one that is almost right as for one that is all wrong.
        """
        if self._clock_s() >= self._look_at_s:
            self._look()
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        shown = _digest(token.strip())
        found = None
        for digest, name in self._names:
            if hmac.compare_digest(shown, digest):
                found = name
        return found

    def _look(self) -> None:
        """Read the file again if it is another one by now."""
        self._look_at_s = self._clock_s() + LOOK_AGAIN_S
        stamp = stamp_of(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp  # said once, also of a file that is wrong
        try:
            self._names = read_tokens(self._path)
            log.info("read the tokens of %s again", self._path)
        except BadTokens as error:
            log.error("%s; the tokens stay as they were", error)


def read_tokens(path: Path) -> list[tuple[bytes, str]]:
    """Return the digest and name of each token of a file. Raises BadTokens, also for a file without any."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTokens(f"the tokens of {path} cannot be read: {error}") from error
    found: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise BadTokens(f"line {number} of {path} is no name and token")
        name, token = words
        if len(token) < SHORTEST_TOKEN:
            raise BadTokens(f"the token in line {number} of {path} is shorter than {SHORTEST_TOKEN} characters")
        if found.setdefault(_digest(token), name) != name:
            raise BadTokens(f"the token in line {number} of {path} is another name's too")
    if not found:
        raise BadTokens(f"{path} has no tokens: nobody could get in")
    return list(found.items())


def _digest(token: str) -> bytes:
    # Digests have one length: comparing them tells nothing of a token's.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written, or another put in its place; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
