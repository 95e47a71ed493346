"""`hub serve`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.metadata import version
from typing import Any

from hub.answerer import Answering, EndpointChoice
from hub.cli.options import add_endpoint_options, positive_port
from hub.config import Settings
from hub.errors import MissingExtraError

__all__ = ("add_parser",)


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="serve streams over HTTP, and the page",
        description="Serve streams over HTTP and SSE, and the chat page at /. With no endpoint configured, a small "
        "model on this machine answers.",
    )
    parser.add_argument("--host", help="address to listen on (HUB_HOST; default 127.0.0.1)")
    parser.add_argument(
        "--port", type=positive_port, help="port to listen on, 0 for a free one (HUB_PORT or PORT; default 8080)"
    )
    add_endpoint_options(parser)
    parser.add_argument("--store", metavar="URL", help="where streams are kept: memory (HUB_STORE; default memory)")
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="listen on an address others can reach without asking for keys (HUB_INSECURE=1)",
    )
    parser.set_defaults(run=run)


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
