"""What several suites need: streams made at random, a loop whose time stands still, sinks that misbehave."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from functools import wraps
from typing import Any

import msgspec

from hub.completion import Completion
from hub.events import (
    ApprovalRequest,
    Done,
    Error,
    LLMEvent,
    Meta,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.result import LLMResult, TokenUsage

STREAM = "str_1"
PIECES = ("Hello", " world", "", " 😀", "\x00", "שלום", "\r\n\n", "e\u0301", " wide")


def meta(seq: int = 0, **fields: Any) -> Meta:
    return Meta(stream_id=STREAM, seq=seq, **{"model": "model-x", **fields})


def text(seq: int, said: str = "a", **fields: Any) -> TextDelta:
    return TextDelta(stream_id=STREAM, seq=seq, text=said, **fields)


def usage(seq: int, **fields: Any) -> Usage:
    counts = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3} | fields
    return Usage(stream_id=STREAM, seq=seq, **counts)


def done(seq: int, **fields: Any) -> Done:
    return Done(stream_id=STREAM, seq=seq, **{"status": "completed", "finish_reason": "stop", **fields})


def a_stream(*said: str, stream_id: str = STREAM) -> list[LLMEvent]:
    """A whole stream that says these pieces."""
    counts = TokenUsage(input_tokens=7, output_tokens=len(said), total_tokens=7 + len(said))
    end = len(said) + 1
    events: list[LLMEvent] = [Meta(stream_id=stream_id, seq=0, model="model-x")]
    events += [TextDelta(stream_id=stream_id, seq=seq, text=piece) for seq, piece in enumerate(said, 1)]
    events.append(Usage.of(counts, stream_id=stream_id, seq=end))
    events.append(Done(stream_id=stream_id, seq=end + 1, status="completed", finish_reason="stop", usage=counts))
    return events


def one_of_each_type() -> list[LLMEvent]:
    """An event of every type, not a stream."""
    common: dict[str, Any] = {"stream_id": STREAM, "seq": 4}
    result = LLMResult(stream_id=STREAM, last_seq=4, status="running", model="model-x", text="Hello")
    return [
        Meta(**common, model="model-x", response_id="r", created=1, cached=False, identifier="mine"),
        TextDelta(**common, text="Hello"),
        ReasoningDelta(**common, text="Hm", choice=1),
        RefusalDelta(**common, text="No", span=2),
        ToolCallDelta(**common, index=0, id="c", name="f", arguments="{", extra={"signature": "x"}),
        ToolResult(**common, id="c", name="f", output="1"),
        ApprovalRequest(**common, id="c", name="f", arguments="{}"),
        Usage(**common, input_tokens=1, output_tokens=2, total_tokens=3, cost_usd=0.1),
        Snapshot(**common, result=result, reason="gap", span=5),
        Error(**common, code="truncated", message="It broke off.", retryable=True),
        Done(**common, status="failed", usage=TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3)),
    ]


class RandomStream:
    """A stream that obeys the grammar, another for each seed: choices, tools, attempts, steps, snapshots if wanted."""

    def __init__(self, seed: int, *, snapshots: bool = False, stream_id: str = STREAM) -> None:
        self.events: list[LLMEvent] = []
        self._stream_id = stream_id
        self._random = random.Random(seed)
        self._snapshots = snapshots
        self._fold = Completion()
        self._make()

    @property
    def _next(self) -> dict[str, Any]:
        return {"stream_id": self._stream_id, "seq": len(self.events)}

    def _add(self, event: LLMEvent) -> None:
        self.events.append(event)
        self._fold.add(event)

    def _make(self) -> None:
        rand = self._random
        choices = rand.choice((1, 1, 3))
        for step in range(rand.choice((1, 1, 2, 3))):
            for attempt in range(1, rand.choice((2, 2, 3, 4))):
                self._add(Meta(**self._next, model="model-x", step=step, attempt=attempt, identifier="mine"))
                self._say(choices)
                counts = [rand.randrange(100) for _ in range(4)]
                self._add(
                    Usage(
                        **self._next,
                        step=step,
                        attempt=attempt,
                        input_tokens=counts[0],
                        output_tokens=counts[1],
                        total_tokens=counts[0] + counts[1],
                        cached_input_tokens=counts[2],
                        reasoning_tokens=counts[3],
                        estimated=rand.random() < 0.3,
                    )
                )
            for call in self._fold.result().tool_calls:
                self._add(
                    ToolResult(**self._next, id=call.id, name=call.name, output="out", is_error=rand.random() < 0.2)
                )
        failed = rand.random() < 0.2
        if failed:
            self._add(Error(**self._next, code="truncated", message="It broke off.", retryable=True))
        self._add(
            Done(
                **self._next,
                status="failed" if failed else rand.choice(("completed", "cancelled")),
                finish_reason=None if failed else "stop",
                finish_reasons=("stop", None, "length") if choices == 3 else None,
                usage=self._fold.usage,
            )
        )

    def _say(self, choices: int) -> None:
        rand = self._random
        for _ in range(rand.randrange(12)):
            choice = rand.randrange(choices)
            said = rand.choice(PIECES)
            for _ in range(rand.choice((1, 1, 2, 5))):
                self._delta(choice, said)
            if self._snapshots and rand.random() < 0.1:
                self._snapshot()

    def _delta(self, choice: int, said: str) -> None:
        kind = self._random.randrange(6)
        if kind == 0:
            self._add(ReasoningDelta(**self._next, text=said, choice=choice))
        elif kind == 1:
            self._add(RefusalDelta(**self._next, text=said, choice=choice))
        elif kind == 2:
            self._tool_call(choice)
        else:
            self._add(TextDelta(**self._next, text=said, choice=choice))

    def _tool_call(self, choice: int) -> None:
        rand = self._random
        index = rand.randrange(3)
        call: dict[str, Any] = {"id": f"call_{choice}_{index}", "name": f"tool_{index}"} if rand.random() < 0.4 else {}
        extra = {"signature": rand.randrange(9)} if rand.random() < 0.1 else None
        self._add(ToolCallDelta(**self._next, index=index, arguments='{"a', choice=choice, extra=extra, **call))

    def _snapshot(self) -> None:
        """What a worker sends that takes over: the fold so far at a later position."""
        result = msgspec.structs.replace(self._fold.result(), last_seq=len(self.events))
        self._add(Snapshot(**self._next, result=result, reason="takeover"))


def random_merge(
    events: Sequence[LLMEvent], seed: int, merge: Callable[[Iterable[LLMEvent]], list[LLMEvent]]
) -> list[LLMEvent]:
    """The events cut into pieces at random, each piece merged by itself."""
    rand = random.Random(seed)
    merged: list[LLMEvent] = []
    start = 0
    while start < len(events):
        end = start + rand.randrange(1, 12)
        merged += merge(events[start:end])
        start = end
    return merged


async def source(events: Iterable[LLMEvent]) -> AsyncGenerator[LLMEvent, None]:
    for event in events:
        yield event


class StandingTime(selectors.DefaultSelector):
    """A selector under which a loop's time passes only when all tasks wait, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready; when nothing is, time goes on to the next timer."""
        if timeout is None:
            raise RuntimeError("every task waits for something that will never come")
        ready = super().select(0)
        if not ready:
            self.now += max(timeout, 0.0)
        return ready


