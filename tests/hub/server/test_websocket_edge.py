"""WebSockets under bad company: slow readers, readers that never read, floods, cut and abused connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import pytest

from hub.events import decode_event
from hub.streams.log import StreamLog
from hub.streams.memory import MemoryStreamStore
from hub.testing import Gate, chat_reply, check_grammar

from .conftest import RunningHub, StartHub
from .test_edge import read_nothing, request, until
from .websocket_readers import client_frame, handshake, hear, listen, opened

PING, CLOSE, TEXT = 0x9, 0x8, 0x1


@asynccontextmanager
async def bare(running: RunningHub, *data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that sends these bytes at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"".join(data))
    yield reader, writer
    writer.transport.abort()
    await until(lambda: len(running.edge) == 0)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, however it does."""
    received = b""
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            received += piece
    return received


@pytest.mark.parametrize("websockets", ["edge", "asgi"])
async def test_a_silent_connection_gets_pings(start_hub: StartHub, websockets: str) -> None:
    async with start_hub(websockets=websockets, heartbeat_interval=0.05) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply([gate]))
        stream_id = await running.start()
        async with asyncio.timeout(10), bare(running, handshake(stream_id)) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(3):
                await reader.readuntil(b"\x89\x00" if websockets == "edge" else b"\x89\x04")
        gate.open()


async def test_a_ping_is_answered_between_the_messages(start_hub: StartHub) -> None:
    async with start_hub() as running:
        running.endpoint.enqueue(chat_reply(["Hello", gate := Gate()]))
        stream_id = await running.start()
        async with asyncio.timeout(10), bare(running, handshake(stream_id)) as (reader, writer):
            await reader.readuntil(b'"text":"Hello"}')
            writer.write(client_frame(PING, b"are you there"))
            assert (await reader.readexactly(15)) == b"\x8a\x0dare you there"
        gate.open()


async def test_a_reader_that_never_reads_holds_up_nobody_and_is_cut_off(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=0.3) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply([gate, *["x" * 1000] * 5_000], usage=True).joined())
        stream_id = await running.start()
        await gate.reached()
        stuck = read_nothing(running.port, handshake(stream_id))
        await until(lambda: len(running.edge) == 1)
        gate.open()
        async with asyncio.timeout(20):
            check_grammar((await hear(running, stream_id)).events)
        await until(lambda: len(running.edge) == 0)
        stuck.close()


async def test_what_is_held_for_a_reader_that_never_reads_is_bounded(start_hub: StartHub) -> None:
    async with start_hub() as running:
        running.endpoint.enqueue(chat_reply(["x" * 1000] * 5_000, usage=True).joined())
        stream_id = await running.start()
        await running.read(stream_id)
        stuck = read_nothing(running.port, handshake(stream_id))
        await until(lambda: len(running.edge) == 1)
        (audience,) = running.edge._audiences.values()
        (subscriber,) = audience.members()
        await until(lambda: subscriber.is_paused)
        assert subscriber.transport.get_write_buffer_size() < 200_000
        stuck.close()


async def test_a_slow_reader_goes_on_from_its_cursor(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=1.0) as running:
        running.endpoint.enqueue(chat_reply(["x" * 1000] * 3_000, usage=True).joined())
        stream_id = await running.start()
        whole = await running.read(stream_id)
        connection = read_nothing(running.port, handshake(stream_id))
        with closing(connection):
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            received = b""
            async with asyncio.timeout(30):
                while not received.endswith(b"\x88\x02\x03\xe8"):
                    piece = await loop.sock_recv(connection, 65_536)
                    assert piece, f"cut off after {len(received)} bytes"
                    received += piece
                    if loop.time() - began_at < 2.0:
                        await asyncio.sleep(0.02)  # the reader is slow: that is what is tested
            assert received.count(b'"type":"text_delta"') == len(whole) - 3


