"""Record once, replay ever after: an HTTP client for tests against real endpoints."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import httpx2

from hub.errors import ConfigurationError
from hub.testing.recording import RecordingTransport
from hub.testing.replay import Pacing, ReplayTransport
from hub.upstream.transport import check_redirect

__all__ = ("Mode", "recorded")

Mode: TypeAlias = Literal["auto", "replay", "record"]


@asynccontextmanager
async def recorded(
    path: str | Path,
    *,
    mode: Mode = "auto",
    pacing: Pacing = "none",
    inner: httpx2.AsyncBaseTransport | None = None,
    secrets: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client for `http_client=` that replays a recording, or makes it.

    The file is written at the end of the block, and only where no exception leaves it: what a test recorded that
    failed is thrown away.

    Args:
        path: The recording.
        mode: `auto` replays the file where there is one; where there is none, it records, but never in CI (where the
            environment variable `CI` is set). `replay` never records, `record` always does.
        pacing: As in `ReplayTransport`.
        inner: What sends while recording; by default the client's own transport.
        secrets: As in `RecordingTransport`.
        environ: Where `CI` is looked up.

    Raises:
        ConfigurationError: There is nothing to replay, or the file is no recording.
    """
    transport = _transport(Path(path), mode, pacing, inner, tuple(secrets), environ)
    async with _client(transport) as client:
        try:
            yield client
        except BaseException:
            if isinstance(transport, RecordingTransport):
                transport.discard()
            raise


def _transport(
    path: Path,
    mode: Mode,
    pacing: Pacing,
    inner: httpx2.AsyncBaseTransport | None,
    secrets: tuple[str, ...],
    environ: Mapping[str, str],
) -> RecordingTransport | ReplayTransport:
    is_there = path.exists()
    may_record = mode == "record" or (mode == "auto" and not _is_ci(environ))
    if mode != "record" and is_there:
        return ReplayTransport(path, pacing=pacing, secrets=secrets)
    if may_record:
        return RecordingTransport(path, inner, secrets=secrets)
    raise ConfigurationError(
        f"There is no recording at {path}, and none is made {'in CI' if mode == 'auto' else 'in this mode'}: "
        "run the test where the endpoint can be reached, with mode='record', and commit the file."
    )


def _client(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """As the client's own: redirects are followed where they stay at the endpoint's host."""
    return httpx2.AsyncClient(transport=transport, follow_redirects=True, event_hooks={"request": [check_redirect]})


def _is_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")
