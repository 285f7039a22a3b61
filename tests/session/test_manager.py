"""`TokenManager` and `TokenEndpoint` as parts: a source of one's own, a session of one's own."""

import asyncio
import dataclasses
import gc
import math
import warnings
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import pytest

from nexudus_async import (
    BearerMiddleware,
    CredentialsRejectedError,
    EndpointUnavailableError,
    Event,
    Freshness,
    LoginRequiredError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordCredentials,
    RefreshFailed,
    RefreshPolicy,
    Token,
    TokenEndpoint,
    TokenEndpointError,
    TokenManager,
    TokenObtained,
)
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER


class Source:
    """A token source in a few lines, as a user would write one for a test."""

    key = "source"

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.calls: list[str] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.stubborn = False
        self.raises: Exception | None = None
        self.lain = 0.0
        self.change: dict[str, Any] = {}
        self.token: Any = None

    async def login(self) -> Token:
        return await self._token("login")

    async def refresh(self, token: Token) -> Token:
        return await self._token("refresh")

    async def _token(self, call: str) -> Token:
        self.calls.append(call)
        number = len(self.calls)
        while number in self.gates and not self.gates[number].is_set():
            try:
                await self.gates[number].wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        if self.raises is not None:
            raise self.raises
        if self.token is not None:
            return cast(Token, self.token)
        expires_at = datetime.fromtimestamp(self.clock.wall() + 3600 - self.lain, UTC)
        token = Token(f"access-{number}", "refresh", "bearer", "client", 3600.0, expires_at)
        return dataclasses.replace(token, **self.change)


async def test_a_manager_runs_on_any_source(clock: ManualClock) -> None:
    """Signs in, then refreshes."""
    source = Source(clock)
    manager = TokenManager(source, clock=clock, random=lambda: 0.0)
    assert (await manager.token()).access_token == "access-1"
    clock.advance(3600)
    assert (await manager.token()).generation == 2
    assert source.calls == ["login", "refresh"]
    await manager.close()


async def test_a_token_of_a_source_is_as_old_as_it_says(clock: ManualClock) -> None:
    """With 5 s left of its hour it is good, and due; it does not count as brand new."""
    source = Source(clock)
    source.lain = 3595.0
    manager = TokenManager(source, clock=clock)
    await manager.token()
    assert manager.statistics().expires_in == pytest.approx(5)
    assert manager.freshness is Freshness.MANDATORY
    await manager.close()


async def test_a_source_whose_tokens_have_all_expired_is_not_asked_for_ever(clock: ManualClock) -> None:
    """One more in the same flight, as after a host's sleep; then the error, under back-off."""
    source = Source(clock)
    source.lain = 3600.0
    manager = TokenManager(source, clock=clock)
    for _ in range(2):
        with pytest.raises(MalformedResponseError, match="expired before it arrived"):
            await manager.token()
    assert source.calls == ["login", "refresh"]
    await manager.close()