def in_standing_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop whose hours take no time; a deadlock fails it."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        selector = StandingTime()

        def new_loop() -> asyncio.AbstractEventLoop:
            loop = asyncio.SelectorEventLoop(selector)
            loop.time = lambda: selector.now  # type: ignore[method-assign]
            return loop

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(without_leaks(test(*args, **kwargs)))

    return run


async def without_leaks(test: Coroutine[Any, Any, None]) -> None:
    """Run it, and fail where it leaves a task behind."""
    await test
    assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks were left behind"


class SlowSink:
    """Takes `delay` seconds for each event."""

    def __init__(self, delay: float) -> None:
        self.events: list[LLMEvent] = []
        self.closed = 0
        self._delay = delay

    async def send(self, event: LLMEvent) -> None:
        await asyncio.sleep(self._delay)
        self.events.append(event)

    async def aclose(self) -> None:
        self.closed += 1


class FailingSink:
    """Fails at the event `at` and at all that follow."""

    def __init__(self, at: int = 0) -> None:
        self.events: list[LLMEvent] = []
        self.closed = 0
        self._at = at

    async def send(self, event: LLMEvent) -> None:
        if len(self.events) >= self._at:
            raise ConnectionError("the transport is gone")
        self.events.append(event)

    async def aclose(self) -> None:
        self.closed += 1


class GatedSink:
    """Takes an event only once `gate` is open; `reached` says that one waits there."""

    def __init__(self) -> None:
        self.events: list[LLMEvent] = []
        self.closed = 0
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()

    async def send(self, event: LLMEvent) -> None:
        self.reached.set()
        await self.gate.wait()
        self.events.append(event)

    async def aclose(self) -> None:
        self.closed += 1


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int = 10) -> None:
    """Let every task that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


def words(count: int, first: int = 1) -> list[LLMEvent]:
    return [text(seq, f" {seq}") for seq in range(first, first + count)]


def unmergeable(count: int) -> list[LLMEvent]:
    return [text(seq, "x", choice=seq % 2) for seq in range(count)]


def said(events: list[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def positions(events: list[LLMEvent]) -> list[int]:
    return [seq for event in events for seq in range(event.seq - event.span + 1, event.seq + 1)]
