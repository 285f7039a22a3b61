"""WebSocket handshakes that are throttled: as requests, for they are requests."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from nexudus_async import Pacing, Throttled, TokenSession
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

from .throttling import calls, greet, let_time_pass, settle, status


@pytest.fixture
async def answers(emulator: NexudusEmulator) -> list[web.Response]:
    """Return the refusals to give, one by one; after them, handshakes succeed."""
    refusals: list[web.Response] = []

    async def socket(request: web.Request) -> web.StreamResponse:
        return refusals.pop(0) if refusals else await greet(request)

    emulator.route("GET", "/socket", socket)
    return refusals


async def greeting(session: TokenSession) -> str:
    async with session.ws_connect("/socket") as socket:
        return str(await socket.receive_str())


@pytest.mark.parametrize(
    ("refusal", "wait"),
    [
        (web.Response(status=409, headers={"Retry-After": "5"}), 5.0),
        (web.Response(status=429, headers={"Retry-After": "5"}), 5.0),
        (web.Response(status=429), 1.0),
    ],
    ids=["409", "429", "429 alone"],
)
async def test_a_throttled_handshake_waits_and_stops_the_others(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, answers: list[web.Response],
    refusal: web.Response, wait: float,
) -> None:  # fmt: skip
    """And is replayed when the pause is over."""
    session = await connect()
    await session.token()
    answers.append(refusal)
    connecting = asyncio.create_task(greeting(session))
    await until(lambda: session.statistics().throttled == 1)
    another = asyncio.create_task(status(session, CUSTOMER))
    await settle()
    assert calls(emulator) == 1
    clock.advance(wait - 0.01)
    await settle()
    assert calls(emulator) == 1
    await let_time_pass(clock, connecting, another)
    assert (connecting.result(), another.result()) == ("hello", 200)
    assert [(event.status, event.wait) for event in connect.events if isinstance(event, Throttled)] == [
        (refusal.status, wait)
    ]


@pytest.mark.parametrize(
    "refusal",
    [web.Response(status=409), web.Response(status=409, headers={"Retry-After": "3600"})],
    ids=["conflict", "an hour"],
)
async def test_a_refusal_that_is_no_pause_is_raised_at_once(
    connect: Connect, answers: list[web.Response], refusal: web.Response
) -> None:
    """An ordinary conflict, and a wait beyond the budget; nobody else waits."""
    session = await connect()
    answers.append(refusal)
    with pytest.raises(aiohttp.WSServerHandshakeError, match="409"):
        await greeting(session)
    assert await status(session, CUSTOMER) == 200


async def test_without_throttle_a_throttled_handshake_is_the_callers(
    connect: Connect, answers: list[web.Response]
) -> None:
    """`throttle=None` returns every answer at once."""
    session = await connect(throttle=None)
    answers.append(web.Response(status=409, headers={"Retry-After": "5"}))
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await greeting(session)


async def test_a_handshake_is_paced(connect: Connect, clock: ManualClock, answers: list[web.Response]) -> None:
    """It counts against the limits like any other request."""
    session = await connect(pacing=Pacing(requests=("1/minute",), spacing=0))
    assert await greeting(session) == "hello"
    second = asyncio.create_task(greeting(session))
    await settle()
    assert not second.done()
    clock.advance(61)
    assert await second == "hello"
