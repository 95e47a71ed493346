"""What nobody expected: a request that fails inside, and a server that is told to stop more than once."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from hub.hub import Hub
from hub.server.drain import DrainingServer
from hub.server.edge import Edge
from hub.server.problem import LastResort

from ...contracts.generations import Scripts
from .conftest import HELLO, StartHub
from .test_streams import assert_problem


class Failing(Scripts):
    """Fails where a temperature is given."""

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Any:
        if params.get("temperature"):
            raise KeyError("a secret of the application's")
        return super().stream(stream_id=stream_id, messages=messages, **params)


async def test_a_request_that_fails_inside_costs_neither_the_connection_nor_a_secret(
    start_hub: StartHub, caplog: pytest.LogCaptureFixture
) -> None:
    async with start_hub(generator=Failing()) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        statuses = []
        for body in (b'{"messages":[{"role":"user","content":"Hello"}],"temperature":1}',) * 3 + (
            b'{"messages":[{"role":"user","content":"Hello"}]}',
        ):
            writer.write(
                b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                text = (await reader.readexactly(length)).decode()
            statuses.append(int(head.split()[1]))
            assert "connection: close" not in head
            assert "secret" not in text
            assert "Traceback" not in text
        writer.close()
        assert statuses == [500, 500, 500, 201]
        assert_problem(await running.http.post("/v1/streams", json={**HELLO, "temperature": 1}), 500, "failed to serve")
    assert "a request could not be served" in caplog.text


async def test_a_response_that_breaks_off_is_not_made_to_look_whole() -> None:
    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError

    async def receive() -> Message:
        return {"type": "http.request"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(KeyError):
        await LastResort(breaks_off)({"type": "http"}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]


def draining(**options: Any) -> DrainingServer:
    config = uvicorn.Config(lambda *_: None, log_level=logging.CRITICAL)
    return DrainingServer(config, Hub(Scripts()), Edge(heartbeat_interval=1.0), drain_timeout=1.0, **options)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_wait(second: int) -> None:
    server = draining()
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (True, False)
    server.handle_exit(second, None)
    assert server.force_exit


def test_one_of_several_processes_may_be_told_twice_by_sigterm() -> None:
    server = draining(hurrying=(signal.SIGINT,))
    for number, hurries in ((signal.SIGTERM, False), (signal.SIGTERM, False), (signal.SIGINT, True)):
        server.handle_exit(number, None)
        assert server.force_exit is hurries