async def test_a_flood_of_pings_by_who_reads_no_pongs_is_not_kept(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=0.5) as running:
        running.endpoint.enqueue(chat_reply(["x" * 1000] * 1_000, usage=True).joined())
        stream_id = await running.start()
        await running.read(stream_id)
        connection = read_nothing(running.port, handshake(stream_id))
        with closing(connection):
            await until(lambda: len(running.edge) == 1)
            (audience,) = running.edge._audiences.values()
            (subscriber,) = audience.members()
            await until(lambda: subscriber.is_paused)
            connection.setblocking(False)
            held = subscriber.transport.get_write_buffer_size()
            pings = client_frame(PING, b"x" * 125) * 500
            with suppress(BlockingIOError, ConnectionError):
                for _ in range(500):
                    connection.send(pings)
                    await asyncio.sleep(0)
                    assert subscriber.transport.get_write_buffer_size() <= held + 2 * len(pings)
            await until(lambda: len(running.edge) == 0)


async def test_a_lost_connection_leaves_no_reader_behind(running_hub: RunningHub) -> None:
    gate = Gate()
    running_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
    stream_id = await running_hub.start()
    for _ in range(20):
        async with bare(running_hub, handshake(stream_id)):
            await until(lambda: len(running_hub.edge) == 1)
    gate.open()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(client_frame(TEXT, b"hello"), id="text"),
        pytest.param(b"\x81\x05hello", id="unmasked"),
        pytest.param(client_frame(0x3), id="unknown opcode"),
        pytest.param(b"\x82\xff" + (2**40).to_bytes(8) + bytes(4), id="a terabyte announced"),
        pytest.param(client_frame(TEXT, b"\xff"), id="no UTF-8"),
        pytest.param(client_frame(CLOSE, b"\x03"), id="broken close"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="HTTP"),
        pytest.param(client_frame(TEXT, b"a") * 1_000, id="much"),
    ],
)
async def test_nonsense_ends_that_connection_and_no_other(
    start_hub: StartHub, capsys: pytest.CaptureFixture[str], said: bytes
) -> None:
    async with start_hub(stuck_timeout=0.3) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
        stream_id = await running.start()
        await gate.reached()
        async with asyncio.timeout(10), opened(running, stream_id) as websocket:
            heard = await listen(websocket, at_most=1)
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(handshake(stream_id))
            await reader.readuntil(b'"text":"Hello"}')
            writer.write(said)
            await rest(reader)
            writer.transport.abort()
            await until(lambda: len(running.edge) == 1)
            gate.open()
            await listen(websocket, heard)
    check_grammar(heard.events)
    assert heard.code == 1000
    assert capsys.readouterr().err == ""


class SlowStore(MemoryStreamStore):
    """Finds a stream only once `gate` is open, where there is one."""

    gate: asyncio.Event | None = None

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        if self.gate is not None:
            await self.gate.wait()
        return await super().open(stream_id, at_least=at_least)


@pytest.mark.parametrize(
    ("said", "ending"),
    [
        (client_frame(TEXT, b"a") * 100, b"\x03\xeb"),
        (client_frame(CLOSE, b"\x03\xe8"), b""),
    ],
)
async def test_whoever_says_something_before_it_is_accepted_is_not_served(
    start_hub: StartHub, said: bytes, ending: bytes
) -> None:
    store = SlowStore()
    async with start_hub(store=store, stuck_timeout=0.3) as running:
        running.endpoint.enqueue(chat_reply(["Hello", gate := Gate()]))
        stream_id = await running.start()
        await gate.reached()
        store.gate = asyncio.Event()
        async with asyncio.timeout(10), bare(running, handshake(stream_id)) as (reader, writer):
            await until(lambda: len(running.server.server_state.tasks) > 0)
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.05)  # for the server to read it
            store.gate.set()
            answer = await rest(reader)
        assert b"Hello" not in answer
        assert ending in answer
        gate.open()


@pytest.mark.parametrize(
    "line",
    [pytest.param("X: " + "y" * 9_000, id="long line"), pytest.param("X: y\r\n" * 200 + "X: y", id="many lines")],
)
async def test_a_head_that_the_websocket_protocol_can_t_take_is_refused(running_hub: RunningHub, line: str) -> None:
    stream_id = await running_hub.start()
    async with asyncio.timeout(10), bare(running_hub, handshake(stream_id, line)) as (reader, _):
        assert (await rest(reader)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("line", ["Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: short"])
async def test_a_handshake_that_is_none_is_400_or_426(running_hub: RunningHub, line: str) -> None:
    stream_id = await running_hub.start()
    head = handshake(stream_id).decode().split("\r\n")
    name = line.partition(":")[0]
    lines = [line if each.startswith(name) else each for each in head]
    async with asyncio.timeout(10), bare(running_hub, "\r\n".join(lines).encode()) as (reader, _):
        answer = await rest(reader)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))


