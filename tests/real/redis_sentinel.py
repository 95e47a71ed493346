"""A master with a replica, and three sentinels that replace it, on loopback."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from tests.real.processes import ServerProcess, free_port
from tests.real.redis_server import RedisServer

__all__ = ("SentinelServers",)

SENTINELS = 3
SERVICE = "main"

_CONFIG = """port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {service} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 3000
"""


class SentinelServers:
    """Starts in some two seconds. Its methods block.

    Args:
        binary: One of `redis_binaries()`.
    """

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._stack = ExitStack()
        self._ports = [free_port() for _ in range(SENTINELS)]
        # A folder each: replication leaves a file, which another server would read at its start.
        folders = [self._stack.enter_context(TemporaryDirectory()) for _ in range(2)]
        self.master = RedisServer(binary, "--dir", folders[0], "--repl-diskless-sync-delay", "0")
        self.replica = RedisServer(binary, "--dir", folders[1], "--replicaof", "127.0.0.1", str(self.master.port))
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}/0"

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.master)
            self._stack.enter_context(self.replica)
            folder = Path(self._stack.enter_context(TemporaryDirectory()))
            for port in self._ports:
                path = folder / f"{port}.conf"
                path.write_text(
                    _CONFIG.format(port=port, folder=folder, service=SERVICE, master=self.master.port), encoding="utf-8"
                )
                sentinel = ServerProcess([self._binary, str(path), "--sentinel"], ready="+monitor master")
                sentinel.start()
                self._stack.callback(sentinel.stop)
            self._wait(self._is_complete)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.close()

    def fail_over(self) -> None:
        """The master is gone, and the replica has taken its place."""
        self.master.crash()
        self._wait(lambda state: int(state["port"]) == self.replica.port)

    def _is_complete(self, state: dict[str, Any]) -> bool:
        with Redis(port=self.replica.port) as replica:
            info: Any = replica.info("replication")
        return (int(state["num-other-sentinels"]), int(state["num-slaves"])) == (2, 1) and (
            info["master_link_status"] == "up"
        )

    def _wait(self, condition: Any) -> None:
        until = time.monotonic() + 30
        for port in self._ports:
            with Redis(port=port, decode_responses=True) as sentinel:
                while True:
                    try:
                        reply: Any = sentinel.execute_command("SENTINEL MASTER", SERVICE)
                        state = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
                        if condition(state):
                            break
                    except RedisError:
                        pass
                    if time.monotonic() > until:
                        raise RuntimeError("the sentinels did not agree")
                    time.sleep(0.05)
