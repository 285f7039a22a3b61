"""Routes with names in their paths, 404 and 405, browsers' questions before a request."""

import asyncio

import pytest
from aiohttp import web

from nexudus_async.testing import Fault, NexudusEmulator

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"
COWORKERS = "/api/spaces/coworkers"
ORIGIN = {"Origin": "https://portal.example.com"}


async def names(request: web.Request) -> web.Response:
    return web.json_response({name: value for name, value in request.match_info.items() if name != "path"})


@pytest.fixture
def token(client: Client) -> str:
    return client.emulator.issue().access_token


async def test_a_path_may_hold_names(client: Client, token: str) -> None:
    """Each stands for one segment, and its value is in `match_info`."""
    client.emulator.route("GET", "/api/things/{Id}/parts/{Part}", names)
    assert (await client.call("/api/things/7/parts/left%20door", token)).json == {"Id": "7", "Part": "left door"}
    assert (await client.call("/api/things/7/parts/a/b", token)).status == 404
    assert (await client.call("/api/things//parts/a", token)).status == 404


async def test_an_exact_path_comes_first_and_the_latest_before_the_earlier(client: Client, token: str) -> None:
    """In place of the emulator's own, too."""
    client.emulator.route("GET", "/api/things/{First}", names)
    client.emulator.route("GET", "/api/things/{Second}", names)
    assert (await client.call("/api/things/1", token)).json == {"Second": "1"}
    client.emulator.route("GET", "/api/things/1", names)
    assert (await client.call("/api/things/1", token)).json == {}
    client.emulator.route("GET", COWORKERS + "/{Number}", names)
    assert (await client.call(f"{COWORKERS}/5", token)).json == {"Number": "5"}


@pytest.mark.parametrize("path", ["/a/{}", "/a/{b", "/a/b}", "/a/{b}/{b}", "/a/{b:.*}", "/a/{1}"])
def test_braces_that_name_nothing_are_refused(path: str) -> None:
    """At once, for routes and for faults."""
    emulator = NexudusEmulator()
    with pytest.raises(ValueError, match=r"as in /api/things/\{Id\}"):
        emulator.route("GET", path, names)
    with pytest.raises(ValueError, match=r"as in /api/things/\{Id\}"):
        emulator.fail(path, Fault.answer(500))


async def test_a_fault_may_hold_names(client: Client, token: str) -> None:
    """Any request to a path of that form; others are not concerned."""
    client.emulator.fail(COWORKERS + "/{Id}", Fault.answer(503, "{}"), 2)
    paths = (COWORKERS, f"{COWORKERS}/1", f"{COWORKERS}/2", f"{COWORKERS}/3")
    assert [(await client.call(path, token)).status for path in paths] == [200, 503, 503, 200]


@pytest.mark.parametrize(("method", "path"), [("DELETE", CUSTOMER), ("PUT", "/api/token"), ("PATCH", COWORKERS + "/1")])
async def test_a_405_is_json(client: Client, token: str, method: str, path: str) -> None:
    """With the methods that there are."""
    answer = await client.call(path, token, method)
    message = f"The requested resource does not support http method '{method}'."
    assert (answer.status, answer.json) == (405, {"Message": message})
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/api/token", CUSTOMER, "/api/nothing"])
async def test_a_browser_may_ask_before_a_request(client: Client, path: str) -> None:
    """Without a bearer; the header that a refresh needs is allowed. A fault waits for the request itself."""
    client.emulator.fail("*", Fault.answer(500, "{}"), None)
    client.emulator.fail("token", Fault.answer(500, "{}"), None)
    headers = {
        **ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,client_id",
    }
    async with client.http.options(client.emulator.url + path, headers=headers) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Methods"] == "POST"
        assert response.headers["Access-Control-Allow-Headers"] == "authorization,client_id"
    assert len(client.emulator.faults) == 2


async def test_a_browser_may_read_the_answers(client: Client, token: str) -> None:
    """Refusals, faults and 404s too; a client that names no origin is told nothing of it."""
    client.emulator.fail(CUSTOMER, Fault.throttled())
    for path, status in ((CUSTOMER, 409), (CUSTOMER, 200), ("/api/nothing", 404)):
        headers = {**ORIGIN, "Authorization": f"Bearer {token}"}
        async with client.http.get(client.emulator.url + path, headers=headers) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in (await client.call(CUSTOMER, token)).headers


async def test_options_without_a_question_is_a_method_like_others(client: Client, token: str) -> None:
    """A route may answer it, also the question."""
    assert (await client.call("/api/emulator/echo", token, "OPTIONS")).json["Method"] == "OPTIONS"
    assert (await client.call(CUSTOMER, token, "OPTIONS")).status == 405
    client.emulator.route("OPTIONS", "/own", names, authenticated=False)
    headers = {**ORIGIN, "Access-Control-Request-Method": "GET"}
    async with client.http.options(client.emulator.url + "/own", headers=headers) as response:
        assert response.status == 200


async def test_a_route_at_the_place_of_the_page(client: Client, token: str) -> None:
    """A test's own comes first; and whoever brings a bearer is a client of the service."""
    assert (await client.call("/", token)).status == 404
    assert len(client.emulator.requests) == 1
    client.emulator.route("GET", "/", names, authenticated=False)
    assert (await client.call("/", None)).json == {}
    assert len(client.emulator.requests) == 2


async def test_who_is_known_of_requests_that_were_never_processed(client: Client, token: str) -> None:
    """Whose they are stands in the record, though a fault struck first."""
    client.emulator.fail("*", Fault.answer(503, "{}"))
    client.emulator.fail("token", Fault.answer(503, "{}"))
    await asyncio.gather(client.call(CUSTOMER, token), client.sign_in(), client.sign_in(username="nobody@example.com"))
    assert sorted(str(record.username) for record in client.emulator.requests) == [
        "None",
        client.emulator.username,
        client.emulator.username,
    ]
