"""A client for a server of one's own, configured from `LLM_*` alone."""

from __future__ import annotations

from typing import Any

from hub.client import OpenAIClient
from hub.config import Settings
from hub.models.profile import ModelProfile
from hub.upstream.address import NO_KEY

__all__ = ("LLMClient",)

LLM_BASE_URL = "http://localhost:8000/v1"
LLM_MODEL = "google/gemma-3-27b-it"
LLM_MAX_TOKENS = 256
LLM_TEMPERATURE = 0.7


class LLMClient(OpenAIClient):
    """A client configured from `LLM_*` alone, for a server of one's own such as vLLM.

    With nothing set: `http://localhost:8000/v1`, key `EMPTY`, `google/gemma-3-27b-it`, 256 tokens, temperature 0.7.
    """

    def __init__(
        self,
        model: str | ModelProfile | type[ModelProfile] | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        settings = settings or Settings.load()
        llm = settings.llm
        super().__init__(
            _first(model, llm.model, LLM_MODEL),
            base_url=_first(base_url, llm.base_url, LLM_BASE_URL),
            api_key=_first(api_key, llm.api_key.get_secret_value() if llm.api_key else None, NO_KEY),
            max_tokens=_first(max_tokens, llm.max_tokens, LLM_MAX_TOKENS),
            temperature=_first(temperature, llm.temperature, LLM_TEMPERATURE),
            settings=settings,
            **options,
        )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
