"""The edge under bad company: slow readers, readers that never read, crowds, cut and pipelined connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from hub.events import TextDelta
from hub.testing import Gate, chat_reply, check_grammar

from .conftest import RunningHub, StartHub


def request(stream_id: str, *, after: int | None = None) -> bytes:
    resume = f"Last-Event-ID: {after}\r\n" if after is not None else ""
    return f"GET /v1/streams/{stream_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{resume}\r\n".encode()


def read_nothing(port: int, data: bytes) -> socket.socket:
    """A connection that sends a request and takes as little as the kernel lets it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(data)
    return connection


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - the server tells nobody how many it serves
            await asyncio.sleep(0.01)


async def test_a_crowd_gets_every_event_in_order(running_hub: RunningHub) -> None:
    gate = Gate()
    running_hub.endpoint.enqueue(chat_reply([gate, *[f"{n} " for n in range(50)]], usage=True))
    stream_id = await running_hub.start()
    await gate.reached()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
        readers = [tasks.create_task(running_hub.read(stream_id)) for _ in range(300)]
        await until(lambda: len(running_hub.edge) == 300)
        gate.open()
    for reader in readers:
        check_grammar(reader.result())
        assert reader.result() == readers[0].result()
    assert len(running_hub.edge) == 0


async def test_a_burst_of_20000_events_arrives_whole(any_hub: RunningHub) -> None:
    any_hub.endpoint.enqueue(chat_reply(["x"] * 20_000).joined())
    events = await any_hub.read(await any_hub.start())
    check_grammar(events)
    assert sum(isinstance(event, TextDelta) for event in events) == 20_000


async def test_a_megabyte_in_one_delta_arrives_whole(any_hub: RunningHub) -> None:
    text = "é🌈\0\u202e " * 100_000
    any_hub.endpoint.enqueue(chat_reply([text]))
    events = await any_hub.read(await any_hub.start())
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text


async def test_a_reader_that_never_reads_holds_up_nobody_and_is_cut_off(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=0.3) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply([gate, *["x" * 1000] * 5_000], usage=True).joined())
        stream_id = await running.start()
        await gate.reached()
        stuck = read_nothing(running.port, request(stream_id))
        await until(lambda: len(running.edge) == 1)
        gate.open()
        async with asyncio.timeout(20):
            check_grammar(await running.read(stream_id))
        await until(lambda: len(running.edge) == 0)
        stuck.close()


async def test_a_slow_reader_goes_on_from_its_cursor(start_hub: StartHub) -> None:
    async with start_hub() as running:
        running.endpoint.enqueue(chat_reply(["x" * 1000] * 3_000, usage=True).joined())
        stream_id = await running.start()
        whole = await running.read(stream_id)
        connection = read_nothing(running.port, request(stream_id))
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        received = b""
        async with asyncio.timeout(20):
            while not received.endswith(b"0\r\n\r\n"):
                piece = await loop.sock_recv(connection, 16_384)
                assert piece
                received += piece
        connection.close()
        assert received.count(b"event: text_delta\n") == len(whole) - 3


async def test_a_lost_connection_leaves_no_subscriber_behind(running_hub: RunningHub) -> None:
    gate = Gate()
    running_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
    stream_id = await running_hub.start()
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", running_hub.port)
        writer.write(request(stream_id))
        await until(lambda: len(running_hub.edge) == 1)
        writer.transport.abort()
        await until(lambda: len(running_hub.edge) == 0)
    gate.open()


async def test_the_first_of_two_pipelined_requests_notices_that_its_reader_left(running_hub: RunningHub) -> None:
    gate = Gate()
    running_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
    stream_id = await running_hub.start()
    _, writer = await asyncio.open_connection("127.0.0.1", running_hub.port)
    writer.write(request(stream_id) * 2)
    await until(lambda: len(running_hub.edge) == 1)
    writer.transport.abort()
    await until(lambda: len(running_hub.edge) == 0)
    gate.open()


