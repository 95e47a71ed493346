"""Real servers of the Redis protocol that a test can kill and start again: one, with Sentinel, and a cluster."""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError, RedisError, TimeoutError  # noqa: A004 - redis-py's names

from tests.real.processes import ServerProcess

__all__ = ("Cluster", "OneServer", "Server", "Servers", "WithSentinel", "steady_port")

LOWEST_PORT, HIGHEST_PORT = 11_000, 19_999
"""Below those that outgoing connections get, so that nobody takes the port of a server that is down; a cluster's nodes
need the one 10,000 above, too."""

SLOTS = 16_384
MASTERS = 3


def steady_port() -> int:
    """A TCP port of loopback that stays free while its server is down."""
    while True:
        port = random.SystemRandom().randint(LOWEST_PORT, HIGHEST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class Servers(Protocol):
    """What keeps streams and jobs. All methods block.

    Attributes:
        url: As `HUB_STORE` has it.
        port: Where proxies lead; None where clients have to find the servers by themselves.
    """

    url: str
    port: int | None

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def client(self) -> Any:
        """A client of redis-py's, its caller's to close."""
        ...

    def mend(self) -> None:
        """Make them whole again."""
        ...


class Server(ServerProcess):
    """One server's process, on a port of its own, with a folder for its data.

    Args:
        binary: One of `redis_binaries()`.
        folder: Where its data are.
        options: More of its options.
    """

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.port = steady_port()
        self.folder = folder
        self.is_running = False
        folder.mkdir(parents=True)
        self.command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        super().__init__([*self.command, *options], ready="Ready to accept connections")

    def start(self) -> None:
        """It runs, and takes connections."""
        super().start()
        self.is_running = True

    def crash(self) -> None:
        """It is gone, without a good-bye."""
        self.is_running = False
        super().crash()

    def client(self) -> Any:
        """A client of it, which waits for no answer longer than 5 s."""
        return Redis(port=self.port, socket_timeout=5, socket_connect_timeout=5)


class OneServer:
    """One server that writes everything to its disk.

    Args:
        binary: One of `redis_binaries()`.
        folder: Where its data are.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        # Rewriting the file would make the loss of its last bytes something else.
        self.server = Server(binary, folder, "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
        self.port: int | None = self.server.port
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.server.stop()

    def client(self) -> Any:
        """A client of it."""
        return self.server.client()

    def mend(self) -> None:
        """It runs."""
        if not self.server.is_running:
            self.server.start()

    def sync(self, policy: str) -> None:
        """Write to the disk by this policy from now on: `everysec` or `always`."""
        with self.client() as client:
            client.config_set("appendfsync", policy)

    def restart(self, seconds: float, *, lost_bytes: int | None = 0) -> None:
        """Kill it, and start it again after so many seconds with what is on its disk.

        Args:
            seconds: How long it is away.
            lost_bytes: How much of what it wrote last is lost, as when the machine fails with it; None for all.
        """
        self.server.crash()
        time.sleep(seconds)
        disk = self.server.folder / "appendonlydir"
        if lost_bytes is None:
            shutil.rmtree(disk, ignore_errors=True)
        else:
            newest = max(disk.glob("*.incr.aof"), key=lambda file: file.stat().st_mtime)
            os.truncate(newest, max(0, newest.stat().st_size - lost_bytes))
        self.server.start()


class WithSentinel:
    """A master, a replica, and three sentinels.

    Args:
        binary: One of `redis_binaries()`.
        folder: Where their data are.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._stack = ExitStack()
        self.pair = [Server(binary, folder / name) for name in ("a", "b")]
        self._sentinels = [_Sentinel(binary, folder / f"s{number}", self.pair[0].port) for number in range(3)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        self.url = f"redis+sentinel://{hosts}/master/0"
        self.port: int | None = None

    def __enter__(self) -> Self:
        for server in self.pair:
            self._stack.callback(server.stop)
            server.start()
        with self.pair[1].client() as client:
            client.replicaof("127.0.0.1", self.pair[0].port)
        wait_until(lambda: self._has_replica(self.pair[0]))  # they look for replicas at once, then every 10 s
        for sentinel in self._sentinels:
            self._stack.callback(sentinel.stop)
            sentinel.start()
        self._wait_until_whole()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def client(self) -> Any:
        """A client of the master."""
        return self.master().client()

    def master(self) -> Server:
        """Which of the pair is the master, as a sentinel says."""
        with Redis(port=self._sentinels[0].port, socket_timeout=5, decode_responses=True) as sentinel:
            _, port = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "master")
        return next(server for server in self.pair if server.port == int(port))

    def mend(self) -> None:
        """Both are there, and one has all of the other."""
        for server in self.pair:
            if not server.is_running:
                server.start()
        self._wait_until_whole()

    def kill_master(self, lag: float = 0.0) -> None:
        """Kill the master, what it did in the last `lag` seconds included, and return once the other has its place."""
        dead = self.master()
        replica = next(server for server in self.pair if server is not dead)
        with replica.held_still():
            time.sleep(lag)
            dead.crash()
        wait_until(lambda: self.master() is not dead and self._role(self.master()) == b"master")

    def _wait_until_whole(self) -> None:
        """A master and a replica that has all of it, known to every sentinel."""
        wait_until(lambda: all(self._knows(sentinel) for sentinel in self._sentinels))
        wait_until(lambda: self._has_replica(self.master()))

    def _knows(self, sentinel: _Sentinel) -> bool:
        with Redis(port=sentinel.port, socket_timeout=5, decode_responses=True) as client:
            found = client.execute_command("SENTINEL", "MASTER", "master")
            flags = dict(zip(found[::2], found[1::2], strict=True)) if isinstance(found, list) else found
            return int(flags["num-other-sentinels"]) == 2 and int(flags["num-slaves"]) == 1

    def _role(self, server: Server) -> bytes:
        with server.client() as client:
            return bytes(client.execute_command("ROLE")[0])

    def _has_replica(self, server: Server) -> bool:
        with server.client() as client:
            info = client.info("replication")
        replica = info.get("slave0", {})
        return bool(info["role"] == "master" and isinstance(replica, dict) and replica.get("state") == "online")


class _Sentinel(ServerProcess):
    def __init__(self, binary: str, folder: Path, master_port: int) -> None:
        self.port = steady_port()
        folder.mkdir(parents=True)
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor master 127.0.0.1 {master_port} 2\n"
            "sentinel down-after-milliseconds master 1000\nsentinel failover-timeout master 3000\n"
        )
        super().__init__([binary, str(configuration), "--sentinel"], ready="+monitor")


