"""A pause is the whole session's: nobody sends, one probes, the rest follow in a ramp."""

import asyncio
import time
from collections import Counter

from nexudus_async import SessionClosedError
from nexudus_async._ratelimit.gate import NEW, Gate
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

from .throttling import ECHO, calls, status


async def test_one_throttled_answer_stops_a_thousand_and_they_come_back_in_a_ramp(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """During the pause nothing is sent; then one, two, four, … and never a thundering herd."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(5))
    first = asyncio.create_task(status(session))
    await clock.wait_for_sleepers()
    hold = emulator.hold(CUSTOMER)
    herd = [asyncio.create_task(status(session)) for _ in range(1_000)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert calls(emulator) == 1
    clock.advance(5)
    await hold.wait(1)
    for _ in range(50):
        await asyncio.sleep(0.0)
    assert hold.count == 1
    hold.release()
    assert Counter(await asyncio.gather(first, *herd)) == {200: 1_001}


async def test_the_ramp_doubles(clock: ManualClock) -> None:
    """What is under way at once after a pause: 1, then 2, then 4; and an untroubled end opens the gate."""
    gate = Gate(clock)
    gate.pause(5)
    tickets: list[object] = []

    async def enter() -> None:
        tickets.append(await gate.enter(gate.place(NEW)))

    tasks = [asyncio.create_task(enter()) for _ in range(7)]
    await clock.wait_for_sleepers()
    clock.advance(5)
    for under_way, so_far in [(1, 1), (2, 3), (4, 7)]:
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(tickets) == so_far
        for _ in range(under_way):
            gate.leave(tickets[0], well=True)
    await asyncio.gather(*tasks)
    assert not gate.engaged
    gate.close()


async def test_a_cancelled_probe_hands_its_place_on(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The next one probes: nobody hangs."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(5))
    probe = asyncio.create_task(status(session))
    await clock.wait_for_sleepers()
    others = [asyncio.create_task(status(session)) for _ in range(10)]
    await asyncio.sleep(0)
    with emulator.hold(CUSTOMER, times=1) as hold:
        clock.advance(5)
        await hold.wait(1)
        probe.cancel()
        async with asyncio.timeout(5):
            assert set(await asyncio.gather(*others)) == {200}


async def test_a_place_granted_to_a_request_that_is_cancelled_goes_to_the_next(clock: ManualClock) -> None:
    """It was let through, and cancelled before it ran."""
    gate = Gate(clock)
    gate.pause(5)
    first, second = (asyncio.create_task(gate.enter(gate.place(NEW))) for _ in range(2))
    await clock.wait_for_sleepers()
    clock.advance(5)
    await asyncio.sleep(0)  # the pause has ended and the first is granted its place, and has not run yet
    first.cancel()
    async with asyncio.timeout(5):
        gate.leave(await second, well=True)
    assert not gate.engaged
    gate.close()


async def test_a_request_cancelled_in_the_queue_harms_nobody(connect: Connect, clock: ManualClock) -> None:
    """Half of them go; the others are served."""
    session = await connect()
    await session.token()
    connect.emulator.fail(CUSTOMER, Fault.throttled(5))
    tasks = [asyncio.create_task(status(session))]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session)) for _ in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    clock.advance(5)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1::2] == [200] * 50


async def test_a_probe_that_fails_hands_its_place_on(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A broken connection is no answer; the next one tries."""
    session = await connect()
    await session.token()
    emulator.fail(ECHO, Fault.throttled(5))
    tasks = [asyncio.create_task(status(session, ECHO, "POST")) for _ in range(1)]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session, ECHO, "POST")) for _ in range(10)]
    await asyncio.sleep(0)
    emulator.fail(ECHO, Fault.dropped())
    clock.advance(5)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(200) == 10


async def test_an_outage_is_not_met_one_request_at_a_time(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """After three failures in a row the ramp goes on."""
    session = await connect()
    await session.token()
    emulator.fail(ECHO, Fault.throttled(5))
    tasks = [asyncio.create_task(status(session, ECHO, "POST"))]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session, ECHO, "POST")) for _ in range(10)]
    await asyncio.sleep(0)
    emulator.fail(ECHO, Fault.dropped(), times=3)
    with emulator.hold(ECHO) as hold:
        clock.advance(5)
        await hold.wait(2)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(200) == 8


async def test_a_probe_that_is_throttled_again_begins_the_pause_anew(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """One request per pause, not one per waiter."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(5), times=3)
    tasks = [asyncio.create_task(status(session))]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session)) for _ in range(50)]
    await asyncio.sleep(0)
    for sent in (2, 3):
        clock.advance(5)
        await until(lambda: calls(emulator) == sent)  # noqa: B023 - awaited at once
        await clock.wait_for_sleepers()
    clock.advance(5)
    async with asyncio.timeout(5):
        assert set(await asyncio.gather(*tasks)) == {200}


async def test_closing_ends_the_wait(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """Of the throttled one and of all behind it."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(50))
    tasks = [asyncio.create_task(status(session))]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session)) for _ in range(10)]
    await asyncio.sleep(0)
    await session.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, SessionClosedError) for result in results)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "throttle" in task.get_name()]


async def test_an_ordinary_conflict_lets_the_ramp_go_on(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """It is an answer like any other: the service did not throttle."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(5))
    tasks = [asyncio.create_task(status(session))]
    await clock.wait_for_sleepers()
    tasks += [asyncio.create_task(status(session, ECHO)) for _ in range(7)]
    await asyncio.sleep(0)
    emulator.fail(CUSTOMER, Fault.throttled(None, 409))
    with emulator.hold(ECHO) as hold:
        clock.advance(5)
        await hold.wait(2)
    assert await asyncio.gather(*tasks) == [409] + [200] * 7


async def test_after_the_ramp_the_gate_is_open_again(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Nothing is left of a pause once everybody is through."""
    clock.autojump = True
    session = await connect()
    emulator.fail(CUSTOMER, Fault.throttled(1))
    await asyncio.gather(*(status(session) for _ in range(20)))
    before = calls(emulator)
    assert set(await asyncio.gather(*(status(session) for _ in range(20)))) == {200}
    assert calls(emulator) == before + 20


async def test_ten_thousand_behind_one_pause_cost_linear_time(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Queueing and cancelling: far under a second."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(50))
    tasks = [asyncio.create_task(status(session))]
    await clock.wait_for_sleepers()
    started = time.thread_time()
    tasks += [asyncio.create_task(status(session)) for _ in range(10_000)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert time.thread_time() - started < 2
