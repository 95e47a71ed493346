"""The result of an embedding call, and the testing kit's vectors."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import subprocess
import sys
from array import array
from typing import Any

import msgspec
import pytest

from hub.embeddings import Embeddings
from hub.errors import MissingExtraError
from hub.result import TokenUsage
from hub.testing import RecordedRequest
from hub.testing.embeddings import embeddings_answer, embeddings_reply, fake_vector

TWO = Embeddings.from_vectors([[1, 2, 3], [4, 5, 6]], model="m-1", usage=TokenUsage(input_tokens=2, total_tokens=2))


def test_vectors_come_in_order_as_lists() -> None:
    assert TWO.vectors == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert list(TWO) == TWO.vectors
    assert TWO[0] == [1.0, 2.0, 3.0]
    assert TWO[-1] == [4.0, 5.0, 6.0]
    assert TWO[1:] == [[4.0, 5.0, 6.0]]
    assert len(TWO) == 2
    assert TWO.dimensions == 3


def test_vectors_are_made_once() -> None:
    assert TWO.vectors is TWO.vectors


def test_the_only_vector_has_a_name_of_its_own() -> None:
    assert Embeddings.from_vectors([[0.5, 0.25]], model="m-1").vector == [0.5, 0.25]


def test_the_only_vector_of_several_is_refused() -> None:
    with pytest.raises(ValueError, match="there are 2 vectors here"):
        _ = TWO.vector


def test_an_index_beyond_the_end_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        TWO[2]


def test_a_result_can_not_be_changed_but_for_a_copy_with_another_usage() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TWO.model = "other"  # type: ignore[misc]
    priced = dataclasses.replace(TWO, usage=TokenUsage(cost_usd=0.5))
    assert priced.usage.cost_usd == 0.5
    assert priced.vectors == TWO.vectors


def test_a_repr_shows_no_numbers() -> None:
    assert repr(TWO).startswith("Embeddings(2 of 3 dimensions, model='m-1', usage=TokenUsage(")


@pytest.mark.parametrize("vectors", [[], [[]], [[1.0], [1.0, 2.0]]])
def test_vectors_that_are_none_are_refused(vectors: Any) -> None:
    with pytest.raises(ValueError, match="vector"):
        Embeddings.from_vectors(vectors, model="m-1")


def test_an_array_is_float32_and_can_be_written_to() -> None:
    numpy = pytest.importorskip("numpy")
    values = TWO.as_numpy()
    assert values.shape == (2, 3)
    assert values.dtype == numpy.float32
    assert values.tolist() == TWO.vectors
    values[0, 0] = 9
    assert TWO[0][0] == 1.0


def test_an_array_without_numpy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtraError, match="'numpy'"):
        TWO.as_numpy()


def test_numpy_is_not_loaded_before_an_array_is_asked_for() -> None:
    code = "import hub.embeddings, hub.upstream.embedding.embedder, sys; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "False"


def test_equal_texts_have_equal_vectors_of_length_one() -> None:
    assert fake_vector("hub", 300) == fake_vector("hub", 300)
    assert fake_vector("hub", 300) != fake_vector("sink", 300)
    assert math.hypot(*fake_vector("hub", 300)) == pytest.approx(1.0)
    assert fake_vector("hub", 7) == array("f", fake_vector("hub", 7)).tolist()


def request(**body: Any) -> RecordedRequest:
    return RecordedRequest("POST", "/v1/embeddings", "HTTP/1.1", {}, json.dumps(body).encode(), asyncio.Event())


def answered(**body: Any) -> Any:
    reply = embeddings_answer(request(model="m-1", **body))
    (step,) = reply.steps
    assert isinstance(step, bytes)
    return reply.status, msgspec.json.decode(step)


def test_the_testing_kit_answers_each_input_with_its_vector() -> None:
    status, body = answered(input=["a", "b c"], dimensions=4)
    assert status == 200
    assert [item["embedding"] for item in body["data"]] == [fake_vector("a", 4), fake_vector("b c", 4)]
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_the_testing_kit_takes_token_ids() -> None:
    assert answered(input=[1, 2])[1]["data"][0]["embedding"] == fake_vector("1 2")
    assert len(answered(input=[[1, 2], [3]])[1]["data"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": 5},
        {"input": ""},
        {"input": []},
        {"input": ["a", ""]},
        {"input": "a", "dimensions": 0},
        {"input": "a", "encoding_format": "x"},
    ],
)
def test_the_testing_kit_refuses_what_endpoints_refuse(body: Any) -> None:
    assert answered(**body)[0] == 400


def test_a_reply_may_leave_its_usage_out() -> None:
    (step,) = embeddings_reply(2, usage=False, base64=False).steps
    assert isinstance(step, bytes)
    assert "usage" not in msgspec.json.decode(step)
