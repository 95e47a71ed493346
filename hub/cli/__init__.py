"""The command line: `hub serve | work | jobs | chat | batch | cache | tail | doctor`."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from hub.cli.notices import log_to_standard_error
from hub.cli.parser import build_parser
from hub.errors import HubError

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code: 0 fine, 1 failed, 2 wrong usage, 130 interrupted."""
    _prepare_standard_streams()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here a failure can still be told; at the interpreter's exit it can't
    except HubError as exc:
        print(f"hub: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()  # whoever read our output has left
        return 0
    except OSError as exc:
        # Connections' failures come as errors of ours, so this is the output: a full disk, a terminal that is gone.
        with suppress(OSError):
            print(f"hub: The output can't be written: {exc.strerror or exc}.", file=sys.stderr)
        _drop_output()
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    if getattr(options, "verbose", False):
        log_to_standard_error(logging.INFO)
    code: int = import_module(options.module).run(options)
    return code


def _prepare_standard_streams() -> None:
    """Make every standard stream usable, whatever the process was started with."""
    # Python has None for a stream that is closed, and a socket would get its number: that one goes to /dev/null.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - lives as long as the process
    # An answer may hold what the terminal's encoding doesn't: a question mark is better than no answer.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _drop_output() -> None:
    """Send what is still buffered nowhere, or the interpreter fails over it again at exit."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
