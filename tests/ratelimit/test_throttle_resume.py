"""What a pause holds back goes on whole, where it was, and only if it carries our token."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from nexudus_async import TokenSession
from nexudus_async._ratelimit.gate import Gate
from nexudus_async._ratelimit.gate import Place as PlaceInQueue
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import Connect, until
from tests.inside import pause

from .throttling import ECHO, Place, begin_a_pause, fill_the_pool, greet, sent, settle, start, status


async def _body() -> AsyncIterator[bytes]:
    yield b"once"


def _form() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"once"), filename="x.txt")
    return form


async def test_it_is_sent_whole(
    emulator: NexudusEmulator, session: TokenSession, place: Place, clock: ManualClock, tmp_path: Path
) -> None:
    """Parameters and bodies, those included that can be sent only once: nothing of them had been."""
    (tmp_path / "file").write_bytes(b"once")
    tasks = await fill_the_pool(session, place)
    with (tmp_path / "file").open("rb") as file:
        calls = [
            session.post(ECHO, params={"a": "b c"}, json={"x": 1}),
            session.post(ECHO + "?a=b", data=_body()),
            session.post(ECHO, data=file),
            session.post(ECHO, data=io.BytesIO(b"once")),
            session.post(ECHO, data={"a": "b"}),
            session.post(ECHO, data=_form()),
            session.get(ECHO, params={"a": "1"}, headers={"X-Own": "1"}),
        ]
        queued = [asyncio.ensure_future(call) for call in calls]
        await settle()
        await begin_a_pause(place, clock)
        place.answer_all()
        await settle()
        assert not sent(emulator, ECHO)
        clock.advance(5)
        await place.serve(*tasks, *queued)
        answers = [await (await each).json() for each in queued]
    *simple, form, get = [(answer["Query"], answer["Body"]) for answer in answers]
    assert simple == [("a=b c", '{"x": 1}'), ("a=b", "once"), ("", "once"), ("", "once"), ("", "a=b")]
    assert form[1].count("once") == 1
    assert get == ("a=1", "")
    assert [record.headers["X-Own"] for record in sent(emulator, ECHO) if record.method == "GET"] == ["1"]


@pytest.mark.parametrize("body", [{"data": b'{"x": 1}'}, {"json": {"x": 1}}], ids=["data", "json"])
async def test_a_redirect_in_a_pause_goes_on_where_it_was(
    emulator: NexudusEmulator,
    session: TokenSession,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
) -> None:
    """A write that was answered 303 is not sent a second time; only the rest of its way waits, and that as a read."""
    entered: list[PlaceInQueue] = []
    enter = Gate.enter

    async def noting(self: Gate, place: PlaceInQueue) -> float:
        entered.append(place)
        return await enter(self, place)

    monkeypatch.setattr(Gate, "enter", noting)

    async def created(request: web.Request) -> web.Response:
        writes.append(await request.text())
        pause(session, 5)
        return web.Response(status=303, headers={"Location": ECHO})

    writes: list[str] = []
    emulator.route("POST", "/create", created)
    headers = {"Content-Length": "8", "Content-Type": "application/json"}
    request = asyncio.ensure_future(session.post("/create", headers=headers, **body))
    await clock.wait_for_sleepers()
    await settle()
    assert not sent(emulator, ECHO)
    clock.advance(5)
    async with await request as response:
        assert await response.json() == {"Method": "GET", "Query": "", "Body": ""}
    assert writes == ['{"x": 1}']
    assert [place.write for place in entered] == [False]
    assert "Content-Length" not in sent(emulator, ECHO)[0].headers


@pytest.mark.skipif(
    aiohttp.__version__ in {f"3.12.{patch}" for patch in range(14)}, reason="aiohttp sends the redirected file empty"
)
async def test_a_redirected_file_is_sent_whole_at_the_hop_that_waited(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """The first hop has read it to its end."""

    async def moved(request: web.Request) -> web.Response:
        await request.read()
        pause(session, 5)
        return web.Response(status=307, headers={"Location": ECHO})

    emulator.route("PUT", "/moved", moved)
    request = asyncio.ensure_future(session.put("/moved", data=io.BytesIO(b"whole")))
    await clock.wait_for_sleepers()
    await settle()
    clock.advance(5)
    async with await request as response:
        assert (await response.json())["Body"] == "whole"


async def test_a_redirect_away_in_a_pause_takes_no_token_along(
    emulator: NexudusEmulator, session: TokenSession, clock: ManualClock
) -> None:
    """That hop carries no token, is none of ours and not held back; nor is its throttling our service's."""

    async def away(_: web.Request) -> web.Response:
        pause(session, 5)
        return web.Response(status=302, headers={"Location": foreign.url + "/x"})

    emulator.route("GET", "/away", away)
    async with NexudusEmulator(clock=clock) as foreign:
        foreign.fail("/x", Fault.throttled(5))
        async with asyncio.timeout(5):
            assert await status(session, "/away") == 409
        assert [record.headers.get("Authorization") for record in foreign.requests] == [None]


