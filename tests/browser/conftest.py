"""A browser before a real hub before a scripted endpoint: what the tests of the page share.

Browser, hub and endpoint start once for all tests, in the one event loop that all of them run in; a test has its own
script for the endpoint, and its own browser profile.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn, Self

import pytest
import pytest_asyncio

from hub.testing import EchoHandler, RecordedRequest, Reply, ScriptedEndpoint

try:
    from playwright import async_api as playwright
except ModuleNotFoundError:  # the fixture `browser` says what that means for a run
    playwright = None  # type: ignore[assignment]

TIMEOUT = 20.0
CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ENDED = ("completed", "cancelled", "failed", "interrupted")


class Script:
    """What the endpoint answers in one test, in order; then it echoes. `requests` is what it was asked."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self._replies: deque[Reply] = deque()
        self._echo = EchoHandler(word_delay=0)

    def enqueue(self, *replies: Reply) -> None:
        self._replies.extend(replies)

    def answer(self, request: RecordedRequest) -> Reply:
        self.requests.append(request)
        return self._replies.popleft() if self._replies else self._echo(request)


class Stage:
    """The endpoint of all tests; `script` is the running test's."""

    def __init__(self) -> None:
        self.script = Script()
        self.endpoint = ScriptedEndpoint(handler=lambda request: self.script.answer(request))


class Hub:
    """`hub serve` as a process of its own, on a port that stays the same from one start to the next."""

    def __init__(self, endpoint_url: str, **environment: str) -> None:
        self._endpoint_url = endpoint_url
        inherited = {key: value for key, value in os.environ.items() if not re.match("OPENAI_|LLM_|HUB_|PORT$", key)}
        self._environment = {
            **inherited,
            "HUB_NO_DOTENV": "1",
            "HUB_STORE": "memory",
            "HUB_COALESCE_DELAY": "0",
            "OPENAI_API_KEY": "unused",
            **environment,
        }
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        command = ["serve", "--port", str(self.port), "--base-url", self._endpoint_url, "--model", "scripted"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", *command, env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            banner = (await self._process.stdout.readline()).decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", banner)
        assert found, f"hub serve did not say where it listens: {banner!r}"
        self.port = int(found[1])

    async def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            # What it wrote is read to the end, else the pipe outlives the test.
            await self._process.communicate()
            self._process = None


