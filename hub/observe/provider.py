"""Who serves an endpoint, told from its address, by the names that OpenTelemetry's conventions give."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ("UNKNOWN_PROVIDER", "Server", "find_server")

UNKNOWN_PROVIDER = "openai"
"""What an unlisted host is reported as.

`gen_ai.provider.name` tells whose flavour of telemetry it is, "may differ from the actual model provider", and many
are "accessible using the OpenAI REST API"; which system it is, `server.address` shows (semantic conventions 1.41.0,
read 2026-11-21).
"""

_PROVIDERS = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".inference.ai.azure.com", "azure.ai.inference"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.anthropic.com", "anthropic"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
    ("openrouter.ai", "openrouter"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    (".ml.cloud.ibm.com", "ibm.watsonx.ai"),
)
"""Ends of host names, and the well-known value of `gen_ai.provider.name`; `openrouter` has none and is our own."""


class Server(NamedTuple):
    """An endpoint's provider, host and port; `port` is None where the address names none and has no usual one."""

    provider: str
    address: str
    port: int | None


@lru_cache(maxsize=256)
def find_server(base_url: str) -> Server:
    """The server of a base URL; never raises, whatever the URL is."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # brackets that don't close, a port that is no number
        return Server(UNKNOWN_PROVIDER, "", None)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return Server(_provider(host), host, port if port is not None else usual)


def _provider(host: str) -> str:
    if host.startswith("bedrock") and host.endswith(".amazonaws.com"):  # bedrock-runtime.<region>.amazonaws.com
        return "aws.bedrock"
    for end, provider in _PROVIDERS:
        # "-": Vertex puts its region in front, us-central1-aiplatform.googleapis.com.
        if host == end or host.endswith((f".{end.removeprefix('.')}", f"-{end}")):
            return provider
    return UNKNOWN_PROVIDER
