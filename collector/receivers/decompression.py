"""Bounded decompression: a small body that unfolds to gigabytes, or to thousands of streams, costs no more than the
limits."""

import sys
import zlib
from collections.abc import Callable
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 1024 * 1024
# The decompressor copies what it leaves of its input at every step and member: it gets little at a time.
_SLICE_BYTES: Final = 64 * 1024
# A sender writes one member, a parallel compressor one for each block. Each costs a decompressor, however small it is.
MOST_MEMBERS: Final = 1024
# A frame says how much memory it takes to unfold it; no sender may ask for more than 8 MiB (RFC 9659).
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}


class TooLarge(Exception):
    """The body is larger than the limit once it is unfolded."""


class Damaged(Exception):
    """The bytes are not what their encoding says."""


class NotGzip(Damaged):
    """The bytes are no whole gzip stream, or one of absurdly many members."""


class NotZstd(Damaged):
    """The bytes are no whole zstd stream, or one of absurdly many frames, or of one that takes too much memory."""


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
            _grow(unfolded, piece, max_bytes)
            begin += len(given) - len(member.unused_data if member.eof else member.unconsumed_tail)
            if not piece and not given and not member.eof:
                raise NotGzip("the gzip body is truncated")
        if data[begin : begin + 1] in {b"", b"\0"}:
            if data[begin:].strip(b"\0"):
                raise NotGzip("bytes follow the gzip body")
            return bytes(unfolded)
    raise NotGzip(f"the gzip body has more than {MOST_MEMBERS} members")


def unzstd(data: bytes, max_bytes: int) -> bytes:
    """Return what is in a zstd stream of one or more frames (RFC 8878); skippable frames hold nothing.

    Raises TooLarge once more than `max_bytes` come out, NotZstd for anything else: truncated, damaged, trailing bytes,
    a dictionary, more than `MOST_MEMBERS` frames, a window of more than 8 MiB.
    """
    unfolded = bytearray()
    begin = 0
    for _ in range(MOST_MEMBERS):
        frame = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
        while not frame.eof:
            given = data[begin : begin + _SLICE_BYTES] if frame.needs_input else b""
            if frame.needs_input and not given:
                raise NotZstd("the zstd body is truncated")
            try:
                piece = frame.decompress(given, min(_STEP_BYTES, max_bytes - len(unfolded) + 1))
            except zstd.ZstdError as error:
                raise NotZstd(f"the body is not valid zstd: {error}") from error
            _grow(unfolded, piece, max_bytes)
            begin += len(given)
        begin -= len(frame.unused_data)
        if begin == len(data):
            return bytes(unfolded)
    raise NotZstd(f"the zstd body has more than {MOST_MEMBERS} frames")


def _grow(unfolded: bytearray, piece: bytes, max_bytes: int) -> None:
    unfolded += piece
    if len(unfolded) > max_bytes:
        raise TooLarge(f"the body is larger than {max_bytes} bytes after decompression")


# By the name that Content-Encoding has for it; the best first, which is the order in which senders are told them.
UNFOLDED_BY: Final[dict[str, Callable[[bytes, int], bytes]]] = {"zstd": unzstd, "gzip": gunzip}
