"""Bounded gunzip: a small body that unfolds to gigabytes, or to thousands of streams, costs no more than the limits."""

import zlib
from typing import Final

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 1024 * 1024
# The decompressor copies what it leaves of its input at every step and member: it gets little at a time.
_SLICE_BYTES: Final = 64 * 1024
# A sender writes one member, a parallel compressor one for each block. Each costs a decompressor, however small it is.
MOST_MEMBERS: Final = 1024


class TooLarge(Exception):
    """The body is larger than the limit once it is unfolded."""


class NotGzip(Exception):
    """The bytes are no whole gzip stream, or one of absurdly many members."""


def gunzip(data: bytes, max_bytes: int) -> bytes:
    """Return what is in a gzip stream of one or more members (RFC 1952); zero bytes may pad its end.

    Raises TooLarge once more than `max_bytes` come out, NotGzip for anything else: truncated, damaged, trailing bytes,
    more than `MOST_MEMBERS` members.
    """
    unfolded = bytearray()
    begin = 0
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            given = data[begin : begin + _SLICE_BYTES]
            try:
                piece = member.decompress(given, min(_STEP_BYTES, max_bytes - len(unfolded) + 1))
            except zlib.error as error:
                raise NotGzip(f"the body is not valid gzip: {error}") from error
            unfolded += piece
            if len(unfolded) > max_bytes:
                raise TooLarge(f"the body is larger than {max_bytes} bytes after decompression")
            begin += len(given) - len(member.unused_data if member.eof else member.unconsumed_tail)
            if not piece and not given and not member.eof:
                raise NotGzip("the gzip body is truncated")
        if data[begin : begin + 1] in {b"", b"\0"}:
            if data[begin:].strip(b"\0"):
                raise NotGzip("bytes follow the gzip body")
            return bytes(unfolded)
    raise NotGzip(f"the gzip body has more than {MOST_MEMBERS} members")