BAD: list[dict[str, Any]] = [
    {"access_token": "secret\r\nX-Evil: 1"},
    {"access_token": "secret\N{SNOWMAN}"},
    {"access_token": ""},
    {"refresh_token": "secret\x00"},
    {"client_id": "secret\n"},
    {"lifetime": math.inf},
    {"lifetime": math.nan},
    {"lifetime": 1e300},
    {"lifetime": 0.0},
    {"lifetime": -1.0},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_every_source_is_held_to_what_the_endpoint_is(clock: ManualClock, bad: dict[str, Any]) -> None:
    """What no header can carry, or no clock can hold, is a failure and shown to nobody."""
    source = Source(clock)
    source.change = bad
    manager = TokenManager(source, clock=clock)
    with pytest.raises(MalformedResponseError, match="no usable token") as caught:
        await manager.token()
    assert "secret" not in repr(caught.value)
    assert manager.freshness is Freshness.EMPTY
    await manager.close()


async def test_a_source_that_gives_no_token_at_all_is_a_failure(clock: ManualClock) -> None:
    """Not an AttributeError somewhere inside."""
    source = Source(clock)
    source.token = {"access_token": "secret"}
    manager = TokenManager(source, clock=clock)
    with pytest.raises(MalformedResponseError, match="gave dict") as caught:
        await manager.token()
    assert "secret" not in str(caught.value)
    await manager.close()


async def test_a_launch_that_fails_blocks_nobody_for_ever(clock: ManualClock) -> None:
    """No memory for the task, say: that call fails, and the next one launches."""
    loop = asyncio.get_running_loop()
    manager = TokenManager(Source(clock), clock=clock)

    def fails_once(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        loop.set_task_factory(None)
        coroutine.close()
        raise MemoryError

    loop.set_task_factory(fails_once)
    with pytest.raises(MemoryError):
        await manager.token()
    assert (await asyncio.wait_for(manager.token(), 5)).generation == 1
    await manager.close()


async def test_a_source_that_finishes_in_spite_of_a_logout_revives_nothing(clock: ManualClock) -> None:
    """It swallows the cancellation and returns a token: too late."""
    source = Source(clock)
    source.stubborn, source.gates[1] = True, asyncio.Event()
    manager = TokenManager(source, clock=clock)
    waiter = asyncio.create_task(manager.token())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving = asyncio.create_task(manager.logout())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not leaving.done(), "whoever returns from logout() finds nothing running"
    source.gates[1].set()
    await leaving
    with pytest.raises(LoginRequiredError):
        await waiter
    assert manager.freshness is Freshness.EMPTY
    await manager.close()


async def test_a_flight_clears_no_slot_but_its_own(clock: ManualClock) -> None:
    """While a flight ends, the next one waits behind it; those who come then join that one."""
    source = Source(clock)
    source.stubborn, source.gates = True, {1: asyncio.Event(), 2: asyncio.Event()}
    manager = TokenManager(source, clock=clock)
    abandoned = asyncio.create_task(manager.token())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving = asyncio.create_task(manager.logout())
    early = asyncio.create_task(manager.token())
    await asyncio.sleep(0)
    source.gates[1].set()
    await leaving
    late = [asyncio.create_task(manager.token()) for _ in range(5)]
    await asyncio.sleep(0)
    source.gates[2].set()
    assert {token.access_token for token in await asyncio.gather(early, *late)} == {"access-2"}
    await asyncio.gather(abandoned, return_exceptions=True)
    assert source.calls == ["login", "login"]
    await manager.close()


async def test_a_foreign_exception_of_a_source_is_translated_and_remembered(clock: ManualClock) -> None:
    """It is the cause; its words are not repeated, for nobody knows what is in them."""
    source = Source(clock)
    source.raises = KeyError("secret words")
    manager = TokenManager(source, clock=clock)
    for _ in range(2):
        with pytest.raises(NexudusAuthError, match="KeyError") as caught:
            await manager.token()
        assert "secret words" not in str(caught.value)
    assert source.calls == ["login"]
    await manager.close()


async def test_a_source_that_refuses_is_left_alone_as_the_endpoint_is(clock: ManualClock) -> None:
    """For a minute: nothing says that its credentials are others by now."""
    source = Source(clock)
    source.raises = CredentialsRejectedError("refused")
    manager = TokenManager(source, clock=clock)
    for _ in range(3):
        with pytest.raises(CredentialsRejectedError):
            await manager.token()
    assert source.calls == ["login"]
    clock.advance(60)
    source.raises = None
    assert await manager.token()
    await manager.close()


async def test_a_logout_that_no_store_hears_of_takes_no_generation(clock: ManualClock) -> None:
    """There is no other process whose tokens the next one must be above."""
    manager = TokenManager(Source(clock), clock=clock)
    await manager.logout()
    assert (await manager.token()).generation == 1
    await manager.close()


async def test_a_source_that_never_answers_is_given_up_at_the_flights_deadline(clock: ManualClock) -> None:
    """Nobody waits for ever; the next call, after the pause, asks again."""
    source = Source(clock)
    source.gates[1] = asyncio.Event()
    manager = TokenManager(source, clock=clock, policy=RefreshPolicy(flight_deadline=0.02, connect_timeout=0.01))
    async with asyncio.timeout(5):
        with pytest.raises(EndpointUnavailableError, match=r"within 0\.02 s"):
            await manager.token()
    clock.advance(1)
    assert await manager.token()
    await manager.close()


async def test_a_manager_dropped_without_closing_says_so(clock: ManualClock) -> None:
    """Once it was used; one that was only made, or was closed, is nobody's business."""
    unused, closed, used = [TokenManager(Source(clock), clock=clock) for _ in range(3)]
    await closed.token()
    await closed.close()
    await used.token()
    await asyncio.sleep(0)  # its flight lets go of it
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del unused, closed, used
        gc.collect()
    assert ["unclosed <TokenManager fresh" in str(warning.message) for warning in caught] == [True]


async def test_a_manager_and_its_middleware_can_share_one_session(emulator: NexudusEmulator) -> None:
    """The token request skips the middleware that waits for it."""
    credentials = PasswordCredentials(emulator.username, emulator.password)
    manager = TokenManager(TokenEndpoint(lambda: http, emulator.url, credentials))
    middleware = BearerMiddleware(manager, emulator.url)
    async with aiohttp.ClientSession(emulator.url + "/", middlewares=(middleware,)) as http:
        async with asyncio.timeout(5), http.get(CUSTOMER) as response:
            assert response.status == 200
        await manager.close()


async def test_an_event_is_there_when_the_call_returns(clock: ManualClock) -> None:
    """Whoever was woken by a refresh finds it told, and whoever got its error, too."""
    source, events = Source(clock), list[Event]()
    manager = TokenManager(source, clock=clock, on_event=events.append)
    await manager.token()
    assert [type(event) for event in events] == [TokenObtained]
    source.raises = ValueError("down")
    with pytest.raises(NexudusAuthError):
        await manager.refresh()
    assert [type(event) for event in events] == [TokenObtained, RefreshFailed]
    await manager.close()


async def test_the_event_of_a_token_says_which_chain_it_belongs_to(clock: ManualClock) -> None:
    """Its `client_id`, and how, why and for how long it was obtained."""
    events = list[Event]()
    manager = TokenManager(Source(clock), clock=clock, on_event=events.append)
    await manager.token()
    await manager.refresh()
    told = [event for event in events if isinstance(event, TokenObtained)]
    assert [(event.client_id, event.grant, event.reason, event.generation, event.lifetime) for event in told] == [
        ("client", "password", "empty", 1, 3600.0),
        ("client", "refresh_token", "requested", 2, 3600.0),
    ]
    await manager.close()


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_a_listener_that_raises_or_calls_back_harms_nothing(
    clock: ManualClock, kind: type[BaseException]
) -> None:
    """Those who waited are woken by then; it may use the manager."""
    tasks: list[asyncio.Task[Token]] = []

    def listen(event: object) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(manager.refresh()))
        raise kind("a bug of the listener's")

    manager = TokenManager(Source(clock), clock=clock, on_event=listen)
    assert (await manager.token()).generation == 1
    await asyncio.sleep(0)
    assert (await tasks[0]).generation == 2
    await manager.close()


async def test_current_gives_a_fresh_token_and_no_other(clock: ManualClock) -> None:
    """It is the hot path of a request: nothing is awaited, and nothing started."""
    source = Source(clock)
    manager = TokenManager(source, clock=clock, random=lambda: 0.0)
    assert manager.current() is None
    token = await manager.token()
    assert manager.current() is token
    clock.advance(2700)
    assert manager.freshness is Freshness.ADVISORY
    assert manager.current() is None
    await manager.close()
    assert source.calls == ["login"]


async def test_a_refresh_token_that_was_refused_is_shown_to_nobody(clock: ManualClock) -> None:
    """The access token is good until its end; who looks at the token sees no refresh token that is not."""
    source = Source(clock)
    manager = TokenManager(source, clock=clock)
    assert (await manager.token()).refresh_token
    source.raises = TokenEndpointError("refused", error="invalid_grant")
    with pytest.raises(TokenEndpointError):
        await manager.refresh()
    source.raises = None
    current = manager.current()
    assert current is not None
    assert current.refresh_token is None
    assert (await manager.token()).refresh_token is None
    await manager.close()
