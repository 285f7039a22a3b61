"""Sessions from a one-time JWT: exchanged once, then the chain; and the JWT, which stands in a URL, is seen nowhere."""

import asyncio
import base64
import json
import logging
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import aiohttp.abc
import pytest

from nexudus_async import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    ExchangeCredentials,
    LoginRequiredError,
    MemoryStore,
    NexudusAuthError,
    RefreshPolicy,
    StoredToken,
    StoreError,
    TokenEndpoint,
    TokenEndpointError,
    TokenObtained,
    TokenSession,
    WrongHostError,
)
from nexudus_async._http import aiohttp_internals
from nexudus_async.testing import Fault, ManualClock, NexudusEmulator
from tests.conftest import CUSTOMER, Connect
from tests.inside import key_of
from tests.leaks import leaked
from tests.values.renderers import Factory, leaks, on_every_loop, run

SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a store"])
EXCHANGE = "/api/sys/users/exchange"
MEMBER = "member@example.com"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def jwt_of(**claims: object) -> str:
    """Return a JWT with these claims, and a signature that is long enough to be looked for."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "S1gnature-0f-th3-0ne-time_JWT-493817-and-some-more-of-it"])


JWT = jwt_of(sub=MEMBER, jti="a0b1c2d3e4f5")


def exchanges(emulator: NexudusEmulator) -> int:
    """Return how many requests for an exchange there were."""
    return sum(request.path == EXCHANGE for request in emulator.requests)


async def test_the_exchange_then_the_chain(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """As documented: both values in the query, no body, no authentication, no `client_id`, which the refresh has."""
    session = await connect(ExchangeCredentials(emulator.one_time_jwt(), valid_for=10))
    assert emulator.requests == []
    token = await session.token()
    (request,) = emulator.requests
    assert (request.method, request.path, request.query["validForInMinutes"]) == ("POST", EXCHANGE, "10")
    assert (request.client_id, request.headers.get("Authorization")) == (None, None)
    assert (request.headers.get("Content-Length"), request.headers.get("Content-Type")) == ("0", None)
    assert (token.lifetime, token.client_id) == (600, emulator.username)
    async with session.get(CUSTOMER) as response:
        assert response.status == 200
    clock.advance(600)
    await session.token()
    (refresh,) = emulator.token_requests
    assert refresh.client_id == emulator.username
    assert (emulator.exchanges, emulator.sign_ins, emulator.renewals) == (1, 0, 1)
    counted = session.statistics()
    assert (counted.sign_ins, counted.renewals, counted.adoptions) == (1, 1, 0)
    assert [event.grant for event in connect.events if isinstance(event, TokenObtained)] == [
        "exchange",
        "refresh_token",
    ]


async def test_a_day_is_asked_for(emulator: NexudusEmulator, connect: Connect) -> None:
    """As the portal does."""
    assert (await (await connect(ExchangeCredentials(emulator.one_time_jwt()))).token()).lifetime == 86_400


async def test_used_once(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """When the session has ended, nothing is sent: another JWT is needed, and a callable may have it."""
    session = await connect(ExchangeCredentials(emulator.one_time_jwt()))
    await session.token()
    emulator.revoke_all()
    clock.advance(86_400)
    for _ in range(3):
        with pytest.raises(LoginRequiredError, match="get another one"):
            await session.token()
        clock.advance(3600)
    with pytest.raises(LoginRequiredError):
        await session.sign_in()
    assert (exchanges(emulator), emulator.renewals_refused) == (1, 1)


async def test_a_callable_may_have_another_one(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """Asked once for each sign-in."""
    asked: list[str] = []

    async def magic_link() -> str:
        asked.append(emulator.one_time_jwt())
        return asked[-1]

    session = await connect(ExchangeCredentials(magic_link))
    for sign_ins in (1, 2):
        await session.token()
        assert (len(asked), emulator.exchanges) == (sign_ins, sign_ins)
        emulator.revoke_all()
        clock.advance(86_400)


async def test_a_refused_jwt_rests_and_is_not_sent_again(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """400 and 401 are its refusals, whatever the words."""
    jwt = emulator.one_time_jwt(lifetime=10)
    clock.advance(10)
    session = await connect(ExchangeCredentials(jwt))
    with pytest.raises(CredentialsRejectedError, match=r"401\): it was used, or has expired") as refused:
        await session.token()
    assert refused.value.status == 401
    for _ in range(4):
        with pytest.raises(NexudusAuthError):
            await session.token()
        clock.advance(3600)
    assert exchanges(emulator) == 1
    assert jwt not in str(refused.value)


async def test_a_refused_jwt_gives_way_to_another_at_once(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """The pause is for the one that was refused; the callable is asked once a pause."""
    given = ["no.such.jwt", "no.such.jwt", emulator.one_time_jwt()]
    session = await connect(ExchangeCredentials(lambda: given.pop(0)))
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    with pytest.raises(CredentialsRejectedError):
        await session.token()
    assert (len(given), exchanges(emulator)) == (1, 1)
    clock.advance(61)
    await session.token()
    assert (given, exchanges(emulator)) == ([], 2)


@pytest.mark.parametrize(
    ("fault", "sent", "recovers"),
    [
        (Fault.dropped(applied=True), 1, False),
        (Fault.dropped(applied=False), 1, False),
        (Fault.truncated(), 1, False),
        (Fault.answer(502), 1, False),
        (Fault.answer(503), 1, True),
        (Fault.throttled(1, 429), 3, True),
    ],
    ids=["lost, and applied", "lost", "cut off", "a gateway's", "503", "throttled"],
)
async def test_not_tried_again_where_it_may_have_been_used(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, fault: Fault, sent: int, recovers: bool
) -> None:
    """Only what the service has certainly not looked at, or has refused to look at, goes out again."""
    clock.autojump = True
    session = await connect(ExchangeCredentials(emulator.one_time_jwt()))
    emulator.fail(EXCHANGE, fault, times=None)
    with pytest.raises(EndpointUnavailableError if recovers else LoginRequiredError) as failure:
        await session.token()
    assert exchanges(emulator) == sent
    emulator.faults.clear()
    clock.advance(60)
    if recovers:
        await session.token()
    else:
        assert str(failure.value).endswith(
            "the one-time JWT may have been used, and is not sent again: get another one"
        )
        assert isinstance(failure.value.__cause__, TokenEndpointError)
        for call in (session.token, session.refresh, session.sign_in):
            with pytest.raises(LoginRequiredError, match="get another one"):
                await call()
        assert exchanges(emulator) == sent


async def test_what_was_not_sent_is_tried_again(
    connect: Connect, emulator: NexudusEmulator, clock: ManualClock
) -> None:
    """A service that cannot be reached has not looked at it."""
    clock.autojump = True
    async with NexudusEmulator() as gone:
        nobody = gone.url
    session = await connect(ExchangeCredentials(JWT), base_url=nobody)
    for _ in range(3):
        with pytest.raises(EndpointUnavailableError, match="could not be reached"):
            await session.token()
        clock.advance(60)


class Resolver(aiohttp.abc.AbstractResolver):
    """Knows no name, then a machine's."""

    known = False

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[aiohttp.abc.ResolveResult]:
        if not self.known:
            raise OSError(-2, "Name or service not known")
        return [aiohttp.abc.ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None: ...


@SHARED
@pytest.mark.parametrize("how", ["token", "sign_in"])
async def test_no_name_and_no_tls_use_nothing_up(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock, shared: bool, how: str
) -> None:
    """DNS in trouble, then a server that speaks no TLS; then the same JWT begins a session."""
    clock.autojump = True
    resolver, store = Resolver(), MemoryStore() if shared else None
    port = emulator.url.rpartition(":")[2]
    credentials = ExchangeCredentials(emulator.one_time_jwt())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as http:
        options: dict[str, Any] = {"client_session": http, "store": store, "allow_insecure_http": True}
        for scheme, known, works in (("https", False, False), ("https", True, False), ("http", True, True)):
            resolver.known = known
            session = await connect(credentials, base_url=f"{scheme}://nexudus.example:{port}", **options)
            for _ in range(1 if works else 2):
                clock.advance(60)
                if works:
                    await getattr(session, how)()
                else:
                    with pytest.raises(EndpointUnavailableError, match="could not be reached"):
                        await getattr(session, how)()
            await session.close()
    assert exchanges(emulator) == 1


async def test_the_deadline_may_have_come_too_late(emulator: NexudusEmulator, connect: Connect) -> None:
    """The service was still at it."""
    policy = RefreshPolicy(flight_deadline=0.2, connect_timeout=0.1)
    session = await connect(ExchangeCredentials(emulator.one_time_jwt()), policy=policy)
    with emulator.hold(EXCHANGE):
        with pytest.raises(EndpointUnavailableError, match="no answer"):
            await session.token()
        with pytest.raises(LoginRequiredError, match="get another one"):
            await session.sign_in()
    assert exchanges(emulator) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.html(), WrongHostError),
        (Fault.answer(405), WrongHostError),
        (Fault.answer(307, headers={"Location": "https://elsewhere.example/?token=x"}), WrongHostError),
        (Fault.json({"access_token": "a", "expires_in": 5}), LoginRequiredError),
        (Fault.json({"token": "a b", "expires_in": 5}), LoginRequiredError),
        (Fault.json({"token": "a", "expires_in": 0}), LoginRequiredError),
        (
            Fault.json({"error": "invalid_grant", "error_description": f"{JWT} is no good"}, 400),
            CredentialsRejectedError,
        ),
    ],
)
async def test_other_answers(
    emulator: NexudusEmulator, connect: Connect, fault: Fault, error: type[NexudusAuthError]
) -> None:
    """An answer is held to what one of the token endpoint is held to, but that the token is called `token`."""
    session = await connect(ExchangeCredentials(JWT))
    emulator.fail(EXCHANGE, fault, times=None)
    with pytest.raises(error) as raised:
        await session.token()
    assert type(raised.value) is error
    assert not leaked(raised.value, [JWT])


