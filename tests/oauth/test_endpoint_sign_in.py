"""Signing in over a real socket: what is sent, and what is tried again."""

import pytest

from nexudus_async import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordCredentials,
    PasswordResetRequiredError,
    RefreshPolicy,
    TotpRequiredError,
    WrongHostError,
)
from nexudus_async._refresh.grants import grants_of
from nexudus_async._refresh.renewal import Asking
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator, totp_code
from tests.leaks import leaked

from .conftest import MakeEndpoint

KEY = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


async def test_a_sign_in_brings_a_token(make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock) -> None:
    """One request, with a client_id header; its life counts by our clock."""
    token = await make().login()
    (request,) = emulator.token_requests
    assert (request.method, request.status) == ("POST", 200)
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.form["password"] == emulator.password
    assert request.headers["client_id"] == token.client_id
    assert token.expires_at.timestamp() == clock.wall() + 604_799


async def test_the_client_id_is_made_once_or_given(make: MakeEndpoint) -> None:
    """Two endpoints never share one of their own making; a given one is used."""
    one, other = make(), make()
    assert (await one.login()).client_id == (await one.login()).client_id
    assert (await one.login()).client_id != (await other.login()).client_id
    assert (await make(client_id="worker-1").login()).client_id == "worker-1"


@pytest.mark.parametrize("client_id", ["", "a\r\nX: y", "é", "a\x00"])
def test_a_client_id_is_a_header(client_id: str, make: MakeEndpoint) -> None:
    """What no header can be is refused at once."""
    with pytest.raises(ConfigurationError, match="client_id"):
        make(client_id=client_id)


HICCUPS = {
    "500": Fault.answer(500),
    "502 with a page": Fault.html(502),
    "503": Fault.answer(503, headers={"Retry-After": "2"}),
    "409": Fault.throttled(2),
    "429": Fault.throttled(2, status=429),
    "dropped before": Fault.dropped(),
    "dropped after": Fault.dropped(applied=True),
    "truncated": Fault.truncated(),
    "half of an invented answer": Fault.truncated(applied=False),
    "malformed": Fault.answer(200, "{", applied=True),
    "no token": Fault.altered(without=("access_token",)),
    "CR LF": Fault.altered({"access_token": "a\r\nX-Evil: 1"}),
    "no bearer": Fault.altered({"token_type": "mac"}),
    "too large": Fault.big(5_000_000),
}


@pytest.mark.parametrize("fault", HICCUPS.values(), ids=HICCUPS)
async def test_a_sign_in_that_met_a_hiccup_is_tried_again(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault
) -> None:
    """Twice: a password can be sent again. The third answer counts."""
    emulator.fail("token", fault, times=2)
    assert (await make().login()).access_token in emulator.secrets
    assert len(emulator.token_requests) == 3


@pytest.mark.parametrize("fault", HICCUPS.values(), ids=HICCUPS)
async def test_a_fault_that_outlives_three_tries_is_raised(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault
) -> None:
    """No endless loop, and no secret in the error nor in any frame on its way."""
    emulator.fail("token", fault, times=None)
    with pytest.raises((EndpointUnavailableError, MalformedResponseError)) as caught:
        await make().login()
    assert len(emulator.token_requests) == 3
    assert not leaked(caught.value, emulator.secrets)


REFUSALS: dict[str, tuple[Fault, type[NexudusAuthError]]] = {
    "invalid_grant": (Fault.json({"error": "invalid_grant"}, 400), CredentialsRejectedError),
    "invalid_grant with 401": (Fault.json({"error": "invalid_grant"}, 401), CredentialsRejectedError),
    "invalid_grant with 200": (Fault.json({"error": "invalid_grant"}), CredentialsRejectedError),
    "two-factor": (Fault.json({"error": "two_factor_auth_check"}, 400), TotpRequiredError),
    "reset": (Fault.json({"error": "must_reset_password"}, 400), PasswordResetRequiredError),
    "unsupported": (Fault.json({"error": "unsupported_grant_type"}, 400), NexudusAuthError),
    "a page": (Fault.html(200), WrongHostError),
    "405": (Fault.html(405), WrongHostError),
    "401 without a word": (Fault.answer(401), MalformedResponseError),
    "403 of a firewall": (Fault.html(403), MalformedResponseError),
}


