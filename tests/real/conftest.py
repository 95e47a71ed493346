"""One real model for every test here, since starting it takes a second; and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from hub.client import OpenAIClient
from hub.local_model import LocalModel
from tests.real.support import SLOTS


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model() -> AsyncIterator[LocalModel]:
    async with LocalModel(slots=SLOTS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def client(model: LocalModel) -> AsyncIterator[OpenAIClient]:
    async with OpenAIClient(model.model, base_url=model.base_url, api_key="EMPTY", temperature=0) as client:
        yield client
