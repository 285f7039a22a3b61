"""pytest fixtures: put `pytest_plugins = ["nexudus_async.testing.pytest_plugin"]` into your top `conftest.py`.

They need pytest-asyncio, in its automatic or its strict mode.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ._clock import ManualClock
from ._emulator import NexudusEmulator

__all__ = ["nexudus_clock", "nexudus_emulator"]


@pytest.fixture
def nexudus_clock() -> ManualClock:
    """Give the clock that `nexudus_emulator` goes by. It stands still until the test advances it."""
    return ManualClock()


@pytest_asyncio.fixture
async def nexudus_emulator(nexudus_clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    """Give a running emulator of its own to each test."""
    async with NexudusEmulator(clock=nexudus_clock) as emulator:
        yield emulator
