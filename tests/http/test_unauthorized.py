"""What a 401 leads to. One contract for `TokenSession` and for `BearerMiddleware`."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from nexudus_async import EndpointUnavailableError, Freshness, TokenRejected
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

from .conftest import Carry

ECHO = "/api/emulator/echo"
UNAUTHORIZED = "/api/emulator/unauthorized"


async def test_a_hundred_requests_refused_at_once_refresh_once(emulator: NexudusEmulator, carry: Carry) -> None:
    """After a revocation: one refresh, a hundred replays that succeed."""
    carrier = await carry()
    await carrier.session.token()
    emulator.revoke_access_tokens()
    results = await asyncio.gather(*(carrier.status("GET", CUSTOMER) for _ in range(100)))
    assert set(results) == {200}
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    assert len([record for record in emulator.requests if record.path == CUSTOMER]) == 200


async def test_a_late_401_for_an_old_token_refreshes_nothing(emulator: NexudusEmulator, carry: Carry) -> None:
    """The token was replaced while the request was under way: the new one is tried, and no refresh made."""
    carrier = await carry()
    await carrier.session.token()
    with emulator.hold(CUSTOMER, fault=Fault.answer(401, b"{}"), times=1) as hold:
        slow = asyncio.create_task(carrier.status("GET", CUSTOMER))
        await hold.wait()
        await carrier.session.refresh()
    assert await slow == 200
    assert len(emulator.token_requests) == 2


async def test_a_late_401_for_an_old_token_is_replayed_though_its_path_rests(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """There is a newer token already: the circuit breaker is for refreshes, and this needs none."""
    carrier = await carry()
    emulator.fail(CUSTOMER, Fault.answer(401, b"{}"), times=2)
    assert await carrier.status("GET", CUSTOMER) == 401
    with emulator.hold(CUSTOMER, fault=Fault.answer(401, b"{}"), times=1) as hold:
        slow = asyncio.create_task(carrier.status("GET", CUSTOMER))
        await hold.wait()
        await carrier.session.refresh()
    assert await slow == 200
    assert len(emulator.token_requests) == 3


async def test_an_endpoint_that_always_answers_401_costs_three_token_requests_at_most(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """It is a permission, not a token: the caller sees 401, thirty times, and the token endpoint is left alone."""
    carrier = await carry()
    for _ in range(30):
        assert await carrier.status("GET", UNAUTHORIZED) == 401
    assert len(emulator.token_requests) <= 3


async def test_thirty_different_paths_that_answer_401_cost_three_token_requests_at_most(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """Identifiers in paths do not get around that."""
    carrier = await carry()
    emulator.fail("*", Fault.answer(401, b"{}"), times=None)
    for number in range(30):
        assert await carrier.status("GET", f"/api/spaces/coworkers/{number}") == 401
    assert len(emulator.token_requests) <= 3


async def test_uploads_that_always_get_401_cost_three_token_requests_at_most(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """Nor do bodies that cannot be sent again, whose refresh nobody can see to be futile."""
    carrier = await carry()
    for _ in range(30):
        assert await carrier.status("POST", UNAUTHORIZED, data=io.BytesIO(b"body")) == 401
        await until(lambda: "refreshing" not in repr(carrier.session))
    assert len(emulator.token_requests) <= 3


async def test_uploads_that_always_get_401_force_ever_less_often(
    emulator: NexudusEmulator, carry: Carry, clock: ManualClock
) -> None:
    """The 401 for the new token shows that the refresh did not help: at 0, 70, 200 and 450 s of a quarter hour."""
    carrier = await carry()
    forced: list[int] = []
    for second in range(0, 900, 10):
        before = len(emulator.token_requests)
        assert await carrier.status("POST", UNAUTHORIZED, data=io.BytesIO(b"body")) == 401
        await until(lambda: "refreshing" not in repr(carrier.session))
        if second and len(emulator.token_requests) > before:
            forced.append(second)
        clock.advance(10)
    assert forced == [70, 200, 450]


async def test_a_path_that_a_refresh_has_helped_begins_anew(
    emulator: NexudusEmulator, carry: Carry, clock: ManualClock
) -> None:
    """It was futile twice; then it helped; the next futile one rests for a minute again, not for four."""
    carrier = await carry()
    for pause, fault in ((61, None), (121, None), (1, Fault.answer(401, b"{}"))):
        emulator.fail(CUSTOMER, fault or Fault.answer(401, b"{}"), times=1 if fault else 2)
        assert await carrier.status("GET", CUSTOMER) == (200 if fault else 401)
        clock.advance(pause)
    emulator.fail(CUSTOMER, Fault.answer(401, b"{}"), times=None)
    for pause, renewals in ((59, 4), (2, 4), (0, 5)):
        assert await carrier.status("GET", CUSTOMER) == 401
        assert emulator.renewals == renewals
        clock.advance(pause)


async def test_a_permission_does_not_hide_a_revocation(
    emulator: NexudusEmulator, carry: Carry, clock: ManualClock
) -> None:
    """While one path is known to refuse everything, another still gets its refresh, at most a minute later."""
    carrier = await carry()
    assert await carrier.status("GET", UNAUTHORIZED) == 401
    emulator.revoke_access_tokens()
    assert await carrier.status("GET", CUSTOMER) == 200
    emulator.revoke_access_tokens()
    assert await carrier.status("GET", CUSTOMER) == 200


async def test_a_futile_path_forces_again_after_a_minute_then_two(
    emulator: NexudusEmulator, carry: Carry, clock: ManualClock
) -> None:
    """60 s, growing."""
    carrier = await carry()
    expected = 2
    for pause in (60, 120, 240):
        assert await carrier.status("GET", UNAUTHORIZED) == 401
        assert len(emulator.token_requests) == expected
        clock.advance(pause - 1)
        assert await carrier.status("GET", UNAUTHORIZED) == 401
        assert len(emulator.token_requests) == expected
        clock.advance(2)
        expected += 1


async def test_403_never_refreshes(emulator: NexudusEmulator, carry: Carry) -> None:
    """A permission that says so."""
    carrier = await carry()
    assert await carrier.status("GET", "/api/emulator/forbidden") == 403
    assert len(emulator.token_requests) == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"data": "text é"}, {"data": b"bytes"}, {"data": {"a": "1", "b": "2"}}, {"json": {"a": [1, None]}}],
    ids=["none", "str", "bytes", "dict", "json"],
)
async def test_a_body_that_can_be_sent_again_is(emulator: NexudusEmulator, carry: Carry, body: dict[str, Any]) -> None:
    """The replay carries exactly the same body."""
    carrier = await carry()
    await carrier.session.token()
    first = await (await carrier.request("POST", ECHO, **body)).json()
    emulator.revoke_access_tokens()
    second = await (await carrier.request("POST", ECHO, **body)).json()
    assert first == second
    assert emulator.renewals == 1


async def _chunks() -> AsyncIterator[bytes]:
    yield b"chunk"


def _form() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"content"), filename="f")
    return form


@pytest.mark.parametrize("make", [_chunks, lambda: io.BytesIO(b"file"), _form], ids=["generator", "file", "form data"])
async def test_a_body_that_cannot_be_sent_again_is_not_and_the_next_call_has_a_new_token(
    emulator: NexudusEmulator, carry: Carry, make: Any
) -> None:
    """Its 401 is the caller's; the token is refreshed meanwhile."""
    carrier = await carry()
    await carrier.session.token()
    emulator.revoke_access_tokens()
    assert await carrier.status("POST", ECHO, data=make()) == 401
    await until(lambda: carrier.session.statistics().renewals == 1)
    assert await carrier.status("POST", ECHO, data=make()) == 200
    assert [record.status for record in emulator.requests if record.path == ECHO] == [401, 200]