class Cluster:
    """Three masters that share the slots, and a replica of each.

    Args:
        binary: One of `redis_binaries()`.
        folder: Where their data are.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._stack = ExitStack()
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1500",
            "--cluster-replica-validity-factor",
            "0",
        )
        self.nodes = [Server(binary, folder / str(number), *options) for number in range(2 * MASTERS)]
        self.url = f"redis+cluster://127.0.0.1:{self.nodes[0].port}"
        self.port: int | None = None

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
            self._stack.callback(node.stop)
        share = -(-SLOTS // MASTERS)
        for index, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
                if index < MASTERS:
                    last = min((index + 1) * share, SLOTS) - 1
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", index * share, last)
                if index:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes))
        for index, node in enumerate(self.nodes[MASTERS:]):
            with self.nodes[index].client() as master, node.client() as client:
                name = master.execute_command("CLUSTER", "MYID")
                wait_until(lambda client=client, name=name: client.execute_command("CLUSTER", "REPLICATE", name))  # type: ignore[misc]
        self._wait_until_whole()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def mend(self) -> None:
        """All are there, and each master has a replica."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        self._wait_until_whole()

    def client(self) -> Any:
        """A client of the whole."""
        running = [ClusterNode("127.0.0.1", node.port) for node in self.nodes if node.is_running]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=running, socket_timeout=5)

    def masters(self) -> list[Server]:
        """Those that have slots now."""
        return [node for node in self.nodes if self._role(node)[0] == b"master"]

    def replace(self, dead: Server) -> None:
        """Kill a master, and return once a replica has its place."""
        dead.crash()
        rest = [node for node in self.nodes if node is not dead]
        wait_until(lambda: sum(self._role(node)[0] == b"master" for node in rest) == MASTERS)

    def _wait_until_whole(self) -> None:
        """Three masters, each with a replica that has all of it."""
        wait_until(lambda: len(self.masters()) == MASTERS and all(map(self._is_whole, self.nodes)))

    def _is_whole(self, node: Server) -> bool:
        role = self._role(node)
        linked = len(role[2]) == 1 if role[0] == b"master" else role[3] == b"connected"
        return linked and "cluster_state:ok" in self._info(node)

    def _knows_all(self, node: Server) -> bool:
        info = self._info(node)
        return f"cluster_known_nodes:{2 * MASTERS}" in info and "cluster_state:ok" in info

    def _info(self, node: Server) -> str:
        with node.client() as client:
            found = client.execute_command("CLUSTER", "INFO")
        if isinstance(found, dict):
            return "\n".join(f"{name}:{value}" for name, value in found.items())
        return bytes(found).decode()

    def _role(self, node: Server) -> Any:
        with node.client() as client:
            return client.execute_command("ROLE")


def wait_until(condition: Callable[[], Any], *, timeout: float = 40.0) -> None:
    """Return once a condition of servers holds; what they refuse until then doesn't matter.

    Raises:
        TimeoutError: It did not hold within so many seconds.
    """
    until = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
        except (RedisError, ConnectionError, TimeoutError, OSError):
            pass
        if time.monotonic() > until:
            raise RuntimeError("the servers did not come together in time")
        time.sleep(0.05)
