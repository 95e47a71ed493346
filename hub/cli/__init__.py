"""The command line: `hub serve | chat | tail | doctor`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from hub.cli.parser import build_parser
from hub.errors import HubError

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code: 0 fine, 1 failed, 2 wrong usage, 130 interrupted."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = import_module(options.module).run(options)
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