@pytest.mark.parametrize(
    ("claims", "username", "account", "client_id"),
    [
        ({"sub": MEMBER}, None, None, MEMBER),
        ({"sub": "17", "email": MEMBER}, None, None, MEMBER),
        ({"unique_name": MEMBER}, None, None, MEMBER),
        ({"sub": "17"}, MEMBER, None, MEMBER),
        ({"sub": "17"}, None, MEMBER, MEMBER),
        ({"sub": "another@example.com"}, MEMBER, None, MEMBER),
        ({"sub": "17"}, None, None, None),
        ({"sub": "m\u00e9mber@example.com"}, None, None, None),
    ],
)
async def test_where_the_e_mail_address_comes_from(
    emulator: NexudusEmulator,
    connect: Connect,
    claims: dict[str, object],
    username: str | None,
    account: str | None,
    client_id: str | None,
) -> None:
    """`username=`, else the JWT, else `account=`. Without one there is no refresh."""
    emulator.fail(EXCHANGE, Fault.json({"token": "a", "expires_in": 5, "refresh_token": "r"}))
    session = await connect(ExchangeCredentials(jwt_of(**claims), username=username), account=account)
    token = await session.token()
    assert (token.client_id, token.refresh_token) == (client_id, "r" if client_id else None)


async def test_without_an_e_mail_address_the_end_says_so(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """What to write instead."""
    emulator.fail(EXCHANGE, Fault.json({"token": "a", "expires_in": 5, "refresh_token": "r"}))
    session = await connect(ExchangeCredentials("not-a-jwt"))
    await session.token()
    clock.advance(5)
    with pytest.raises(LoginRequiredError, match="username="):
        await session.token()


@pytest.mark.parametrize(
    "jwt", ["a", "a.b.c", "a.!!.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c", "a." + "W" * 99]
)
def test_what_cannot_be_read_names_nobody(jwt: str) -> None:
    """It is sent all the same."""
    assert ExchangeCredentials(jwt).name is None


# -- with a store ---------------------------------------------------------------------------------------------------


async def test_a_store_knows_which_were_used(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """Filed under the e-mail address; after a restart the chain goes on, and when it has ended nothing is sent."""
    store, credentials = MemoryStore(), ExchangeCredentials(emulator.one_time_jwt())
    first = await connect(credentials, store=store)
    assert key_of(first) == key_of(TokenSession(store=store, account=emulator.username, base_url=emulator.url))
    await first.token()
    clock.advance(86_400)
    again = await connect(credentials, store=store)
    await again.token()
    assert (emulator.exchanges, emulator.renewals) == (1, 1)
    emulator.revoke_all()
    clock.advance(86_400)
    for session in (first, again, await connect(credentials, store=store)):
        with pytest.raises(LoginRequiredError):
            await session.token()
    assert exchanges(emulator) == 1


async def test_a_lost_answer_is_known_to_the_fleet(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """Noted under the lock before the sending."""
    store, credentials = MemoryStore(), ExchangeCredentials(emulator.one_time_jwt())
    emulator.fail(EXCHANGE, Fault.dropped(applied=True))
    for _ in range(3):
        clock.advance(60)
        session = await connect(credentials, store=store)
        with pytest.raises(NexudusAuthError):
            await session.token()
    assert exchanges(emulator) == 1


async def test_what_was_not_sent_is_taken_back(emulator: NexudusEmulator, connect: Connect, clock: ManualClock) -> None:
    """For the others, too."""
    clock.autojump = True
    store, credentials = MemoryStore(), ExchangeCredentials(emulator.one_time_jwt())
    emulator.fail(EXCHANGE, Fault.answer(503), times=None)
    first = await connect(credentials, store=store)
    with pytest.raises(EndpointUnavailableError):
        await first.token()
    emulator.faults.clear()
    clock.advance(60)
    await (await connect(credentials, store=store)).token()
    assert emulator.exchanges == 1


async def test_the_pause_of_a_refused_one_is_for_that_one(emulator: NexudusEmulator, connect: Connect) -> None:
    """A fleet lets what was refused rest; somebody with another JWT of the same account signs in."""
    store = MemoryStore()
    bad = await connect(ExchangeCredentials("no.such.jwt", username=emulator.username), store=store)
    with pytest.raises(CredentialsRejectedError):
        await bad.token()
    good = ExchangeCredentials(emulator.one_time_jwt())
    await (await connect(good, store=store)).token()
    assert emulator.exchanges == 1


class NoSaves(MemoryStore):
    """A store that takes nothing."""

    async def save(self, key: str, record: StoredToken) -> None:
        raise StoreError("down")


async def test_what_cannot_be_noted_is_not_sent(emulator: NexudusEmulator, connect: Connect) -> None:
    """Or a second process would not know of it."""
    session = await connect(ExchangeCredentials(emulator.one_time_jwt()), store=NoSaves())
    with pytest.raises(StoreError):
        await session.token()
    assert emulator.requests == []


# -- the JWT is a secret that stands in a URL ------------------------------------------------------------------------


async def test_no_trace_config_sees_the_exchange(
    emulator: NexudusEmulator, connect: Connect, clock: ManualClock
) -> None:
    """A lent session that is traced: other token requests are, but not the one with a secret in its URL."""
    seen: list[str] = []

    async def on_start(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(str(params.url))

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(on_start)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as http:
        session = await connect(ExchangeCredentials(emulator.one_time_jwt()), client_session=http)
        await session.token()
        assert seen == []
        clock.advance(86_400)
        await session.token()
        assert [url.partition("/api")[2] for url in seen] == ["/token"]
        await session.close()
        assert not http.closed


@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
@pytest.mark.parametrize("known", [False, True], ids=["another aiohttp", "this aiohttp"])
async def test_a_tool_that_traces_every_session_does_not_see_it_either(
    emulator: NexudusEmulator, connect: Connect, monkeypatch: pytest.MonkeyPatch, lent: bool, known: bool
) -> None:
    """As those of OpenTelemetry and Sentry do, in the constructor of aiohttp's session; else nothing is sent."""
    seen: list[str] = []

    async def on_start(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(str(params.url))

    construct = aiohttp.ClientSession.__init__
    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(on_start)
    all_sessions = [tracing]

    def traced(session: aiohttp.ClientSession, *args: Any, **options: Any) -> None:
        construct(session, *args, **(options | {"trace_configs": all_sessions}))

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    if not known:
        monkeypatch.setattr(aiohttp_internals, "TRACE_CONFIGS", "_elsewhere")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession()) if lent else None
        session = await connect(ExchangeCredentials(emulator.one_time_jwt()), client_session=http)
        if known:
            async with session.get(CUSTOMER) as response:
                assert response.status == 200
            assert [url.partition("/api")[2] for url in seen] == ["/public/billing/customer"]
        else:
            with pytest.raises(ConfigurationError, match="trace_configs"):
                await session.token()
            assert exchanges(emulator) == 0
    assert all_sessions == [tracing]


async def test_a_traced_session_of_an_endpoint_of_its_own_is_refused(emulator: NexudusEmulator) -> None:
    """Nobody can take the tracing out of that; another session must be passed."""
    async with aiohttp.ClientSession(trace_configs=[aiohttp.TraceConfig()]) as http:
        endpoint = TokenEndpoint(http, emulator.url, ExchangeCredentials(emulator.one_time_jwt()))
        with pytest.raises(ConfigurationError, match="trace_configs"):
            await endpoint.login()
    async with aiohttp.ClientSession() as http:
        assert await TokenEndpoint(http, emulator.url, ExchangeCredentials(emulator.one_time_jwt())).login()


async def test_a_session_that_connects_in_its_own_way_is_not_traced_either(
    emulator: NexudusEmulator, connect: Connect
) -> None:
    """Token requests go through it, as through a SOCKS proxy; its proxy and TLS settings hold, its tracing does not."""
    seen: list[object] = []

    class Proxied(aiohttp.TCPConnector):
        async def _create_direct_connection(self, *args: Any, **options: Any) -> Any:
            return await super()._create_direct_connection(*args, **options)

    async def on_start(_session: object, _context: object, params: object) -> None:
        seen.append(params)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(on_start)
    async with aiohttp.ClientSession(connector=Proxied(), trace_configs=[tracing]) as http:
        session = await connect(ExchangeCredentials(emulator.one_time_jwt()), client_session=http)
        await session.token()
        await session.close()
        assert (seen, http.closed) == ([], False)


async def test_nothing_shows_the_jwt(
    emulator: NexudusEmulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """repr, str, log lines at DEBUG, events, statistics, pickles; the emulator's own record aside."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    jwt = emulator.one_time_jwt()
    credentials = ExchangeCredentials(jwt)
    session = await connect(credentials)
    await session.token()
    hidden = ExchangeCredentials(partial(str, jwt))
    texts = [repr(credentials), str(credentials), repr(hidden), repr(session), repr(session.statistics()), caplog.text]
    texts += [repr(event) for event in connect.events]
    assert [text for text in texts if jwt in text or jwt.rpartition(".")[2] in text] == []
    for each in (credentials, hidden):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(each)


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bytes, read: bool) -> None:
    """Answer, having read the request or not, and hang up."""
    if read:
        await reader.readuntil(b"\r\n\r\n")
    writer.write(answer)
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the request itself, in a header that is none."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\n" + await reader.readuntil(b"\r\n\r\n"))
    writer.close()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer nothing."""
    await reader.read()
    writer.close()


@asynccontextmanager
async def serving(handle: Handler) -> AsyncGenerator[str]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


SERVERS: dict[str, Handler] = {
    "no http": partial(babble, answer=b"SSH-2.0-OpenSSH_9.6\r\n", read=False),
    "no http, later": partial(babble, answer=b"SSH-2.0-OpenSSH_9.6\r\n", read=True),
    "nothing": partial(babble, answer=b"", read=True),
    "half an answer": partial(babble, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", read=True),
    "an endless header": partial(babble, answer=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, read=True),
    "a redirect": partial(babble, answer=b"HTTP/1.1 307 T\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", read=True),
    "the request": echo,
    "silence": hang,
}
SHORT = RefreshPolicy(flight_deadline=0.2, connect_timeout=0.2)


def of_a_jwt(error: BaseException) -> list[str]:
    """Return what of the JWT tools show of an error, its frames, and all that it came from."""
    return leaks(error, [JWT, JWT.partition(".")[2], JWT.rpartition(".")[2]])


async def failures(url: str, **options: Any) -> list[BaseException]:
    """Return what a session and its waiters, and an endpoint, raise."""
    async with TokenSession(ExchangeCredentials(JWT), base_url=url, policy=SHORT, **options) as session:
        results: list[Any] = await asyncio.gather(*(session.token() for _ in range(2)), return_exceptions=True)
    async with aiohttp.ClientSession() as http:
        endpoint = TokenEndpoint(http, url, ExchangeCredentials(JWT), policy=SHORT)
        results += await asyncio.gather(asyncio.wait_for(endpoint.login(), 0.3), return_exceptions=True)
    return results


@on_every_loop
@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_a_server_that_is_none(loop: Factory | None, server: Handler) -> None:
    """Whatever answers, and whenever: no tool that shows variables, URLs or causes shows the JWT."""

    async def work() -> list[BaseException]:
        async with serving(server) as url:
            return await failures(url)

    errors = run(loop, work())
    assert [type(error) for error in errors if not isinstance(error, Exception)] == []
    assert [of_a_jwt(error) for error in errors] == [[]] * len(errors)


@on_every_loop
def test_nobody_there(loop: Factory | None) -> None:
    """aiohttp's own words for a connection that takes too long have the whole URL."""

    async def work() -> list[BaseException]:
        async with serving(hang) as url:
            pass
        found = await failures(url)
        async with serving(hang) as url:
            full = aiohttp.ClientTimeout(sock_connect=0.01)

            class Slow(aiohttp.TCPConnector):
                async def connect(self, *args: Any, **options: Any) -> Any:
                    raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {args[0].url}")

            async with aiohttp.ClientSession(connector=Slow(), timeout=full) as http:
                found += await failures(url, client_session=http)
        return found

    assert [of_a_jwt(error) for error in run(loop, work())] == [[]] * 6
