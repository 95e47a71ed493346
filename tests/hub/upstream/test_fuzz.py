"""Recorded bodies, damaged at random: each still gives a whole stream, the same in whatever slices it arrives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.testing import Reset, ScriptedEndpoint, raw_reply

from .support import HELLO, NO_RETRY, answer, call, calls, chunk, client_of, outcome, result_of

RECORDINGS = sorted((Path(__file__).parents[2] / "fixtures/upstream").glob("*.sse"))

BYTES = [
    *(b"\n", b"\n\n", b"\r", b"\r\n\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b":", b"{", b"}", b"[", b'"', b"\\", b","),
    *(b"data: ", b"data:[DONE]\n\n", b"event: error\n", b"error: x\n\n", b": comment\n\n", b"id: 1\nretry: 1\n"),
    *(b"null", b"NaN", b"1e999", b"-0", b'"\\ud83d"', b"[" * 2_000, b'data: {"error":{"code":503}}\n\n'),
]

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        7,
        1.5,
        2**70,
        -(2**70),
        "",
        "x",
        "error",
        "stop",
        "null",
        "[DONE]",
        "\u2028",
        "a\x00b",
    ),
    *([], {}, [None], [[]], {"": None}, {"error": {"code": 429}}, [{"index": 10**9, "delta": {"content": "x"}}]),
    *({"content": "x"}, {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "error", 10**9, -(10**9)),
]

OWN = answer(
    chunk(delta={"role": "assistant", "content": ""}),
    chunk("Hello", usage={"prompt_tokens": 3, "completion_tokens": 1}),
    chunk(delta={"reasoning": "a", "refusal": "b"}),
    calls(call("{", name="f", index=0, id="a"), call('{"x":1}', name="g", index=1)),
    calls(call("}", index=0)),
)


def small(body: bytes, rand: random.Random) -> bytes:
    """A few of a body's frames, so that it can be fed byte by byte."""
    frames = body.split(b"\n\n")
    return b"\n\n".join([*frames[: rand.randrange(2, 5)], *frames[-3:]])[:4_000]


def damaged(body: bytes, rand: random.Random) -> bytes:
    """The body with some bytes cut out, put in, doubled or moved."""
    for _ in range(rand.randrange(1, 5)):
        start, end = sorted(rand.randrange(len(body) + 1) for _ in range(2))
        end = min(end, start + rand.choice((1, 2, 20, 500)))
        match rand.randrange(5):
            case 0:
                body = body[:start] + body[end:]
            case 1:
                body = body[:start] + rand.choice(BYTES) + body[start:]
            case 2:
                body = body[:start] + body[start:end] * 2 + body[end:]
            case 3:
                body = body[:start] + bytes(rand.randrange(256) for _ in range(end - start)) + body[end:]
            case _:
                body = body[: max(1, start)]
    return body


def misshapen(body: bytes, rand: random.Random) -> bytes:
    """The body with some values inside its chunks replaced by others."""
    frames = body.split(b"\n\n")
    for number in rand.sample(range(len(frames)), k=min(3, len(frames))):
        if frames[number].startswith(b"data: {"):
            value = _replaced(msgspec.json.decode(frames[number][6:]), rand)
            frames[number] = b"data: " + msgspec.json.encode(value)
    return b"\n\n".join(frames)


def _replaced(value: Any, rand: random.Random) -> Any:
    if rand.random() < 0.15 or not value:
        return rand.choice(VALUES)
    if isinstance(value, dict):
        key = rand.choice(list(value))
        return value | {key: _replaced(value[key], rand)}
    if isinstance(value, list):
        at = rand.randrange(len(value))
        return [*value[:at], _replaced(value[at], rand), *value[at + 1 :]]
    return rand.choice(VALUES)


@pytest.mark.parametrize("damage", [damaged, misshapen])
@pytest.mark.parametrize("seed", range(30))
async def test_damaged_bodies_give_whole_streams_in_any_slices(seed: int, damage: Any) -> None:
    rand = random.Random(seed)
    for _ in range(10):
        body = small(rand.choice([OWN, *(path.read_bytes() for path in RECORDINGS)]), rand)
        for _ in range(rand.randrange(1, 4)):
            body = damage(body, rand)
        result = await result_of(body, params={"n": rand.choice((1, 2))})
        assert result.status in ("completed", "failed")


async def test_damaged_bodies_over_a_connection_give_whole_streams() -> None:
    rand = random.Random(1)
    async with ScriptedEndpoint() as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        for _ in range(60):
            body = damaged(rand.choice(RECORDINGS).read_bytes(), rand)
            end = (Reset(),) if rand.random() < 0.3 else ()
            endpoint.enqueue(raw_reply(body, *end, slice_bytes=rand.choice((None, 7_000, 500))))
            assert (await outcome(client.stream(messages=HELLO))).status in ("completed", "failed")
