"""Every store against a plain model: what is done in any order, it has what the model has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hub.errors import PositionError, SequenceGapError, StaleWriterError, StreamExistsError, StreamNotFoundError
from hub.events import LLMEvent
from hub.streams.base import StreamStore
from hub.streams.log import StreamLog
from hub.testing import collect

from .samples import a_stream
from .stream_stores import BACKENDS, REAL_TIMEOUT, Backend, HandClock, OpenStore, opened

T = TypeVar("T")

IDS = st.sampled_from(("str_1", "str_2", "str_3"))
WORDS = "abcdefghij"


@dataclass
class Model:
    """One stream as it has to be."""

    epoch: int
    log: StreamLog
    events: list[LLMEvent] = field(default_factory=list)
    is_cancelled: bool = False

    @property
    def is_closed(self) -> bool:
        return bool(self.events) and self.events[-1].type == "done"


class StoreMachine(RuleBasedStateMachine):
    """Does to a store and to the model the same."""

    backend: Backend

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.models: dict[str, Model] = {}
        self.open_store: OpenStore
        self.store: StreamStore

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def within() -> T:
            async with asyncio.timeout(REAL_TIMEOUT):
                return await coroutine

        return self.runner.run(within())

    @initialize()
    def begin(self) -> None:
        self.open_store = self.run(self.stack.enter_async_context(opened(self.backend, HandClock())))
        self.store = self.open_store()

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def refused(self, error: type[Exception], call: Coroutine[Any, Any, Any]) -> None:
        with pytest.raises(error):
            self.run(call)

    @rule(stream_id=IDS)
    def create(self, stream_id: str) -> None:
        if stream_id in self.models:
            self.refused(StreamExistsError, self.store.create(stream_id))
            return
        epoch = self.run(self.store.create(stream_id, model="model-x", fingerprint=stream_id))
        self.models[stream_id] = Model(epoch, self.run(self.store.open(stream_id)))

    @rule(stream_id=IDS, back=st.integers(0, 3), count=st.integers(0, 5))
    def append(self, stream_id: str, back: int, count: int) -> None:
        """The next events, some of those before them once more."""
        model = self.models.get(stream_id)
        whole = a_stream(*WORDS, stream_id=stream_id)
        if model is None:
            self.refused(StreamNotFoundError, self.store.append(stream_id, whole[:1], epoch=1))
            return
        have = len(model.events)
        batch = whole[max(0, have - back) : have + count]
        self.run(self.store.append(stream_id, batch, epoch=model.epoch))
        if not model.is_closed:
            model.events += whole[have : have + count]

    @rule(stream_id=IDS)
    def end(self, stream_id: str) -> None:
        model = self.models.get(stream_id)
        if model is not None and not model.is_closed:
            whole = a_stream(*WORDS, stream_id=stream_id)
            self.run(self.store.append(stream_id, whole[len(model.events) :], epoch=model.epoch))
            model.events[:] = whole

    @rule(stream_id=IDS)
    def leave_a_hole(self, stream_id: str) -> None:
        model = self.models.get(stream_id)
        if model is not None and not model.is_closed and len(model.events) < len(WORDS):
            hole = a_stream(*WORDS, stream_id=stream_id)[len(model.events) + 1 :]
            self.refused(SequenceGapError, self.store.append(stream_id, hole, epoch=model.epoch))

    @rule(stream_id=IDS)
    def take_over(self, stream_id: str) -> None:
        model = self.models.get(stream_id)
        if model is None:
            self.refused(StreamNotFoundError, self.store.take_over(stream_id))
            return
        epoch = self.run(self.store.take_over(stream_id))
        assert epoch > model.epoch
        stale, model.epoch = model.epoch, epoch
        events = a_stream(*WORDS, stream_id=stream_id)
        self.refused(StaleWriterError, self.store.append(stream_id, events, epoch=stale))

    @rule(stream_id=IDS)
    def cancel(self, stream_id: str) -> None:
        model = self.models.get(stream_id)
        if model is None:
            self.refused(StreamNotFoundError, self.store.cancel(stream_id))
            return
        self.run(self.store.cancel(stream_id))
        model.is_cancelled = True

    @rule(stream_id=IDS)
    def watch(self, stream_id: str) -> None:
        model = self.models.get(stream_id)
        if model is not None:
            calls: list[int] = []
            unwatch = self.run(self.store.watch_cancel(stream_id, lambda: calls.append(1)))
            unwatch()
            assert bool(calls) == (model.is_cancelled and not model.is_closed)

    @rule(stream_id=IDS, after=st.integers(-1, len(WORDS) + 2))
    def read(self, stream_id: str, after: int) -> None:
        model = self.models.get(stream_id)
        if model is None:
            self.refused(StreamNotFoundError, self.store.open(stream_id))
            return
        log = self.run(self.store.open(stream_id))
        assert log.fingerprint == stream_id
        if after > log.last_seq:
            self.refused(PositionError, collect(log.read(after=after)))
        elif model.is_closed:
            expected = [event for event in model.events if event.seq > after]
            assert self.run(collect(log.read(after=after))) == expected

    @rule(limit=st.integers(1, 4))
    def list(self, limit: int) -> None:
        listed = self.run(self.store.list(limit=limit))
        newest = list(reversed(self.models))[:limit]
        assert [info.stream_id for info in listed] == newest
        for info in listed:
            model = self.models[info.stream_id]
            last_seq = model.events[-1].seq if model.events else -1
            assert (info.last_seq, info.status == "running") == (last_seq, not model.is_closed)

    @rule()
    def restart(self) -> None:
        """A store that lasts has the same again; what ran may have been ended."""
        if not self.backend.lasts:
            return
        self.run(self.store.aclose())
        self.store = self.open_store()
        for stream_id, model in self.models.items():
            model.log = self.run(self.store.open(stream_id))
            assert model.log.events[: len(model.events)] == model.events
            if len(model.log.events) > len(model.events):
                assert not model.is_closed
                assert model.log.is_closed
                model.events[:] = model.log.events

    @invariant()
    def logs_are_the_models(self) -> None:
        for model in self.models.values():
            assert model.log.events == model.events
            assert model.log.is_closed == model.is_closed


def machine(backend: Backend) -> Callable[[], StoreMachine]:
    return type(f"{backend.name.title()}Machine", (StoreMachine,), {"backend": backend})


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_a_store_has_what_a_plain_model_has(backend: Backend) -> None:
    run_state_machine_as_test(
        machine(backend),
        settings=settings(
            max_examples=30 if backend.has_clock else 10,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
