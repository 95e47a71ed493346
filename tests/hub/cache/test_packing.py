"""An entry's bytes as servers keep them."""

from __future__ import annotations

import zlib
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.cache.entry import encode_entry
from hub.cache.packing import MAX_BYTES, Compression, is_large, pack, unpack
from hub.errors import CacheEntryError
from tests.real.cache_support import an_entry

LONG = an_entry("long", *["The same words again. "] * 200)


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_what_was_packed_is_unpacked_unchanged(compression: Compression) -> None:
    assert unpack(pack(LONG, compression)) == LONG


def test_a_long_answer_takes_a_tenth_compressed() -> None:
    assert len(pack(LONG, "zlib")) < len(pack(LONG)) / 10


def test_the_bytes_are_those_of_releases_before() -> None:
    assert pack(LONG) == b"\x00" + encode_entry(LONG)
    assert unpack(b"\x01" + zlib.compress(encode_entry(LONG), 9)) == LONG


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01", b"\x01\x78\x9c", b"\x02abc", b"{}", b"\x00{}"])
def test_what_was_never_packed_is_told_apart(data: bytes) -> None:
    with pytest.raises(CacheEntryError):
        unpack(data)


@given(st.sampled_from(["none", "zlib"]), st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(compression: Compression, position: int, change: int) -> None:
    entry = an_entry("short", "Hello " * 100)
    data = bytearray(pack(entry, compression))
    data[position % len(data)] ^= change
    with suppress(CacheEntryError):
        assert unpack(bytes(data)) == entry


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_an_entry_cut_short_anywhere_is_damaged(compression: Compression) -> None:
    data = pack(an_entry("short", "Hello " * 100), compression)
    for end in range(len(data)):
        with pytest.raises(CacheEntryError):
            unpack(data[:end])


def test_what_unpacks_to_too_much_is_no_entry_and_takes_no_more_memory_than_the_limit() -> None:
    bomb = b"\x01" + zlib.compress(bytes(2 * MAX_BYTES), 9)
    assert len(bomb) < 1_000_000
    with pytest.raises(CacheEntryError, match="more than"):
        unpack(bomb)
    assert is_large(bomb)


def test_what_is_behind_the_compressed_bytes_is_damage() -> None:
    with pytest.raises(CacheEntryError, match="damaged"):
        unpack(pack(LONG, "zlib") + b"more")


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_only_what_takes_long_to_unpack_is_large(compression: Compression) -> None:
    assert not is_large(pack(LONG, compression))
    random = Random(1)
    assert is_large(pack(an_entry("large", *[random.randbytes(50).hex() for _ in range(3_000)]), compression))
