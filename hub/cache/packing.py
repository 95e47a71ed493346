"""The bytes of an entry as a server keeps them: plain or compressed, with a mark that tells which."""

from __future__ import annotations

import zlib
from typing import Literal

from hub.cache.entry import CacheEntry, decode_entry, encode_entry
from hub.errors import CacheEntryError

__all__ = ("Compression", "pack", "unpack")

Compression = Literal["none", "zlib"]
"""How new entries are written. Those written otherwise stay readable."""

_PLAIN = b"\x00"
_ZLIB = b"\x01"
_LEVEL = 1
_MIN_BYTES = 512  # below, the answer's own header outweighs what is saved


def pack(entry: CacheEntry, compression: Compression = "none") -> bytes:
    """An entry's bytes behind their mark; compressed only where that makes them fewer."""
    data = encode_entry(entry)
    if compression == "zlib" and len(data) >= _MIN_BYTES:
        packed = zlib.compress(data, _LEVEL)
        if len(packed) < len(data):
            return _ZLIB + packed
    return _PLAIN + data


def unpack(data: bytes) -> CacheEntry:
    """The entry that was packed, whatever the compression.

    Raises:
        CacheEntryError: The bytes are damaged, cut short, or of no kind known here.
    """
    mark, body = data[:1], data[1:]
    if mark == _PLAIN:
        return decode_entry(body)
    if mark != _ZLIB:
        raise CacheEntryError("The entry begins with no mark of this project's.")
    try:
        return decode_entry(zlib.decompress(body))
    except zlib.error as exc:
        raise CacheEntryError("The entry's compressed bytes are damaged.") from exc
