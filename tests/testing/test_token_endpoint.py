"""The emulator's token endpoint against NEXUDUS' documentation, over a real socket."""

import re

import aiohttp
import pytest

from nexudus_async.testing import ManualClock, NexudusEmulator

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"
DAY = 86_400.0


async def test_a_sign_in_answers_as_documented(client: Client) -> None:
    """200, a bearer in lower case, the lifetime in seconds, a refresh token of 32 hex characters."""
    answer = await client.sign_in()
    assert answer.status == 200
    assert answer.json["token_type"] == "bearer"
    assert answer.json["expires_in"] == 604_799
    assert re.fullmatch("[0-9a-f]{32}", answer.json["refresh_token"])
    assert (await client.call(CUSTOMER, answer.json["access_token"])).json["Email"] == client.emulator.username


async def test_the_body_must_be_form_encoded(client: Client) -> None:
    """A JSON body is answered unsupported_grant_type."""
    form = {"grant_type": "password", "username": client.emulator.username, "password": client.emulator.password}
    async with client.http.post(f"{client.emulator.url}/api/token", json=form) as response:
        assert (response.status, await response.json()) == (400, {"error": "unsupported_grant_type"})


async def test_a_multipart_body_is_not_form_encoded(client: Client) -> None:
    """Nor is any other that happens to have fields."""
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("grant_type", "password")
    async with client.http.post(f"{client.emulator.url}/api/token", data=form) as response:
        assert (response.status, await response.json()) == (400, {"error": "unsupported_grant_type"})


@pytest.mark.parametrize(("charset", "body"), [("utf-8", b"grant_type=\xff"), ("no-such", b"grant_type=password")])
async def test_a_body_that_is_no_text_is_not_form_encoded(client: Client, charset: str, body: bytes) -> None:
    """Nor is one in a charset that nobody knows: it is an answer, and no error of the emulator's."""
    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    async with client.http.post(f"{client.emulator.url}/api/token", data=body, headers=headers) as response:
        assert (response.status, await response.json()) == (400, {"error": "unsupported_grant_type"})


