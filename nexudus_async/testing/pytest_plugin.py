"""pytest fixtures: put `pytest_plugins = ["nexudus_async.testing.pytest_plugin"]` into your top `conftest.py`.

There is no entry point that would load them by itself: it would import aiohttp into every test run of every project
that has this package installed, its fixtures would be there unasked for, and without pytest-asyncio, which they need,
none of those runs would start. pytest-asyncio may be in its automatic or its strict mode.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from nexudus_async import PasswordCredentials, TokenSession

from ._clock import ManualClock
from ._emulator import NexudusEmulator

__all__ = ["nexudus_clock", "nexudus_emulator", "nexudus_session"]


@pytest.fixture
def nexudus_clock() -> ManualClock:
    """Give the clock that `nexudus_emulator` and `nexudus_session` go by; it moves when the test moves it."""
    return ManualClock()


@pytest_asyncio.fixture
async def nexudus_emulator(nexudus_clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    """Give a running emulator of its own to each test."""
    async with NexudusEmulator(clock=nexudus_clock) as emulator:
        yield emulator


@pytest_asyncio.fixture
async def nexudus_session(nexudus_emulator: NexudusEmulator, nexudus_clock: ManualClock) -> AsyncIterator[TokenSession]:
    """Give a session that is signed in to `nexudus_emulator` as its first user; it is closed at the end."""
    credentials = PasswordCredentials(nexudus_emulator.username, nexudus_emulator.password)
    async with TokenSession(credentials, base_url=nexudus_emulator.url, clock=nexudus_clock) as session:
        await session.token()
        yield session
