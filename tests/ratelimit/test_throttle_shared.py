"""One throttled answer, many requests: all keep the pause, one probes, and the rest follow one after the other."""

import asyncio
import time
from collections import Counter

from nexudus_async import SessionClosedError, TokenSession
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, until

from .throttling import ECHO, calls, let_time_pass, settle, status


async def pause_before(
    session: TokenSession, emulator: NexudusEmulator, clock: ManualClock, n: int, *, path: str = CUSTOMER,
    seconds: float = 5, times: int = 1,
) -> "list[asyncio.Task[int]]":  # fmt: skip
    """Return a request that was throttled, and `n` that wait for the end of the pause."""
    emulator.fail(path, Fault.throttled(seconds), times=times)
    tasks = [asyncio.create_task(status(session, path))]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session, path)) for _ in range(n)]
    await asyncio.sleep(0)
    return tasks


async def test_one_throttled_answer_stops_a_thousand_and_one_probes(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """During the pause nothing is sent; then one, and while it is under way no other; never a thundering herd."""
    tasks = await pause_before(session, emulator, clock, 1_000)
    hold = emulator.hold(CUSTOMER)
    await settle()
    assert calls(emulator) == 1
    clock.advance(5)
    await hold.wait(1)
    clock.advance(5)
    await settle()
    assert hold.count == 1
    hold.release()
    await let_time_pass(clock, *tasks)
    assert Counter(task.result() for task in tasks) == {200: 1_001}


async def test_after_the_probe_they_follow_one_by_one_ever_faster(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """The slow start: 2 a second, and with each one that is served more, as long as nobody is refused."""
    tasks = await pause_before(session, emulator, clock, 100)
    clock.advance(5)
    seconds: list[int] = []
    while not all(task.done() for task in tasks):
        before = calls(emulator)
        for _ in range(10):
            await settle()
            clock.advance(0.1)
        await settle()
        seconds.append(calls(emulator) - before)
    assert seconds[0] < 15
    assert seconds[0] < seconds[1]
    assert sum(seconds) == 101
    assert session.statistics().rate is None, "nothing was refused since"


async def test_a_cancelled_probe_hands_its_turn_on(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """The next one probes: nobody hangs."""
    probe, *others = await pause_before(session, emulator, clock, 10)
    with emulator.hold(CUSTOMER, times=1) as hold:
        clock.advance(5)
        await hold.wait(1)
        probe.cancel()
        await let_time_pass(clock, *others)
    assert {task.result() for task in others} == {200}


async def test_a_request_cancelled_in_the_queue_harms_nobody(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """Half of them go; the others are served."""
    tasks = await pause_before(session, emulator, clock, 100)
    for task in tasks[::2]:
        task.cancel()
    await let_time_pass(clock, *tasks)
    assert [task.result() for task in tasks[1::2]] == [200] * 50
    assert calls(emulator) == 51


async def test_a_probe_that_fails_hands_its_turn_on(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """A broken connection is no answer; the next one tries."""
    tasks = await pause_before(session, emulator, clock, 10, path=ECHO)
    emulator.fail(ECHO, Fault.dropped(), times=2)  # aiohttp itself tries an idempotent one once more
    await let_time_pass(clock, *tasks)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(200) == 10


async def test_an_outage_is_not_met_one_request_at_a_time(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """After three failures in a row the next does not wait for the one before."""
    tasks = await pause_before(session, emulator, clock, 10, path=ECHO)
    emulator.fail(ECHO, Fault.dropped(), times=6)  # aiohttp itself tries an idempotent one once more
    with emulator.hold(ECHO) as hold:
        for _ in range(70):
            clock.advance(0.1)
            await settle()
        assert hold.count > 1
    await let_time_pass(clock, *tasks)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(200) == 8


async def test_a_probe_that_is_throttled_again_begins_the_pause_anew(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """One request per pause, not one per waiter."""
    tasks = await pause_before(session, emulator, clock, 50, times=3)
    for sent in (2, 3):
        clock.advance(5)
        await until(lambda: calls(emulator) == sent)  # noqa: B023 - awaited at once
        await settle()
        assert session.statistics().paused_for == 5
    await let_time_pass(clock, *tasks)
    assert {task.result() for task in tasks} == {200}


async def test_closing_ends_the_wait(emulator: NexudusEmulator, session: TokenSession, clock: ManualClock) -> None:
    """Of the throttled one and of all behind it."""
    tasks = await pause_before(session, emulator, clock, 10, seconds=50)
    await session.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, SessionClosedError) for result in results)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "throttle" in task.get_name()]


async def test_closing_ends_the_wait_for_a_turn_too(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """When there is no pause any more, and those who wait are let go one by one; and that of a replay by itself."""
    tasks = await pause_before(session, emulator, clock, 50)
    clock.advance(5)
    await until(lambda: calls(emulator) == 2)
    emulator.fail(CUSTOMER, Fault.throttled(1))
    clock.advance(0.6)
    await until(lambda: session.statistics().throttled == 2)
    assert session.statistics().paused_for == 0
    await session.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, SessionClosedError) for result in results].count(True) >= 49
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "throttle" in task.get_name()]


async def test_an_ordinary_conflict_is_an_answer_like_any_other(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """The service did not throttle: the probe has succeeded, and the others follow without waiting for each other."""
    (probe,) = await pause_before(session, emulator, clock, 0)
    tasks = [asyncio.create_task(status(session, ECHO)) for _ in range(7)]
    await asyncio.sleep(0)
    emulator.fail(CUSTOMER, Fault.throttled(None, 409))
    with emulator.hold(ECHO) as hold:
        for _ in range(80):
            clock.advance(0.1)
            await settle()
        assert hold.count > 1
    await let_time_pass(clock, probe, *tasks)
    assert [task.result() for task in (probe, *tasks)] == [409] + [200] * 7


async def test_ten_minutes_later_the_gate_is_open_again(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """Nothing is left of a throttled answer when for so long nobody had to wait."""
    (task,) = await pause_before(session, emulator, clock, 0)
    await let_time_pass(clock, task)
    clock.advance(601)
    assert await status(session) == 200
    hold = emulator.hold(CUSTOMER)
    tasks = [asyncio.create_task(status(session)) for _ in range(50)]
    await hold.wait(50)
    hold.release()
    await asyncio.gather(*tasks)


async def test_ten_thousand_behind_one_pause_cost_linear_time(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """Queueing and cancelling: far under a second."""
    (first,) = await pause_before(session, emulator, clock, 0, seconds=50)
    started = time.thread_time()
    tasks = [first, *(asyncio.create_task(status(session)) for _ in range(10_000))]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert time.thread_time() - started < 2


async def test_the_second_refusal_of_one_without_a_number_stops_only_that_one(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """It waits twice as long, by itself: the service has not asked for that, and the others are served meanwhile."""
    emulator.fail(CUSTOMER, Fault.throttled(None, 429), times=2)
    (unlucky,) = [asyncio.create_task(status(session))]
    await clock.wait_for_sleepers()
    clock.advance(1)
    await until(lambda: session.statistics().throttled == 2)
    assert session.statistics().paused_for == 0
    clock.advance(1)
    other = asyncio.create_task(status(session, ECHO))
    async with asyncio.timeout(5):
        assert await other == 200
    assert not unlucky.done()
    await let_time_pass(clock, unlucky)


async def test_those_who_wait_for_a_token_have_not_had_their_turn(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """Or all of them would go at once when it is there."""
    clock.advance(3500)
    with emulator.hold("token") as hold:
        (first,) = await pause_before(session, emulator, clock, 0)
        await let_time_pass(clock, first)
        before = calls(emulator)
        clock.advance(100)  # the token has ended
        tasks = [asyncio.create_task(status(session)) for _ in range(20)]
        await hold.wait()
        for _ in range(50):
            clock.advance(0.1)
            await asyncio.sleep(0)
    await until(lambda: session.statistics().generation == 2)
    await settle()
    assert calls(emulator) - before <= 2
    await let_time_pass(clock, *tasks)
    assert {task.result() for task in tasks} == {200}