async def test_throttling_by_another_origin_stops_nobody(
    emulator: NexudusEmulator, session: TokenSession, connect: Connect, clock: ManualClock
) -> None:
    """It is not our service that asks, and it has not seen our token."""
    async with NexudusEmulator(clock=clock) as foreign:
        fault = Fault.answer(302, headers={"Location": foreign.url + "/x"})
        emulator.fail("/away", fault)
        foreign.fail("/x", Fault.throttled(5))
        assert await status(session, "/away") == 409
    async with asyncio.timeout(5):
        assert await status(session) == 200
    assert [type(event).__name__ for event in connect.events] == ["TokenObtained"]


async def test_a_request_with_its_callers_authorization_is_never_held_back(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """Not even if that is our token: whoever sets the header is on his own."""
    own = {"Authorization": (await session.token()).authorization}
    tasks = await fill_the_pool(session, place)
    call = asyncio.create_task(status(session, headers=own))
    await settle()
    await begin_a_pause(place, clock)
    async with asyncio.timeout(5):
        assert await call == 200
    place.answer_all()
    clock.advance(5)
    await place.serve(*tasks)


async def test_a_request_with_middlewares_of_its_own_is_begun_once(
    session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """They may have signed it, or counted it: it is not held back in the pool, and so not begun again."""
    begun: list[str] = []

    async def sign(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.url = request.url.update_query(signature=len(begun))
        begun.append(str(request.url))
        return await handler(request)

    tasks = await fill_the_pool(session, place)
    tasks += start(session, ["x"], middlewares=(sign,))
    await settle()
    await begin_a_pause(place, clock)
    place.answer_all()
    await settle()
    clock.advance(5)
    await place.serve(*tasks)
    assert tasks[-1].result() == 200
    assert len(begun) == 1
    assert begun[0].count("signature") == 1


async def test_a_handshake_is_held_back_too(
    emulator: NexudusEmulator, session: TokenSession, place: Place, clock: ManualClock
) -> None:
    """And connects after the pause."""
    shaken: list[str] = []

    async def socket(request: web.Request) -> web.WebSocketResponse:
        shaken.append(request.headers["Authorization"])
        return await greet(request)

    emulator.route("GET", "/socket", socket)
    tasks = await fill_the_pool(session, place)
    connecting = asyncio.create_task(session.ws_connect("/socket"))
    await settle()
    await begin_a_pause(place, clock)
    place.answer_all()
    await settle()
    assert not shaken
    clock.advance(5)
    await place.serve(*tasks, connecting)
    async with await connecting as connected:
        assert await connected.receive_str() == "hello"
    assert shaken == [(await session.token()).authorization]


async def test_a_pause_that_begins_while_a_request_waits_for_its_token_holds_it_back(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, place: Place
) -> None:
    """It has passed the gate already. On a borrowed session, where no connector of ours would stop it."""
    async with aiohttp.ClientSession() as borrowed:
        session = await connect(client_session=borrowed)
        await session.token()
        (early,) = start(session, [0])
        await place.count(1)
        clock.advance(3600)  # the token has ended
        with emulator.hold("token") as hold:
            (waiting,) = start(session, [1])
            await hold.wait()
            place.answer(status=409, retry_after=5)
            await until(lambda: session.statistics().throttled == 1)
        await until(lambda: session.statistics().queued == 2)
        await place.count(1)
        clock.advance(5)
        await place.serve(early, waiting)
