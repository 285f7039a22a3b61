"""409 and 429: how long an answer asks to wait, and what is replayed then."""

import asyncio
import contextlib
import io
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from nexudus_async import ConfigurationError, CredentialsRejectedError, Throttle, Throttled
from nexudus_async._ratelimit.gate import Gate
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from nexudus_async.testing._faults import Cut
from tests.conftest import CUSTOMER, Connect
from tests.inside import pause

from .throttling import ECHO, calls, settle, status


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
        await settle()  # so that it comes in two parts
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


async def test_a_body_that_was_looked_at_can_still_be_read_as_a_stream(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """An answer that asks for too long a wait is the caller's at once, and the caller may read it piece by piece."""
    session = await connect()
    emulator.fail(CUSTOMER, Fault.throttled(None, 429, in_words=600))
    async with session.get(CUSTOMER) as response:
        streamed = b"".join([part async for part in response.content.iter_any()])
        assert b"Wait 600 seconds" in streamed
        assert await response.read() == streamed


async def test_a_caller_that_leaves_while_a_body_is_looked_at_leaves_no_connection(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """The answer is nobody's then: aiohttp would warn that it was not closed."""
    left, begun = asyncio.Event(), asyncio.Event()

    async def throttled(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=429)
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(b"Too many requests. ")
        begun.set()
        with contextlib.suppress(ConnectionError):
            while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.001)
        left.set()
        return answer

    emulator.route("GET", "/throttled", throttled)
    session = await connect()
    await session.token()
    task = asyncio.create_task(status(session, "/throttled"))
    await begun.wait()
    await settle()  # the answer has arrived, and its words are waited for
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_request_that_gets_no_token_is_no_failure_of_the_api(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several failures in a row count as an outage, in which nobody waits for the throttling to end."""
    session = await connect()
    await session.token()
    pause(session, 5)
    request = asyncio.create_task(status(session))
    await clock.wait_for_sleepers()
    await session.logout()
    emulator.user.suspended = True
    failed: list[bool] = []
    released = Gate.released

    def noting(self: Gate, ticket: float, **options: bool) -> None:
        failed.append(options.get("failed", False))
        released(self, ticket, **options)

    monkeypatch.setattr(Gate, "released", noting)
    clock.advance(5)
    with pytest.raises(CredentialsRejectedError):
        await request
    assert failed == [False]


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


async def test_without_replays_an_answer_is_returned_at_once_and_stops_nobody(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """`max_replays=0`: the callers do what is to be done themselves."""
    session = await connect(throttle=Throttle(max_replays=0))
    emulator.fail(CUSTOMER, Fault.throttled(5))
    assert await status(session) == 409
    async with asyncio.timeout(5):
        assert await status(session) == 200
    assert session.statistics().paused_for == 0


async def test_the_budget_is_what_one_request_waits_for_itself(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """60 s in all: 25 and 25 fit, a third 25 does not."""
    clock.autojump = True
    session = await connect()
    emulator.fail(CUSTOMER, Fault.throttled(25), times=3)
    assert await status(session) == 409
    assert calls(emulator) == 3


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


async def test_a_throttled_replay_says_nothing_about_the_refresh_before_it(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """401, refresh, 409, 401: the path is known to refuse every token, and forces no more refreshes for a while."""
    clock.autojump = True
    session = await connect()
    for fault in (Fault.answer(401), Fault.throttled(1), Fault.answer(401), Fault.answer(401)):
        emulator.fail(CUSTOMER, fault)
    assert await status(session) == 401
    assert await status(session) == 401
    assert emulator.renewals == 1


async def test_an_ordinary_conflict_proves_the_refresh_before_it(emulator: NexudusEmulator, connect: Connect) -> None:
    """The token was good after all: the doubt that another path has raised is over; a third one refreshes at once."""
    session = await connect()
    emulator.fail("/api/public/teams/my", Fault.answer(401), times=2)
    assert await status(session, "/api/public/teams/my") == 401
    emulator.fail(CUSTOMER, Fault.answer(401))
    emulator.fail(CUSTOMER, Fault.throttled(None, 409))
    assert await status(session) == 409
    emulator.fail(ECHO, Fault.answer(401))
    assert await status(session, ECHO) == 200
    assert emulator.renewals == 3


async def test_without_a_throttle_the_answers_are_the_callers(emulator: NexudusEmulator, connect: Connect) -> None:
    """`throttle=None`."""
    session = await connect(throttle=None)
    emulator.fail(CUSTOMER, Fault.throttled(1))
    assert await status(session) == 409


@pytest.mark.parametrize(
    "nonsense", [{"max_replays": -1}, {"max_replays": 1.5}, {"max_wait": float("nan")}, {"first_wait": -1}]
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=next(iter(nonsense))):
        Throttle(**nonsense)
