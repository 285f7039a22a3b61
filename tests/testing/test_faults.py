"""Scripted faults, as a client sees them on the wire."""

import asyncio
import json
import math
from typing import Any

import aiohttp
import pytest

from nexudus_async.testing import Fault, NexudusEmulator

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"
ECHO = "/api/emulator/echo"


async def test_faults_strike_in_order_and_only_where_they_are_meant(client: Client) -> None:
    """Two for the token endpoint, one for a path, one for any path; then nothing."""
    emulator = client.emulator
    emulator.fail("token", Fault.answer(503, "busy"), times=2)
    emulator.fail(ECHO, Fault.json({"broken": True}, 500))
    emulator.fail("*", Fault.answer(502))
    emulator.fail("token", Fault.throttled(7))
    statuses: list[int] = []
    for _ in range(2):
        async with client.http.post(f"{emulator.url}/api/token", data={}) as response:
            statuses.append(response.status)
            assert await response.text() == "busy"
    refused = await client.sign_in()
    token = (await client.sign_in()).json["access_token"]
    assert statuses == [503, 503]
    assert (refused.status, refused.headers["Retry-After"]) == (409, "7")
    assert [(await client.call(ECHO, token)).status for _ in range(3)] == [500, 502, 200]
    assert len(emulator.faults) == 0
    assert emulator.sign_ins == 1


async def test_a_fault_can_last_until_it_is_cleared(client: Client) -> None:
    """`times=None`."""
    client.emulator.fail("token", Fault.throttled(None, 429), times=None)
    for _ in range(5):
        answer = await client.sign_in()
        assert answer.status == 429
        assert "Retry-After" not in answer.headers
    client.emulator.faults.clear()
    assert (await client.sign_in()).status == 200


@pytest.mark.parametrize("applied", [False, True])
async def test_a_dropped_connection_before_or_after_processing(client: Client, applied: bool) -> None:
    """Not processed: the refresh token still works. Processed: it is spent, and nobody knows the new one."""
    first = (await client.sign_in()).json
    client.emulator.fail("token", Fault.dropped(applied=applied))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.refresh(first["refresh_token"])
    assert client.emulator.renewals == applied
    assert client.emulator.token_requests[-1].status is None
    assert (await client.refresh(first["refresh_token"])).status == (400 if applied else 200)


@pytest.mark.parametrize("applied", [False, True])
async def test_a_truncated_answer_breaks_while_it_is_read(client: Client, applied: bool) -> None:
    """The head is there, and less of the body than it announces."""
    first = (await client.sign_in()).json
    client.emulator.fail("token", Fault.truncated(applied=applied))
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.refresh(first["refresh_token"])
    assert client.emulator.renewals == applied


async def test_a_big_body_is_streamed(client: Client) -> None:
    """All of it for who reads it; a client that turns away in the middle breaks nothing."""
    client.emulator.fail(ECHO, Fault.big(3_000_000), times=2)
    async with client.http.get(client.emulator.url + ECHO) as response:
        assert len(await response.read()) == 3_000_000
    async with client.http.get(client.emulator.url + ECHO) as response:
        await response.content.readexactly(10)
    assert (await client.sign_in()).status == 200


@pytest.mark.parametrize("status", [200, 502])
async def test_html_instead_of_json(client: Client, status: int) -> None:
    """As from a wrong host, or a proxy in trouble."""
    client.emulator.fail("token", Fault.html(status))
    async with client.http.post(f"{client.emulator.url}/api/token") as response:
        assert (response.status, response.content_type) == (status, "text/html")


async def test_a_redirect_keeps_its_status(client: Client) -> None:
    """307 by default: a client that followed it would send the password along."""
    client.emulator.fail("token", Fault.redirect("http://127.0.0.1:9/elsewhere"))
    async with client.http.post(f"{client.emulator.url}/api/token", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:9/elsewhere")


@pytest.mark.parametrize("value", ["604799", 604799.0, None, True, -1, 10**30, math.nan, [1], ""])
async def test_members_of_the_real_answer_can_be_changed(client: Client, value: Any) -> None:
    """The rest stays true: the tokens work."""
    client.emulator.fail("token", Fault.altered({"expires_in": value}, without=("refresh_token",)))
    answer = (await client.sign_in()).json
    assert json.dumps(answer["expires_in"]) == json.dumps(value)
    assert "refresh_token" not in answer
    assert (await client.call(CUSTOMER, answer["access_token"])).status == 200


async def test_a_raw_answer_may_be_anything(client: Client) -> None:
    """Not JSON, not even text."""
    client.emulator.fail("token", Fault.answer(200, b"\xff{", headers={"X-Odd": "1"}, content_type="application/odd"))
    async with client.http.post(f"{client.emulator.url}/api/token") as response:
        assert (await response.read(), response.content_type, response.headers["X-Odd"]) == (
            b"\xff{",
            "application/odd",
            "1",
        )


async def test_a_held_answer_comes_when_it_is_released(client: Client) -> None:
    """By default the request has been processed meanwhile; those to come pass."""
    with client.emulator.hold("token") as hold:
        tasks = [asyncio.create_task(client.sign_in(str(number))) for number in range(3)]
        await hold.wait(3)
        assert (hold.arrived.is_set(), hold.count, client.emulator.sign_ins) == (True, 3, 3)
        assert client.emulator.max_concurrent_token_requests == 3
        assert [record.status for record in client.emulator.requests] == [None] * 3
    assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 3
    assert (await client.sign_in()).status == 200
    assert (hold.count, len(client.emulator.faults)) == (3, 0)


async def test_a_held_request_can_be_processed_after_the_release(client: Client) -> None:
    """What was revoked in between is refused: a 401 that comes late."""
    token = (await client.sign_in()).json["access_token"]
    with client.emulator.hold(CUSTOMER, fault=Fault(applied=False)) as hold:
        task = asyncio.create_task(client.call(CUSTOMER, token))
        await hold.wait()
        client.emulator.revoke_access_tokens()
    assert (await task).status == 401


async def test_a_held_request_can_fail_after_the_release(client: Client) -> None:
    """And a limit on how many are held lets the others through."""
    with client.emulator.hold("token", times=1, fault=Fault.dropped(applied=True)) as hold:
        task = asyncio.create_task(client.sign_in("one"))
        await hold.wait()
        assert (await client.sign_in("two")).status == 200
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await task
    assert client.emulator.sign_ins == 2


async def test_a_released_hold_is_not_in_the_way_of_later_faults(client: Client) -> None:
    """The next fault for the same place strikes."""
    client.emulator.hold("token").release()
    client.emulator.fail("token", Fault.answer(500, "{}"))
    assert (await client.sign_in()).status == 500


async def test_a_delay_is_in_real_time(client: Client) -> None:
    """For clients whose own clocks are real; `hold` is better."""
    client.emulator.fail("token", Fault.delayed(0.01))
    started = asyncio.get_running_loop().time()
    assert (await client.sign_in()).status == 200
    assert asyncio.get_running_loop().time() - started >= 0.009


@pytest.mark.parametrize("times", [0, -1])
async def test_a_fault_that_never_strikes_is_a_mistake(emulator: NexudusEmulator, times: int) -> None:
    """Zero times."""
    with pytest.raises(ValueError, match="times"):
        emulator.fail("token", Fault.dropped(), times)


@pytest.mark.parametrize("where", ["tokens", "api/token", ""])
async def test_a_place_that_no_request_can_have_is_a_mistake(emulator: NexudusEmulator, where: str) -> None:
    """Neither "token", nor "*", nor a path."""
    with pytest.raises(ValueError, match="token"):
        emulator.fail(where, Fault.dropped())
