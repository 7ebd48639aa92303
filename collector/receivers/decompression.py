"""Bounded gunzip: a small body that unfolds to gigabytes costs no more than the limit."""

import zlib
from typing import Final

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 1024 * 1024


class TooLarge(Exception):
    """The body is larger than the limit once it is unfolded."""


class NotGzip(Exception):
    """The bytes are no whole gzip stream."""


def gunzip(data: bytes, max_bytes: int) -> bytes:
    """Return what is in a gzip stream of one or more members (RFC 1952); zero bytes may pad its end.

    Raises TooLarge once more than `max_bytes` come out, NotGzip for anything else: truncated, damaged, trailing bytes.
    """
    unfolded = bytearray()
    rest = data
    while True:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            try:
                piece = member.decompress(rest, min(_STEP_BYTES, max_bytes - len(unfolded) + 1))
            except zlib.error as error:
                raise NotGzip(f"the body is not valid gzip: {error}") from error
            unfolded += piece
            if len(unfolded) > max_bytes:
                raise TooLarge(f"the body is larger than {max_bytes} bytes after decompression")
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise NotGzip("the gzip body is truncated")
        rest = member.unused_data
        if not rest.strip(b"\0"):
            return bytes(unfolded)