async def test_an_upgrade_over_an_older_http_is_400(running_hub: RunningHub) -> None:
    stream_id = await running_hub.start()
    head = handshake(stream_id).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", 1)
    async with asyncio.timeout(10), bare(running_hub, head) as (reader, _):
        answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"A WebSocket takes HTTP/1.1." in answer


@pytest.mark.parametrize("over", ["a WebSocket", "HTTP"])
async def test_a_request_that_names_several_hosts_is_400(running_hub: RunningHub, over: str) -> None:
    stream_id = await running_hub.start()
    head = handshake(stream_id, "Host: evil.example")
    if over == "HTTP":
        head = b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(10), bare(running_hub, head) as (reader, _):
        answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"several hosts" in answer


async def test_an_upgrade_behind_an_answer_that_is_still_being_written_ends_the_connection(
    running_hub: RunningHub,
) -> None:
    gate = Gate()
    running_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
    stream_id = await running_hub.start()
    async with asyncio.timeout(10), bare(running_hub, request(stream_id)) as (reader, writer):
        await reader.readuntil(b"Hello")
        writer.write(handshake(stream_id))
        assert b"101 Switching" not in await rest(reader)
        await until(lambda: len(running_hub.edge) == 0)
    gate.open()


async def test_an_upgrade_behind_an_answer_that_was_written_is_served(running_hub: RunningHub) -> None:
    stream_id = await running_hub.start()
    await running_hub.read(stream_id)
    async with asyncio.timeout(10), bare(running_hub, request(stream_id)) as (reader, writer):
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(handshake(stream_id))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await reader.readuntil(b'"type":"done"')


async def test_an_upgrade_behind_an_answer_that_nobody_has_read_waits_for_the_reader(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=0.5) as running:
        running.endpoint.enqueue(chat_reply(["x" * 1000] * 3_000, usage=True).joined())
        stream_id = await running.start()
        await running.read(stream_id)
        whole = f"GET /v1/streams/{stream_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        connection = read_nothing(running.port, whole)
        with closing(connection):
            connections = running.server.server_state.connections
            await until(lambda: any(each.transport.get_write_buffer_size() > 100_000 for each in connections))
            connection.sendall(handshake(stream_id))
            await until(lambda: len(running.edge) == 1)
            await asyncio.sleep(0.05)  # for whatever should not happen
            assert not running.edge._audiences, "it is served while nothing is taken"
            await until(lambda: len(running.edge) == 0)


async def test_a_reader_that_asks_to_close_but_reads_nothing_is_cut_off(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=0.3) as running:
        running.endpoint.enqueue(chat_reply([gate := Gate(), "x" * 40_000] * 3, usage=True))
        stream_id = await running.start()
        await gate.reached()
        connection = read_nothing(running.port, handshake(stream_id))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await until(lambda: len(running.edge) == 1)
        connection.sendall(client_frame(CLOSE, b"\x03\xe8"))
        await until(lambda: len(running.edge) == 0)
        connections = running.server.server_state.connections
        await until(lambda: len(connections) <= 1)  # that of the test's own client
        connection.close()
        gate.open()


async def test_messages_are_not_compressed_so_that_readers_can_share_them(running_hub: RunningHub) -> None:
    stream_id = await running_hub.start()
    ask = handshake(stream_id, "Sec-WebSocket-Extensions: permessage-deflate")
    async with asyncio.timeout(10), bare(running_hub, ask) as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        first = await reader.readexactly(4)
        event = decode_event(await reader.readexactly(int.from_bytes(first[2:])))
    assert b"extensions" not in head.lower()
    assert (first[:2], event.type) == (b"\x81\x7e", "meta")


async def test_a_stuck_reader_does_not_hold_up_a_server_that_stops(start_hub: StartHub) -> None:
    async with start_hub() as running:
        running.endpoint.enqueue(chat_reply([*["x" * 1000] * 3_000, Gate()]))
        stream_id = await running.start()
        stuck = read_nothing(running.port, handshake(stream_id))
        await until(lambda: len(running.edge) == 1)
        running.server.should_exit = True
        async with asyncio.timeout(4):
            await running.task
        stuck.close()
