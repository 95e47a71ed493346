"""`hub serve`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING

from hub.answerer import Answering, EndpointChoice
from hub.cli.event_loop import run as run_command
from hub.cli.running_hub import is_host
from hub.config import Settings
from hub.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("run",)

_SERVER_PACKAGES = ("starlette", "uvicorn", "httptools", "sse_starlette")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    try:
        import hub.server.serve
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.split(".")[0] in _SERVER_PACKAGES:
            raise MissingExtraError("`hub serve`", "server") from exc
        raise
    settings = _settings(options)
    choice = EndpointChoice(options.base_url, options.model, options.api_key_env)
    if options.until_eof:
        _end_with_parent()
    if settings.hub.workers > 1:
        return run_command(_serve_by_several(settings, choice, options))
    if options.fd is not None:
        listener = _inherited(options.fd)
        return run_command(hub.server.serve.serve(settings, choice, lambda *_: None, listener))
    return run_command(hub.server.serve.serve(settings, choice, _announce))


def _settings(options: argparse.Namespace) -> Settings:
    settings = Settings.load()
    names = ("host", "port", "store", "insecure", "generations", "workers")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.fd is not None:
        given["workers"] = 1
    settings = settings.model_copy(update={"hub": settings.hub.model_copy(update=given)})
    if not is_host(settings.hub.host):
        raise ConfigurationError(f"Can't listen on {settings.hub.host}: that is no host's name. Choose with --host.")
    return settings


async def _serve_by_several(settings: Settings, choice: EndpointChoice, options: argparse.Namespace) -> None:
    from hub.server.several import serve_by_several

    await serve_by_several(settings, choice, _announce, arguments=_as_arguments(options))


def _as_arguments(options: argparse.Namespace) -> Sequence[str]:
    """What each of several processes is told of the command line; the store, which may hold a password, it isn't."""
    arguments = ["serve"]
    for name in ("host", "generations", "base_url", "model", "api_key_env"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name.replace('_', '-')}", value]
    return [*arguments, *(["--insecure"] if options.insecure else []), *(["--verbose"] if options.verbose else [])]


def _inherited(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("it doesn't listen")
        listener.setblocking(False)
    except OSError as exc:
        raise ConfigurationError(f"--fd {fd} is no listening socket: {exc.strerror or exc}.") from None
    return listener


def _end_with_parent() -> None:
    """Take the end of standard input for the parent's, and drain as on SIGTERM."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True, name="the parent's life").start()


def _announce(address: str, answering: Answering) -> None:
    print(f"llm-stream-hub {version('llm-stream-hub')}  {address}\n{answering.notice}", flush=True)