class Wire:
    """A TCP proxy before the hub: it can break what runs through it, and refuse what comes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Reset every connection, and each new one until `mend`."""
        self._is_cut = True
        for writer in self._writers:
            _reset(writer)

    def mend(self) -> None:
        self._is_cut = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            _reset(writer)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # either side broke it off
    finally:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Leave with a TCP reset: a reader must not take the end for a clean one."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Tab:
    """One tab of the browser, used as a person would; it remembers whatever went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        self.requested: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("response", self._on_response)

    def by_id(self, test_id: str) -> Any:
        return self.page.get_by_test_id(test_id)

    async def open(self, url: str) -> None:
        await self.page.goto(url)

    async def ask(self, text: str) -> None:
        await self.by_id("composer").fill(text)
        await self.by_id("composer").press("Enter")

    async def answer(self) -> str:
        """The last answer's text."""
        return str(await self.by_id("answer").last.text_content())

    async def status(self) -> str | None:
        status: str | None = await self.by_id("answer").last.get_attribute("data-status")
        return status

    async def until(self, condition: str, argument: Any = None) -> None:
        """Return once this JavaScript function of `argument` is true in the page."""
        # By the clock: the default, once a frame, would never look at a page that isn't painted.
        await self.page.wait_for_function(condition, arg=argument, polling=50)

    async def until_answer_has(self, text: str) -> None:
        await self.until(
            "text => [...document.querySelectorAll('[data-testid=answer]')].at(-1)?.textContent.includes(text)", text
        )

    async def until_status(self, *statuses: str, answers: int = 1) -> None:
        """Return once there are so many answers, and the last has one of these statuses."""
        await self.until(
            "([statuses, count]) => { const all = [...document.querySelectorAll('[data-testid=answer]')];"
            " return all.length === count && statuses.includes(all.at(-1).dataset.status) }",
            [statuses, answers],
        )

    async def until_ended(self, *, answers: int = 1) -> None:
        await self.until_status(*ENDED, answers=answers)

    def _on_console(self, message: Any) -> None:
        # The browser reports every failed request as an error; those of the page's own files are caught below.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console: {message.text}")

    def _on_response(self, response: Any) -> None:
        if "/v1/" not in response.url and response.status >= 400:
            self.faults.append(f"{response.status} for {response.url}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """Chromium; without it the tests are skipped, but fail where CI promises one."""
    if playwright is None:
        _unavailable("playwright is not installed: pip install playwright")
    async with playwright.async_playwright() as driver:
        executable = _chromium(driver.chromium.executable_path)
        if executable is None:
            _unavailable(f"no Chromium: none of {', '.join(CHROMIUM)} on the PATH, and none of playwright's own")
        instance = await driver.chromium.launch(executable_path=executable)
        yield instance
        await instance.close()


def _chromium(own: str) -> str | None:
    return next(filter(None, map(shutil.which, (*CHROMIUM, own))), None)


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so this is no reason to skip)")
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(browser: Any) -> AsyncIterator[Stage]:
    """Needs the browser, so that nothing is started for tests that are skipped."""
    stage = Stage()
    async with stage.endpoint:
        yield stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub(stage: Stage) -> AsyncIterator[Hub]:
    """A hub that asks for no key; a test that ends it starts its own."""
    async with _hub(stage) as hub:
        yield hub


StartHub = Callable[..., Awaitable[Hub]]


@pytest_asyncio.fixture(loop_scope="session")
async def start_hub(stage: Stage) -> AsyncIterator[StartHub]:
    """Starts a hub with these environment variables: `await start_hub(HUB_API_KEYS="key")`."""
    async with AsyncExitStack() as stack:

        async def start(**environment: str) -> Hub:
            return await stack.enter_async_context(_hub(stage, **environment))

        yield start


@asynccontextmanager
async def _hub(stage: Stage, **environment: str) -> AsyncIterator[Hub]:
    hub = Hub(stage.endpoint.base_url, LLM_ATTEMPTS="1", **environment)
    try:
        await hub.start()
        yield hub
    finally:
        await hub.kill()


@pytest.fixture
def endpoint(stage: Stage) -> Script:
    """What the endpoint answers in this test."""
    stage.script = Script()
    return stage.script


@pytest_asyncio.fixture(loop_scope="session")
async def wire(hub: Hub) -> AsyncIterator[Wire]:
    """The hub behind a line that can be cut."""
    async with Wire(hub.port) as wire:
        yield wire


OpenTab = Callable[..., Awaitable[Tab]]


@pytest_asyncio.fixture(loop_scope="session")
async def profile(browser: Any) -> AsyncIterator[OpenTab]:
    """Opens tabs of one browser profile, which share its storage."""
    async with _profile(browser) as open_tab:
        yield open_tab


@pytest_asyncio.fixture(loop_scope="session")
async def other_profile(browser: Any) -> AsyncIterator[OpenTab]:
    """Opens tabs in somebody else's browser."""
    async with _profile(browser) as open_tab:
        yield open_tab


@asynccontextmanager
async def _profile(browser: Any) -> AsyncIterator[OpenTab]:
    tabs: list[tuple[Tab, str]] = []
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(TIMEOUT * 1000)

    async def open_tab(url: str, *, script: str = "") -> Tab:
        """A tab at `url`; `script` runs in it before anything else."""
        page = await context.new_page()
        if script:
            await page.add_init_script(script)
        tab = Tab(page)
        tabs.append((tab, url.partition("#")[0].rstrip("/")))
        await tab.open(url)
        return tab

    yield open_tab
    await context.close()
    for tab, origin in tabs:
        assert not tab.faults
        assert [url for url in tab.requested if not url.startswith((f"{origin}/", "data:"))] == []


@pytest_asyncio.fixture(loop_scope="session")
async def tab(profile: OpenTab, hub: Hub) -> Tab:
    """One tab with the page open."""
    return await profile(hub.url)
