"""Users: what a sign-in counts and refuses, how sessions end, tokens minted without a request."""

import copy

import pytest

from nexudus_async.testing import Limits, ManualClock, NexudusEmulator, User

from .conftest import Client

CUSTOMER = "/api/public/billing/customer"


async def test_the_default_client_id_is_the_e_mail_whatever_its_case(client: Client) -> None:
    """Omitted at the sign-in, or written in capitals: one chain, one live refresh token."""
    first = (await client.sign_in(username="OPS@Example.com")).json
    refreshed = await client.refresh(first["refresh_token"], "Ops@example.com")
    assert refreshed.status == 200
    await client.sign_in("OPS@EXAMPLE.COM")
    assert (await client.refresh(refreshed.json["refresh_token"], "ops@example.com")).status == 400
    assert len(client.emulator.issue().client_id) == len("ops@example.com")


async def test_another_client_id_is_compared_as_it_is(client: Client) -> None:
    """Only the e-mail has no case."""
    first = (await client.sign_in("Worker")).json
    assert (await client.refresh(first["refresh_token"], "worker")).status == 400
    assert (await client.refresh(first["refresh_token"], "Worker")).status == 200


async def test_a_proxy_may_drop_the_client_id(client: Client) -> None:
    """Then a sign-in goes by the e-mail, and every refresh is refused; the record shows that it was sent."""
    client.emulator.settings.drop_client_id = True
    first = (await client.sign_in("worker")).json
    assert (await client.refresh(first["refresh_token"], "worker")).json == {"error": "invalid_grant"}
    assert client.emulator.requests[-1].client_id == "worker"
    client.emulator.settings.drop_client_id = False
    assert (await client.refresh(first["refresh_token"], "worker")).status == 400
    assert (await client.refresh(first["refresh_token"])).status == 200


async def test_failed_sign_ins_are_counted(client: Client) -> None:
    """Wrong passwords and wrong codes, until one is granted; a missing code is the first half of a sign-in."""
    user = client.emulator.user
    await client.sign_in(password="wrong")
    await client.sign_in(password="wrong")
    assert user.invalid_login_attempts == 2
    user.totp_secret = "JBSWY3DPEHPK3PXP"
    await client.sign_in()
    assert user.invalid_login_attempts == 2
    await client.sign_in(totp="000000")
    assert user.invalid_login_attempts == 3
    await client.sign_in(totp=client.emulator.totp_code())
    assert (user.invalid_login_attempts, client.emulator.sign_ins, client.emulator.sign_ins_refused) == (0, 1, 4)


@pytest.mark.parametrize(("limit", "suspended"), [(3, True), (4, False), (None, False)])
async def test_insisting_can_lock_an_account(client: Client, limit: int | None, suspended: bool) -> None:
    """At the number that was set; by default never. Then the right password does not help."""
    client.emulator.settings.lock_after = limit
    for _ in range(3):
        await client.sign_in(password="wrong")
    assert client.emulator.user.suspended is suspended
    assert (await client.sign_in()).status == (400 if suspended else 200)


async def test_an_account_for_single_sign_on_has_no_password_grant(client: Client) -> None:
    """invalid_grant though the password is right; a session that came another way refreshes."""
    client.emulator.user.sso_only = True
    refused = await client.sign_in()
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
    assert client.emulator.user.invalid_login_attempts == 0
    pair = client.emulator.issue()
    assert (await client.refresh(pair.refresh_token)).status == 200


async def test_a_changed_password_ends_every_session_of_the_account(client: Client) -> None:
    """All client_ids, access and refresh tokens; of nobody else. Nothing must be reset any more."""
    emulator = client.emulator
    emulator.add_user("b@example.com", "pw")
    pairs = [emulator.issue(client_id=name) for name in ("a", "b")]
    other = emulator.issue("b@example.com")
    emulator.user.must_reset = True
    emulator.change_password(emulator.username.upper(), "new")
    for pair in pairs:
        assert (await client.call(CUSTOMER, pair.access_token)).status == 401
        assert (await client.refresh(pair.refresh_token, pair.client_id)).status == 400
    assert (await client.call(CUSTOMER, other.access_token)).status == 200
    assert (await client.sign_in(password="new")).status == 200


async def test_a_pair_without_a_request(client: Client, clock: ManualClock) -> None:
    """As a sign-in would bring it, with a life of its own, and without a trace in the record."""
    emulator = client.emulator
    old = emulator.issue(client_id="worker")
    pair = emulator.issue(emulator.user, client_id="worker", lifetime=60)
    assert (emulator.requests, emulator.sign_ins) == ([], 0)
    assert (pair.client_id, pair.expires_in) == ("worker", 60)
    assert {pair.access_token, pair.refresh_token} <= emulator.secrets
    assert not [secret for secret in (pair.access_token, pair.refresh_token) if secret in repr(pair)]
    assert (await client.refresh(old.refresh_token, "worker")).status == 400
    clock.advance(59)
    assert (await client.call(CUSTOMER, pair.access_token)).status == 200
    clock.advance(1)
    assert (await client.call(CUSTOMER, pair.access_token)).status == 401
    assert (await client.refresh(pair.refresh_token, "worker")).status == 200


