"""Installs the peers into this environment: `python -m bench.peers`; what doesn't install takes no part.

Each comes by itself, and none may change a version that is here already: a peer that pins an old SDK would have
everybody else measured with it. Where the newest version of a peer wants that, pip takes an older one that doesn't.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ("main",)

PEERS = ("litellm", "diskcache", "langchain-openai", "pydantic-ai-slim[openai]", "openai-agents", "pusher")
"""`diskcache` is for LiteLLM's cache on disk; versions that have none any more don't use it."""

OURSELVES = "llm-stream-hub"

INSTALL_SECONDS = 300.0
"""For one peer; a resolver without an answer goes on for hours."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Install every peer; arguments are further options of `pip install`, such as `--dry-run`."""
    options = sys.argv[1:] if arguments is None else arguments
    with TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        for peer in PEERS:
            constraints.write_text("\n".join(_installed()))
            print(f"Installing {peer}", flush=True)
            if reason := _install(peer, constraints, options):
                print(f"{peer} doesn't install ({reason}) and takes no part.", file=sys.stderr, flush=True)


def _installed() -> Iterator[str]:
    for found in distributions():
        if found.name and found.name != OURSELVES:
            yield f"{found.name}=={found.version}"


def _install(peer: str, constraints: Path, options: Sequence[str]) -> str:
    """Why it could not be; empty where it is there now."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    try:
        done = subprocess.run(
            [*command, "--prefer-binary", "--constraint", str(constraints), *options, peer],
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {INSTALL_SECONDS:.0f} s"
    return f"pip ended with status {done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    main()
