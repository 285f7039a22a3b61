"""Other ways in: the exchange of a one-time JWT, impersonation, one-time passwords by mail."""

import base64
import json

import aiohttp
import pytest

from nexudus_async.testing import ManualClock, NexudusEmulator

from .conftest import Answer, Client

CUSTOMER = "/api/public/billing/customer"
EXCHANGE = "/api/sys/users/exchange"
IMPERSONATE = "/api/sys/users/impersonate"


async def exchange(client: Client, jwt: str, minutes: object = 1440) -> Answer:
    url = client.emulator.url + EXCHANGE
    async with client.http.post(url, params={"token": jwt, "validForInMinutes": str(minutes)}) as response:
        return Answer(response.status, response.headers, await response.json())


async def test_a_jwt_becomes_a_session_once(client: Client) -> None:
    """`token` and not `access_token`, as many minutes as were asked for; the second time a 401."""
    jwt = client.emulator.one_time_jwt()
    answer = await exchange(client, jwt, 10)
    assert answer.status == 200
    assert set(answer.json) == {"token", "token_type", "expires_in", "refresh_token"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("bearer", 600)
    assert (await client.call(CUSTOMER, answer.json["token"])).json["Email"] == client.emulator.username
    again = await exchange(client, jwt)
    assert (again.status, again.json) == (401, {"Message": "The token has been used."})
    assert client.emulator.exchanges == 1
    assert client.emulator.requests[0].username == client.emulator.username


async def test_its_session_lives_as_long_as_was_asked(client: Client, clock: ManualClock) -> None:
    """To the second."""
    token = (await exchange(client, client.emulator.one_time_jwt(), 1)).json["token"]
    clock.advance(59)
    assert (await client.call(CUSTOMER, token)).status == 200
    clock.advance(1)
    assert (await client.call(CUSTOMER, token)).status == 401


async def test_its_refresh_token_is_bound_to_the_e_mail(client: Client) -> None:
    """Whatever the case in which it is sent; no other client_id, and not none."""
    user = client.emulator.add_user("Member@Example.com", "pw")
    refresh_token = (await exchange(client, client.emulator.one_time_jwt(user))).json["refresh_token"]
    assert (await client.refresh(refresh_token, "worker")).status == 400
    assert (await client.refresh(refresh_token, None)).status == 400
    refreshed = await client.refresh(refresh_token, "member@example.COM")
    assert set(refreshed.json) == {"access_token", "token_type", "expires_in", "refresh_token"}


@pytest.mark.parametrize(("age", "status"), [(899.0, 200), (900.0, 401)])
async def test_a_jwt_ends(client: Client, clock: ManualClock, age: float, status: int) -> None:
    """After 15 minutes, or what was asked for."""
    jwt = client.emulator.one_time_jwt()
    clock.advance(age)
    assert (await exchange(client, jwt)).status == status


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "token is missing."),
        ("token=&validForInMinutes=5", "token is missing."),
        ("token=a.b.c&validForInMinutes=5", "The token is not valid."),
        ("token=a.b.c", "validForInMinutes is a whole number of minutes, such as 1440."),
        ("token=a.b.c&validForInMinutes=0", "validForInMinutes is a whole number of minutes, such as 1440."),
        ("token=a.b.c&validForInMinutes=1.5", "validForInMinutes is a whole number of minutes, such as 1440."),
        pytest.param(
            "token=a.b.c&validForInMinutes=" + "9" * 5_000,
            "validForInMinutes is a whole number of minutes, such as 1440.",
            id="more digits than Python reads",
        ),
    ],
)
async def test_what_is_no_exchange(client: Client, query: str, message: str) -> None:
    """400, and the JWT, if it was good, is still good."""
    answer = await client.call(f"{EXCHANGE}?{query}", None, "POST")
    assert (answer.status, answer.json) == (400, {"Message": message})
    assert client.emulator.exchanges == 0


async def test_a_jwt_is_no_bearer_and_an_exchange_is_a_post(client: Client) -> None:
    """It opens nothing but the exchange."""
    jwt = client.emulator.one_time_jwt()
    assert (await client.call(CUSTOMER, jwt)).status == 401
    assert (await client.call(f"{EXCHANGE}?token={jwt}&validForInMinutes=5", None)).status == 405
    assert (await exchange(client, jwt)).status == 200


