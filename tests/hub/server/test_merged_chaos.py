"""Streams of random pace over a connection that is cut again and again at any byte: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import closing
from typing import Any

import pytest

from hub.completion import Completion
from hub.events import EndStatus, LLMEvent, Meta, TextDelta, decode_event
from hub.result import Failure
from hub.testing import check_grammar

from .conftest import RunningHub, StartHub

STREAMS = 5
EVENTS = 300
CUTS = 100


class StepwiseGeneration:
    """An answer that says a word each time it is let to."""

    def __init__(self, stream_id: str, steps: asyncio.Semaphore) -> None:
        self.stream_id = stream_id
        self._steps = steps
        self._completion = Completion(stream_id, model="steps")

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        yield self._said(Meta(stream_id=self.stream_id, seq=0, model="steps"))
        for seq in range(1, EVENTS):
            await self._steps.acquire()
            yield self._said(TextDelta(stream_id=self.stream_id, seq=seq, text=f"{seq} "))
        yield self.ending("completed")

    def stop(self) -> None:
        """Nobody stops it."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        return self._completion.ending(status, failure)

    def _said(self, event: LLMEvent) -> list[LLMEvent]:
        self._completion.add(event)
        return [event]


class StepwiseGenerator:
    """Answers that go on at random, and all of them only while someone reads."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._waiting: list[asyncio.Semaphore] = []

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> StepwiseGeneration:
        steps = asyncio.Semaphore(0)
        self._waiting += [steps] * (EVENTS - 1)
        self._dice.shuffle(self._waiting)
        return StepwiseGeneration(stream_id, steps)

    def go_on(self) -> None:
        """Let one stream say a word, and now and then one of them many, or several a few."""
        chosen = self._waiting[-1:]
        for _ in range(self._dice.choice([1, 1, 2, 20])):
            if self._waiting:
                self._waiting.pop().release()
        for steps in chosen * self._dice.choice([0, 0, 15]):
            if steps in self._waiting:
                self._waiting.remove(steps)
                steps.release()


class Reader:
    """Reads as a browser does: a block counts once its blank line has come, and its `id` is where to resume."""

    def __init__(self, streams: list[str]) -> None:
        self.seen: dict[str, list[LLMEvent]] = {stream_id: [] for stream_id in streams}
        self.last_id = ""
        self._address = "/v1/events?" + "&".join(f"stream={stream_id}" for stream_id in streams)

    def request(self) -> bytes:
        resume = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
        return f"GET {self._address} HTTP/1.1\r\nHost: 127.0.0.1\r\n{resume}\r\n".encode()

    def take(self, answer: bytes) -> None:
        """Count what one connection brought until it was cut."""
        _, _, body = answer.partition(b"\r\n\r\n")
        *blocks, _cut_off = unchunked(body).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
            if b"data" in fields:
                event = decode_event(fields[b"data"])
                self.seen[event.stream_id].append(event)
                self.last_id = fields[b"id"].decode()


def unchunked(body: bytes) -> bytes:
    """The bytes of a chunked body, however short it was cut."""
    data = b""
    while True:
        size, found, rest = body.partition(b"\r\n")
        if not found or not (length := int(size, 16)):
            return data
        data += rest[:length]
        if len(rest) < length + 2:
            return data
        body = rest[length + 2 :]


@pytest.mark.parametrize("protocol", ["edge", "httptools", "h11"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_event_comes_once_and_in_order_over_a_hundred_cuts(
    start_hub: StartHub, protocol: str, seed: int
) -> None:
    dice = random.Random(seed)
    generator = StepwiseGenerator(dice)
    async with start_hub(protocol=protocol, generator=generator) as running, asyncio.timeout(60):
        streams = [await running.start() for _ in range(STREAMS)]
        reader = Reader(streams)
        cuts = 0
        while not await connect_and_cut(running, reader, generator, dice):
            cuts += 1
    assert cuts >= CUTS
    for stream_id in streams:
        check_grammar(reader.seen[stream_id])
        assert [event.seq for event in reader.seen[stream_id]] == list(range(EVENTS + 2))


async def connect_and_cut(
    running: RunningHub, reader: Reader, generator: StepwiseGenerator, dice: random.Random
) -> bool:
    """Read until some random byte, while the streams go on at random; whether the reader has everything."""
    wire, line = await asyncio.open_connection("127.0.0.1", running.port)
    answer = b""
    with closing(line):
        line.write(reader.request())
        most = dice.randint(1, 2_500)
        while len(answer) < most and not answer.endswith(b"0\r\n\r\n"):
            generator.go_on()
            data = await wire.read(most - len(answer))
            answer += data
            if not data or answer.startswith(b"HTTP/1.1 204"):
                break
        line.transport.abort()
    reader.take(answer)
    return answer.startswith(b"HTTP/1.1 204")
