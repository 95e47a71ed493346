"""`hub serve`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.metadata import version
from typing import Any

from hub.answerer import Answering, EndpointChoice
from hub.cli.running_hub import is_host
from hub.config import Settings
from hub.errors import ConfigurationError, MissingExtraError

__all__ = ("run",)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    try:
        from hub.server.serve import serve
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.split(".")[0] in ("starlette", "uvicorn", "httptools", "sse_starlette"):
            raise MissingExtraError("`hub serve`", "server") from exc
        raise
    settings = Settings.load()
    given = {name: getattr(options, name) for name in ("host", "port", "store", "insecure")}
    given = {name: value for name, value in given.items() if value is not None}
    settings = settings.model_copy(update={"hub": settings.hub.model_copy(update=given)})
    if not is_host(settings.hub.host):
        raise ConfigurationError(f"Can't listen on {settings.hub.host}: that is no host's name. Choose with --host.")
    choice = EndpointChoice(options.base_url, options.model, options.api_key_env)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, choice, _announce))
    return 0


def _announce(address: str, answering: Answering) -> None:
    print(f"llm-stream-hub {version('llm-stream-hub')}  {address}\n{answering.notice}", flush=True)


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
