"""A real cluster on loopback: three masters without replicas."""

from __future__ import annotations

import time
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from redis import Redis

from tests.real.processes import free_port
from tests.real.redis_server import RedisServer

__all__ = ("ClusterServer",)

NODES = 3
SLOTS = 16_384
SHARE = -(-SLOTS // NODES)


class ClusterServer:
    """Three nodes that share the slots; takes some two seconds to start. Its methods block.

    Args:
        binary: One of `redis_binaries()`.
    """

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._stack = ExitStack()
        self.nodes: list[RedisServer] = []
        self.url = ""
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(NODES):
                folder = self._stack.enter_context(TemporaryDirectory())
                # By default the nodes' own port is 10,000 higher, which may be none.
                self._ports.append(free_port())
                options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--dir", folder)
                options += ("--cluster-port", str(self._ports[-1]))
                self.nodes.append(self._stack.enter_context(RedisServer(self._binary, *options)))
            self._join()
        except BaseException:
            self._stack.close()
            raise
        self.url = f"redis+cluster://127.0.0.1:{self.nodes[0].port}"
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.close()

    def clients(self) -> list[Any]:
        """A client of each node."""
        return [self._stack.enter_context(Redis(port=node.port)) for node in self.nodes]

    @staticmethod
    def node_of(slot: int) -> int:
        """The number of the node that got the slot at the start."""
        return slot // SHARE

    def _join(self) -> None:
        clients = self.clients()
        for index, client in enumerate(clients):
            last = min((index + 1) * SHARE, SLOTS) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", index * SHARE, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node, port in zip(self.nodes[1:], self._ports[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, port)
        until = time.monotonic() + 20
        while not all(self._is_whole(client) for client in clients):
            if time.monotonic() > until:
                raise RuntimeError("the cluster did not come together")
            time.sleep(0.02)

    @staticmethod
    def _is_whole(client: Any) -> bool:
        info = client.execute_command("CLUSTER", "INFO").decode()
        return f"cluster_known_nodes:{NODES}\r\n" in info and "cluster_state:ok" in info
