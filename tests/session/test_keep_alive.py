"""`keep_alive=True`: a session that is not used stays signed in."""

import asyncio

import pytest

from nexudus_async import Freshness, RefreshPolicy
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

DAY = 86400.0


async def pass_time(clock: ManualClock, seconds: float) -> None:
    """Let time pass as it does: in small steps, with the tasks that sleep running in between."""
    for _ in range(round(seconds / 30)):
        clock.advance(30)
        for _ in range(3):
            await asyncio.sleep(0)


def keepers() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if "keep-alive" in task.get_name()]


async def test_an_idle_session_refreshes_when_its_token_is_due(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Six hours without a call: seven tokens or so, one sign-in."""
    session = await connect(keep_alive=True, policy=RefreshPolicy(jitter=0))
    await session.token()
    await clock.wait_for_sleepers()
    for hour in range(1, 7):
        await pass_time(clock, 2730)
        await until(lambda: emulator.renewals == hour)  # noqa: B023 - awaited at once
        await until(lambda: session.freshness is Freshness.FRESH)
    assert emulator.sign_ins == 1


async def test_it_starts_with_the_first_request_too(connect: Connect) -> None:
    """Not before: entering a session does nothing."""
    session = await connect(keep_alive=True)
    assert keepers() == []
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    assert len(keepers()) == 1
    await session.close()
    assert keepers() == []


@pytest.mark.parametrize("use", ["token", "refresh", "sign_in"])
async def test_whatever_is_used_first_it_starts(connect: Connect, use: str) -> None:
    """There is something to keep from then on."""
    session = await connect(keep_alive=True)
    await getattr(session, use)()
    assert len(keepers()) == 1


async def test_without_it_nothing_runs(connect: Connect, clock: ManualClock) -> None:
    """No task and no timer."""
    session = await connect()
    await session.token()
    assert keepers() == []
    assert clock.sleepers == 0


async def test_it_refreshes_after_fourteen_days_however_long_the_token_lives(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The refresh token would lapse after fifteen."""
    emulator.lifetime = 60 * DAY
    session = await connect(keep_alive=True)
    await session.token()
    await clock.wait_for_sleepers()
    clock.advance(14 * DAY - 60)
    await asyncio.sleep(0)
    assert emulator.renewals == 0
    await pass_time(clock, 90)
    await until(lambda: emulator.renewals == 1)
    assert session.freshness is Freshness.FRESH


async def test_a_host_that_was_suspended_recovers_within_half_a_minute(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Timers stand still in a suspend; the clock is looked at again and again."""
    session = await connect(keep_alive=True)
    await session.token()
    await clock.wait_for_sleepers()
    clock.suspend(5 * 3600)
    await pass_time(clock, 30)
    await until(lambda: emulator.renewals == 1)


async def test_an_outage_does_not_end_it(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """It goes on when the service is back; meanwhile back-off holds."""
    session = await connect(keep_alive=True)
    await session.token()
    await clock.wait_for_sleepers()
    emulator.fail("token", Fault.json({"error": "server_error"}, 500), times=None)
    await pass_time(clock, 7200)
    assert len(emulator.token_requests) < 150
    emulator.faults.clear()
    await pass_time(clock, 120)
    await until(lambda: session.freshness is Freshness.FRESH)
    assert emulator.sign_ins == 1


async def test_it_does_not_undo_a_logout(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """There is nothing to keep until the session is used again."""
    session = await connect(keep_alive=True)
    await session.token()
    await clock.wait_for_sleepers()
    await session.logout()
    await pass_time(clock, 7200)
    assert len(emulator.token_requests) == 1


@pytest.mark.parametrize("lifetime", [3600, 604_799])
async def test_it_wakes_at_most_every_half_minute(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, lifetime: float
) -> None:
    """No busy waiting while nothing is due."""
    emulator.lifetime = lifetime
    session = await connect(keep_alive=True)
    await session.token()
    await clock.wait_for_sleepers()
    clock.advance(29)
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    assert emulator.renewals == 0


async def test_a_clock_that_jumps_is_not_driven_by_it(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Or time would run away while the session is idle, and each token end as soon as it is there."""
    clock.autojump = True
    session = await connect(keep_alive=True)
    began = clock.monotonic()
    await session.token()
    await asyncio.sleep(0.05)
    assert clock.monotonic() - began < 1
    assert len(emulator.token_requests) == 1
