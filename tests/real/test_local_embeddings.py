"""A real model's embeddings: llama.cpp's server and the client."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from hub.client import OpenAIClient
from hub.errors import EndpointError
from hub.local_model import LocalModel
from tests.real.support import REAL

pytestmark = REAL


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


async def test_paraphrases_lie_closer_than_unrelated_sentences(client: OpenAIClient) -> None:
    dog, running, rates = (
        await client.embedding(
            ["The dog runs through the park.", "A dog is running in the park.", "Interest rates rose by two percent."]
        )
    ).vectors
    assert cosine(dog, running) > cosine(dog, rates) + 0.1


async def test_a_text_has_the_same_vector_in_a_batch_as_alone(client: OpenAIClient) -> None:
    texts = [f"Sentence {number} speaks of {'rain ' * (number % 7)}and of nothing else." for number in range(24)]
    batch = await client.embedding(texts)
    for text, vector in zip(texts, batch, strict=True):
        assert cosine((await client.embedding(text)).vector, vector) > 0.999


async def test_vectors_have_a_length_and_their_tokens_are_counted(client: OpenAIClient, model: LocalModel) -> None:
    result = await client.embedding("Why is the sky blue?")
    assert result.dimensions == len(result.vector) == 576
    assert result.model == model.model
    assert result.usage.input_tokens > 0
    assert not result.usage.estimated


async def test_numbers_and_base64_say_the_same(client: OpenAIClient) -> None:
    texts = ["red", "green", "blue"]
    encoded = await client.embedding(texts)
    written = await client.embedding(texts, encoding_format="float")
    for one, other in zip(encoded, written, strict=True):
        assert one == pytest.approx(other, abs=1e-3)  # the model's own repeatability, with the batch it ran in


async def test_an_input_too_long_for_the_server_is_an_error(client: OpenAIClient) -> None:
    with pytest.raises(EndpointError, match="too large"):
        await client.embedding(["word " * 3000, "short"])


async def test_dimensions_that_the_server_ignores_are_an_error(client: OpenAIClient) -> None:
    with pytest.raises(EndpointError, match="576 dimensions where 64 were asked for"):
        await client.embedding("Hello", dimensions=64)
