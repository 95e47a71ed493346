"""The command line: `hub serve | chat | tail | doctor`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from hub.cli import chat, doctor, serve, tail
from hub.errors import HubError

__all__ = ("main",)

_EPILOG = """\
Settings come from the environment and from a .env file nearby; options win over both.
OPENAI_API_KEY alone is enough for OpenAI; LLM_BASE_URL and LLM_MODEL name any other endpoint.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code: 0 fine, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="hub",
        description="Stream LLM output to people, and let them come back to it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llm-stream-hub {version('llm-stream-hub')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, chat, tail, doctor):
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except HubError as exc:
        print(f"hub: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; what is still buffered has nowhere to go.
        sys.stderr.close()
        return 0
    return code
