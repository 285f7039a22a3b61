"""409 and 429: waited out by the whole session together, and replayed."""

import asyncio
import io
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from nexudus_async import ConfigurationError, SessionClosedError, Throttle, Throttled
from nexudus_async._gate import NEW, Gate
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from nexudus_async.testing._faults import Cut
from tests.conftest import CUSTOMER, Connect, until

from .throttling import ECHO, status


def calls(emulator: NexudusEmulator) -> int:
    return len(emulator.requests) - len(emulator.token_requests)


async def test_a_throttled_request_is_replayed_after_the_pause(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Not a moment earlier; an event tells of it."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, Fault.throttled(5))
    task = asyncio.create_task(status(session))
    await clock.wait_for_sleepers()
    clock.advance(4.9)
    await asyncio.sleep(0)
    assert calls(emulator) == 1
    clock.advance(0.2)
    assert await task == 200
    assert [event for event in connect.events if isinstance(event, Throttled)] == [
        Throttled(status=409, wait=5.0, attempt=1, method="GET", path=CUSTOMER)
    ]


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault.throttled(3, 409), 3),
        (Fault.throttled(3, 429), 3),
        (Fault.throttled(None, 429), 1),
        (Fault.throttled("garbage", 429), 1),
        (Fault.answer(429, b'{"Message": "Too many requests. Wait 7 seconds."}'), 7),
        (Fault.answer(429, b"x" * 5000), 1),
        (replace(Fault.answer(429, b"Wait 7 seconds."), cut=Cut.TRUNCATE), 1),
    ],
    ids=["409", "429", "429 without", "garbage", "in words", "a long body", "truncated"],
)
async def test_every_way_of_asking_for_a_pause_is_understood(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, fault: Fault, wait: float
) -> None:
    """`Retry-After` with 409 and 429; words, or a second, where a 429 has none."""
    session = await connect()
    await session.token()
    emulator.fail(CUSTOMER, fault)
    task = asyncio.create_task(status(session))
    await clock.wait_for_sleepers()
    clock.advance(wait - 0.01)
    await asyncio.sleep(0)
    assert not task.done()
    clock.advance(0.02)
    assert await task == 200


@pytest.mark.parametrize(
    "rest", [b"Wait 7 seconds.", b"x" * 5000 + b"Wait 7 seconds.", None], ids=["chunked", "long", "endless"]
)
async def test_a_body_of_unknown_length_is_looked_at_and_stays_the_callers(
    emulator: NexudusEmulator,
    connect: Connect,
    clock: ManualClock,
    rest: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read as far as it is here soon."""
    monkeypatch.setattr(f"{Throttle.__module__}.WORDS_TIMEOUT", 0.1)
    over = asyncio.Event()

    async def throttled(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=429)
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(b"Too many requests. ")
        await asyncio.sleep(0.02)  # so that it comes in two parts
        if rest is None:
            await over.wait()
        await answer.write(rest or b"Wait 7 seconds.")
        return answer

    emulator.route("GET", "/throttled", throttled)
    session = await connect(throttle=Throttle(max_replays=1, max_wait=10))
    await session.token()
    task = asyncio.create_task(session.get("/throttled").__aenter__())
    await clock.wait_for_sleepers()
    assert [event.wait for event in connect.events if isinstance(event, Throttled)] == [
        7 if rest == b"Wait 7 seconds." else 1
    ]
    clock.advance(7)
    async with await task as response:
        over.set()
        assert (await response.text()).startswith("Too many requests. ")


async def test_a_429_without_a_number_waits_twice_as_long_each_time(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """1, 2, 4, 8, 16 s; then the answer is the caller's."""
    clock.autojump = True
    session = await connect()
    await session.token()
    started = clock.monotonic()
    emulator.fail(CUSTOMER, Fault.throttled(None, 429), times=None)
    assert await status(session) == 429
    assert clock.monotonic() - started == pytest.approx(31)
    assert calls(emulator) == 6


async def test_a_plain_409_is_the_callers(emulator: NexudusEmulator, connect: Connect) -> None:
    """An ordinary conflict."""
    session = await connect()
    emulator.fail(CUSTOMER, Fault.throttled(None, 409))
    assert await status(session) == 409
    assert calls(emulator) == 1


async def test_an_answer_that_asks_for_an_hour_is_returned_at_once_and_stops_nobody(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """A caller would not sit it out, and others may be asking something else."""
    session = await connect()
    emulator.fail(CUSTOMER, Fault.throttled(3600))
    assert await status(session) == 409
    assert await status(session) == 200


async def test_the_budget_is_what_one_request_waits_for_itself(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """60 s in all: 25 and 25 fit, a third 25 does not."""
    clock.autojump = True
    session = await connect()
    emulator.fail(CUSTOMER, Fault.throttled(25), times=3)
    assert await status(session) == 409
    assert calls(emulator) == 3


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
    turns: list[object] = []

    async def enter() -> None:
        turns.append(await gate.enter(gate.place(NEW)))

    tasks = [asyncio.create_task(enter()) for _ in range(7)]
    await clock.wait_for_sleepers()
    clock.advance(5)
    for under_way, so_far in [(1, 1), (2, 3), (4, 7)]:
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(turns) == so_far
        for _ in range(under_way):
            gate.leave(turns[0], well=True)
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


async def test_a_body_that_cannot_be_sent_again_is_not_replayed_but_the_pause_holds(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Its answer is the caller's; the others wait all the same."""
    session = await connect()
    await session.token()
    emulator.fail(ECHO, Fault.throttled(5))
    assert await status(session, ECHO, "POST", data=io.BytesIO(b"file")) == 409
    other = asyncio.create_task(status(session))
    await clock.wait_for_sleepers()
    await asyncio.sleep(0)
    assert calls(emulator) == 1
    clock.advance(5)
    assert await other == 200


async def test_a_write_is_replayed_with_its_body(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A throttled request did not happen."""
    clock.autojump = True
    session = await connect()
    emulator.fail(ECHO, Fault.throttled(1))
    async with session.post(ECHO, json={"a": 1}) as response:
        assert (await response.json())["Body"] == '{"a": 1}'


async def test_a_replay_after_401_may_be_throttled_and_the_other_way_round(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """401, 409, 200; and 409, 401, 200."""
    clock.autojump = True
    session = await connect()
    for faults in ([Fault.answer(401), Fault.throttled(1)], [Fault.throttled(1), Fault.answer(401)]):
        for fault in faults:
            emulator.fail(CUSTOMER, fault)
        assert await status(session) == 200


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


async def test_a_throttled_replay_says_nothing_about_the_renewal_before_it(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """401, renewal, 409, 401: the path is known to refuse every token, and forces no more renewals for a while."""
    clock.autojump = True
    session = await connect()
    for fault in (Fault.answer(401), Fault.throttled(1), Fault.answer(401), Fault.answer(401)):
        emulator.fail(CUSTOMER, fault)
    assert await status(session) == 401
    assert await status(session) == 401
    assert emulator.renewals == 1


async def test_without_a_throttle_the_answers_are_the_callers(emulator: NexudusEmulator, connect: Connect) -> None:
    """`throttle=None`."""
    session = await connect(throttle=None)
    emulator.fail(CUSTOMER, Fault.throttled(1))
    assert await status(session) == 409


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


@pytest.mark.parametrize(
    "nonsense", [{"max_replays": -1}, {"max_replays": 1.5}, {"max_wait": float("nan")}, {"first_wait": -1}]
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=next(iter(nonsense))):
        Throttle(**nonsense)
