"""The clock that a test moves."""

import asyncio

import pytest

from nexudus_async._clock import sleep
from nexudus_async.testing import ManualClock


def test_three_ways_for_time_to_pass() -> None:
    """Passing moves both readings, a step and a suspension only the wall; another machine sees what passed."""
    clock = ManualClock(100.0, start_monotonic=5.0)
    remote = clock.remote()
    clock.advance(10)
    assert (clock.monotonic(), clock.wall()) == (15.0, 110.0)
    clock.suspend(3)
    assert (clock.monotonic(), clock.wall()) == (15.0, 113.0)
    clock.step_wall(-50)
    assert (clock.monotonic(), clock.wall()) == (15.0, 63.0)
    assert (remote.monotonic(), remote.wall()) == (18.0, 113.0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_monotonic_never_goes_back(seconds: float) -> None:
    """Neither by advancing nor by suspending."""
    clock = ManualClock()
    with pytest.raises(ValueError, match="step_wall"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="step_wall"):
        clock.suspend(seconds)


async def test_advancing_wakes_the_due_in_order() -> None:
    """The earliest first, equals in order of arrival, the others sleep on."""
    clock, woken = ManualClock(), list[str]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    plan = {"late": 3.0, "first": 1.0, "second": 2.0, "too": 2.0, "far": 9.0}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sleeper(*item)) for item in plan.items()]
        await clock.wait_for_sleepers(5)
        clock.advance(0.5)
        await asyncio.sleep(0)
        assert woken == []
        clock.advance(2.5)
        await asyncio.sleep(0)
        assert woken == ["first", "second", "too", "late"]
        assert clock.sleepers == 1
        tasks[-1].cancel()


@pytest.mark.parametrize(("advanced", "sleepers"), [(0.999, 1), (1.0, 0)])
async def test_a_sleep_ends_at_its_time(advanced: float, sleepers: int) -> None:
    """Not a moment before."""
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1.0))
    await clock.wait_for_sleepers()
    clock.advance(advanced)
    await asyncio.sleep(0)
    assert clock.sleepers == sleepers
    task.cancel()


async def test_a_sleeper_sleeps_through_a_suspension() -> None:
    """As the event loop's own timers do."""
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1.0))
    await clock.wait_for_sleepers()
    clock.suspend(3_600)
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    task.cancel()


async def test_a_cancelled_sleep_leaves_nothing_behind() -> None:
    """Thousands of them neither count nor pile up."""
    clock = ManualClock()
    for _ in range(10):
        tasks = [asyncio.create_task(clock.sleep(1e6)) for _ in range(1_000)]
        await clock.wait_for_sleepers(1_000)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert clock.sleepers == 0
    assert len(vars(clock)["_queue"]) < 2_100


async def test_advancing_over_a_sleep_just_cancelled() -> None:
    """The clock may move before the cancelled task has run."""
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.wait_for_sleepers()
    task.cancel()
    clock.advance(2)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.sleepers == 0


async def test_no_sleep_still_lets_others_run() -> None:
    """Zero and less return at the next turn of the loop."""
    clock, ran = ManualClock(), asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await clock.sleep(0)
    assert ran.is_set()
    await clock.sleep(-1)


async def test_autojump_moves_the_clock_by_itself() -> None:
    """Sleepers end in order of their times, each at its own, with the clock there."""
    clock, woken = ManualClock(start_monotonic=0.1, autojump=True), list[tuple[float, float]]()

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, round(clock.monotonic() - 0.1, 6)))

    await asyncio.gather(*(sleeper(seconds) for seconds in (30.0, 0.7, 86_400.0, 0.3)))
    assert woken == [(0.3, 0.3), (0.7, 0.7), (30.0, 30.0), (86_400.0, 86_400.0)]


@pytest.mark.parametrize("start", [0.1, 1_000.0, 123_456.789, 1e9])
async def test_a_sleep_until_a_deadline_reaches_it(start: float) -> None:
    """Not short of it by the rounding of a sum: who loops until then sleeps once."""
    clock = ManualClock(start_monotonic=start, autojump=True)
    for number in range(1, 200):
        deadline = clock.monotonic() + number / 7
        await clock.sleep(deadline - clock.monotonic())
        assert clock.monotonic() >= deadline


async def test_the_package_sleeps_on_it() -> None:
    """What waits for a clock takes the clock's own `sleep`."""
    clock = ManualClock()
    task = asyncio.create_task(sleep(clock, 3_600))
    await clock.wait_for_sleepers()
    clock.advance(3_600)
    await task


async def test_waiting_for_sleepers_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would hang fails instead."""
    monkeypatch.setattr("nexudus_async.testing._waiting._PATIENCE", 0.01)
    with pytest.raises(TimeoutError):
        await ManualClock().wait_for_sleepers()