async def test_the_first_user_may_be_replaced() -> None:
    """`user`, `username` and `password` are about the one that is there."""
    emulator = NexudusEmulator()
    emulator.add_user(emulator.username, "another")
    assert (emulator.password, emulator.user.password) == ("another", "another")


async def test_a_user_can_be_removed(client: Client) -> None:
    """Its sessions end; the name is unknown. Who is not there cannot be removed."""
    client.emulator.add_user("b@example.com", "pw")
    pair = client.emulator.issue("b@example.com")
    client.emulator.remove_user("B@example.com")
    assert (await client.call(CUSTOMER, pair.access_token)).status == 401
    assert (await client.sign_in(username="b@example.com", password="pw")).status == 400
    with pytest.raises(LookupError, match=r"no user is called 'b@example\.com'; there is ops@example\.com"):
        client.emulator.remove_user("b@example.com")


async def test_time_passes_for_the_service_alone(client: Client, clock: ManualClock) -> None:
    """Tokens age, codes change; the client's clock stands still."""
    pair = client.emulator.issue(lifetime=60)
    before = clock.monotonic()
    client.emulator.advance(60)
    assert (await client.call(CUSTOMER, pair.access_token)).status == 401
    assert clock.monotonic() == before
    for seconds in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"clock|time"):
            client.emulator.advance(seconds)


async def test_reset_goes_back_to_the_start(client: Client, clock: ManualClock) -> None:
    """Users, their attributes, coworkers, settings, limits, faults, clock; sessions and record are gone."""
    emulator = client.emulator
    user, lifetime, coworkers = emulator.user, emulator.lifetime, copy.deepcopy(emulator.coworkers)
    pair, jwt = emulator.issue(), emulator.one_time_jwt()
    user.password, user.suspended = "changed", True
    emulator.add_user("b@example.com", "pw")
    del emulator.coworkers[3:]
    emulator.coworkers[0]["FullName"] = "Changed"
    emulator.lifetime, emulator.enforce_limits, emulator.limits = 5, True, Limits(status=429)
    emulator.advance(100)
    emulator.hold("token")
    emulator.reset()
    assert (emulator.users, emulator.user) == ([user], user)
    assert (emulator.coworkers, emulator.lifetime, emulator.enforce_limits) == (coworkers, lifetime, False)
    assert emulator.limits == Limits()
    assert (len(emulator.faults), emulator.clock.monotonic()) == (0, clock.monotonic())
    assert (await client.call(CUSTOMER, pair.access_token)).status == 401
    assert (await client.refresh(pair.refresh_token)).status == 400
    assert (await client.call(f"/api/sys/users/exchange?token={jwt}&validForInMinutes=1", None, "POST")).status == 401
    assert (await client.sign_in()).status == 200


async def test_the_start_is_when_it_starts_and_can_be_set_anew() -> None:
    """What was added before `start()` comes back; what was added later only after a `checkpoint()`."""
    emulator = NexudusEmulator()
    early = emulator.add_user("early@example.com", "x")
    async with emulator:
        emulator.add_user("late@example.com", "x")
        emulator.reset()
        assert emulator.users == [emulator.user, early]
        late = emulator.add_user("late@example.com", "x")
        emulator.checkpoint()
        emulator.add_user("later@example.com", "x")
        emulator.remove_user("early@example.com")
        emulator.reset()
        assert emulator.users == [emulator.user, early, late]


def test_a_number_belongs_to_one_user() -> None:
    """It is for impersonation."""
    emulator = NexudusEmulator()
    accounts = emulator._world.accounts  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ValueError, match=r"is taken by ops@example\.com"):
        accounts.add(User("b@example.com", "x", coworker_id=emulator.user.coworker_id))


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_is_a_port(port: int) -> None:
    """At once."""
    with pytest.raises(ValueError, match="port is a number from 0"):
        NexudusEmulator(port=port)


@pytest.mark.parametrize(("host", "origin"), [("0.0.0.0", "http://127.0.0.1"), ("localhost", "http://localhost")])
async def test_the_url_is_one_that_a_client_can_use(host: str, origin: str) -> None:
    """A client of this machine does not write 0.0.0.0."""
    emulator = NexudusEmulator(host=host, port=8_000)
    assert emulator.url == f"{origin}:8000"
