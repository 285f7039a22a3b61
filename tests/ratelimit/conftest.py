"""A place that counts who is there, and a session that is signed in."""

import pytest

from nexudus_async import TokenSession
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import Connect

from .throttling import Place


@pytest.fixture
def place(emulator: NexudusEmulator, clock: ManualClock) -> Place:
    return Place(emulator, clock)


@pytest.fixture
async def session(connect: Connect) -> TokenSession:
    session = await connect()
    await session.token()
    return session
