"""What must hold after every test that asks for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest


@pytest.fixture
async def clean() -> AsyncIterator[None]:
    """No task and no complaint is left behind."""
    loop = asyncio.get_running_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert complaints == []