async def test_a_suspended_user_exchanges_nothing(client: Client) -> None:
    """401."""
    client.emulator.user.suspended = True
    assert (await exchange(client, client.emulator.one_time_jwt())).status == 401


async def test_a_jwt_looks_like_one(client: Client) -> None:
    """Three parts, the claims readable; and it is one of the emulator's secrets."""
    jwt = client.emulator.one_time_jwt()
    header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in jwt.split("."))
    assert json.loads(header) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(claims)["sub"] == client.emulator.username
    assert len(signature) == 32
    assert jwt in client.emulator.secrets


async def test_an_operator_signs_a_member_in(client: Client) -> None:
    """A JWT for the member of that number, which the exchange takes once."""
    member = client.emulator.add_user("member@example.com", "pw", totp_secret="JBSWY3DPEHPK3PXP")
    client.emulator.user.admin = True
    token = client.emulator.issue().access_token
    jwt = (await client.call(f"{IMPERSONATE}?coworkerId={member.coworker_id}", token)).json["token"]
    session = (await exchange(client, jwt)).json
    assert (await client.call(CUSTOMER, session["token"])).json["Id"] == member.coworker_id
    assert (await exchange(client, jwt)).status == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?coworkerId=77", 404),
        ("?coworkerId=x", 400),
        ("", 400),
        pytest.param("?coworkerId=" + "9" * 5_000, 400, id="more digits than Python reads"),
    ],
)
async def test_an_operator_must_name_a_member(client: Client, query: str, status: int) -> None:
    """With JSON that says so."""
    client.emulator.user.admin = True
    answer = await client.call(IMPERSONATE + query, client.emulator.issue().access_token)
    assert answer.status == status
    assert answer.json["Message"]


async def test_a_customer_impersonates_nobody(client: Client) -> None:
    """401, as documented, though it is a permission that is missing; and a bearer must be there."""
    token = client.emulator.issue().access_token
    mine = client.emulator.user.coworker_id
    assert (await client.call(f"{IMPERSONATE}?coworkerId={mine}", token)).status == 401
    assert (await client.call(f"{IMPERSONATE}?coworkerId={mine}", None)).status == 401


async def test_the_endpoint_that_is_called_token_refresh_refreshes_nothing(client: Client) -> None:
    """Its token is a secret, and opens neither the API nor the exchange; nothing was rotated."""
    pair = client.emulator.issue()
    answer = (await client.call("/api/sys/users/token/refresh", pair.access_token, "POST")).json
    assert answer["Value"] in client.emulator.secrets
    assert (await client.call(CUSTOMER, answer["Value"])).status == 401
    assert (await exchange(client, answer["Value"])).status == 400
    assert (await client.refresh(pair.refresh_token, pair.client_id)).status == 200


async def test_passwords_by_mail_are_limited(client: Client, clock: ManualClock) -> None:
    """429 in words when asked too often for one address; another address is not concerned."""
    path = "/api/sys/users/sendOtp?businessId=1&email="
    assert (await client.call(path + "a@example.com", None)).status == 200
    refused = await client.call(path + "A@example.com", None)
    assert (refused.status, refused.json) == (429, {"Message": "Too many requests. Wait 60 seconds."})
    assert (await client.call(path + "b@example.com", None)).status == 200
    clock.advance(60)
    assert (await client.call(path + "a@example.com", None)).status == 200
    assert (await client.call("/api/sys/users/sendOtp", None)).status == 400


async def test_the_profiles_carry_the_bearer(client: Client) -> None:
    """Never log a body."""
    token = client.emulator.issue().access_token
    answer = (await client.call("/api/public/coworkers/profiles", token)).json
    assert answer["User"]["AccessToken"] == token
    assert answer["Profiles"][0]["Id"] == client.emulator.user.coworker_id


async def test_numbers_of_users() -> None:
    """Given in order, kept when a user is replaced, never twice."""
    async with NexudusEmulator() as emulator, aiohttp.ClientSession():
        first, second = emulator.user.coworker_id, emulator.add_user("b@example.com", "x").coworker_id
        assert second == first + 1
        assert emulator.add_user("B@example.com", "y").coworker_id == second
