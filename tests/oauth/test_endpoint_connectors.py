"""Errors of connectors and other foreign code on the way: of any class, and known to come before the sending or not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import aiohttp
import pytest
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nexudus_async import (
    ConfigurationError,
    EndpointUnavailableError,
    MalformedResponseError,
    NexudusAuthError,
    PasswordCredentials,
    Token,
    TokenEndpoint,
    TokenEndpointError,
)
from nexudus_async.testing import ManualClock, NexudusEmulator
from tests.leaks import leaked

from .conftest import MakeEndpoint


class ProxyError(Exception):
    """As python_socks raises it: of no class of aiohttp."""


class ProxyConnectionError(OSError):
    """As python_socks raises it; aiohttp makes a `ClientOSError` of it."""


FOREIGN: dict[str, Callable[[], Exception]] = {
    "a proxy library's": lambda: ProxyError("Could not connect to proxy 127.0.0.1:1"),
    "an OSError": lambda: ProxyConnectionError(111, "refused"),
    "an OSError without a number": lambda: ProxyConnectionError("refused"),
    "a timeout": TimeoutError,
    "a value": lambda: ValueError("bad address"),
    "a lookup": lambda: KeyError("host"),
    "a bug": lambda: AttributeError("NoneType"),
    "a group": lambda: ExceptionGroup("all addresses", [OSError(111, "refused"), ProxyError("no")]),
    "aiohttp's, by hand": lambda: aiohttp.ClientConnectionError("no route"),
}


class Failing(aiohttp.TCPConnector):
    """A connector that raises what it is told, before it has a connection."""

    def __init__(self, failure: Callable[[], Exception]) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - aiohttp names an untyped tuple
        self._failure, self.asked = failure, 0

    async def connect(self, *args: object, **options: object) -> aiohttp.connector.Connection:
        self.asked += 1
        raise self._failure()


class Odd(aiohttp.ClientResponse):
    """A response whose class fails once the answer is there."""

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        await super().start(connection)
        raise ProxyError("after the sending")


@pytest.fixture
async def token(make: MakeEndpoint, emulator: NexudusEmulator) -> Token:
    token = await make().login()
    emulator.reset_record()
    return token


@pytest.fixture(params=sorted(FOREIGN))
async def failing(request: pytest.FixtureRequest) -> AsyncIterator[Failing]:
    connector = Failing(FOREIGN[request.param])
    async with connector:
        yield connector


def endpoint_over(session: aiohttp.ClientSession, emulator: NexudusEmulator, clock: ManualClock) -> TokenEndpoint:
    return TokenEndpoint(session, emulator.url, PasswordCredentials(emulator.username, emulator.password), clock=clock)


async def test_what_a_connector_raises_comes_before_the_sending(
    failing: Failing, token: Token, make: MakeEndpoint, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """Transient, tried again, and the refresh token kept: nothing can have been sent."""
    async with aiohttp.ClientSession(connector=failing, connector_owner=False) as session:
        endpoint = endpoint_over(session, emulator, clock)
        for flight in (1, 2):
            with pytest.raises(EndpointUnavailableError, match="could not be reached") as caught:
                await endpoint.refresh(token)
            assert (caught.value.transient, caught.value.refresh_token_spent) == (True, False)
            assert failing.asked == 3 * flight
            clock.advance(3600)
        with pytest.raises(EndpointUnavailableError, match="could not be reached"):
            await endpoint.login()
    assert failing.asked == 9
    assert not leaked(caught.value, emulator.secrets)
    assert await make().refresh(token)


async def test_a_foreign_error_says_where_it_was_raised(emulator: NexudusEmulator, clock: ManualClock) -> None:
    """Its frames are gone, for they hold the form; the place is left, to find a bug in a connector."""
    async with aiohttp.ClientSession(connector=Failing(FOREIGN["a bug"])) as session:
        with pytest.raises(EndpointUnavailableError) as caught:
            await endpoint_over(session, emulator, clock).login()
    cause = caught.value.__cause__
    assert isinstance(cause, AttributeError)
    assert cause.__traceback__ is None
    assert cause.__notes__ == [f"raised in {__file__.rpartition('/')[2]}, line {line_of('raise self._failure()')}"]


async def test_an_error_that_comes_again_and_again_has_one_note(emulator: NexudusEmulator, clock: ManualClock) -> None:
    """As a connector's, or a mock's, that raises the same object each time."""
    error = ProxyError("always the same")
    async with aiohttp.ClientSession(connector=Failing(lambda: error)) as session:
        with pytest.raises(EndpointUnavailableError) as caught:
            await endpoint_over(session, emulator, clock).login()
    assert caught.value.__cause__ is error
    assert len(error.__notes__) == 1


async def test_an_answer_before_there_was_a_request_keeps_the_refresh_token(
    make: MakeEndpoint, token: Token, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """What it says cannot be read, as of an SSH server, but nothing was sent."""
    info = aiohttp.RequestInfo(URL(emulator.url), "POST", CIMultiDictProxy(CIMultiDict[str]()), URL(emulator.url))
    failing = Failing(lambda: aiohttp.ClientResponseError(info, (), status=400, message="Bad status line"))
    async with aiohttp.ClientSession(connector=failing) as session:
        endpoint = endpoint_over(session, emulator, clock)
        for _ in range(2):
            with pytest.raises(MalformedResponseError, match="could not be read") as caught:
                await endpoint.refresh(token)
            assert not caught.value.refresh_token_spent
            clock.advance(3600)
    assert failing.asked == 6
    assert await make().refresh(token)


def line_of(text: str) -> int:
    with open(__file__, encoding="utf-8") as source:  # noqa: PTH123
        return next(number for number, line in enumerate(source, 1) if line.strip() == text)


async def test_what_is_raised_later_is_a_lost_answer(
    token: Token, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """Of whatever class: the service had the refresh token. One replay, then spent."""
    async with aiohttp.ClientSession(response_class=Odd) as session:
        endpoint = endpoint_over(session, emulator, clock)
        with pytest.raises(TokenEndpointError) as caught:
            await endpoint.refresh(token)
        assert caught.value.refresh_token_spent
        assert len(emulator.token_requests) == 2
        with pytest.raises(EndpointUnavailableError, match="dropped the request"):
            await endpoint.login()
        assert len(emulator.token_requests) == 5
    assert not leaked(caught.value, emulator.secrets)


@pytest.mark.parametrize("failure", [ProxyError("x"), OSError(104, "reset"), aiohttp.ServerDisconnectedError()])
async def test_what_a_mock_raises_is_a_lost_answer(
    token: Token, emulator: NexudusEmulator, http: aiohttp.ClientSession, clock: ManualClock, failure: Exception
) -> None:
    """A stand-in for aiohttp takes no body: nobody knows what it would have sent."""
    with aioresponses() as mocked:
        mocked.post(f"{emulator.url}/api/token", exception=failure, repeat=True)  # pyright: ignore[reportUnknownMemberType]
        with pytest.raises(EndpointUnavailableError) as caught:
            await endpoint_over(http, emulator, clock).refresh(token)
        assert caught.value.refresh_token_spent
        (calls,) = cast("dict[object, list[Any]]", mocked.requests).values()
        assert len(calls) == 2
        assert bytes(calls[0].kwargs["data"]).startswith(b"grant_type=refresh_token")


@pytest.mark.parametrize("later", [0.0, 10.001, 3600.0])
async def test_a_refresh_cut_off_before_it_was_sent_keeps_its_refresh_token(
    make: MakeEndpoint, token: Token, emulator: NexudusEmulator, clock: ManualClock, later: float
) -> None:
    """As by the deadline, where a host of many addresses answers at none."""
    waiting = asyncio.Event()

    class Hanging(aiohttp.TCPConnector):
        async def connect(self, *args: object, **options: object) -> aiohttp.connector.Connection:
            waiting.set()
            never: asyncio.Future[aiohttp.connector.Connection] = asyncio.get_running_loop().create_future()
            return await never

    async with aiohttp.ClientSession(connector=Hanging()) as session, aiohttp.ClientSession() as good:
        sessions = [session]
        credentials = PasswordCredentials(emulator.username, emulator.password)
        endpoint = TokenEndpoint(lambda: sessions[-1], emulator.url, credentials, clock=clock)
        task = asyncio.create_task(endpoint.refresh(token))
        await waiting.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        clock.advance(later)
        sessions.append(good)
        assert (await endpoint.refresh(token)).refresh_token != token.refresh_token
    assert emulator.refresh_tokens_reused == 0


async def test_a_mistake_in_the_call_is_no_outage(emulator: NexudusEmulator, clock: ManualClock) -> None:
    """A session that takes other arguments, and errors of this package, come out as they are."""

    class Strange:
        closed = False

        def post(self, _url: object) -> object: ...

    credentials = PasswordCredentials(emulator.username, emulator.password)
    with pytest.raises(TypeError):
        await TokenEndpoint(Strange(), emulator.url, credentials, clock=clock).login()  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    async with aiohttp.ClientSession(connector=Failing(lambda: ConfigurationError("by a connector"))) as session:
        with pytest.raises(NexudusAuthError, match="by a connector") as caught:
            await endpoint_over(session, emulator, clock).login()
    assert type(caught.value) is ConfigurationError
