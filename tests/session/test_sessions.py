# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownParameterType=false
# pyright: reportPossiblyUnboundVariable=false, reportDeprecated=false
"""A session for each of many accounts: one each, whoever asks; unused ones are closed; failures are their own."""

import asyncio
import contextlib
import gc
import threading
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from nexudus_async import (
    ConfigurationError,
    CredentialsRejectedError,
    EndpointUnavailableError,
    ExchangeCredentials,
    LoginRequiredError,
    MemoryStore,
    Pacing,
    PasswordCredentials,
    RefreshPolicy,
    RefreshTokenCredentials,
    SessionClosedError,
    StoredToken,
    Throttle,
    TokenObtained,
    TokenSession,
    TokenSessions,
)
from nexudus_async.testing import Fault, Limits, ManualClock, NexudusEmulator, Rate
from tests.conftest import CUSTOMER, until
from tests.inside import key_of
from tests.ratelimit.throttling import let_time_pass

Make = Callable[..., TokenSessions]


def name(number: int) -> str:
    return f"member{number}@example.com"


@pytest.fixture
async def emulator(clock: ManualClock) -> AsyncIterator[NexudusEmulator]:
    async with NexudusEmulator(clock=clock, lifetime=3600) as emulator:
        for number in range(30):
            emulator.add_user(name(number), f"password {number}")
        yield emulator


class Vault:
    """Knows the passwords, and counts who asks for them."""

    def __init__(self, emulator: NexudusEmulator) -> None:
        self._emulator, self.asked = emulator, Counter[str]()

    def __call__(self, account: str) -> PasswordCredentials:
        self.asked[account] += 1
        return PasswordCredentials(account, self._emulator.find_user(account.strip()).password)


@pytest.fixture
def vault(emulator: NexudusEmulator) -> Vault:
    return Vault(emulator)


@pytest.fixture
async def make(emulator: NexudusEmulator, clock: ManualClock, vault: Vault) -> AsyncIterator[Make]:
    async with contextlib.AsyncExitStack() as stack:

        def make(credentials: Any = vault, **options: Any) -> TokenSessions:
            defaults: dict[str, Any] = {"base_url": emulator.url, "clock": clock}
            sessions = TokenSessions(credentials, **(defaults | options))
            stack.push_async_callback(sessions.close)
            return sessions

        yield make


async def who(session: TokenSession) -> str:
    """Return whose the token of a session is, as the service sees it."""
    async with session.get(CUSTOMER) as response:
        return str((await response.json())["Email"])


# -- one for each ---------------------------------------------------------------------------------------------------


async def test_each_account_has_its_own(emulator: NexudusEmulator, make: Make) -> None:
    """Its own token, its own `client_id`."""
    sessions = make()
    assert emulator.requests == []
    several = [await sessions.session(name(number)) for number in range(5)]
    assert emulator.requests == []
    assert await asyncio.gather(*map(who, several)) == [name(number) for number in range(5)]
    assert len({(await session.token()).client_id for session in several}) == 5
    assert (len(sessions), emulator.sign_ins) == (5, 5)


async def test_there_is_one_for_all_spellings(make: Make, vault: Vault) -> None:
    """As a store files them: case, blanks around it and the form of accents do not matter."""
    sessions = make(lambda account: PasswordCredentials(account, "x"))
    spellings = ["Jos\u00e9@example.com", "jose\u0301@EXAMPLE.com", " jos\u00c9@example.com "]
    assert len({id(await sessions.session(spelling)) for spelling in spellings}) == 1
    assert len(sessions) == 1


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_it_is_made_once_whoever_asks_at_the_same_time(make: Make, vault: Vault, kind: str) -> None:
    """A thousand tasks, one call of the callable."""

    async def later(account: str) -> PasswordCredentials:
        await asyncio.sleep(0.01)
        return vault(account)

    sessions = make(vault if kind == "plain" else later)
    found = await asyncio.gather(*(sessions.session(name(1)) for _ in range(1000)))
    assert (len({id(session) for session in found}), vault.asked) == (1, {name(1): 1})


