"""Any sequence of calls, over any back end here: what is answered, asked and kept is what a list of entries says."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hub.cache.base import Cache, CacheMaintenance
from hub.cache.core import CacheCore
from hub.cache.filesystem import FilesystemCache
from hub.cache.memory import MemoryCache
from hub.events import EndStatus
from hub.testing import Gate
from hub.testing.fake_plan import Piece

from .support import FAILURE, Asked, call, events_of, texts

TTL = 100.0
NAMESPACES = ("a", "b")
IDENTIFIERS = ("one", "../two", "three")

namespaces = st.sampled_from(NAMESPACES)
identifiers = st.sampled_from(IDENTIFIERS)


@dataclass
class Kept:
    """An entry as the model has it."""

    text: str
    status: EndStatus
    created_at: float


class CacheMachine(RuleBasedStateMachine):
    """Two tenants at one cache; the second one stores failures too."""

    make_cache: Callable[[Path, Callable[[], float]], Cache]

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        # Near the file system's own clock, by which temporary files of killed processes are known.
        self.now = time.time()
        self.number = 0
        self.kept: dict[tuple[str, str], list[Kept]] = {}
        self.cache = type(self).make_cache(Path(self.directory.name), lambda: self.now)
        self.faults: list[Any] = []
        self.cores = {
            name: CacheCore(
                self.cache, namespace=name, failures=name == "b", report=self.faults.append, clock=lambda: self.now
            )
            for name in NAMESPACES
        }

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.cache.aclose())
            self.runner.close()
            self.directory.cleanup()

    @rule(
        namespace=namespaces,
        identifier=identifiers,
        cache_response=st.booleans(),
        mode=st.sampled_from(("", "", "regen_cache", "rewrite_cache")),
        outcome=st.sampled_from(("completed", "completed", "failed", "left", "stopped")),
        readers=st.integers(1, 3),
    )
    def ask(self, namespace: str, identifier: str, cache_response: bool, mode: str, outcome: str, readers: int) -> None:
        self.number += 1
        said = f"text {self.number}"
        use = {"cache_response": cache_response} | ({mode: True} if mode else {})
        stored = self._current(namespace, identifier)
        pieces: dict[str, list[Piece]] = {
            "completed": [said],
            "failed": [said, FAILURE],
            "left": [said, Gate()],
            "stopped": [said, Gate()],
        }
        asked = Asked(pieces[outcome])
        answers = self.runner.run(self._read(self.cores[namespace], asked, identifier, use, outcome, readers))
        if stored and not mode:
            assert asked.calls == 0
            expected, stands = stored[-1].text, outcome in ("completed", "failed")
            assert not stands or answers == [(expected, stored[-1].status)] * readers
            return
        shared = not mode and cache_response
        is_kept = outcome == "completed" or (outcome == "failed" and namespace == "b")
        # One that comes when another has left or failed asks for itself: nothing is stored.
        assert asked.calls in ([1] if shared and is_kept else range(1, readers + 1) if shared else [readers])
        assert {text for text, _ in answers} <= {said}
        if is_kept:
            status: EndStatus = "failed" if outcome == "failed" else "completed"
            self._store(namespace, identifier, said, status, use, 1 if shared else readers)

    @rule(seconds=st.sampled_from((0.7, TTL / 2 + 0.3, TTL + 1)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(namespace=st.sampled_from((*NAMESPACES, None)))
    def clear(self, namespace: str | None) -> None:
        self.runner.run(self._care().clear(namespace))
        for place in list(self.kept):
            if namespace in (None, place[0]):
                del self.kept[place]

    @precondition(lambda self: isinstance(self.cache, FilesystemCache))
    @rule()
    def come_back(self) -> None:
        """Another process goes on with the same directory."""
        self.runner.run(self.cache.aclose())
        self.cache = type(self).make_cache(Path(self.directory.name), lambda: self.now)
        for core in self.cores.values():
            core.cache = self.cache

    @invariant()
    def keeps_what_the_model_keeps(self) -> None:
        if not hasattr(self, "runner"):
            return
        for namespace in NAMESPACES:
            for identifier in IDENTIFIERS:
                kept = self._current(namespace, identifier)
                key = self.cores[namespace].key(identifier, endpoint="https://x/v1")
                newest, older = self.runner.run(self._entries(key))
                found = [*reversed(older), *([newest] if newest else [])]
                assert [("".join(texts(entry.events)), entry.status) for entry in found] == [
                    (entry.text, entry.status) for entry in kept
                ]
        assert self.faults == []

    async def _read(
        self, core: CacheCore, asked: Asked, identifier: str, use: dict[str, bool], outcome: str, readers: int
    ) -> list[tuple[str, EndStatus]]:
        async def one() -> tuple[str, EndStatus]:
            stream = call(core, asked, identifier, **use)
            if outcome == "left":
                async with stream:
                    async for event in stream:
                        if event.type == "text_delta":
                            return event.text, "cancelled"
            if outcome == "stopped":
                said = ""
                status: EndStatus = "completed"
                async for event in stream:
                    if event.type == "text_delta":
                        said += event.text
                        stream.stop()
                    elif event.type == "done":
                        status = event.status
                return said, status
            events = await events_of(stream)
            done = events[-1]
            assert done.type == "done"
            return "".join(texts(events)), done.status

        return list(await asyncio.wait_for(asyncio.gather(*(one() for _ in range(readers))), 10))

    async def _entries(self, key: str) -> tuple[Any, list[Any]]:
        return await self.cache.get(key), await self._care().older(key)

    def _care(self) -> CacheMaintenance:
        assert isinstance(self.cache, CacheMaintenance)
        return self.cache

    def _current(self, namespace: str, identifier: str) -> list[Kept]:
        kept = self.kept.get((namespace, identifier), [])
        return [entry for entry in kept if entry.created_at > self.now - TTL]

    def _store(
        self, namespace: str, identifier: str, said: str, status: EndStatus, use: dict[str, bool], times: int
    ) -> None:
        rewrites = use.get("rewrite_cache", False)
        if not (use["cache_response"] or rewrites):
            return
        kept = self._current(namespace, identifier) if rewrites else []
        self.kept[namespace, identifier] = kept + [Kept(said, status, self.now)] * (times if rewrites else 1)


class MemoryMachine(CacheMachine):
    """Over memory."""

    @staticmethod
    def make_cache(path: Path, clock: Callable[[], float]) -> Cache:
        return MemoryCache(entry_ttl=TTL, clock=clock)


class FilesystemMachine(CacheMachine):
    """Over a directory."""

    @staticmethod
    def make_cache(path: Path, clock: Callable[[], float]) -> Cache:
        return FilesystemCache(path / "cache", entry_ttl=TTL, clock=clock)


@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 60), (FilesystemMachine, 15)])
def test_any_sequence_of_calls_agrees_with_the_model(machine: type[CacheMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