@pytest.mark.parametrize(("fault", "kind"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_never_tried_again(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault, kind: type[NexudusAuthError]
) -> None:
    """Services lock accounts that insist."""
    emulator.fail("token", fault, times=None)
    with pytest.raises(kind) as caught:
        await make().login()
    assert len(emulator.token_requests) == 1
    assert not leaked(caught.value, emulator.secrets)


async def test_the_reset_token_arrives_and_is_shown_by_its_name_only(
    make: MakeEndpoint, emulator: NexudusEmulator
) -> None:
    """Through all layers."""
    emulator.user.must_reset = True
    with pytest.raises(PasswordResetRequiredError) as caught:
        await make().login()
    assert caught.value.reset_token in emulator.secrets
    assert not leaked(caught.value, emulator.secrets)


async def test_without_credentials_a_person_must_sign_in(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """LoginRequiredError, and nothing is sent."""
    with pytest.raises(LoginRequiredError):
        await make(credentials=None).login()
    assert emulator.requests == []


@pytest.mark.parametrize(
    "fault", [Fault.answer(503), Fault.answer(502), Fault.throttled(1), Fault.dropped(applied=True)]
)
async def test_a_password_is_fetched_once_for_all_tries(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault
) -> None:
    """A callable may be good for one call only: a 503 does not use it up. The next sign-in asks anew."""
    asked: list[str] = []

    def once() -> str:
        asked.append(emulator.password if not asked else "from an empty vault")
        return asked[-1]

    endpoint = make(credentials=PasswordCredentials(emulator.username, once))
    emulator.fail("token", fault, times=2)
    await endpoint.login()
    assert len(asked) == 1
    assert {request.form["password"] for request in emulator.token_requests} == {emulator.password}
    with pytest.raises(CredentialsRejectedError):
        await endpoint.login()
    assert len(asked) == 2


async def test_a_password_outlives_the_wait_for_the_next_code(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """The second sign-in of one flight, with another code, is the same sign-in; a later one is not."""
    emulator.user.totp_secret = KEY
    asked: list[str] = []
    codes = iter(["000000"])

    def password() -> str:
        asked.append(emulator.password)
        return asked[-1]

    def code() -> str:
        return next(codes, None) or totp_code(KEY, clock.wall())

    endpoint = make(credentials=PasswordCredentials(emulator.username, password, code))
    clock.advance(5)
    await Asking(endpoint, RefreshPolicy(), clock).sign_in(None, after=None, probing=False, by_hand=False)
    assert (len(asked), len(emulator.token_requests)) == (1, 2)
    clock.advance(3600)
    await endpoint.login()
    assert len(asked) == 2


@pytest.mark.parametrize(("pause", "times_asked"), [(29.0, 2), (31.0, 3)])
async def test_a_password_that_was_asked_for_to_compare_it_is_the_one_that_is_sent(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock, pause: float, times_asked: int
) -> None:
    """Soon after. It is not kept for long."""
    passwords = iter(["wrong", emulator.password, emulator.password])
    asked: list[str] = []

    def password() -> str:
        asked.append(next(passwords))
        return asked[-1]

    endpoint = make(credentials=PasswordCredentials(emulator.username, password))
    with pytest.raises(CredentialsRejectedError):
        await endpoint.login()
    assert await grants_of(endpoint).credentials_changed()
    clock.advance(pause)
    await endpoint.login()
    assert len(asked) == times_asked


@pytest.mark.parametrize(
    ("fault", "wait", "codes"),
    [
        (Fault.throttled(None), 0.0, 1),
        (Fault.answer(500), 0.0, 1),
        (Fault.answer(503, headers={"Retry-After": "7"}), 0.0, 1),
        (Fault.answer(503, headers={"Retry-After": "7"}), 25.0, 2),
        (Fault.dropped(), 0.0, 2),
        (Fault.answer(502), 0.0, 2),
    ],
)
async def test_a_code_is_fetched_anew_when_it_is_old_or_may_have_been_used(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock, fault: Fault, wait: float, codes: int
) -> None:
    """Its time step over, or its answer lost. One that nobody has looked at is sent again: a person may be asked."""
    emulator.user.totp_secret = KEY
    asked: list[str] = []

    def code() -> str:
        asked.append(emulator.totp_code())
        return asked[-1]

    clock.advance(wait)
    emulator.fail("token", fault)
    await make(credentials=PasswordCredentials(emulator.username, emulator.password, code)).login()
    assert len(asked) == codes


async def test_a_code_that_was_kept_for_a_second_try_is_not_kept_for_a_third(
    make: MakeEndpoint, emulator: NexudusEmulator
) -> None:
    """Throttled: sent again. Then its answer was lost."""
    emulator.user.totp_secret = KEY
    asked: list[str] = []

    def code() -> str:
        asked.append(emulator.totp_code())
        return asked[-1]

    emulator.fail("token", Fault.throttled(None))
    emulator.fail("token", Fault.dropped())
    await make(credentials=PasswordCredentials(emulator.username, emulator.password, code)).login()
    assert (len(asked), len(emulator.token_requests)) == (2, 3)


async def test_a_password_that_was_hashed_to_compare_it_is_the_one_that_is_sent(
    make: MakeEndpoint, emulator: NexudusEmulator
) -> None:
    """Where it turned out to be another one than the fleet knows."""
    asked: list[str] = []

    def password() -> str:
        asked.append(emulator.password)
        return asked[-1]

    endpoint = make(credentials=PasswordCredentials(emulator.username, password))
    assert await grants_of(endpoint).fingerprint("of another") != "of another"
    await endpoint.login()
    assert len(asked) == 1


@pytest.mark.parametrize("written", [" {} {}\n", "{}-{}"])
async def test_a_code_is_sent_as_a_machine_writes_it(
    make: MakeEndpoint, emulator: NexudusEmulator, written: str
) -> None:
    """A person types "123 456"."""
    emulator.user.totp_secret = KEY
    code = emulator.totp_code()
    await make(totp=written.format(code[:3], code[3:])).login()
    assert emulator.token_requests[0].form["totp"] == emulator.totp_code()


@pytest.mark.parametrize("code", ["invalid_grant", "must_reset_password", "two_factor_auth_check"])
async def test_every_rejection_remembers_the_password(make: MakeEndpoint, emulator: NexudusEmulator, code: str) -> None:
    """Until the vault has another one, there is no reason to send it again: not for a reset, nor for a wrong code."""
    passwords = [emulator.password]
    endpoint = make(credentials=PasswordCredentials(emulator.username, lambda: passwords[-1], lambda: "000000"))
    emulator.fail("token", Fault.json({"error": code}, 400))
    with pytest.raises(NexudusAuthError):
        await endpoint.login()
    assert not await grants_of(endpoint).credentials_changed()
    passwords.append("another")
    assert await grants_of(endpoint).credentials_changed()


async def test_half_a_character_in_a_vault_is_no_crash(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """What UTF-8 cannot encode is refused by name, and is another password than the one refused."""
    passwords = ["wrong"]
    endpoint = make(credentials=PasswordCredentials(emulator.username, lambda: passwords[-1]))
    with pytest.raises(CredentialsRejectedError):
        await endpoint.login()
    passwords.append("half-\ud800")
    assert await grants_of(endpoint).credentials_changed()
    assert await grants_of(endpoint).fingerprint() is not None
    with pytest.raises(ConfigurationError, match="UTF-8"):
        await endpoint.login()


async def test_only_another_password_is_a_change(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """Of a callable; a text never changes."""
    password = "wrong"
    endpoint = make(credentials=PasswordCredentials(emulator.username, lambda: password))
    with pytest.raises(CredentialsRejectedError):
        await endpoint.login()
    assert not await grants_of(endpoint).credentials_changed()
    password = emulator.password
    assert await grants_of(endpoint).credentials_changed()
    assert not await grants_of(make()).credentials_changed()
    assert not await grants_of(make(credentials=None)).credentials_changed()


async def test_the_fingerprint_is_of_what_was_sent(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """Not of what a vault says by then, which may be the right one; and nothing is kept once it was asked for."""
    asked: list[str] = []

    def vault() -> str:
        asked.append(f"wrong {len(asked)}")
        return asked[-1]

    endpoint = make(credentials=PasswordCredentials(emulator.username, vault))
    with pytest.raises(CredentialsRejectedError):
        await endpoint.login()
    fingerprint = await grants_of(endpoint).fingerprint()
    assert fingerprint is not None
    assert asked == ["wrong 0"]
    same = make(credentials=PasswordCredentials(emulator.username, "wrong 0"))
    assert await grants_of(same).fingerprint(fingerprint) == fingerprint
    assert await grants_of(endpoint).fingerprint() is None


async def test_a_refused_password_is_forgotten_by_the_next_sign_in(
    make: MakeEndpoint, emulator: NexudusEmulator
) -> None:
    """It is kept no longer than the fleet may ask for its hash."""
    password = "wrong"
    endpoint = make(credentials=PasswordCredentials(emulator.username, lambda: password))
    with pytest.raises(CredentialsRejectedError):
        await endpoint.login()
    password = emulator.password
    await endpoint.login()
    assert await grants_of(endpoint).fingerprint() is None