async def test_who_gives_up_costs_the_others_nothing(make: Make, vault: Vault) -> None:
    """The callable goes on for them."""
    gate = asyncio.Event()

    async def later(account: str) -> PasswordCredentials:
        await gate.wait()
        return vault(account)

    sessions = make(later)
    askers = [asyncio.create_task(sessions.session(name(1))) for _ in range(3)]
    await asyncio.sleep(0)
    askers[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    first, *others = await asyncio.gather(*askers, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert len({id(session) for session in others}) == 1
    assert vault.asked == {name(1): 1}


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_a_callable_that_fails_is_not_remembered(make: Make, vault: Vault, kind: str) -> None:
    """What it raises comes out as it is, to all who waited; the next call asks again."""
    fails = [LookupError("no such member"), TimeoutError()]

    def now(account: str) -> PasswordCredentials:
        if fails:
            raise fails.pop(0)
        return vault(account)

    async def later(account: str) -> PasswordCredentials:
        await asyncio.sleep(0)
        return now(account)

    sessions = make(now if kind == "plain" else later)
    for error in (LookupError, TimeoutError):
        with pytest.raises(error):
            await sessions.session(name(1))
    assert await who(await sessions.session(name(1))) == name(1)
    counted = sessions.statistics()
    assert (counted.made, counted.failed, counted.open) == (1, 2, 1)


@pytest.mark.parametrize("trouble", ["never ends", "is cancelled", "raises"])
async def test_one_accounts_callable_holds_up_nobody_else(make: Make, vault: Vault, trouble: str) -> None:
    """It is given up after the flight's deadline; whoever asked is told, and asks anew."""
    broken = True

    async def later(account: str) -> PasswordCredentials:
        if account == name(0) and broken:
            if trouble == "is cancelled":
                raise asyncio.CancelledError
            if trouble == "raises":
                raise LookupError(account)
            await asyncio.Event().wait()
        return vault(account)

    sessions = make(later, policy=RefreshPolicy(flight_deadline=0.3, connect_timeout=0.1))
    stuck = [asyncio.create_task(sessions.session(name(0))) for _ in range(3)]
    await asyncio.sleep(0)
    others = await asyncio.gather(*(sessions.session(name(number)) for number in range(1, 30)))
    assert [await who(each) for each in others[:3]] == [name(1), name(2), name(3)]
    async with asyncio.timeout(2):
        results = await asyncio.gather(*stuck, return_exceptions=True)
    expected = LookupError if trouble == "raises" else EndpointUnavailableError
    assert [type(each) for each in results] == [expected] * 3
    if trouble != "raises":  # an error of ours is copied; what a stranger's class wants, nobody knows
        assert len({id(each) for each in results}) == 3
    assert (sessions.statistics().failed, len(sessions)) == (1, 29)
    broken = False
    assert await who(await sessions.session(name(0))) == name(0)


@pytest.mark.parametrize("given", ["a password", None, 7])
async def test_what_are_no_credentials_is_said(make: Make, given: Any) -> None:
    """None is good with a store only."""
    sessions = make(lambda account: given)
    with pytest.raises(ConfigurationError, match="credentials"):
        await sessions.session(name(1))
    assert (len(sessions), sessions.statistics().failed) == (0, 1)


async def test_tokens_may_come_from_the_store_only(
    emulator: NexudusEmulator, make: Make, vault: Vault, clock: ManualClock
) -> None:
    """A login route signs in and forgets the password; the sessions live on what it has left, or say that it ended."""
    store = MemoryStore()
    credentials = vault(name(1))
    async with TokenSession(credentials, base_url=emulator.url, clock=clock, store=store) as login:
        await login.sign_in()
    sessions = make(None, store=store)
    session = await sessions.session(name(1).upper())
    assert await who(session) == name(1)
    clock.advance(3600)
    assert await who(session) == name(1)
    assert (emulator.sign_ins, emulator.renewals) == (1, 1)
    with pytest.raises(LoginRequiredError):
        await (await sessions.session(name(2))).token()


async def test_tokens_in_hand_are_filed_under_the_account(emulator: NexudusEmulator, make: Make) -> None:
    """Which the credentials need not name a second time."""
    store = MemoryStore()

    def in_hand(account: str) -> RefreshTokenCredentials:
        pair = emulator.issue(account, client_id="portal")
        return RefreshTokenCredentials(pair.refresh_token, client_id="portal")

    session = await make(in_hand, store=store).session(name(3))
    assert await who(session) == name(3)
    assert key_of(session) == key_of(TokenSession(store=store, account=name(3), base_url=emulator.url))


async def test_what_was_handed_over_is_used_once_though_the_session_is_made_anew(
    emulator: NexudusEmulator, make: Make
) -> None:
    """Without a store: the callable has nothing newer, which is said without a request; then it has."""
    pairs = [emulator.issue(name(number)) for number in range(2)]

    def given(account: str) -> RefreshTokenCredentials:
        return RefreshTokenCredentials(pairs[account == name(1)].refresh_token, client_id=account)

    sessions = make(given, max_sessions=1)
    for number in (0, 1):
        await (await sessions.session(name(number))).token()
    async with await sessions.session(name(0)) as session:
        with pytest.raises(LoginRequiredError, match="hand over the new one"):
            await session.token()
    assert len(emulator.token_requests) == 2
    pairs[0] = emulator.issue(name(0))
    assert await who(await sessions.session(name(0))) == name(0)
    assert emulator.refresh_tokens_reused == 0


@pytest.mark.parametrize("kind", ["jwt", "tokens"])
async def test_what_is_remembered_of_that_is_bounded(emulator: NexudusEmulator, make: Make, kind: str) -> None:
    """By as many accounts as may be open."""

    def given(account: str) -> Any:
        if kind == "jwt":
            return ExchangeCredentials(emulator.one_time_jwt(account))
        return RefreshTokenCredentials(emulator.issue(account).refresh_token, client_id=account)

    sessions = make(given, max_sessions=2)
    for number in range(10):
        await (await sessions.session(name(number))).token()
    await until(lambda: len(sessions) == 2)
    assert len(sessions._members._tried) == 2


async def test_one_accounts_failure_is_its_own(
    emulator: NexudusEmulator, make: Make, vault: Vault, clock: ManualClock
) -> None:
    """One is suspended, one is throttled, one loses its chain; the others notice nothing."""
    sessions = make()
    emulator.find_user(name(1)).suspended = True
    with pytest.raises(CredentialsRejectedError):
        await (await sessions.session(name(1))).token()
    assert await who(await sessions.session(name(2))) == name(2)
    emulator.fail(CUSTOMER, Fault.throttled(30))
    stopped = asyncio.create_task(who(await sessions.session(name(2))))
    await until(lambda: bool(clock.sleepers))
    assert await who(await sessions.session(name(3))) == name(3)
    assert not stopped.done()
    clock.advance(30)
    assert await stopped == name(2)


# -- unused ones are closed -----------------------------------------------------------------------------------------


async def test_the_least_recently_used_is_closed_when_there_are_too_many(
    emulator: NexudusEmulator, make: Make, vault: Vault
) -> None:
    """Asking for one uses it, and so does a request through it."""
    sessions = make(max_sessions=3)
    first, second, third = [await sessions.session(name(number)) for number in range(3)]
    assert await sessions.session(name(0)) is first
    await second.token()
    fourth = await sessions.session(name(3))
    assert [each.closed for each in (first, second, third, fourth)] == [False, False, True, False]
    assert len(sessions) == 3
    with pytest.raises(SessionClosedError, match="make a new one"):
        await third.token()
    again = await sessions.session(name(2))
    assert (again is not third, vault.asked[name(2)]) == (True, 2)
    await until(lambda: first.closed)
    counted = sessions.statistics()
    assert (counted.open, counted.made, counted.closed_for_room, counted.closed_idle) == (3, 5, 2, 0)
    assert counted.sign_ins == 1


@pytest.mark.parametrize("doing", ["a request", "token", "refresh", "sign_in", "a WebSocket", "a refresh behind"])
async def test_what_is_under_way_is_not_closed(
    emulator: NexudusEmulator, make: Make, clock: ManualClock, doing: str
) -> None:
    """Neither for room nor for being idle; afterwards it may be."""
    sessions = make(max_sessions=1, idle_timeout=5000)
    busy = await sessions.session(name(0))
    await busy.token()
    where = CUSTOMER if doing in ("a request", "a WebSocket") else "token"
    clock.advance({"a refresh behind": 3000, "token": 3600}.get(doing, 0))
    hold = emulator.hold(where)
    work: dict[str, Callable[[], Awaitable[Any]]] = {
        "a request": lambda: who(busy),
        "token": busy.token,
        "refresh": busy.refresh,
        "sign_in": busy.sign_in,
        "a WebSocket": lambda: busy.ws_connect(CUSTOMER),
        "a refresh behind": busy.token,
    }
    task = asyncio.ensure_future(work[doing]())
    await hold.wait()
    others = [await sessions.session(name(number)) for number in (1, 2)]
    clock.advance(10_000)
    await asyncio.sleep(0.01)
    assert (busy.closed, others[0].closed, sessions.statistics().in_use) == (False, True, 1)
    hold.release()
    with contextlib.suppress(aiohttp.WSServerHandshakeError):
        await task
    await until(lambda: sessions.statistics().in_use == 0)
    await sessions.session(name(3))
    assert busy.closed


class Open:
    """Serves a body at /body that goes on until it may end, and a WebSocket at /socket."""

    def __init__(self, emulator: NexudusEmulator) -> None:
        self.may_end = asyncio.Event()
        emulator.route("GET", "/body", self.body)
        emulator.route("GET", "/socket", self.socket)

    async def body(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"[")
        await self.may_end.wait()
        await response.write(b"]")
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket


HOW_IT_ENDS = ["read", "left", "WebSocket closed", "WebSocket dropped"]


@pytest.mark.parametrize("how", HOW_IT_ENDS)
async def test_what_goes_on_after_its_call_keeps_its_session_open(
    emulator: NexudusEmulator, make: Make, clock: ManualClock, how: str
) -> None:
    """A body that is read in pieces, a WebSocket: whoever has one may send more. Until its end, whichever it is."""
    service = Open(emulator)
    sessions = make(max_sessions=1, idle_timeout=100)
    busy = await sessions.session(name(0))
    opened: Any = await (busy.ws_connect("/socket") if "WebSocket" in how else busy.get("/body"))
    for number in (1, 2):
        await sessions.session(name(number))
        await until(lambda: clock.sleepers >= 1)
        clock.advance(200)
        await asyncio.sleep(0.01)
    assert (busy.closed, sessions.statistics().in_use) == (False, 1)
    assert await who(busy) == name(0)
    match how:
        case "read":
            service.may_end.set()
            assert await opened.read() == b"[]"
        case "left":
            opened.release()
        case "WebSocket closed":
            await opened.close()
        case _:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                del opened
                gc.collect()
    assert (busy.closed, sessions.statistics().in_use) == (False, 0)
    service.may_end.set()
    await sessions.session(name(3))
    assert busy.closed


async def test_it_is_idle_from_its_end_on(emulator: NexudusEmulator, make: Make, clock: ManualClock) -> None:
    """And not from the beginning of the request: what follows a long download is served by the same session."""
    service = Open(emulator)
    sessions = make(idle_timeout=100)
    busy = await sessions.session(name(0))
    response = await busy.get("/body")
    for _ in range(10):
        await until(lambda: clock.sleepers >= 1)
        clock.advance(60)
        await asyncio.sleep(0.01)
    service.may_end.set()
    assert await response.read() == b"[]"
    await until(lambda: clock.sleepers >= 1)
    clock.advance(60)
    await asyncio.sleep(0.01)
    assert await who(busy) == name(0)


async def test_room_is_made_when_a_use_ends(emulator: NexudusEmulator, make: Make) -> None:
    """Whoever is done is closed when the next one is, or somebody asks: there are no more than have to be."""
    sessions = make(max_sessions=1, idle_timeout=None)
    members = [await sessions.session(name(0))]
    with emulator.hold(CUSTOMER) as hold:
        tasks: list[asyncio.Task[str]] = []
        for number in range(3):
            if number:
                members.append(await sessions.session(name(number)))
            tasks.append(asyncio.create_task(who(members[number])))
            await hold.wait(number + 1)
        assert len(sessions) == 3
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert [each.closed for each in members] == [False, False, False]
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert [each.closed for each in members] == [True, False, False]
    assert await tasks[2] == name(2)
    assert [each.closed for each in members] == [True, True, False]
    assert await who(members[2]) == name(2)


async def test_an_idle_one_is_closed(emulator: NexudusEmulator, make: Make, clock: ManualClock) -> None:
    """After `idle_timeout` seconds without a use, to within a look; a use begins them anew."""
    sessions = make(idle_timeout=100)
    idle, used = await sessions.session(name(0)), await sessions.session(name(1))
    await until(lambda: clock.sleepers == 1)
    clock.advance(60)
    await used.token()
    for _ in range(2):
        clock.advance(20)
        await asyncio.sleep(0.001)
        await until(lambda: clock.sleepers == 1)
    assert (idle.closed, used.closed, len(sessions)) == (True, False, 1)
    for _ in range(4):
        clock.advance(30)
        await asyncio.sleep(0.001)
    assert (used.closed, len(sessions), clock.sleepers) == (True, 0, 0)
    assert sessions.statistics().closed_idle == 2
    assert await sessions.session(name(0)) is not idle
    await until(lambda: clock.sleepers == 1)


@pytest.mark.parametrize("options", [{"idle_timeout": None}, {"idle_timeout": 10, "keep_alive": True}])
async def test_some_are_never_too_idle(make: Make, clock: ManualClock, options: dict[str, Any]) -> None:
    """Without a time-out, and where they are to be kept alive: then they are closed for room alone."""
    sessions = make(max_sessions=2, **options)
    first = await sessions.session(name(0))
    await first.token()
    clock.advance(100_000)
    await asyncio.sleep(0.01)
    await until(lambda: sessions.statistics().in_use == 0)
    assert not first.closed
    for number in (1, 2):
        await sessions.session(name(number))
    assert first.closed


async def test_one_that_somebody_closed_is_made_anew(make: Make, vault: Vault) -> None:
    """By hand, or with `async with`."""
    sessions = make()
    async with await sessions.session(name(0)) as session:
        await session.token()
    again = await sessions.session(name(0))
    assert (again is session, again.closed, vault.asked[name(0)]) == (False, False, 2)
    assert sessions.statistics().sign_ins == 1


class Slow(MemoryStore):
    """A store that takes nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = True

    async def save(self, key: str, record: StoredToken) -> None:
        if not self.takes:
            raise OSError("full")
        await super().save(key, record)


async def test_a_token_that_is_still_to_be_saved_keeps_its_session_open(make: Make, clock: ManualClock) -> None:
    """Else the chain would be lost."""
    store = Slow()
    sessions = make(max_sessions=1, store=store)
    session = await sessions.session(name(0))
    store.takes = False
    await session.token()
    await sessions.session(name(1))
    assert not session.closed
    await until(lambda: clock.sleepers == 2)
    store.takes = True
    clock.advance(60)
    await until(lambda: session.statistics().unsaved == 0)
    await sessions.session(name(2))
    assert session.closed


async def test_two_accounts_that_crowd_each_other_out_both_get_theirs(make: Make, vault: Vault) -> None:
    """Room for one: who waited for a session that is being made gets it open."""

    async def later(account: str) -> PasswordCredentials:
        await asyncio.sleep(0)
        return vault(account)

    sessions = make(later, max_sessions=1)

    async def use(number: int) -> str:
        return await who(await sessions.session(name(number)))

    assert await asyncio.gather(*map(use, range(10))) == [name(number) for number in range(10)]


# -- what they share ------------------------------------------------------------------------------------------------


async def test_one_pool_and_no_cookies(emulator: NexudusEmulator, make: Make) -> None:
    """Of an own session: connections are used again by others, and what a service sets is sent back by nobody."""
    sessions = make()
    headers = {"Set-Cookie": "who=me; Path=/"}
    emulator.fail(CUSTOMER, Fault.answer(200, b"{}", headers=headers), times=None)
    for number in range(5):
        session = await sessions.session(name(number))
        async with session.get(CUSTOMER) as response:
            assert response.headers["Set-Cookie"] == headers["Set-Cookie"]
    assert [request.headers.get("Cookie") for request in emulator.requests if request.path == CUSTOMER] == [None] * 5
    assert len({id(await _http(sessions, number)) for number in range(5)}) == 1


async def test_a_lent_session_keeps_its_meaning_but_for_its_cookies(emulator: NexudusEmulator, make: Make) -> None:
    """Its connections, headers and middlewares; the jar is left as it was, and the session open."""
    async with aiohttp.ClientSession(headers={"X-Portal": "1"}, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        http.cookie_jar.update_cookies({"of": "the portal"})
        sessions = make(client_session=http)
        headers = {"Set-Cookie": "who=me; Path=/"}
        emulator.fail(CUSTOMER, Fault.answer(200, b'{"Email": "x"}', headers=headers), times=None)
        for number in range(3):
            assert await who(await sessions.session(name(number))) == "x"
        emulator.faults.clear()
        asked = [request for request in emulator.requests if request.path == CUSTOMER]
        assert [request.headers.get("Cookie") for request in asked] == [None] * 3
        assert {request.headers.get("X-Portal") for request in asked} == {"1"}
        assert [cookie.key for cookie in http.cookie_jar] == ["of"]
        await sessions.close()
        assert not http.closed
        async with http.get(emulator.url + CUSTOMER) as response:
            assert response.status == 401


async def test_a_copy_of_a_lent_session_is_given_up_with_the_sessions(make: Make) -> None:
    """Its connections are the lent one's, which stays open; and aiohttp warns of no session that was not closed."""
    async with aiohttp.ClientSession() as http:
        sessions = make(client_session=http)
        copy = await _http(sessions, 0)
        assert (copy is not http, copy.connector is http.connector) == (True, True)
        await sessions.close()
        assert copy.closed
        assert not http.closed


async def test_token_requests_of_many_keep_no_cookies(emulator: NexudusEmulator, make: Make) -> None:
    """In the pool of their own, too, be the session lent or not: what one sign-in was given, the next does not send."""
    headers = {"Set-Cookie": "who=me; Path=/"}
    body = b'{"access_token": "a", "token_type": "bearer", "expires_in": 3600, "refresh_token": "r"}'
    emulator.fail("token", Fault.answer(200, body, headers=headers), times=None)
    base_url = emulator.url.replace("127.0.0.1", "localhost")  # aiohttp keeps none for addresses
    async with aiohttp.ClientSession() as http:
        for lent in (None, http):
            sessions = make(client_session=lent, base_url=base_url)
            for number in range(3):
                await (await sessions.session(name(number))).token()
    assert [request.headers.get("Cookie") for request in emulator.token_requests] == [None] * 6


async def test_a_lent_session_without_cookies_is_used_itself(make: Make) -> None:
    """Nothing is copied that need not be."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        sessions = make(client_session=http)
        assert await _http(sessions, 0) is http
        await sessions.close()
        assert not http.closed


async def _http(sessions: TokenSessions, number: int) -> aiohttp.ClientSession:
    session = await sessions.session(name(number))
    return session._connections.for_requests()  # pyright: ignore[reportPrivateUsage]


async def test_a_throttle_that_is_asked_for_is_one_for_all(
    emulator: NexudusEmulator, make: Make, clock: ManualClock
) -> None:
    """One is throttled: nobody sends, then one probes, and all are served."""
    sessions = make(throttle=Throttle())
    several = [await sessions.session(name(number)) for number in range(10)]
    await asyncio.gather(*(session.token() for session in several))
    emulator.fail(CUSTOMER, Fault.throttled(30))
    emulator.reset_record()
    first = asyncio.create_task(who(several[0]))
    await until(lambda: len(emulator.requests) == 1 and clock.sleepers >= 1)
    others = [asyncio.create_task(who(session)) for session in several[1:]]
    await asyncio.sleep(0.01)
    assert (len(emulator.requests), several[5].statistics().paused_for) == (1, 30)
    clock.advance(30)
    await let_time_pass(clock, first, *others)
    assert [task.result() for task in (first, *others)] == [name(number) for number in range(10)]
    assert [session.statistics().throttled for session in several] == [1] + [0] * 9


async def test_settings_are_not_shared_by_being_the_same(
    emulator: NexudusEmulator, make: Make, clock: ManualClock, vault: Vault
) -> None:
    """Two that are made by hand with the same objects, be it one session or many: each has its own pace and pauses."""
    settings: dict[str, Any] = {"throttle": Throttle(), "pacing": Pacing(spacing=1000)}
    several = [make(**settings), make(**settings)]
    sessions = [await each.session(name(number)) for number, each in enumerate(several)]
    options: dict[str, Any] = {"base_url": emulator.url, "clock": clock} | settings
    sessions += [TokenSession(vault(name(number)), **options) for number in (2, 3)]
    async with asyncio.timeout(2):
        assert [await who(session) for session in sessions] == [name(number) for number in range(4)]
    clock.advance(1000)
    emulator.fail(CUSTOMER, Fault.throttled(30))
    first = asyncio.create_task(who(sessions[0]))
    await until(lambda: sessions[0].statistics().paused_for > 0)
    assert [session.statistics().paused_for for session in sessions[1:]] == [0, 0, 0]
    async with asyncio.timeout(2):
        assert [await who(session) for session in sessions[1:]] == [name(number) for number in range(1, 4)]
    clock.advance(1000)
    async with asyncio.timeout(2):
        assert await first == name(0)
    for session in sessions[2:]:
        await session.close()


async def test_closing_one_ends_its_waits_and_nobody_elses(
    emulator: NexudusEmulator, make: Make, clock: ManualClock
) -> None:
    """At the gate that all share, and for the pace."""
    sessions = make(throttle=Throttle(), pacing=Pacing(spacing=10))
    one, two, three = [await sessions.session(name(number)) for number in range(3)]
    await asyncio.gather(*(session.token() for session in (one, two, three)))
    assert await who(one) == name(0)
    waiting = [asyncio.create_task(who(session)) for session in (one, two, three)]
    await until(lambda: one.statistics().queued == 3)
    await two.close()
    with pytest.raises(SessionClosedError, match="while this request waited"):
        await waiting[1]
    for _ in range(2):
        clock.advance(10)
        await asyncio.sleep(0.01)
    assert list(await asyncio.gather(waiting[0], waiting[2])) == [name(0), name(2)]


async def test_closing_one_during_a_pause_ends_its_wait_alone(
    emulator: NexudusEmulator, make: Make, clock: ManualClock
) -> None:
    """At the gate, which is everybody's."""
    sessions = make(throttle=Throttle())
    one, two, three = [await sessions.session(name(number)) for number in range(3)]
    await asyncio.gather(*(session.token() for session in (one, two, three)))
    emulator.fail(CUSTOMER, Fault.throttled(30))
    first = asyncio.create_task(who(one))
    await until(lambda: one.statistics().paused_for > 0)
    second, third = asyncio.create_task(who(two)), asyncio.create_task(who(three))
    await until(lambda: one.statistics().queued == 3)
    await two.close()
    with pytest.raises(SessionClosedError, match="while this request waited"):
        await asyncio.wait_for(second, 5)
    clock.advance(30)
    await let_time_pass(clock, first, third)
    assert [task.result() for task in (first, third)] == [name(0), name(2)]


async def test_a_turn_that_comes_when_its_caller_is_cancelled_is_the_next_ones(
    emulator: NexudusEmulator, make: Make, clock: ManualClock
) -> None:
    """In the same moment: nobody waits for the outcome of a request that was never sent."""
    sessions = make(throttle=Throttle())
    one, two = [await sessions.session(name(number)) for number in range(2)]
    await asyncio.gather(one.token(), two.token())
    emulator.fail(CUSTOMER, Fault.throttled(30))
    first = asyncio.create_task(who(one))
    await until(lambda: one.statistics().paused_for > 0 and one.statistics().queued == 1)
    second = asyncio.create_task(who(two))
    await until(lambda: one.statistics().queued == 2)
    clock.advance(30)
    while one.statistics().queued == 2:  # noqa: ASYNC110 - each turn of the loop counts
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    assert first.cancelled()
    await asyncio.sleep(0.01)
    clock.advance(1)
    async with asyncio.timeout(5):
        assert await second == name(1)


async def test_a_pace_is_one_for_all(emulator: NexudusEmulator, make: Make, clock: ManualClock) -> None:
    """Ten members of one request each, one every ten seconds."""
    sessions = make(pacing=Pacing(spacing=10), idle_timeout=None)
    several = [await sessions.session(name(number)) for number in range(10)]
    await asyncio.gather(*(session.token() for session in several))
    clock.autojump = True
    began = clock.monotonic()
    assert len(await asyncio.gather(*map(who, several))) == 10
    assert clock.monotonic() - began == pytest.approx(90, abs=0.1)


async def test_a_clock_that_jumps_is_not_driven_by_the_look_for_idle_ones(make: Make, clock: ManualClock) -> None:
    """Or it would run away with every token."""
    clock.autojump = True
    sessions = make()
    session = await sessions.session(name(0))
    began = clock.monotonic()
    await session.token()
    await asyncio.sleep(0.05)
    assert clock.monotonic() - began < 1


async def test_ninety_members_behind_one_limit(clock: ManualClock) -> None:
    """Six requests a second for the client, whoever's: with a throttle for all nobody fails."""
    clock.autojump = True
    async with NexudusEmulator(clock=clock, lifetime=3600) as emulator:
        for number in range(90):
            emulator.add_user(name(number), "x")
        emulator.limits, emulator.enforce_limits = Limits(api=(), address=(Rate(6, 1),)), True
        async with TokenSessions(
            lambda account: PasswordCredentials(account, "x"), base_url=emulator.url, clock=clock,
            throttle=Throttle(max_replays=50, max_wait=600),
        ) as sessions:  # fmt: skip

            async def use(number: int) -> str:
                return await who(await sessions.session(name(number)))

            assert await asyncio.gather(*map(use, range(90))) == [name(number) for number in range(90)]


async def test_events_say_whose_they_are(make: Make) -> None:
    """By the label that a function gives, or a hash."""
    events: list[Any] = []
    sessions = make(on_event=events.append, label=lambda account: account.partition("@")[0])
    session = await sessions.session(name(7))
    await session.token()
    assert [(type(event), event.account) for event in events] == [(TokenObtained, "member7")]
    assert session.label == "member7"


class Counted(MemoryStore):
    """A store with connections, as Redis has them."""

    def __init__(self) -> None:
        super().__init__()
        self.disconnected = 0

    async def disconnect(self) -> None:
        self.disconnected += 1


async def test_a_store_is_disconnected_once_at_the_end(make: Make) -> None:
    """Not with each session that is closed for room: the others go on using its connections."""
    store = Counted()
    sessions = make(max_sessions=1, store=store)
    for number in range(5):
        await (await sessions.session(name(number))).token()
    assert store.disconnected == 0
    await sessions.close()
    assert store.disconnected == 1


# -- the end --------------------------------------------------------------------------------------------------------


async def test_close_ends_all(emulator: NexudusEmulator, make: Make) -> None:
    """Sessions, waits, those that are being made; refreshes under way commit. It may be called again."""

    async def never(account: str) -> PasswordCredentials:
        if account == name(9):
            await asyncio.Event().wait()
        return PasswordCredentials(account, emulator.find_user(account).password)

    store = MemoryStore()
    sessions = make(never, store=store)
    several = [await sessions.session(name(number)) for number in range(3)]
    await several[0].token()
    making = asyncio.create_task(sessions.session(name(9)))
    with emulator.hold("token") as hold:
        waiting = asyncio.create_task(several[1].token())
        await hold.wait()
        closing = [asyncio.create_task(sessions.close()) for _ in range(2)]
        with pytest.raises(SessionClosedError):
            await waiting
        with pytest.raises(SessionClosedError):
            await making
        assert not any(task.done() for task in closing)
    await asyncio.gather(*closing)
    assert all(session.closed for session in several)
    assert (sessions.closed, len(sessions), sessions.statistics().open) == (True, 0, 0)
    assert sessions.statistics().sign_ins == 2
    assert await store.load(key_of(several[1]))  # it was saved
    with pytest.raises(SessionClosedError, match="make new ones"):
        await sessions.session(name(1))
    with pytest.raises(SessionClosedError):
        async with sessions:
            pass
    await sessions.close()


async def test_nothing_is_left_behind(emulator: NexudusEmulator, make: Make) -> None:
    """No task, no open connection."""
    before = asyncio.all_tasks()
    sessions = make(keep_alive=True)
    for number in range(5):
        await who(await sessions.session(name(number)))
    http = await _http(sessions, 0)
    await sessions.close()
    await until(lambda: asyncio.all_tasks() - before == set())  # the emulator hears of it a little later
    assert http.closed


async def test_a_cancelled_close_leaves_all_closed(emulator: NexudusEmulator, make: Make) -> None:
    """Those that had begun a refresh, too."""
    sessions = make()
    several = [await sessions.session(name(number)) for number in range(3)]
    with emulator.hold("token") as hold:
        waiting = asyncio.create_task(several[1].token())
        await hold.wait()
        closing = asyncio.create_task(sessions.close())
        await asyncio.sleep(0.01)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert all(session.closed for session in several)
    with pytest.raises(SessionClosedError):
        await waiting


def test_another_loop_is_refused(vault: Vault) -> None:
    """As by a session: one object for each loop. Once its loop has ended it may be closed from another."""
    sessions = TokenSessions(vault, base_url="http://127.0.0.1:1")
    loop = asyncio.new_event_loop()
    with pytest.raises(LookupError):  # the vault knows nobody of that name
        loop.run_until_complete(sessions.session("a@example.com"))
    errors: list[BaseException] = []

    def other() -> None:
        try:
            asyncio.run(sessions.session("b@example.com"))
        except ConfigurationError as exc:
            errors.append(exc)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "another event loop" in str(errors[0])
    loop.close()
    asyncio.run(sessions.close())
    assert sessions.closed


async def test_closing_before_a_coroutine_function_has_begun_leaves_nothing_to_complain_of(make: Make) -> None:
    """Python warns of a coroutine that nobody awaited."""

    async def slow(_: str) -> PasswordCredentials:
        raise AssertionError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sessions = make(slow)
        results = await asyncio.gather(sessions.session(name(0)), sessions.close(), return_exceptions=True)
        assert isinstance(results[0], SessionClosedError)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_a_session_dropped_without_closing_says_so(emulator: NexudusEmulator, vault: Vault) -> None:
    """`ResourceWarning`."""
    sessions = TokenSessions(vault, base_url=emulator.url)
    await (await sessions.session(name(0))).token()
    for _ in range(5):
        await asyncio.sleep(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sweeper = sessions._members._sweeper  # pyright: ignore[reportPrivateUsage]
        assert sweeper is not None
        sweeper.cancel()
        await asyncio.wait((sweeper,))
        del sessions, sweeper
        gc.collect()
        said = [str(warning.message) for warning in caught]
        caught.clear()
        gc.collect()
    assert any("unclosed <TokenSessions 1 of at most 10000" in text for text in said)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"client_id": "portal"}, "each account gets its own"),
        ({"max_sessions": 0}, "max_sessions must be"),
        ({"max_sessions": True}, "max_sessions must be"),
        ({"max_sessions": 1.5}, "max_sessions must be"),
        ({"idle_timeout": 0}, "idle_timeout must be"),
        ({"idle_timeout": "1 h"}, "idle_timeout must be"),
        ({"label": "me"}, "label must be a function"),
        ({"base_url": "nexudus"}, "base_url"),
        ({"store": 3}, "store must be"),
        ({"policy": 3}, "policy must be"),
        ({"throttle": 3}, "throttle must be"),
        ({"pacing": 3}, "pacing must be"),
        ({"keep_alive": 3}, "keep_alive must be"),
        ({"on_event": 3}, "on_event must be"),
        ({"clock": 3}, "clock must be"),
        ({"client_session": 3}, "client_session must be"),
        ({"allowed_origins": "https://example.com"}, "list"),
    ],
)
def test_arguments_that_cannot_work_are_refused(options: dict[str, Any], says: str, vault: Vault) -> None:
    """At once, and not with the first account."""
    with pytest.raises(ConfigurationError, match=says):
        TokenSessions(vault, **options)


def test_credentials_are_a_function() -> None:
    """Those of one account are for one session; and none at all need a store."""
    with pytest.raises(ConfigurationError, match="function that is given an account"):
        TokenSessions(PasswordCredentials("a@example.com", "x"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="or a store"):
        TokenSessions(None)


@pytest.mark.parametrize("account", ["", "  ", None, 7])
async def test_an_account_is_a_name(make: Make, account: Any) -> None:
    """Text, and not blank."""
    with pytest.raises(ConfigurationError, match="account must be a user name"):
        await make().session(account)


async def test_its_repr_is_a_status_line(make: Make) -> None:
    """How many, of how many, where."""
    sessions = make(max_sessions=7)
    await sessions.session(name(1))
    assert repr(sessions).startswith("<TokenSessions 1 of at most 7 at http://127.0.0.1:")
    await sessions.close()
    assert repr(sessions).startswith("<TokenSessions closed at")