async def test_if_the_refresh_after_a_401_fails_its_error_is_raised(
    emulator: NexudusEmulator, carry: Carry, clock: ManualClock
) -> None:
    """There was no token to be had, and so it is for the next 401 of that token, until there is one."""
    carrier = await carry()
    await carrier.session.token()
    clock.autojump = True
    emulator.revoke_access_tokens()
    emulator.fail("token", Fault.answer(503), times=None)
    for _ in range(2):
        with pytest.raises(EndpointUnavailableError):
            await carrier.status("GET", CUSTOMER)
        assert carrier.session.freshness is Freshness.REFUSED
    emulator.faults.clear()
    clock.advance(5)
    assert await carrier.status("GET", CUSTOMER) == 200
    assert carrier.session.freshness is Freshness.FRESH


async def test_the_refresh_after_a_401_does_not_wait_for_a_slow_body_or_a_full_pool(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """The first response is let go before the wait: here its body never ends, and the pool has one place."""

    async def endless(request: web.Request) -> web.StreamResponse:
        good = request.headers["Authorization"] != f"Bearer {old.access_token}"
        response = web.StreamResponse(status=200 if good else 401)
        await response.prepare(request)
        await response.write(b"x")
        if not good:
            await asyncio.sleep(3600)  # until the client hangs up
        return response

    emulator.route("GET", "/endless", endless)
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as borrowed:
        carrier = await carry(client_session=borrowed, foreign={"connector": connector, "connector_owner": False})
        old = await carrier.session.token()
        async with asyncio.timeout(5):
            assert await carrier.status("GET", "/endless") == 200


async def test_a_replay_is_one_replay(emulator: NexudusEmulator, carry: Carry) -> None:
    """The second 401 is the caller's to see."""
    carrier = await carry()
    emulator.fail(CUSTOMER, Fault.answer(401, b"{}"), times=2)
    assert await carrier.status("GET", CUSTOMER) == 401
    assert len([record for record in emulator.requests if record.path == CUSTOMER]) == 2


async def test_a_replay_is_one_replay_though_there_is_a_newer_token_by_then(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """Somebody has refreshed while it was under way: its 401 is the caller's all the same."""
    carrier = await carry()
    emulator.fail(CUSTOMER, Fault.answer(401, b"{}"))
    with emulator.hold(CUSTOMER, fault=Fault.answer(401, b"{}"), times=1) as hold:
        task = asyncio.create_task(carrier.status("GET", CUSTOMER))
        await hold.wait()
        await carrier.session.refresh()
    assert await task == 401
    assert len([record for record in emulator.requests if record.path == CUSTOMER]) == 2


async def test_a_token_that_dies_under_way_of_the_replay_makes_no_path_a_permission(
    emulator: NexudusEmulator, carry: Carry
) -> None:
    """It has worked elsewhere in between: the next 401 of that path is worth a refresh."""
    carrier = await carry()
    emulator.fail(ECHO, Fault.answer(401, b"{}"))
    with emulator.hold(ECHO, fault=Fault.answer(401, b"{}"), times=1) as hold:
        slow = asyncio.create_task(carrier.status("GET", ECHO))
        await hold.wait()
        assert await carrier.status("GET", CUSTOMER) == 200
    assert await slow == 401
    emulator.revoke_access_tokens()
    assert await carrier.status("GET", ECHO) == 200
    assert emulator.renewals == 2


async def test_a_rejection_is_an_event(emulator: NexudusEmulator, carry: Carry, connect: Connect) -> None:
    """A person on call sees which generation was refused, and whether it led to a refresh."""
    carrier = await carry()
    await carrier.session.token()
    emulator.revoke_access_tokens()
    await carrier.status("GET", CUSTOMER)
    assert [event for event in connect.events if isinstance(event, TokenRejected)] == [
        TokenRejected(generation=1, renewal=True)
    ]
    assert carrier.session.statistics().rejections == 1


async def test_session_and_middleware_share_what_they_learn(emulator: NexudusEmulator, connect: Connect) -> None:
    """`session.middleware` is the same rule: a path that is futile through one is futile through the other."""
    session = await connect()
    async with aiohttp.ClientSession(middlewares=(session.middleware,)) as foreign:
        for _ in range(5):
            async with session.get(UNAUTHORIZED) as one, foreign.get(emulator.url + UNAUTHORIZED) as two:
                assert (one.status, two.status) == (401, 401)
    assert len(emulator.token_requests) == 2


async def test_a_websocket_handshake_refused_with_401_is_tried_once_more(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """The same rule for `ws_connect`."""
    session = await connect()
    await session.token()
    emulator.revoke_access_tokens()
    async with session.ws_connect("/api/emulator/websocket") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    assert emulator.renewals == 1
    emulator.fail("/api/emulator/websocket", Fault.answer(401), times=2)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect("/api/emulator/websocket")
    assert refused.value.status == 401
    assert emulator.renewals == 2
