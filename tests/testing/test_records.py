"""What the emulator remembers, counts and logs."""

import asyncio
import logging

import aiohttp
import pytest

from nexudus_async.testing import Fault, ManualClock, NexudusEmulator, Served

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"


async def test_every_request_is_recorded_as_it_came(client: Client, clock: ManualClock) -> None:
    """Real values in the attributes, no secret in the repr."""
    token = (await client.sign_in("worker")).json["access_token"]
    clock.advance(1)
    await client.call(f"{CUSTOMER}?a=1&a=2", token)
    sign_in, call = client.emulator.requests
    assert sign_in.form["password"] == client.emulator.password
    assert sign_in.headers["client_id"] == "worker"
    assert (call.method, call.path, call.query.getall("a")) == ("GET", CUSTOMER, ["1", "2"])
    assert call.headers["Authorization"] == f"Bearer {token}"
    assert (sign_in.username, call.username, call.status) == (client.emulator.username, client.emulator.username, 200)
    assert (call.started - sign_in.started, call.finished) == (1.0, clock.monotonic())
    assert client.emulator.token_requests == [sign_in]
    shown = repr([client.emulator.requests, client.emulator, client.emulator.user, client.emulator.faults])
    assert not [secret for secret in client.emulator.secrets if secret in shown]


async def test_the_record_can_be_reset(client: Client) -> None:
    """Requests under way finish without a trace; tokens and faults stay."""
    first = (await client.sign_in()).json
    client.emulator.fail(CUSTOMER, Fault.answer(500, "{}"))
    with client.emulator.hold("token") as hold:
        task = asyncio.create_task(client.refresh(first["refresh_token"]))
        await hold.wait()
        client.emulator.reset_record()
        assert client.emulator.max_concurrent_token_requests == 1
    second = (await task).json
    emulator = client.emulator
    assert (emulator.requests, emulator.sign_ins, emulator.renewals) == ([], 0, 0)
    emulator.reset_record()
    assert emulator.max_concurrent_token_requests == 0
    assert (await client.call(CUSTOMER, second["access_token"])).status == 500


async def test_concurrent_refreshes_are_counted_by_client_id(client: Client) -> None:
    """Two chains may refresh at once; one may not."""
    tokens = {name: (await client.sign_in(name)).json["refresh_token"] for name in ("a", "b")}
    with client.emulator.hold("token") as hold:
        tasks = [asyncio.create_task(client.refresh(token, name)) for name, token in tokens.items()]
        await hold.wait(2)
        assert (client.emulator.max_concurrent_token_requests, client.emulator.max_concurrent_renewals) == (2, 1)
        tasks.append(asyncio.create_task(client.refresh(tokens["a"], "a")))
        await hold.wait(3)
        assert client.emulator.max_concurrent_renewals == 2
    await asyncio.gather(*tasks)


async def test_it_logs_no_secret(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """At any level: there is no access log, and no secret elsewhere."""
    caplog.set_level(logging.DEBUG)
    token = (await client.sign_in()).json["access_token"]
    await client.call(CUSTOMER, token)
    client.emulator.fail("token", Fault.dropped())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.sign_in()
    assert not [secret for secret in client.emulator.secrets if secret in caplog.text]
    assert "aiohttp.access" not in {record.name for record in caplog.records}


async def test_a_request_log_without_secrets(clock: ManualClock) -> None:
    """One `Served` for each request, dropped ones too: path without query, secrets in the path masked, whose it is."""
    served: list[Served] = []
    async with (
        NexudusEmulator(clock=clock, on_request=served.append) as emulator,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
    ):
        client = Client(http, emulator)
        pair = (await client.sign_in()).json
        token, refresh_token = pair["access_token"], pair["refresh_token"]
        await client.call(f"/api/spaces/coworkers?q={token}", token)
        await client.call(f"/api/{token}/x%1B%5B31m", token)
        await client.call(f"/api/spaces/coworkers?orderBy={token}", token)
        await client.call(f"/api/spaces/coworkers?orderBy={refresh_token}", token)
        emulator.fail("token", Fault.dropped())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.sign_in()
        async with http.get(f"{emulator.url}/_emulator/health") as response:
            assert response.status == 200
    told = [(each.method, each.path, each.status, each.who) for each in served]
    assert told == [
        ("POST", "/api/token", 200, emulator.username),
        ("GET", "/api/spaces/coworkers", 400, emulator.username),
        ("GET", f"/api/…{token[-4:]}/x%1B%5B31m", 404, emulator.username),
        ("GET", "/api/spaces/coworkers", 400, emulator.username),
        ("GET", "/api/spaces/coworkers", 400, emulator.username),
        ("POST", "/api/token", None, emulator.username),
    ]
    assert all(each.milliseconds >= 0 for each in served)
    lines = [str(each) for each in served]
    assert lines[1].startswith("GET /api/spaces/coworkers 400 ")
    assert "unknown filter 'q'" in lines[1]
    assert " dropped " in lines[5]
    shown = repr(served) + "".join(lines)
    assert not [secret for secret in emulator.secrets if secret in shown]
    assert token[-5:] not in shown
    assert token[:5] not in shown


async def test_secrets_that_were_never_issued_are_masked_by_their_name(client: Client) -> None:
    """Whoever sends a real token here by mistake does not find it in the record; of short ones nothing is shown."""
    await client.call("/api/sys/users/exchange?token=a-real-token-of-somewhere&validForInMinutes=5", None, "POST")
    await client.call("/api/1?password=short", "another-real-token-of-somewhere")
    long = 61 * "x" + "tail"
    await client.call(f"/api/spaces/coworkers?{long}=1", client.emulator.issue().access_token)
    async with client.http.get(f"{client.emulator.url}/_emulator/requests") as response:
        exchange, password, unknown = (await response.json())["requests"]
    assert exchange["query"][0] == ["token", "…here"]
    assert password["query"] == [["password", "…"]]
    assert password["authorization"] == "Bearer …here"
    assert unknown["remark"].startswith("unknown filter …tail;")


async def test_a_request_under_way_is_in_the_record(client: Client) -> None:
    """Without a status, and in flight until its answer is made."""
    with client.emulator.hold("token") as hold:
        task = asyncio.create_task(client.sign_in())
        await hold.wait()
        assert await shown(client) == [(None, None, True)]
    await task
    ((status, milliseconds, in_flight),) = await shown(client)
    assert (status, milliseconds is None, in_flight) == (200, False, False)


async def shown(client: Client) -> list[tuple[object, object, object]]:
    async with client.http.get(f"{client.emulator.url}/_emulator/requests") as response:
        records = (await response.json())["requests"]
    return [(each["status"], each["milliseconds"], each["in_flight"]) for each in records]


async def test_who_listens_cannot_break_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged."""

    def broken(_: Served) -> None:
        raise RuntimeError("broken listener")

    async with NexudusEmulator(on_request=broken) as emulator, aiohttp.ClientSession() as http:
        assert (await Client(http, emulator).sign_in()).status == 200
    assert "broken listener" in caplog.text


async def test_the_record_can_be_bounded() -> None:
    """For an emulator that runs for days: the oldest go first."""
    async with NexudusEmulator(keep_requests=2) as emulator, aiohttp.ClientSession() as http:
        client = Client(http, emulator)
        for number in range(4):
            await client.call(f"/api/{number}", None)
    assert [record.path for record in emulator.requests] == ["/api/2", "/api/3"]