async def test_a_connection_serves_one_stream_after_another(running_hub: RunningHub) -> None:
    first, second = await running_hub.start(), await running_hub.start()
    await running_hub.read(first)
    await running_hub.read(second)
    reader, writer = await asyncio.open_connection("127.0.0.1", running_hub.port)
    for stream_id in (first, second, first):
        writer.write(request(stream_id))
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"0\r\n\r\n")
        assert stream_id.encode() in answer
        assert answer.count(b"event: done") == 1
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("protocol", ["edge", "httptools"])
async def test_subscribers_beyond_the_limit_are_told_to_come_later(start_hub: StartHub, protocol: str) -> None:
    async with start_hub(protocol=protocol, max_subscribers=2) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        stream_id = await running.start()
        async with running.subscription(stream_id) as one, running.subscription(stream_id) as two:
            await anext(one)
            await anext(two)
            response = await running.http.get(f"/v1/streams/{stream_id}/events")
            assert response.status_code == 503
            assert "retry-after" in response.headers
        gate.open()


async def test_a_reader_that_takes_bytes_slowly_is_not_stuck(start_hub: StartHub) -> None:
    # The kernel passes on what a slow reader took in steps of some 90 KB: that is how often progress can be seen.
    async with start_hub(stuck_timeout=1.0) as running:
        running.endpoint.enqueue(chat_reply(["x" * 1_500_000], usage=True))
        stream_id = await running.start()
        await running.read(stream_id)
        connection = read_nothing(running.port, request(stream_id))
        with closing(connection):
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            received = 0
            tail = b""
            async with asyncio.timeout(30):
                while not tail.endswith(b"0\r\n\r\n"):
                    piece = await loop.sock_recv(connection, 65_536)
                    assert piece, f"cut off after {received} bytes"
                    received += len(piece)
                    tail = (tail + piece)[-5:]
                    if loop.time() - began_at < 2.5:
                        await asyncio.sleep(0.01)  # the reader is slow: that is what is tested


@pytest.mark.parametrize("way", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_a_plain_answer_that_nobody_reads_is_given_up(start_hub: StartHub, way: bytes) -> None:
    async with start_hub(stuck_timeout=0.3) as running:
        running.endpoint.enqueue(chat_reply(["x" * 3_000_000], usage=True))
        stream_id = await running.start()
        await running.read(stream_id)
        ask = f"GET /v1/streams/{stream_id} ".encode() + way + b"\r\nHost: 127.0.0.1\r\n\r\n"
        connection = read_nothing(running.port, ask)
        connections = running.server.server_state.connections
        await until(lambda: len(connections) > 1)
        await until(lambda: len(connections) <= 1)  # that of the test's own client
        connection.close()


@pytest.mark.parametrize("head", [b"X: y\r\n" * 200, b"X: " + b"y" * 1000])
async def test_a_request_head_without_end_is_refused(running_hub: RunningHub, head: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", running_hub.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")

    async def send_on_and_on() -> None:
        async with asyncio.timeout(10):
            while True:
                writer.write(head)
                await writer.drain()
                await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await send_on_and_on()
    writer.transport.abort()


async def test_late_readers_leave_no_copies_of_the_log_behind(running_hub: RunningHub) -> None:
    running_hub.endpoint.enqueue(chat_reply(["x" * 1000] * 500, usage=True).joined())
    stream_id = await running_hub.start()
    whole = await running_hub.read(stream_id)
    log = await running_hub.hub.log(stream_id)
    stuck = read_nothing(running_hub.port, request(stream_id))
    await until(lambda: len(running_hub.edge) == 1)
    for after in range(5):
        assert await running_hub.read(stream_id, after=after) == whole[after + 1 :]
    (audience,) = running_hub.edge._audiences.values()
    assert audience._chunks == {}
    assert log.is_closed
    stuck.close()


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"])
async def test_a_request_that_never_comes_whole_is_given_up(start_hub: StartHub, before: bytes) -> None:
    async with start_hub(request_timeout=0.2) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        async with asyncio.timeout(10):
            if before:
                writer.write(before)
                await reader.readuntil(b"}")
            writer.write(b"G")
            with suppress(ConnectionError):
                await reader.read()  # returns at the connection's end, which is what is awaited
        writer.transport.abort()


async def test_a_body_that_never_comes_whole_is_408(start_hub: StartHub) -> None:
    async with start_hub(request_timeout=0.2) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(
            b"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"messages"'
        )
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"0.2 s" in answer
