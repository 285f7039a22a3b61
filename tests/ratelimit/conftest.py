"""A place that counts who is there, and a session that is signed in."""

import pytest

from nexudus_async import TokenSession
from nexudus_async.testing import NexudusEmulator
from tests.conftest import Connect

from .throttling import Place


@pytest.fixture
def place(emulator: NexudusEmulator) -> Place:
    return Place(emulator)


@pytest.fixture
async def session(connect: Connect) -> TokenSession:
    session = await connect()
    await session.token()
    return session
