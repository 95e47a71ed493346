"""Who serves an endpoint, by its address."""

from __future__ import annotations

import pytest

from hub.observe.provider import find_server


@pytest.mark.parametrize(
    ("base_url", "server"),
    [
        ("https://api.openai.com/v1", ("openai", "api.openai.com", 443)),
        ("https://eu.api.openai.com/v1", ("openai", "eu.api.openai.com", 443)),
        ("https://mine.openai.azure.com/openai/v1", ("azure.ai.openai", "mine.openai.azure.com", 443)),
        ("https://mine.services.ai.azure.com/models", ("azure.ai.inference", "mine.services.ai.azure.com", 443)),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai",
            ("gcp.gemini", "generativelanguage.googleapis.com", 443),
        ),
        (
            "https://us-central1-aiplatform.googleapis.com/v1",
            ("gcp.vertex_ai", "us-central1-aiplatform.googleapis.com", 443),
        ),
        (
            "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
            ("aws.bedrock", "bedrock-runtime.us-west-2.amazonaws.com", 443),
        ),
        ("https://api.groq.com/openai/v1", ("groq", "api.groq.com", 443)),
        ("https://API.X.AI/v1", ("x_ai", "api.x.ai", 443)),
        ("https://openrouter.ai/api/v1", ("openrouter", "openrouter.ai", 443)),
        ("http://localhost:8000/v1", ("openai", "localhost", 8000)),
        ("http://10.0.0.7/v1", ("openai", "10.0.0.7", 80)),
        ("http://[::1]:8080/v1", ("openai", "::1", 8080)),
    ],
)
def test_a_host_tells_its_provider(base_url: str, server: tuple[str, str, int]) -> None:
    assert find_server(base_url) == server


@pytest.mark.parametrize("base_url", ["https://notapi.openai.com.example.org", "https://evil-openrouter.example"])
def test_a_host_that_only_looks_like_one_is_unknown(base_url: str) -> None:
    assert find_server(base_url).provider == "openai"
    assert find_server("https://fakeapi.groq.com").provider == "openai"


@pytest.mark.parametrize("base_url", ["", "http://[::1", "http://host:port/v1", "://"])
def test_an_address_that_makes_no_sense_raises_nothing(base_url: str) -> None:
    assert find_server(base_url).port is None
