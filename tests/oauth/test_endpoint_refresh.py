"""What a failed refresh means for the refresh token: row by row of the table in `grants.py`, over a real socket."""

import asyncio

import pytest

from nexudus_async import (
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    Token,
    TokenEndpoint,
    TokenEndpointError,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.leaks import leaked

from .conftest import MakeEndpoint

LOST = {
    "dropped before": Fault.dropped(),
    "dropped after": Fault.dropped(applied=True),
    "truncated": Fault.truncated(),
    "malformed 200": Fault.answer(200, "{", applied=True),
    "not a token": Fault.answer(200, "{}", applied=True),
    "not a bearer": Fault.altered({"token_type": "mac"}),
    "no lifetime": Fault.altered({"expires_in": 0}),
    "too large": Fault.big(5_000_000, applied=True),
}
HARMLESS = {name: fault for name, fault in LOST.items() if not fault.applied}


@pytest.fixture
async def endpoint(make: MakeEndpoint) -> TokenEndpoint:
    return make()


@pytest.fixture
async def token(endpoint: TokenEndpoint, emulator: NexudusEmulator) -> Token:
    token = await endpoint.login()
    emulator.reset_record()
    return token


def sent(emulator: NexudusEmulator) -> list[str]:
    """Return the refresh tokens that arrived, in order."""
    return [request.form["refresh_token"] for request in emulator.token_requests]


async def test_a_refresh_brings_the_next_token(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator
) -> None:
    """Under the client_id it was issued to; each refresh token is sent once."""
    second = await endpoint.refresh(token)
    third = await endpoint.refresh(second)
    assert sent(emulator) == [token.refresh_token, second.refresh_token]
    assert {request.headers["client_id"] for request in emulator.token_requests} == {token.client_id}
    assert len({token.refresh_token, second.refresh_token, third.refresh_token}) == 3


async def test_not_sent(endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, clock: ManualClock) -> None:
    """Kept, and tried again freely: three times in this flight, and in the next."""
    await emulator.stop()
    for _ in range(3):
        with pytest.raises(EndpointUnavailableError, match="could not be reached") as caught:
            await endpoint.refresh(token)
        assert (caught.value.status, caught.value.refresh_token_spent) == (None, False)
        clock.advance(3600)
    await emulator.start()
    await endpoint.refresh(token)
    assert emulator.refresh_tokens_reused == 0


async def test_not_sent_and_then_reached(make: MakeEndpoint, token: Token, emulator: NexudusEmulator) -> None:
    """Within one flight: two connections refused, the third one made."""
    await emulator.stop()
    tries = 0

    class Stubborn(ManualClock):
        async def sleep(self, seconds: float) -> None:
            nonlocal tries
            tries += 1
            if tries == 2:
                await emulator.start()

    assert (await make(clock=Stubborn()).refresh(token)).refresh_token is not None
    assert (tries, len(emulator.token_requests)) == (2, 1)


@pytest.mark.parametrize("fault", [Fault.throttled(1), Fault.throttled(None), Fault.throttled(2, status=429)])
async def test_throttled(endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, fault: Fault) -> None:
    """Kept, and tried again freely: it was not looked at."""
    emulator.fail("token", fault, times=5)
    with pytest.raises(EndpointUnavailableError) as caught:
        await endpoint.refresh(token)
    assert (caught.value.status, caught.value.refresh_token_spent) == (fault.status, False)
    assert len(emulator.token_requests) == 3
    await endpoint.refresh(token)
    assert sent(emulator) == [token.refresh_token] * 6
    assert emulator.refresh_tokens_reused == 0


@pytest.mark.parametrize("status", [500, 503])
async def test_a_complete_5xx(endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, status: int) -> None:
    """Kept, but sent again by a later flight only."""
    emulator.fail("token", Fault.html(status), times=2)
    for flight in (1, 2):
        with pytest.raises(EndpointUnavailableError) as caught:
            await endpoint.refresh(token)
        assert (caught.value.status, caught.value.refresh_token_spent) == (status, False)
        assert len(emulator.token_requests) == flight
    await endpoint.refresh(token)
    assert sent(emulator) == [token.refresh_token] * 3


GATEWAYS = [408, 499, 502, 504, 520, 522, 524, 527, 599]


@pytest.mark.parametrize("status", GATEWAYS)
async def test_a_gateways_word_is_a_lost_answer(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, status: int
) -> None:
    """One prompt replay; then spent, because the service may have carried it out behind the gateway's back."""
    emulator.fail("token", Fault.html(status), times=None)
    for _ in range(3):
        with pytest.raises(TokenEndpointError) as caught:
            await endpoint.refresh(token)
        assert caught.value.refresh_token_spent
    assert sent(emulator) == [token.refresh_token] * 2


@pytest.mark.parametrize("status", GATEWAYS)
@pytest.mark.parametrize("applied", [True, False])
async def test_a_gateways_word_about_what_was_done_or_not(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, status: int, applied: bool
) -> None:
    """Not done: the replay refreshes. Done: the replay is refused, and a sign-in is next."""
    emulator.fail("token", Fault.html(status, applied=applied))
    if applied:
        with pytest.raises(TokenEndpointError, match="invalid_grant") as caught:
            await endpoint.refresh(token)
        assert caught.value.refresh_token_spent
    else:
        assert (await endpoint.refresh(token)).refresh_token != token.refresh_token
    assert sent(emulator) == [token.refresh_token] * 2


@pytest.mark.parametrize("status", GATEWAYS)
async def test_a_gateways_word_where_nobody_can_sign_in(
    make: MakeEndpoint, token: Token, emulator: NexudusEmulator, clock: ManualClock, status: int
) -> None:
    """Kept, and tried again under back-off."""
    alone = make(credentials=None, account=emulator.username)
    emulator.fail("token", Fault.html(status), times=3)
    for requests in (2, 3):
        with pytest.raises(EndpointUnavailableError) as caught:
            await alone.refresh(token)
        assert not caught.value.refresh_token_spent
        assert len(emulator.token_requests) == requests
        clock.advance(300)
    assert await alone.refresh(token)


UNCLEAR = {
    "401 without a word": Fault.answer(401),
    "401 of the API": Fault.json({"Message": "Authorization has been denied for this request."}, 401),
    "400 as text": Fault.answer(400, "Bad Request", content_type="text/plain"),
    "403 of a firewall": Fault.html(403),
}


@pytest.mark.parametrize("fault", UNCLEAR.values(), ids=UNCLEAR)
async def test_refused_without_a_reason(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, fault: Fault
) -> None:
    """Not sent again, ever: the service may have used it all the same."""
    emulator.fail("token", fault)
    for _ in range(2):
        with pytest.raises(TokenEndpointError) as caught:
            await endpoint.refresh(token)
        assert caught.value.refresh_token_spent
    assert sent(emulator) == [token.refresh_token]


@pytest.mark.parametrize("fault", UNCLEAR.values(), ids=UNCLEAR)
async def test_refused_without_a_reason_where_nobody_can_sign_in(
    make: MakeEndpoint, emulator: NexudusEmulator, fault: Fault
) -> None:
    """Kept for a later flight: a firewall's mood must not end a chain that only a person could begin again."""
    token = await make().login()
    alone = make(credentials=None, account=emulator.username)
    emulator.fail("token", fault)
    with pytest.raises(MalformedResponseError) as caught:
        await alone.refresh(token)
    assert not caught.value.refresh_token_spent
    assert await alone.refresh(token)


@pytest.mark.parametrize("fault", HARMLESS.values(), ids=HARMLESS)
async def test_lost_before_the_service_had_it(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, fault: Fault
) -> None:
    """One prompt replay, which refreshes."""
    emulator.fail("token", fault)
    second = await endpoint.refresh(token)
    assert sent(emulator) == [token.refresh_token] * 2
    assert second.refresh_token != token.refresh_token
    assert emulator.refresh_tokens_reused == 0


@pytest.mark.parametrize("fault", [fault for fault in LOST.values() if fault.applied])
async def test_lost_after_the_service_had_it(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, fault: Fault
) -> None:
    """One prompt replay, which is refused: the refresh token is spent, and a sign-in is next."""
    emulator.fail("token", fault)
    with pytest.raises(TokenEndpointError, match="invalid_grant") as caught:
        await endpoint.refresh(token)
    assert caught.value.refresh_token_spent
    assert emulator.refresh_tokens_reused == 1
    assert len(emulator.token_requests) == 2


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
async def test_lost_twice(endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, fault: Fault) -> None:
    """No third sending, in this flight or any other: spent. No secret is shown on the way."""
    emulator.fail("token", fault, times=None)
    with pytest.raises(TokenEndpointError) as caught:
        await endpoint.refresh(token)
    assert caught.value.refresh_token_spent
    with pytest.raises(TokenEndpointError) as again:
        await endpoint.refresh(token)
    assert again.value.refresh_token_spent
    assert len(emulator.token_requests) == 2
    assert not leaked(caught.value, emulator.secrets)
    assert not leaked(again.value, emulator.secrets)


@pytest.mark.parametrize(("later", "requests"), [(9.0, 2), (10.001, 1), (3600.0, 1)])
async def test_the_replay_is_prompt_or_not_at_all(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, clock: ManualClock, later: float, requests: int
) -> None:
    """Within 10 s of the first sending: an answer that was lost later than that leads to a sign-in."""
    with emulator.hold("token", times=1, fault=Fault.dropped(applied=True)) as hold:
        task = asyncio.create_task(endpoint.refresh(token))
        await hold.wait()
        clock.advance(later)
    with pytest.raises(TokenEndpointError) as caught:
        await task
    assert caught.value.refresh_token_spent
    assert len(emulator.token_requests) == requests


@pytest.mark.parametrize(("later", "requests"), [(0.0, 2), (10.0, 2), (10.001, 1), (3600.0, 1)])
async def test_a_cancelled_refresh_counts_as_lost(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator, clock: ManualClock, later: float, requests: int
) -> None:
    """As at a deadline: a later flight replays it within 10 s, and signs in after that."""
    with emulator.hold("token", times=1, fault=Fault.dropped()) as hold:
        task = asyncio.create_task(endpoint.refresh(token))
        await hold.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    clock.advance(later)
    if requests == 2:
        await endpoint.refresh(token)
    else:
        with pytest.raises(TokenEndpointError) as caught:
            await endpoint.refresh(token)
        assert caught.value.refresh_token_spent
    assert len(emulator.token_requests) == requests


async def test_throttling_between_does_not_use_up_the_replay(
    endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator
) -> None:
    """Lost, throttled, refreshed: the throttled one was not looked at."""
    emulator.fail("token", Fault.dropped())
    emulator.fail("token", Fault.throttled(1))
    await endpoint.refresh(token)
    assert [request.status for request in emulator.token_requests] == [None, 409, 200]


@pytest.mark.parametrize("nobody", [{"credentials": None}, {"totp": "123456"}], ids=["no credentials", "a typed code"])
@pytest.mark.parametrize("fault", HARMLESS.values(), ids=HARMLESS)
async def test_lost_where_nobody_can_sign_in(
    make: MakeEndpoint,
    token: Token,
    emulator: NexudusEmulator,
    clock: ManualClock,
    nobody: dict[str, object],
    fault: Fault,
) -> None:
    """Kept, and tried again under back-off: a doubtful refresh token is better than none."""
    endpoint = make(**nobody)
    emulator.fail("token", fault, times=3)
    for requests in (2, 3):
        with pytest.raises(NexudusAuthError) as caught:
            await endpoint.refresh(token)
        assert isinstance(caught.value, TokenEndpointError)
        assert not caught.value.refresh_token_spent
        assert len(emulator.token_requests) == requests
        clock.advance(300)
    assert (await endpoint.refresh(token)).refresh_token != token.refresh_token


async def test_a_refusal_is_final(endpoint: TokenEndpoint, token: Token, emulator: NexudusEmulator) -> None:
    """The refresh token may have been burnt all the same."""
    emulator.revoke_refresh_tokens()
    with pytest.raises(TokenEndpointError, match="client_id header") as caught:
        await endpoint.refresh(token)
    assert (caught.value.error, caught.value.refresh_token_spent) == ("invalid_grant", True)
    assert len(emulator.token_requests) == 1


async def test_another_token_has_another_history(
    endpoint: TokenEndpoint, token: Token, make: MakeEndpoint, emulator: NexudusEmulator
) -> None:
    """A lost answer about one refresh token says nothing about the next."""
    emulator.fail("token", Fault.dropped(), times=2)
    with pytest.raises(EndpointUnavailableError):
        await endpoint.refresh(token)
    other = await endpoint.login()
    assert (await endpoint.refresh(other)).refresh_token != other.refresh_token


async def test_a_token_without_a_refresh_token_is_not_sent(endpoint: TokenEndpoint, emulator: NexudusEmulator) -> None:
    """It counts as spent."""
    emulator.fail("token", Fault.altered(without=("refresh_token",)))
    token = await endpoint.login()
    with pytest.raises(TokenEndpointError) as caught:
        await endpoint.refresh(token)
    assert caught.value.refresh_token_spent
    assert len(emulator.token_requests) == 1
