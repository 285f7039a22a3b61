"""How often, and when, a token request is tried: nothing sent, deadlines, the session it goes through."""

import logging
import socket
from collections.abc import Awaitable, Callable
from itertools import pairwise

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from nexudus_async import (
    ConfigurationError,
    EndpointUnavailableError,
    NexudusAuthError,
    PasswordCredentials,
    RefreshPolicy,
    Token,
    TokenEndpoint,
)
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.leaks import printed

from .conftest import MakeEndpoint


class Nowhere(AbstractResolver):
    """A DNS that knows nobody."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(f"no such host: {host}")

    async def close(self) -> None:
        pass


def counting() -> tuple[aiohttp.TraceConfig, list[str]]:
    """Return a trace of the requests that a session starts, and the list it fills."""
    started: list[str] = []

    async def note(session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestStartParams) -> None:
        started.append(str(params.url))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    return trace, started


async def not_sent(session: aiohttp.ClientSession, url: str, token: Token) -> EndpointUnavailableError:
    """Refresh over `session`, where no connection can be made; return the error."""
    endpoint = TokenEndpoint(session, url, PasswordCredentials("u", "pw"), clock=ManualClock(autojump=True))
    with pytest.raises(EndpointUnavailableError, match="could not be reached") as caught:
        await endpoint.refresh(token)
    assert (caught.value.refresh_token_spent, caught.value.status) == (False, None)
    return caught.value


async def test_a_name_that_does_not_resolve(make: MakeEndpoint) -> None:
    """Not sent: tried three times, the refresh token kept."""
    token = await make().login()
    trace, started = counting()
    connector = aiohttp.TCPConnector(resolver=Nowhere(), use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
        error = await not_sent(session, "https://spaces.invalid", token)
    assert started == ["https://spaces.invalid/api/token"] * 3
    assert "spaces.invalid" in str(error)
    assert str(token.refresh_token) not in printed(error)


async def test_tls_that_fails(make: MakeEndpoint, emulator: NexudusEmulator, caplog: pytest.LogCaptureFixture) -> None:
    """Not sent: the handshake comes before the request."""
    token = await make().login()
    trace, started = counting()
    caplog.set_level(logging.CRITICAL, logger="aiohttp.server")
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        await not_sent(session, emulator.url.replace("http:", "https:"), token)
    assert len(started) == 3


@pytest.mark.parametrize(("retry_after", "requests"), [(20, 2), (21, 1), (60, 1), (999_999_999, 1)])
async def test_a_retry_after_beyond_the_deadline_ends_the_flight(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock, retry_after: int, requests: int
) -> None:
    """30 s in all, 10 of them kept for the next connection: 20 s are waited out, 21 are not."""
    emulator.fail("token", Fault.throttled(retry_after))
    began = clock.monotonic()
    if requests == 1:
        with pytest.raises(EndpointUnavailableError) as caught:
            await make().login()
        assert caught.value.retry_after == retry_after
        assert clock.monotonic() - began < 1
    else:
        await make().login()
        assert clock.monotonic() - began == pytest.approx(retry_after, abs=1)
    assert len(emulator.token_requests) == requests


async def test_a_retry_after_is_never_undercut(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """Whatever the random pause would have been."""
    emulator.fail("token", Fault.throttled(7), times=2)
    await make().login()
    times = [request.started for request in emulator.token_requests]
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [7, 7]


async def test_tries_without_retry_after_are_close_together(
    make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """A caller waits: three tries take a second at most."""
    emulator.fail("token", Fault.answer(500), times=2)
    began = clock.monotonic()
    await make().login()
    assert clock.monotonic() - began < 1


async def test_a_short_deadline_leaves_room_for_fewer_tries(make: MakeEndpoint, emulator: NexudusEmulator) -> None:
    """A third of it is kept for the next connection."""
    emulator.fail("token", Fault.throttled(1), times=None)
    with pytest.raises(EndpointUnavailableError):
        await make(policy=RefreshPolicy(flight_deadline=1.4)).login()
    assert len(emulator.token_requests) == 1


async def test_a_closed_session_is_a_mistake_and_not_an_outage(
    make: MakeEndpoint, http: aiohttp.ClientSession, emulator: NexudusEmulator
) -> None:
    """It says what to do, and is not tried again."""
    endpoint = make()
    await http.close()
    with pytest.raises(ConfigurationError, match="close it after the manager"):
        await endpoint.login()
    assert emulator.requests == []


async def test_the_sessions_own_habits_do_not_apply(emulator: NexudusEmulator, clock: ManualClock) -> None:
    """Its middlewares, raise_for_status and total timeout are for its owner's requests."""

    async def meddle(
        request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        raise AssertionError("a token request went through the owner's middleware")

    timeout = aiohttp.ClientTimeout(total=1e-9)
    async with aiohttp.ClientSession(middlewares=(meddle,), raise_for_status=True, timeout=timeout) as session:
        credentials = PasswordCredentials(emulator.username, "wrong")
        with pytest.raises(NexudusAuthError, match="invalid_grant"):
            await TokenEndpoint(session, emulator.url, credentials, clock=clock).login()
