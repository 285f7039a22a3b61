"""Pauses of a fleet, on one clock: when they end."""

import pytest

from nexudus_async import EndpointUnavailableError, MemoryStore
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import Connect, until


@pytest.mark.parametrize("looks", [1, 20])
async def test_a_pause_that_began_with_a_good_token_ends_with_it(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, looks: int
) -> None:
    """However often it was looked meanwhile whether another process has ended it."""
    session = await connect(store=MemoryStore())
    await session.token()
    emulator.fail("token", Fault.answer(500))
    clock.advance(3590)
    await session.token()
    assert len(emulator.token_requests) == 2
    for _ in range(looks):
        clock.advance(0.55 / looks * 10)
        await session.token()
    clock.advance(10 - 5.5)
    await session.token()
    assert len(emulator.token_requests) == 3
    assert session.statistics().retry_in == 0
