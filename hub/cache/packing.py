"""The bytes of an entry as a server keeps them: plain or compressed, with a mark that tells which."""

from __future__ import annotations

import zlib
from typing import Literal

from hub.cache.entry import CacheEntry, decode_entry, encode_entry
from hub.errors import CacheEntryError

__all__ = ("MAX_BYTES", "Compression", "is_large", "pack", "unpack")

Compression = Literal["none", "zlib"]
"""How new entries are written. Those written otherwise stay readable."""

MAX_BYTES = 128_000_000
"""What compressed bytes may unpack to. A kilobyte can unpack to a megabyte, and who can write there is not trusted."""

_PLAIN = b"\x00"
_ZLIB = b"\x01"
_LEVEL = 1
_MIN_BYTES = 512  # below, the answer's own header outweighs what is saved
_LARGE_BYTES = 200_000
_LARGE_ZLIB_BYTES = 16_000


def pack(entry: CacheEntry, compression: Compression = "none") -> bytes:
    """An entry's bytes behind their mark; compressed only where that makes them fewer."""
    data = encode_entry(entry)
    if compression == "zlib" and _MIN_BYTES <= len(data) <= MAX_BYTES:
        packed = zlib.compress(data, _LEVEL)
        if len(packed) < len(data):
            return _ZLIB + packed
    return _PLAIN + data


def is_large(data: bytes) -> bool:
    """Whether unpacking takes so long, some milliseconds, that it belongs in a thread."""
    return len(data) > (_LARGE_ZLIB_BYTES if data[:1] == _ZLIB else _LARGE_BYTES)


def unpack(data: bytes) -> CacheEntry:
    """The entry that was packed, whatever the compression.

    Raises:
        CacheEntryError: The bytes are damaged, cut short, of no kind known here, or unpack to more than `MAX_BYTES`.
    """
    mark, body = data[:1], data[1:]
    if mark == _PLAIN:
        return decode_entry(body)
    if mark != _ZLIB:
        raise CacheEntryError("The entry begins with no mark of this project's.")
    return decode_entry(_decompressed(body))


def _decompressed(body: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(body, MAX_BYTES)
    except zlib.error as exc:
        raise CacheEntryError("The entry's compressed bytes are damaged.") from exc
    if decompressor.unconsumed_tail:
        raise CacheEntryError(f"The entry's compressed bytes unpack to more than {MAX_BYTES} bytes.")
    if not decompressor.eof or decompressor.unused_data:
        raise CacheEntryError("The entry's compressed bytes are damaged.")
    return data
