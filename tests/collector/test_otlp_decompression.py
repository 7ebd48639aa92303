"""What a sender folded comes out as it was, and what is no honest stream costs no more than the limits."""

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.collector.receivers.decompression import MOST_MEMBERS, NotGzip, NotZstd, TooLarge, gunzip, unzstd, zstd

SKIPPABLE = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"  # RFC 8878, 3.1.2


@given(st.binary(max_size=2000), st.integers(1, 4))
def test_gzip_in_one_or_more_members_is_unfolded(data: bytes, members: int) -> None:
    step = len(data) // members + 1
    folded = b"".join(gzip.compress(data[start : start + step]) for start in range(0, len(data) + 1, step))
    assert gunzip(folded + b"\0\0", 2000) == data


@given(st.binary(max_size=2000), st.integers(1, 4))
def test_zstd_in_one_or_more_frames_is_unfolded_and_what_may_be_skipped_is(data: bytes, frames: int) -> None:
    step = len(data) // frames + 1
    folded = SKIPPABLE.join(zstd.compress(data[start : start + step]) for start in range(0, len(data) + 1, step))
    assert unzstd(SKIPPABLE + folded + SKIPPABLE, 2000) == data


def test_a_gzip_bomb_costs_no_more_than_the_limit() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    folded = bomb.compress(b"\0" * 50_000_000) + bomb.flush()
    with pytest.raises(TooLarge):
        gunzip(folded, 1000)


def test_a_zstd_bomb_costs_no_more_than_the_limit() -> None:
    with pytest.raises(TooLarge):
        unzstd(zstd.compress(b"\0" * 50_000_000), 1000)


def test_a_gzip_stream_of_very_many_members_is_refused_before_they_are_all_unfolded() -> None:
    member = gzip.compress(b"x")
    assert gunzip(member * MOST_MEMBERS, 10**6) == b"x" * MOST_MEMBERS
    with pytest.raises(NotGzip, match="members"):
        gunzip(member * 50_000, 10**6)


def test_a_zstd_stream_of_very_many_frames_is_refused_before_they_are_all_unfolded() -> None:
    frame = zstd.compress(b"x")
    assert unzstd(frame * MOST_MEMBERS, 10**6) == b"x" * MOST_MEMBERS
    with pytest.raises(NotZstd, match="frames"):
        unzstd(frame * 50_000, 10**6)


def test_a_zstd_frame_may_not_ask_for_more_memory_than_senders_are_allowed() -> None:
    def folded(window_log: int) -> bytes:
        compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
        return compressor.compress(b"x") + compressor.flush()

    assert unzstd(folded(23), 10) == b"x"
    with pytest.raises(NotZstd, match="memory"):
        unzstd(folded(27), 10)


def test_a_large_gzip_member_is_unfolded_whole_however_it_is_cut() -> None:
    data = random.Random(7).randbytes(300_000) + b"\0" * 3_000_000
    assert gunzip(gzip.compress(data) + gzip.compress(b"end") + b"\0" * 100_000, len(data) + 3) == data + b"end"


def test_a_large_zstd_frame_is_unfolded_whole_however_it_is_cut() -> None:
    data = random.Random(7).randbytes(300_000) + b"\0" * 3_000_000
    assert unzstd(zstd.compress(data) + zstd.compress(b"end"), len(data) + 3) == data + b"end"


@given(st.binary(max_size=200))
def test_random_bytes_are_not_gzip(data: bytes) -> None:
    with pytest.raises((NotGzip, TooLarge)):
        gunzip(b"\x1f\x8b" + data, 1000)


@given(st.binary(max_size=200))
def test_random_bytes_are_not_zstd(data: bytes) -> None:
    with pytest.raises((NotZstd, TooLarge)):
        unzstd(b"\x28\xb5\x2f\xfd" + data + b"\xff", 10)
