"""What a hub says of streams that wait for a worker."""

from __future__ import annotations

from hub.hub import Hub
from hub.jobs.memory import MemoryJobQueue
from hub.jobs.remote import RemoteWorkers

from ...contracts.generations import HELLO
from ...contracts.samples import in_standing_time


@in_standing_time
async def test_a_hub_tells_a_stream_that_no_worker_has_as_queued() -> None:
    async with Hub(None, workforce=RemoteWorkers(MemoryJobQueue())) as hub:
        info = await hub.start(messages=HELLO, stream_id="str_1")
        assert info.status == "queued"
        assert [each.status for each in await hub.list()] == ["queued"]
        assert (await hub.get("str_1")).status == "queued"
        assert (await hub.cancel("str_1")).status == "queued"
