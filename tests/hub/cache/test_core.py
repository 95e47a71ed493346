"""The cache before a call: what is looked up, stored, told again, and what a broken cache does: nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hub.cache.base import CacheError
from hub.cache.core import CacheCore
from hub.cache.entry import CacheEntry
from hub.cache.faults import CacheFault
from hub.cache.memory import MemoryCache
from hub.errors import ClosedError
from hub.events import Done, LLMEvent, Meta, Usage
from hub.result import LLMResult
from hub.testing import Gate
from hub.upstream.stream import AnswerSource, EventStream

from ...contracts.samples import in_standing_time, now, turns
from .support import FAILURE, Asked, BrokenCache, HangingCache, call, costs, events_of, texts


@pytest.fixture
def core() -> CacheCore:
    return CacheCore(MemoryCache())


# What is stored, and what is looked at


async def test_the_second_call_is_answered_without_the_endpoint(core: CacheCore) -> None:
    asked = Asked()
    first, second = [await events_of(call(core, asked)) for _ in range(2)]
    assert asked.calls == 1
    assert texts(second) == texts(first) == ["Hello", " world"]
    assert (core.counts.misses, core.counts.stored, core.counts.hits) == (1, 1, 1)


async def test_a_stored_answer_costs_nothing_and_tells_what_it_did_cost(core: CacheCore) -> None:
    asked = Asked()
    first = await call(core, asked).result()
    second = await call(core, asked, stream_id="str_2").result()
    assert (costs(first), costs(second)) == ((0.5, None), (0.0, 0.5))
    assert (first.cached, second.cached) == (False, True)
    assert (second.stream_id, second.identifier, second.model) == ("str_2", "mine", "model-x")
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.total_tokens == first.usage.total_tokens


async def test_without_cache_response_nothing_is_stored_and_what_is_stored_is_found(core: CacheCore) -> None:
    asked = Asked(["one"], ["two"], ["three"])
    assert texts(await events_of(call(core, asked, cache_response=False))) == ["one"]
    assert texts(await events_of(call(core, asked))) == ["two"]
    assert texts(await events_of(call(core, asked, cache_response=False))) == ["two"]


async def test_regen_cache_asks_anew_and_replaces(core: CacheCore) -> None:
    asked = Asked(["one"], ["two"], ["three"])
    assert texts(await events_of(call(core, asked))) == ["one"]
    assert texts(await events_of(call(core, asked, regen_cache=True, cache_response=False))) == ["two"]
    assert texts(await events_of(call(core, asked))) == ["one"]
    assert texts(await events_of(call(core, asked, regen_cache=True))) == ["three"]
    assert texts(await events_of(call(core, asked))) == ["three"]
    assert isinstance(core.cache, MemoryCache)
    assert await core.cache.older(core.key("mine", endpoint="https://x/v1")) == []


async def test_rewrite_cache_asks_anew_and_keeps_the_older_answer(core: CacheCore) -> None:
    asked = Asked(["one"], ["two"])
    await events_of(call(core, asked))
    assert texts(await events_of(call(core, asked, rewrite_cache=True, cache_response=False))) == ["two"]
    assert texts(await events_of(call(core, asked))) == ["two"]
    assert isinstance(core.cache, MemoryCache)
    (older,) = await core.cache.older(core.key("mine", endpoint="https://x/v1"))
    assert texts(older.events) == ["one"]


async def test_tenants_do_not_see_each_other_s_answers() -> None:
    cache = MemoryCache()
    asked = Asked()
    for namespace in ("a", "b", "a"):
        await events_of(call(CacheCore(cache, namespace=namespace), asked))
    assert asked.calls == 2


async def test_a_failure_is_not_stored_unless_it_is_asked_for(core: CacheCore) -> None:
    asked = Asked([FAILURE])
    for _ in range(2):
        assert (await call(core, asked).result()).status == "failed"
    assert asked.calls == 2


async def test_a_failure_is_stored_where_it_is_asked_for() -> None:
    core, asked = CacheCore(MemoryCache(), failures=True), Asked(["Hel", FAILURE])
    first, second = [await call(core, asked).result() for _ in range(2)]
    assert asked.calls == 1
    assert second.error == first.error == FAILURE
    assert (second.text, second.cached) == ("Hel", True)


async def test_a_stream_that_is_left_is_not_stored(core: CacheCore) -> None:
    asked = Asked()
    async with call(core, asked) as stream:
        async for event in stream:
            if event.type == "text_delta":
                break
    assert asked.tellings[0].left
    assert core.counts.stored == 0
    await events_of(call(core, asked))
    assert asked.calls == 2


async def test_a_stream_that_is_stopped_is_not_stored_and_says_what_it_used(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate])
    stream = call(core, asked)
    events = []
    async for event in stream:
        events.append(event)
        if event.type == "text_delta":
            stream.stop()
    last = events[-1]
    assert isinstance(last, Done)
    assert last.status == "cancelled"
    assert last.usage is not None
    assert last.usage.cost_usd == 0.5
    assert core.counts.stored == 0


async def test_a_stream_that_is_cancelled_is_not_stored_and_has_the_source_s_end(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate])
    stream = call(core, asked)
    events: list[LLMEvent] = []
    take = events.append

    async def read() -> None:
        async for event in stream:
            take(event)

    task = asyncio.create_task(read())
    await gate.reached()
    task.cancel()
    await asyncio.wait([task])
    ending = stream.ending("cancelled")
    assert [event.seq for event in [*events, *ending]] == list(range(4))
    assert isinstance(ending[-1], Done)
    assert ending[-1].usage is not None
    assert ending[-1].usage.cost_usd == 0.5
    assert stream.ending("cancelled") == []
    assert asked.tellings[0].left
    assert core.counts.stored == 0


async def test_an_answer_is_stored_before_its_stream_ends() -> None:
    class Slow(MemoryCache):
        async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
            await turns()
            await super().put(entry, keep_older=keep_older)

    core = CacheCore(Slow())
    await call(core, Asked(), "read to its end").result()
    assert core.counts.stored == 1
    async with call(core, Asked(), "left at done") as stream:
        async for event in stream:
            if event.type == "done":
                break
    assert core.counts.stored == 2


async def test_nothing_happens_before_the_answer_is_read(core: CacheCore) -> None:
    asked = Asked()
    stream = call(core, asked)
    await stream.aclose()
    assert (asked.calls, core.counts.misses) == (0, 0)


@pytest.mark.parametrize("cache_response", [True, False])
@pytest.mark.parametrize("regen_cache", [True, False])
async def test_an_answer_that_was_stopped_before_it_is_read_asks_nobody(
    core: CacheCore, cache_response: bool, regen_cache: bool
) -> None:
    asked = Asked()
    stream = call(core, asked, cache_response=cache_response, regen_cache=regen_cache)
    stream.stop()
    meta, usage, done = await events_of(stream)
    assert isinstance(meta, Meta)
    assert isinstance(usage, Usage)
    assert isinstance(done, Done)
    assert (meta.model, meta.identifier, done.status) == ("asked-model", "mine", "cancelled")
    assert asked.calls == 0


async def test_a_stored_answer_can_be_stopped_and_left() -> None:
    core = CacheCore(MemoryCache(), replay_speed=1e-6)
    asked = Asked()
    await events_of(call(core, asked))
    stream = call(core, asked)
    events = []
    async for event in stream:
        events.append(event)
        stream.stop()
    assert events[-1].type == "done"
    assert isinstance(events[-1], Done)
    assert events[-1].status == "cancelled"
    assert events[-1].usage is not None
    assert events[-1].usage.cost_usd == 0.0
    assert stream.ending("cancelled") == []


@in_standing_time
async def test_a_paced_answer_comes_as_fast_as_it_did() -> None:
    came = (0.0, 1.0, 3.0, 3.0, 3.0)
    cache = MemoryCache()
    await events_of(call(CacheCore(cache), Asked()))
    (entry,) = [entry async for entry in cache.entries()]
    await cache.put(CacheEntry(**{name: getattr(entry, name) for name in entry.__struct_fields__} | {"offsets": came}))
    for speed, expected in ((1.0, [0, 1, 3, 3, 3]), (2.0, [0, 0.5, 1.5, 1.5, 1.5]), (None, [0] * 5)):
        core, began_at = CacheCore(cache, replay_speed=speed), now()
        assert [now() - began_at async for _ in call(core, Asked())] == pytest.approx(expected)


@in_standing_time
async def test_a_replay_that_would_outlast_the_call_gives_up_its_pace_and_not_the_answer() -> None:
    cache = MemoryCache()
    await events_of(call(CacheCore(cache), Asked()))
    (entry,) = [entry async for entry in cache.entries()]
    await cache.put(msgspec.structs.replace(entry, offsets=(0.0, 1.0, 3.0, 60.0, 90.0)))
    core, began_at = CacheCore(cache, replay_speed=1.0), now()
    came = [now() - began_at async for _ in call(core, Asked(), total_timeout=5.0)]
    assert came == pytest.approx([0, 1, 3, 5, 5])


# A broken cache


@pytest.mark.parametrize("error", [CacheError("away"), OSError("disk"), RuntimeError("bug"), ClosedError("closed")])
@pytest.mark.parametrize("broken", [("get",), ("put",), ("get", "put", "aclose")], ids="+".join)
async def test_a_broken_cache_breaks_no_call(error: Exception, broken: tuple[str, ...]) -> None:
    faults: list[CacheFault] = []
    core, asked = CacheCore(BrokenCache(error, broken=broken), report=faults.append), Asked()
    for _ in range(2):
        assert texts(await events_of(call(core, asked))) == ["Hello", " world"]
    await core.aclose()
    assert {fault.error for fault in faults} == {error}
    assert core.counts.faults == len(faults)
    assert asked.calls == 2


@in_standing_time
async def test_a_cache_that_hangs_is_given_up() -> None:
    faults: list[CacheFault] = []
    core = CacheCore(HangingCache(broken=("get", "put")), report=faults.append, get_timeout=2, put_timeout=5)
    began_at = now()
    assert texts(await events_of(call(core, Asked()))) == ["Hello", " world"]
    assert now() - began_at == pytest.approx(7)
    assert [(fault.operation, type(fault.error)) for fault in faults] == [("get", TimeoutError), ("put", TimeoutError)]


@in_standing_time
async def test_a_look_up_is_within_the_time_of_the_whole_call() -> None:
    faults: list[CacheFault] = []
    core, asked = CacheCore(HangingCache(broken=("get",)), report=faults.append), Asked()
    began_at = now()
    result = await call(core, asked, total_timeout=0.3).result()
    assert now() - began_at == pytest.approx(0.3)
    assert result.error is not None
    assert result.error.code == "total_timeout"
    assert "total_timeout" in str(faults[0].error)
    assert asked.calls == 0


@in_standing_time
async def test_storing_comes_after_done_and_is_not_within_the_time_of_the_call() -> None:
    core = CacheCore(HangingCache(broken=("put",)), report=lambda _: None, put_timeout=5)
    began_at = now()
    assert texts(await events_of(call(core, Asked(), total_timeout=3.0))) == ["Hello", " world"]
    assert now() - began_at == pytest.approx(5)


@in_standing_time
async def test_what_a_look_up_took_is_taken_off_the_time_of_an_answer_of_the_call_s_own() -> None:
    core, left = CacheCore(HangingCache(broken=("get",)), report=lambda _: None, get_timeout=2.0), []

    def make(seconds: float | None) -> AnswerSource:
        left.append(seconds)
        return Asked()("str_1", None)

    key = core.key("mine", endpoint="https://x/v1")
    source = core.answer(key, make, stream_id="str_1", total_timeout=5.0)
    await events_of(EventStream(source, "str_1"))
    assert left == [3.0]


@in_standing_time
async def test_a_stop_ends_a_look_up_that_hangs() -> None:
    cache = HangingCache(broken=("get",))
    core, asked = CacheCore(cache), Asked()
    stream = call(core, asked)
    task = asyncio.create_task(events_of(stream))
    await cache.reached.wait()
    stream.stop()
    assert [event.type for event in await task] == ["meta", "usage", "done"]
    assert asked.calls == 0


async def test_an_entry_of_another_key_is_a_miss_and_reported() -> None:
    class Confused(MemoryCache):
        async def get(self, key: str) -> CacheEntry | None:
            return next(iter([entry async for entry in self.entries()]), None)

    faults: list[CacheFault] = []
    core, asked = CacheCore(Confused(), report=faults.append), Asked()
    for identifier in ("a", "b"):
        await events_of(call(core, asked, identifier))
    assert asked.calls == 2
    assert [fault.operation for fault in faults] == ["get"]


async def test_an_answer_that_no_cache_can_hold_is_given_all_the_same() -> None:
    faults: list[CacheFault] = []
    core, asked = CacheCore(MemoryCache(max_bytes=10), report=faults.append), Asked()
    assert texts(await events_of(call(core, asked))) == ["Hello", " world"]
    assert "larger than the cache" in str(faults[0].error)


async def test_a_report_that_raises_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def report(fault: CacheFault) -> None:
        raise RuntimeError("the report is broken")

    core = CacheCore(BrokenCache(), report=report)
    assert texts(await events_of(call(core, Asked()))) == ["Hello", " world"]
    assert "the report is broken" in caplog.text


async def test_what_the_source_raises_is_raised(core: CacheCore) -> None:
    asked = Asked(RuntimeError("the endpoint has a bug"))
    for cache_response in (True, False):
        with pytest.raises(RuntimeError, match="has a bug"):
            await events_of(call(core, asked, cache_response=cache_response))


async def test_a_closed_core_takes_no_call(core: CacheCore) -> None:
    await core.aclose()
    await core.aclose()
    with pytest.raises(ClosedError):
        call(core, Asked())


async def test_warming_reaches_the_cache_and_tells_when_it_is_broken() -> None:
    class Cold(MemoryCache):
        async def warm(self) -> None:
            raise CacheError("The server is away.")

    with pytest.raises(CacheError, match="away"):
        await CacheCore(Cold()).warm()
    await CacheCore(BrokenCache()).warm()


@pytest.mark.parametrize("limit", ["replay_speed", "get_timeout", "put_timeout"])
def test_a_limit_of_nothing_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match=limit):
        CacheCore(MemoryCache(), **{limit: 0})  # type: ignore[arg-type]


# What is kept


async def test_an_answer_that_is_not_to_be_kept_is_given_and_not_kept(core: CacheCore) -> None:
    asked, judged = Asked(), []

    def keeps(result: LLMResult) -> bool:
        judged.append(result.text)
        return len(judged) > 1

    for stored in (0, 1):
        assert texts(await events_of(call(core, asked, keeps=keeps))) == ["Hello", " world"]
        assert core.counts.stored == stored
    assert judged == ["Hello world"] * 2


async def test_a_judgement_that_raises_breaks_no_call() -> None:
    def keeps(result: LLMResult) -> bool:
        raise RuntimeError("a bug in a validator")

    faults: list[CacheFault] = []
    core = CacheCore(MemoryCache(), report=faults.append)
    assert texts(await events_of(call(core, Asked(), keeps=keeps))) == ["Hello", " world"]
    assert [str(fault.error) for fault in faults] == ["a bug in a validator"]
