"""A token that the API refuses, and no other to be had: what callers are told, and how it ends. For both carriers."""

import asyncio
import contextlib
import io
from typing import Any

import pytest
from aiohttp import web

from nexudus_async import (
    CredentialsRejectedError,
    EndpointUnavailableError,
    Freshness,
    PasswordCredentials,
    RefreshFailed,
    RefreshPolicy,
    TokenRejected,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect, until

from .conftest import Carrier, Carry

FORBIDDEN = "/api/emulator/unauthorized"
ECHO = "/api/emulator/echo"
OPEN = "/open"
NO_JITTER = RefreshPolicy(jitter=0)


def die(emulator: NexudusEmulator) -> None:
    """Let an administrator change the password: everything is dead at once."""
    emulator.revoke_all()
    emulator.user.password = "changed"


async def fail(carrier: Carrier, kind: type[Exception], *, times: int = 1, path: str = CUSTOMER, **options: Any) -> int:
    """Assert that a request raises; return how many token requests that took."""
    before = len(carrier.emulator.token_requests)
    for _ in range(times):
        with pytest.raises(kind):
            await carrier.status("GET", path, **options)
    return len(carrier.emulator.token_requests) - before


def freshness_of(carrier: Carrier) -> Freshness:
    """Return the state now; a type checker believes that an attribute stays as it was."""
    return carrier.session.freshness


@pytest.fixture
async def carrier(carry: Carry, emulator: NexudusEmulator, clock: ManualClock) -> Carrier:
    carrier = await carry(policy=NO_JITTER)
    await carrier.session.token()
    return carrier


async def test_a_dead_token_is_refused_and_every_401_says_why(
    emulator: NexudusEmulator, carrier: Carrier, connect: Connect
) -> None:
    """Not the bare 401 for the token's whole life, which nobody could tell from a missing permission."""
    die(emulator)
    assert await fail(carrier, CredentialsRejectedError) == 2
    assert await fail(carrier, CredentialsRejectedError, times=20) == 0
    session = carrier.session
    assert session.freshness is Freshness.REFUSED
    assert session.statistics().refused
    assert "refused" in repr(session)
    assert session.manager.current() is None
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    rejections = [event for event in connect.events if isinstance(event, TokenRejected)]
    assert (rejections[0].renewal, rejections[-1].renewal) == (True, False)
    failures = [event for event in connect.events if isinstance(event, RefreshFailed)]
    assert not any(event.served for event in failures)
    assert session.statistics().rejections == 21


async def test_a_good_token_is_not_refused(carrier: Carrier) -> None:
    """Whatever the API forbids."""
    assert await carrier.status("GET", CUSTOMER) == 200
    assert await carrier.status("GET", FORBIDDEN) == 401
    assert await carrier.status("GET", FORBIDDEN) == 401
    assert carrier.session.freshness is Freshness.FRESH
    assert not carrier.session.statistics().refused
    assert "refused" not in repr(carrier.session)


async def test_each_caller_gets_an_error_of_its_own(emulator: NexudusEmulator, carrier: Carrier) -> None:
    """From the same cause, at once or one after the other."""
    die(emulator)
    requests = (carrier.status("GET", CUSTOMER) for _ in range(20))
    errors: list[Any] = await asyncio.gather(*requests, return_exceptions=True)
    for _ in range(3):
        with pytest.raises(CredentialsRejectedError) as caught:
            await carrier.status("GET", CUSTOMER)
        errors.append(caught.value)
    assert {type(error) for error in errors} == {CredentialsRejectedError}
    assert len({id(error) for error in errors}) == 23
    assert len({id(error.__cause__) for error in errors}) == 1


async def test_nothing_of_it_counts_as_a_permission(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """When there is a token again, a 401 anywhere forces its refresh as ever."""
    right = emulator.password
    die(emulator)
    await fail(carrier, CredentialsRejectedError, times=5)
    await fail(carrier, CredentialsRejectedError, times=5, path=ECHO)
    emulator.user.password = right
    clock.advance(60)
    assert await carrier.status("GET", CUSTOMER) == 200
    for path in (CUSTOMER, ECHO, CUSTOMER):
        emulator.revoke_access_tokens()
        assert await carrier.status("GET", path) == 200


async def test_it_heals_when_the_pauses_allow_it(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """A minute after the refusal, and then with the next request; not before."""
    right = emulator.password
    die(emulator)
    await fail(carrier, CredentialsRejectedError)
    emulator.user.password = right
    clock.advance(59)
    assert await fail(carrier, CredentialsRejectedError, times=3) == 0
    clock.advance(1)
    assert await carrier.status("GET", CUSTOMER) == 200
    assert carrier.session.freshness is Freshness.FRESH
    assert not carrier.session.statistics().refused


async def test_an_outage_is_over_for_it_within_five_seconds(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """The pauses are those of a session that has nothing to serve."""
    emulator.revoke_access_tokens()
    emulator.fail("token", Fault.answer(503), times=None)
    for _ in range(60):
        with pytest.raises(EndpointUnavailableError):
            await carrier.status("GET", CUSTOMER)
        clock.advance(0.5)
    assert 6 <= len(emulator.token_requests) <= 20
    emulator.faults.clear()
    clock.advance(5)
    assert await carrier.status("GET", CUSTOMER) == 200


async def test_a_success_elsewhere_clears_it(emulator: NexudusEmulator, carrier: Carrier) -> None:
    """It was a permission after all: the token is good, and its refresh was not to be had."""
    emulator.fail("token", Fault.answer(503), times=None)
    await fail(carrier, EndpointUnavailableError, path=FORBIDDEN)
    assert freshness_of(carrier) is Freshness.REFUSED
    assert await carrier.status("GET", CUSTOMER) == 200
    assert freshness_of(carrier) is Freshness.FRESH
    assert carrier.session.manager.current() is not None


async def test_a_websocket_that_opens_clears_it_too(emulator: NexudusEmulator, connect: Connect) -> None:
    """The API has looked at the token of a handshake as at any other."""
    session = await connect()
    await session.token()
    emulator.fail("token", Fault.answer(503), times=None)
    connect.clock.autojump = True
    with pytest.raises(EndpointUnavailableError):
        await session.get(FORBIDDEN)
    assert session.statistics().refused
    async with session.ws_connect("/api/emulator/websocket"):
        assert session.freshness is Freshness.FRESH


@pytest.mark.parametrize("status", [500, 502, 503, 429, 409])
async def test_an_answer_that_nobody_looked_at_the_token_for_clears_nothing(
    emulator: NexudusEmulator, carry: Carry, status: int
) -> None:
    """A gateway's words, or a throttle's."""
    carrier = await carry(throttle=None)
    await carrier.session.token()
    emulator.revoke_access_tokens()
    emulator.fail("token", Fault.answer(503), times=None)
    with pytest.raises(EndpointUnavailableError):
        await carrier.status("GET", CUSTOMER)
    emulator.fail(CUSTOMER, Fault.answer(status, headers={"Retry-After": "1"}))
    assert await carrier.status("GET", CUSTOMER) == status
    assert carrier.session.freshness is Freshness.REFUSED


async def test_a_path_that_answers_anybody_makes_it_good_for_a_minute_only(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """It looks like a permission meanwhile; then the next 401 says again why there is no other token."""
    emulator.route("GET", OPEN, ok, authenticated=False)
    die(emulator)
    await fail(carrier, CredentialsRejectedError)
    assert await carrier.status("GET", OPEN) == 200
    assert await carrier.status("GET", CUSTOMER) == 401
    clock.advance(60)
    await fail(carrier, CredentialsRejectedError)
    assert carrier.session.freshness is Freshness.REFUSED


async def ok(request: web.Request) -> web.Response:
    return web.Response()


async def test_a_401_on_a_path_known_as_forbidden_tells_of_a_refused_token_too(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """Whoever gets a 401 with it is told; while it is good that path's 401 is the caller's."""
    assert await carrier.status("GET", FORBIDDEN) == 401
    assert await carrier.status("GET", FORBIDDEN) == 401
    die(emulator)
    clock.advance(1)
    await fail(carrier, CredentialsRejectedError)
    assert await fail(carrier, CredentialsRejectedError, path=FORBIDDEN) == 0


async def test_a_body_that_cannot_be_sent_again_is_told_too(emulator: NexudusEmulator, carrier: Carrier) -> None:
    """Its first 401 is the caller's, since the refresh goes on in the background; the next ones raise."""
    die(emulator)
    assert await carrier.status("POST", ECHO, data=io.BytesIO(b"x")) == 401
    await until(lambda: carrier.session.freshness is Freshness.REFUSED)
    with pytest.raises(CredentialsRejectedError):
        await carrier.status("POST", ECHO, data=io.BytesIO(b"x"))


async def test_a_401_during_the_pause_of_a_served_token_tries_at_once(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """That pause was long because nobody waited. Now they do."""
    clock.advance(2750)
    emulator.fail("token", Fault.answer(503), times=None)
    assert await carrier.status("GET", CUSTOMER) == 200
    await until(lambda: carrier.session.statistics().failures == 1)
    assert carrier.session.statistics().retry_in >= 30
    emulator.revoke_access_tokens()
    assert await fail(carrier, EndpointUnavailableError) == 1
    emulator.faults.clear()
    clock.advance(1)
    assert await carrier.status("GET", CUSTOMER) == 200


async def test_a_forbidden_path_during_an_outage_does_not_ask_with_every_poll(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """A request that works elsewhere shows that it is a permission: that path rests then, as after a futile refresh."""
    emulator.fail("token", Fault.answer(503), times=None)
    for _ in range(1800):
        clock.advance(1)
        with contextlib.suppress(EndpointUnavailableError):
            assert await carrier.status("GET", FORBIDDEN) == 401
        assert await carrier.status("GET", CUSTOMER) == 200
    assert len(emulator.token_requests) <= 12


async def test_a_latched_session_tells_a_permission_from_a_dead_token(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """The password was changed and the refresh token revoked, but the access token works: 401 where it is forbidden."""
    emulator.revoke_refresh_tokens()
    emulator.user.password = "changed"
    await fail(carrier, CredentialsRejectedError, path=FORBIDDEN)
    for _ in range(5):
        assert await carrier.status("GET", CUSTOMER) == 200
        assert carrier.session.freshness is Freshness.FRESH
        assert await carrier.status("GET", FORBIDDEN) == 401
        clock.advance(5)
    emulator.revoke_access_tokens()
    assert await fail(carrier, CredentialsRejectedError) == 0
    assert carrier.session.freshness is Freshness.REFUSED


async def test_a_logout_and_a_sign_in_by_hand_end_it(emulator: NexudusEmulator, carrier: Carrier) -> None:
    """Both begin anew."""
    right = emulator.password
    die(emulator)
    await fail(carrier, CredentialsRejectedError)
    emulator.user.password = right
    await carrier.session.sign_in()
    assert freshness_of(carrier) is Freshness.FRESH
    assert await carrier.status("GET", CUSTOMER) == 200
    die(emulator)
    await fail(carrier, CredentialsRejectedError)
    await carrier.session.logout()
    assert freshness_of(carrier) is Freshness.EMPTY
    assert not carrier.session.statistics().refused


async def test_a_refused_token_that_expires_is_still_refused(
    emulator: NexudusEmulator, carrier: Carrier, clock: ManualClock
) -> None:
    """And is not sent any more; the error is the same."""
    die(emulator)
    await fail(carrier, CredentialsRejectedError)
    clock.advance(3600)
    before = len(emulator.requests)
    with pytest.raises(CredentialsRejectedError):
        await carrier.status("GET", CUSTOMER)
    assert len([record for record in emulator.requests[before:] if record.path == CUSTOMER]) == 0


async def test_without_a_password_too(emulator: NexudusEmulator, connect: Connect) -> None:
    """A one-time code given as text: nobody can sign in again."""
    emulator.user.totp_secret = "JBSWY3DPEHPK3PXP"
    session = await connect(PasswordCredentials(emulator.username, emulator.password, emulator.totp_code()))
    await session.token()
    emulator.revoke_all()
    for _ in range(3):
        with pytest.raises(Exception, match="used already"):
            await session.get(CUSTOMER)
        assert session.statistics().refused


async def test_an_answer_that_accepts_the_token_ends_what_was_rejected_by_hand(
    emulator: NexudusEmulator, carrier: Carrier
) -> None:
    """`manager.reject()` is told by somebody who had a 401 elsewhere; the API accepted the token before, and does."""
    session = carrier.session
    assert await carrier.status("GET", CUSTOMER) == 200
    die(emulator)
    emulator.fail("token", Fault.answer(503), times=None)
    with pytest.raises(EndpointUnavailableError):
        await session.manager.reject(await session.token())
    assert freshness_of(carrier) is Freshness.REFUSED
    emulator.fail(CUSTOMER, Fault.answer(200, b"{}"), times=1)
    assert await carrier.status("GET", CUSTOMER) == 200
    assert freshness_of(carrier) is Freshness.FRESH


async def test_a_pause_for_a_good_token_does_not_let_a_401_pass_the_circuit_breaker(
    emulator: NexudusEmulator, carrier: Carrier
) -> None:
    """A refresh failed while the token was good, so that the next one waits; a 401 is no way around both rules."""
    for path in ("/api/zero", "/api/one"):
        emulator.fail(path, Fault.answer(401, b"{}"), times=None)
    assert await carrier.status("GET", FORBIDDEN) == 401  # which is futile, so that other paths force one a minute:
    assert await carrier.status("GET", "/api/zero") == 401
    emulator.fail("token", Fault.answer(503), times=None)
    with pytest.raises(EndpointUnavailableError):
        await carrier.session.refresh()
    before = len(emulator.token_requests)
    assert await carrier.status("GET", "/api/one") == 401
    assert len(emulator.token_requests) == before
