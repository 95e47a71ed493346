"""Lua scripts, and commands as the bytes that go over the wire."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ("Script", "pack", "pack_arguments")


def pack_arguments(*arguments: bytes) -> bytes:
    """The arguments of a command as RESP has them, to follow those that were packed before."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(each), each) for each in arguments])


def pack(*arguments: bytes) -> bytes:
    """One command in RESP."""
    return b"*%d\r\n%b" % (len(arguments), pack_arguments(*arguments))


class Script:
    """One script and how it is called.

    Args:
        path: Its source.
        keys: How many keys it takes.
        arguments: How many arguments it takes.

    Attributes:
        load: The command by which a server learns it.
    """

    def __init__(self, path: Path, *, keys: int, arguments: int) -> None:
        source = path.read_bytes()
        self.load = pack(b"SCRIPT", b"LOAD", source)
        self._keys = keys
        self._arguments = arguments
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        self._begin = b"*%d\r\n" % (3 + keys + arguments) + pack_arguments(b"EVALSHA", sha, b"%d" % keys)

    def head(self, *keys: bytes) -> bytes:
        """The beginning of a call with these keys; its arguments, packed, are to follow."""
        if len(keys) != self._keys:
            raise ValueError(f"The script takes {self._keys} keys.")
        return self._begin + pack_arguments(*keys)

    def call(self, keys: tuple[bytes, ...], *arguments: bytes) -> bytes:
        """A whole call."""
        if len(arguments) != self._arguments:
            raise ValueError(f"The script takes {self._arguments} arguments.")
        return self.head(*keys) + pack_arguments(*arguments)
