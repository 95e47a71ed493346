"""`hub cache` as a process of its own, with no terminal anywhere."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

__all__ = ("environment", "hub_cache")

OURS = ("LLM_", "OPENAI_", "HUB_", "CACHE_", "PG_", "REDIS_", "QDRANT_")


def environment(**variables: str) -> dict[str, str]:
    """Ours without whatever configures a cache here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "HUB_NO_DOTENV": "1", **variables}


async def hub_cache(*arguments: str, cwd: Path | None = None, **variables: str) -> tuple[int, str, str]:
    """The exit code, and what came to standard output and error; no traceback did."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub", "cache", *arguments),
        env=environment(**variables),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()
