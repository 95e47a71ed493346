"""Serves the scripted endpoint as a process: `python -m hub.testing --port N [--delay SECONDS]`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from hub.testing import EchoHandler, ScriptedEndpoint


async def serve(port: int, word_delay: float) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output says when it is ready, and where."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ScriptedEndpoint(handler=EchoHandler(word_delay), port=port, max_requests=1) as endpoint:
        sys.stdout.write(f"ready {endpoint.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with these arguments, or the process's own."""
    parser = argparse.ArgumentParser(
        prog="python -m hub.testing",
        description="An OpenAI-compatible endpoint on 127.0.0.1 that echoes; no language model is behind it.",
    )
    parser.add_argument("--port", type=int, default=0, help="0, the default, means any that is free")
    parser.add_argument("--delay", type=float, default=0.03, help="seconds before each word (default: 0.03)")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(serve(options.port, options.delay))
    except OSError as exc:
        parser.exit(1, f"Can't listen on port {options.port}: {exc.strerror}\n")


if __name__ == "__main__":
    main()
