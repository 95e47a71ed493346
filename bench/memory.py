"""Memory of reading one stream of a million events over loopback: after each tenth of it, of the reader alone.

`python -m bench.memory endpoint` and `python -m bench.memory reader BASE_URL API` are the two processes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal

import uvloop

from bench.children import Child, obey_async, resident_bytes
from bench.report import Row, Table
from hub.client import OpenAIClient
from hub.testing import Reply, ScriptedEndpoint, chat_chunk, raw_reply, sse
from hub.testing.request import RecordedRequest
from hub.testing.responses import response_event, responses_reply

__all__ = ("run",)

EVENTS_A_STEP = 500
SAMPLES = 10
WORD = " word"

Api = Literal["chat", "responses"]


def run(quick: bool) -> Iterator[Table]:
    """Both APIs; the figures are what the process holds more than before the stream."""
    events = 100_000 if quick else 1_000_000
    rows: list[Row] = []
    with ExitStack() as stack:
        endpoint = stack.enter_context(Child("bench.memory", "endpoint"))
        for api in ("chat", "responses"):
            reader = stack.enter_context(Child("bench.memory", "reader", endpoint.hello["base_url"], api))
            for warm in (True, False):
                found = reader.ask("read", events=EVENTS_A_STEP * SAMPLES if warm else events)["bytes"]
            row = Row(f'`client.stream(api="{api}")`')
            row.add(before=found[0] / 1e6)
            for tenth in (1, 5, 10):
                row.facts[f"after {events * tenth // SAMPLES:,}"] = f"{(found[tenth] - found[0]) / 1e6:+.1f}"
            rows.append(row)
    note = (
        "Each event is read and dropped. The Responses API tells the whole text again at its end; "
        "what has been said is kept to be compared with it."
    )
    yield Table(
        f"One stream of {events:,} events, resident memory in MB", {"before": "before"}, rows, [note], has_ratios=False
    )


def _answer(request: RecordedRequest) -> Reply:
    """So many events, as one step again and again: the endpoint holds but one of them."""
    body = request.json()
    steps = int(body["model"].split("-")[1]) // EVENTS_A_STEP
    if "responses" in request.path:
        place = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
        (*begin, last) = responses_reply("").steps
        step = response_event("response.output_text.delta", **place, delta=WORD, logprobs=[]) * EVENTS_A_STEP
        return raw_reply(*begin[:4], *[step] * steps, last)
    step = sse(*[chat_chunk(content=WORD)] * EVENTS_A_STEP, done=False)
    return raw_reply(*[step] * steps, sse(chat_chunk(finish_reason="stop")))


async def _endpoint() -> None:
    async with ScriptedEndpoint(handler=_answer, max_requests=1) as endpoint:

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            return {}

        await obey_async({"base_url": endpoint.base_url}, carry_out)


async def _reader(base_url: str, api: Api) -> None:
    async with OpenAIClient("bench", base_url=base_url, api_key="EMPTY", api=api) as client:

        async def read(command: dict[str, Any]) -> dict[str, Any]:
            part = command["events"] // SAMPLES
            found = [resident_bytes()]
            texts = 0
            async with client.stream(
                model=f"events-{command['events']}", messages=[{"role": "user", "content": "Say a lot."}]
            ) as events:
                async for event in events:
                    if event.type == "text_delta":
                        texts += 1
                        if not texts % part:
                            found.append(resident_bytes())
            if texts != command["events"] or event.type != "done" or event.status != "completed":
                raise RuntimeError(f"{texts} events came, and at last {event!r}")
            return {"bytes": found}

        await obey_async({}, read)


def main(kind: str, *arguments: str) -> None:
    """Be one of the two processes until the parent is gone."""
    uvloop.run(_endpoint() if kind == "endpoint" else _reader(*arguments))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