@pytest.mark.parametrize("form", [{}, {"grant_type": ""}, {"grant_type": "client_credentials"}])
async def test_an_unknown_grant_type_is_refused(client: Client, form: dict[str, str]) -> None:
    """`grant_type` missing or another: unsupported_grant_type."""
    answer = await client.token({"username": "x", **form})
    assert (answer.status, answer.json["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    "fields", [{"password": "wrong"}, {"password": "a b"}, {"username": "nobody@example.com"}, {"password": ""}]
)
async def test_wrong_credentials_are_an_invalid_grant_that_says_why(client: Client, fields: dict[str, str]) -> None:
    """The description is for a person."""
    answer = await client.sign_in(**fields)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert answer.json["error_description"]


async def test_an_unknown_account_can_be_a_500_as_seen_live() -> None:
    """Only the account that does not exist; a wrong password stays an invalid_grant."""
    async with NexudusEmulator(unknown_account_is_500=True) as emulator, aiohttp.ClientSession() as http:
        client = Client(http, emulator)
        assert (await client.sign_in(username="nobody@example.com")).status == 500
        assert (await client.sign_in(password="wrong")).status == 400


async def test_the_user_can_be_changed_while_running(client: Client) -> None:
    """Password, suspension and the rest count from the moment they are set."""
    old, client.emulator.user.password = client.emulator.password, "new"
    assert (await client.sign_in(password=old)).json["error"] == "invalid_grant"
    assert (await client.sign_in(password="new")).status == 200
    client.emulator.user.suspended = True
    assert (await client.sign_in(password="new")).json["error"] == "invalid_grant"


async def test_a_password_that_must_be_reset_comes_with_a_secret_token(client: Client) -> None:
    """The reset token is the description, and one of the emulator's secrets."""
    client.emulator.user.must_reset = True
    answer = await client.sign_in()
    assert (answer.status, answer.json["error"]) == (400, "must_reset_password")
    assert answer.json["error_description"] in client.emulator.secrets


async def test_a_refresh_rotates_the_refresh_token(client: Client) -> None:
    """The used one is dead, the access token it came with is not."""
    first = (await client.sign_in()).json
    second = (await client.refresh(first["refresh_token"])).json
    assert second["refresh_token"] != first["refresh_token"]
    again = await client.refresh(first["refresh_token"])
    assert (again.status, again.json) == (400, {"error": "invalid_grant"})
    assert client.emulator.refresh_tokens_reused == 1
    assert (await client.call(CUSTOMER, first["access_token"])).status == 200
    assert (await client.refresh(second["refresh_token"])).status == 200


@pytest.mark.parametrize(("signed_in_as", "refreshed_as"), [("worker", None), ("worker", "other"), (None, "worker")])
async def test_a_refresh_must_repeat_the_client_id(
    client: Client, signed_in_as: str | None, refreshed_as: str | None
) -> None:
    """Missing or different: invalid_grant."""
    first = (await client.sign_in(signed_in_as)).json
    answer = await client.refresh(first["refresh_token"], refreshed_as)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert client.emulator.renewals_refused == 1
    assert client.emulator.refresh_tokens_reused == 0
    assert (await client.refresh(first["refresh_token"], signed_in_as or client.emulator.username)).status == 200


async def test_the_client_id_is_a_header_and_not_a_form_field(client: Client) -> None:
    """As a field it is ignored."""
    first = (await client.sign_in("worker")).json
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": "worker"}
    assert (await client.token(form)).json["error"] == "invalid_grant"


async def test_a_client_id_has_one_live_refresh_token(client: Client) -> None:
    """A second sign-in kills the first one's refresh token, but neither its access token nor another client_id's."""
    first, other = (await client.sign_in("a")).json, (await client.sign_in("b")).json
    await client.sign_in("a")
    assert (await client.refresh(first["refresh_token"], "a")).json["error"] == "invalid_grant"
    assert (await client.call(CUSTOMER, first["access_token"])).status == 200
    assert (await client.refresh(other["refresh_token"], "b")).status == 200


@pytest.mark.parametrize(("idle", "status"), [(15 * DAY - 1, 200), (15 * DAY, 400)])
async def test_refresh_tokens_live_15_days(client: Client, clock: ManualClock, idle: float, status: int) -> None:
    """One second before the end it works, at the end it does not."""
    first = (await client.sign_in()).json
    clock.advance(idle)
    assert (await client.refresh(first["refresh_token"])).status == status


@pytest.mark.parametrize(("age", "status"), [(59.0, 200), (60.0, 401)])
async def test_access_tokens_expire(client: Client, clock: ManualClock, age: float, status: int) -> None:
    """At `lifetime`, which may be changed while running."""
    client.emulator.lifetime = 60
    first = (await client.sign_in()).json
    assert first["expires_in"] == 60
    clock.advance(age)
    assert (await client.call(CUSTOMER, first["access_token"])).status == status


async def test_the_service_is_neither_suspended_nor_stepped_with_the_client(client: Client, clock: ManualClock) -> None:
    """A wall clock set forward expires nothing; time that passes while the client is suspended does."""
    client.emulator.lifetime = 60
    first = (await client.sign_in()).json
    clock.step_wall(3_600)
    assert (await client.call(CUSTOMER, first["access_token"])).status == 200
    clock.suspend(60)
    assert (await client.call(CUSTOMER, first["access_token"])).status == 401


async def test_a_suspended_user_gets_nowhere(client: Client) -> None:
    """Neither calls nor refreshes; both work again when the suspension ends."""
    first = (await client.sign_in()).json
    client.emulator.user.suspended = True
    assert (await client.call(CUSTOMER, first["access_token"])).status == 401
    assert (await client.refresh(first["refresh_token"])).json == {"error": "invalid_grant"}
    client.emulator.user.suspended = False
    assert (await client.call(CUSTOMER, first["access_token"])).status == 200
    assert (await client.refresh(first["refresh_token"])).status == 200


async def test_a_token_request_is_a_post(client: Client) -> None:
    """GET: 405."""
    async with client.http.get(f"{client.emulator.url}/api/token") as response:
        assert response.status == 405


async def test_revocation_is_by_user_and_by_kind(client: Client) -> None:
    """Of one user or of all, access and refresh tokens apart."""
    emulator = client.emulator
    emulator.add_user("two@example.com", "pw")
    mine = (await client.sign_in()).json
    other = (await client.sign_in(username="two@example.com", password="pw")).json
    emulator.revoke_access_tokens("two@example.com")
    assert (await client.call(CUSTOMER, mine["access_token"])).status == 200
    assert (await client.call(CUSTOMER, other["access_token"])).status == 401
    emulator.revoke_refresh_tokens("TWO@example.com")
    assert (await client.refresh(other["refresh_token"], "two@example.com")).status == 400
    mine = (await client.refresh(mine["refresh_token"])).json
    emulator.revoke_all()
    assert (await client.call(CUSTOMER, mine["access_token"])).status == 401
    assert (await client.refresh(mine["refresh_token"])).status == 400
    assert emulator.refresh_tokens_reused == 0
